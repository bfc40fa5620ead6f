"""Known weaknesses of packages, read from a local file in the Open Source Vulnerability format (OSV schema 1).

Nothing is fetched. A file holds one record, a list of them, ``{"vulns": [...]}``, or one record a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.pep440 import normal_name, version_key

ECOSYSTEM = "PyPI"


@dataclass(frozen=True)
class Advisory:
    """That a version of a package has a known weakness. `fixed` is the next version without it, "" when none is."""

    id: str
    package: str
    version: str
    summary: str
    fixed: str


def read_advisories(path: Path) -> list[Mapping[str, Any]]:
    """The records of a file.

    Raises
    ------
    NotFoundError
        ``advisories.none``.
    DataError
        ``advisories.format`` when it is not JSON, or holds something that is no OSV record.
    """
    if not path.is_file():
        raise NotFoundError("advisories.none", "there is no file of advisories", where=path)
    text = path.read_text(encoding="utf-8")
    try:
        try:
            whole = json.loads(text)
        except ValueError:
            whole = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise not_osv(path, f"it is not JSON: {error}") from error
    if isinstance(whole, dict):
        whole = whole.get("vulns", [whole])
    if not isinstance(whole, list) or not all(isinstance(one, dict) and "id" in one for one in whole):
        raise not_osv(path, "a record without an id")
    return whole


def not_osv(path: Path, why: str) -> DataError:
    """What is said of a file that cannot be read: an audit that reads nothing must not pass."""
    return DataError(
        "advisories.format", f"the advisories cannot be read: {why}", where=path,
        limit="OSV records: one, a list, one a line, or {\"vulns\": [...]}",
    )  # fmt: skip


def matching(records: list[Mapping[str, Any]], installed: Mapping[str, str]) -> list[Advisory]:
    """Advisories on the installed versions, withdrawn ones left out, by package.

    A version that is none (PEP 440) counts as affected where the record lists no versions: what cannot be told is not
    passed over.

    >>> record = {"id": "X-1", "affected": [{"package": {"ecosystem": "PyPI", "name": "Pillow"}, "ranges": [
    ...     {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "11.3"}]}]}]}
    >>> [(a.id, a.version, a.fixed) for a in matching([record], {"pillow": "11.2.1"})]
    [('X-1', '11.2.1', '11.3')]
    >>> matching([record], {"pillow": "11.3"})
    []
    """
    versions = {normal_name(name): version for name, version in installed.items()}
    found: dict[tuple[str, str], Advisory] = {}
    for record in records:
        if record.get("withdrawn"):
            continue
        for affected in record.get("affected") or ():
            package = affected.get("package") or {}
            name = normal_name(str(package.get("name", "")))
            version = versions.get(name)
            if package.get("ecosystem") != ECOSYSTEM or version is None:
                continue
            hit, fixed = is_affected(affected, version)
            if hit:
                summary = str(record.get("summary") or record.get("details") or "")[:200]
                found[str(record["id"]), name] = Advisory(str(record["id"]), name, version, summary, fixed)
    return sorted(found.values(), key=lambda one: (one.package, one.id))


def is_affected(affected: Mapping[str, Any], version: str) -> tuple[bool, str]:
    """Whether a version lies among the listed ones or in a range, and the version that mends it."""
    listed = [str(one) for one in affected.get("versions") or ()]
    key = version_key(version)
    hit = version in listed or (key is not None and key in map(version_key, listed))
    fixed = ""
    for one in affected.get("ranges") or ():
        if one.get("type") not in ("ECOSYSTEM", "SEMVER"):
            continue
        inside, mended = in_range(one.get("events") or (), version)
        if inside:
            hit, fixed = True, mended or fixed
    return hit, fixed


def in_range(events: Any, version: str) -> tuple[bool, str]:
    """Whether a version lies in an OSV range: introduced there or before, and neither fixed nor past its last."""
    key = version_key(version)
    if key is None:
        return True, ""
    inside, mended = False, ""
    for kind, at in sorted(((kind, str(at)) for event in events for kind, at in event.items()), key=by_version):
        edge = version_key(at) if at != "0" else None
        if kind == "introduced" and (edge is None or key >= edge):
            inside, mended = True, ""
        elif kind == "fixed" and edge is not None:
            if key >= edge:
                inside = False
            elif inside and not mended:
                mended = at
        elif kind == "last_affected" and edge is not None and key > edge:
            inside = False
    return inside, mended


def by_version(event: tuple[str, str]) -> Any:
    """Order of events along the versions."""
    key = None if event[1] == "0" else version_key(event[1])
    return (key is not None, key or (), event[0] != "introduced")
