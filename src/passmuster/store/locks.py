"""Whether a process holds a lock file. The operating system releases a lock when its process dies, however it dies."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether another process holds the lock at `path` (an SQLite file under an exclusive transaction) at this moment.

    >>> is_held(Path("nowhere.lock.db"))
    False
    """
    if not path.is_file():
        return False
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        return False
