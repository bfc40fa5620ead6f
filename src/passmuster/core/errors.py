"""Errors a person can act on: what happened, the value, the limit, where, and the command to type next.

There are few kinds, because callers branch on the kind (it carries the exit code) and people read the text.
The dotted `code` is stable and machine-readable; it appears in `--json` output and in HTTP answers.
"""

from __future__ import annotations

from typing import Any


class MusterError(Exception):
    """Base of every error that Muster raises on purpose.

    Parameters
    ----------
    code : str
        Stable dotted name, for example ``"data.no_labels"``.
    what : str
        One sentence that says what is wrong.
    value, limit, where : object, optional
        The offending value, the bound it broke, and the file, row or field where it was found.
    next : str, optional
        The command or edit that mends it.

    Examples
    --------
    >>> print(DataError("data.no_labels", "no item has a label", where="reviews.csv", next="muster label reviews/"))
    no item has a label (where: reviews.csv). Next: muster label reviews/
    """

    exit_code = 1
    http_status = 500

    def __init__(
        self, code: str, what: str, *, value: Any = None, limit: Any = None, where: Any = None, next: str | None = None
    ) -> None:
        self.code, self.what, self.value, self.limit, self.where, self.next = code, what, value, limit, where, next
        super().__init__(str(self))

    def __str__(self) -> str:
        facts = [
            f"{name}: {fact}"
            for name, fact in (("value", self.value), ("limit", self.limit), ("where", self.where))
            if fact is not None
        ]
        text = self.what + (f" ({', '.join(facts)})" if facts else "")
        return f"{text}. Next: {self.next}" if self.next else text

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-ready fields; `value`, `limit` and `where` as text."""
        return {
            "code": self.code,
            "what": self.what,
            **{k: str(v) for k in ("value", "limit", "where") if (v := getattr(self, k)) is not None},
            "next": self.next,
            "exit_code": self.exit_code,
        }


class UsageError(MusterError):
    """The command, flag, key or name is not one that exists."""

    exit_code, http_status = 2, 400


class DataError(MusterError):
    """The user's data cannot be used as it is."""

    exit_code, http_status = 3, 422


class HeldError(MusterError):
    """A gate held, or the evidence is insufficient."""

    exit_code, http_status = 4, 409


class BudgetError(MusterError):
    """The time, money or memory given cannot hold even the cheapest way."""

    exit_code, http_status = 5, 409


class ResourceError(MusterError):
    """The machine lacks something: disk, memory, a port, a lock, an installed extra."""

    exit_code, http_status = 6, 503


class NetworkError(MusterError):
    """The act needs a connection that was not allowed or could not be had."""

    exit_code, http_status = 7, 502


class NotFoundError(MusterError):
    """A project, snapshot, bundle, release, channel or file does not exist."""

    exit_code, http_status = 8, 404


class IntegrityError(MusterError):
    """Bytes are not what their digest, signature or chain says."""

    exit_code, http_status = 9, 500
