# Everyday commands. PYTHON is the interpreter of the environment that has the package installed.
PYTHON ?= python

.PHONY: help setup check test bench docs

help:  ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup:  ## install the package for developing, with everything the tests need
	$(PYTHON) -m pip install -c constraints.txt -e ".[train,test]"

check:  ## format, lint, types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

test:  ## every test
	$(PYTHON) -m pytest

bench:  ## every benchmark at full length, one after the other (about three hours on two cores)
	for program in startup watch serve story fewlabel_image; do $(PYTHON) bench/$$program.py --json bench/results/$$program.json || exit 1; done

docs:  ## write the generated reference pages again
	$(PYTHON) docs/generate.py
