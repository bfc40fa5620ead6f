"""Files that are written whole or not at all, and whether an error means that nothing more can be written."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

# No space, the user's quota, and the limit on the size of a file (ulimit -f; of file systems, too).
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def took_no_more(error: BaseException) -> bool:
    """Whether the disk refused to take more.

    >>> took_no_more(OSError(errno.ENOSPC, "No space left on device")), took_no_more(ValueError("28"))
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in FULL


def write_whole(path: Path, data: bytes) -> None:
    """Write a file; all of it is there, or what was there before."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
