"""Which packages a program runs with: those that it needs, those that these need, and their versions."""

from __future__ import annotations

import re
from importlib import metadata

from passmuster.core.pep440 import normal_name

OWN = "passmuster"
LEARNING = ("torch", "transformers", "scikit-learn", "safetensors", "onnx")  # whatever serves, these made the model
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def running_packages() -> dict[str, str]:
    """Name to version of this package and of all that it needs, as far as they are installed; learning ones too.

    >>> "numpy" in running_packages()
    True
    """
    found: dict[str, str] = {}
    waiting = [OWN, *LEARNING]
    while waiting:
        name = normal_name(waiting.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = distribution.version
        for requirement in distribution.requires or ():
            named = NAME.match(requirement)
            if named and "extra ==" not in requirement:
                waiting.append(named[0])
    return dict(sorted(found.items()))
