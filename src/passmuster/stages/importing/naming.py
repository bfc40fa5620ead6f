"""What the user names of the preprocessing: words like ``size=224``, or a TOML file of them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from passmuster.core.errors import NotFoundError, UsageError


def read_named(words: Sequence[str]) -> dict[str, Any]:
    """The words as a table. A word without ``=`` is a switch; a ``.toml`` file holds more of them.

    Raises
    ------
    UsageError
        ``import.preprocess`` for a key that is named twice or a file that is not TOML.
    NotFoundError
        ``import.preprocess_none``.

    >>> read_named(["size=28", "mean=0.5,0.4,0.3", "layout=nchw", "strings"])
    {'size': 28, 'mean': [0.5, 0.4, 0.3], 'layout': 'nchw', 'strings': True}
    """
    named: dict[str, Any] = {}
    for word in words:
        key, is_pair, text = word.partition("=")
        if not is_pair and key.lower().endswith(".toml"):
            found = _read_file(Path(key).expanduser())
        else:
            found = {key.strip(): _value(text.strip()) if is_pair else True}
        if twice := sorted(named.keys() & found.keys()):
            raise UsageError("import.preprocess", "named twice", value=twice[0], next="name it once")
        named |= found
    return named


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError("import.preprocess_none", "there is no such file", where=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("import.preprocess", f"the file is not TOML: {error}", where=path) from error


def _value(text: str) -> Any:
    """A number, true or false, several with commas between, or a word."""
    if "," in text:
        return [_value(part.strip()) for part in text.split(",")]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
