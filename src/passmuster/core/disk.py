"""Whether an error of the system means that nothing more can be written."""

from __future__ import annotations

import errno

# No space, the user's quota, and the limit on the size of a file (ulimit -f; of file systems, too).
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def took_no_more(error: BaseException) -> bool:
    """Whether the disk refused to take more.

    >>> took_no_more(OSError(errno.ENOSPC, "No space left on device")), took_no_more(ValueError("28"))
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in FULL
