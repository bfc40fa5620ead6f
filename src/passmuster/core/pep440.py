"""Versions of Python packages, in their order (PEP 440), as far as advisories need it."""

from __future__ import annotations

import re

PATTERN = re.compile(
    r"\s*v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_n>\d*))?"
    r"(?:-(?P<post_only>\d+)|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_n>\d*))?"
    r"(?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_n>\d*))?(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*",
    re.IGNORECASE,
)
PHASES = {"alpha": 0, "a": 0, "beta": 1, "b": 1, "preview": 2, "pre": 2, "c": 2, "rc": 2}
Key = tuple[int, tuple[int, ...], tuple[int, int], tuple[int, int], tuple[int, int]]


def version_key(version: str) -> Key | None:
    """What sorts versions as PEP 440 does (local parts left out); None for a text that is no version.

    >>> sorted(["1.10", "1.9", "1.10rc1", "1.10.post1", "1.10.dev3"], key=version_key)
    ['1.9', '1.10.dev3', '1.10rc1', '1.10', '1.10.post1']
    >>> version_key("nightly") is None
    True
    """
    found = PATTERN.fullmatch(version)
    if found is None:
        return None
    numbers = [int(part) for part in found["release"].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    dev = (0, int(found["dev_n"] or 0)) if found["dev"] else (1, 0)
    posted = found["post"] or found["post_only"]
    post = (1, int(found["post_only"] or found["post_n"] or 0)) if posted else (0, 0)
    if found["pre"]:
        pre = (PHASES[found["pre"].lower()], int(found["pre_n"] or 0))
    else:
        pre = (-1, 0) if found["dev"] and not posted else (3, 0)
    return int(found["epoch"] or 0), tuple(numbers), pre, post, dev


def normal_name(name: str) -> str:
    """A package's name as indexes compare it (PEP 503).

    >>> normal_name("Pillow_SIMD.x")
    'pillow-simd-x'
    """
    return re.sub(r"[-_.]+", "-", name).lower()
