# Everyday commands. PYTHON is the interpreter of the environment that has the package installed.
PYTHON ?= python

# Every program in bench/ that runs and is no peer of another. SETFIT and TRAINER are interpreters of environments with the
# peers' packages: SetFit; transformers and accelerate (finetune is left out without). QUICK=--quick makes a small run of
# each, and keeps no results.
BENCHES := $(sort $(filter-out %_peer,$(patsubst bench/%.py,%,$(shell grep -l __main__ bench/*.py))))
OPTIONS_fewlabel_text = $(if $(SETFIT),--setfit $(SETFIT))
OPTIONS_finetune = --peer $(TRAINER)

# pytest leaves out a folder that lies in another one it is given, so `tests` itself would undo the order.
FIRST := tests/core tests/story
LATER := $(filter-out $(addsuffix /,$(FIRST)) %/__pycache__/,$(wildcard tests/*/)) $(wildcard tests/test_*.py)

.PHONY: help setup check test bench docs notebook $(BENCHES:%=bench-%)

help:  ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup:  ## install the package for developing, with everything the tests need
	$(PYTHON) -m pip install -c constraints.txt -e ".[train,test]"

check:  ## format, lint, types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

test:  ## every test, in three processes, because many of them wait: those that weigh memory first, then the longest
	$(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(FIRST) src $(LATER)

bench: $(addprefix bench-,$(if $(TRAINER),$(BENCHES),$(filter-out finetune,$(BENCHES))))  ## every benchmark at full length, one after the other (many hours)
	$(if $(TRAINER),,@echo "bench/finetune.py was left out: it needs its peer (make bench TRAINER=PYTHON)")

$(BENCHES:%=bench-%): bench-%:  # one of them: make bench-story
	$(PYTHON) bench/$*.py $(QUICK) $(OPTIONS_$*)

docs:  ## write the generated reference pages again
	$(PYTHON) docs/generate.py

notebook:  ## run the tutorial notebook again, its outputs included (about five minutes)
	$(PYTHON) docs/notebook.py docs/tutorial/label-economy.ipynb
