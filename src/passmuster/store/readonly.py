"""Opening SQLite files that may not be written: on read-only media, or in a copy handed to an auditor."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from passmuster.core.errors import ResourceError


def is_read_only(path: Path) -> bool:
    """Whether an SQLite file is there and cannot be written by this user; that needs its folder too, for the log."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def read_only_uri(path: Path) -> str:
    """The address under which SQLite reads the file and writes nothing.

    ``immutable`` is said only where no log lies beside the file: whoever is writing has one, and what it holds would be
    missed.
    """
    log = path.with_name(f"{path.name}-wal")
    immutable = "" if log.exists() and log.stat().st_size else "&immutable=1"
    return f"file:{quote(str(path.resolve()))}?mode=ro{immutable}"


def read_only(path: Path) -> ResourceError:
    """The error of who would write all the same."""
    return ResourceError(
        "project.read_only", "the project's folder is read-only: it can be looked at and verified, not changed",
        where=path.parent, next="copy it to a folder that you may write to",
    )  # fmt: skip
