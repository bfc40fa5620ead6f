"""What Python hands over where a list of items was meant: one item, a data frame, or rows indeed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ONE: dict[type, str] = {str: "one text", bytes: "bytes", Mapping: "a mapping"}
OF_A_FRAME = ("columns", "column_names", "__dataframe__")  # pandas, polars; Arrow and Hugging Face; the interchange


def one_thing(given: Any) -> str:
    """What is handed over, where that is one thing that Python could iterate over all the same; "" for anything else.

    >>> import numpy as np
    >>> one_thing("a text"), one_thing({}), one_thing(["a text"]), one_thing(np.zeros((9, 8, 3), np.uint8))
    ('one text', 'a mapping', '', 'one image')
    """
    if isinstance(given, np.ndarray) and given.ndim == 3 and given.shape[2] in (1, 3):
        return "one image"
    return next((said for kind, said in ONE.items() if isinstance(given, kind)), "")


def is_frame(given: Any) -> bool:
    """Whether it has columns, so that iterating over it would give their names; a single column is a list of cells.

    >>> is_frame(["a text"])
    False
    """
    return any(hasattr(given, name) for name in OF_A_FRAME)
