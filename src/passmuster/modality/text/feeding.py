"""How texts become the inputs of a graph that was made elsewhere, as its owner names it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from passmuster.core.errors import NotFoundError, UsageError
from passmuster.modality.base import Feeding, GraphInput
from passmuster.modality.text.tokens import read_tokenizer

TOKENIZER = "tokenizer.json"
MAX_TOKENIZER_BYTES = 64 * 2**20  # the largest in use take some 30 MB
# What graphs call the three things that they may read of a tokenised text, the usual name first.
NAMES = {
    "ids": ("input_ids", "ids", "tokens"),
    "mask": ("attention_mask", "mask", "input_mask"),
    "types": ("token_type_ids", "segment_ids"),
}
KEYS = ("strings", "tokenizer", "max_tokens", "lower", "normalise")
HELP = "--preprocess strings, or --preprocess tokenizer=tokenizer.json --preprocess max_tokens=128"


def feed(named: Mapping[str, Any], inputs: Sequence[GraphInput]) -> Feeding:
    """Steps from texts to the graph's inputs.

    Named is one of two: ``strings``, for a graph that reads texts as they are, or ``tokenizer`` (the path of a
    ``tokenizer.json``) with ``max_tokens``. Before either may come ``lower`` and ``normalise`` (Unicode NFKC, single
    spaces); nothing is done to a text unless it is named.

    Raises
    ------
    UsageError
        ``import.preprocess``: nothing was named, it does not fit the graph, or a key is unknown.
    NotFoundError
        ``tokenizer.none``.

    >>> print(feed({"strings": True}, [GraphInput("text", "string", (None, 1))]).steps)
    ({'op': 'strings.v1', 'input': 'text', 'rank': 2},)
    """
    if unknown := [key for key in named if key not in KEYS]:
        raise _refusal(f"no preprocessing of texts is called {unknown[0]}", inputs, limit=", ".join(KEYS))
    if bool(named.get("strings")) == ("tokenizer" in named):
        raise _refusal("say how a text becomes the graph's inputs: as it is, or as tokens", inputs)
    before: list[dict[str, Any]] = []
    if named.get("normalise"):
        before.append({"op": "normalise.v1", "lower": False})
    if named.get("lower"):
        before.append({"op": "lower.v1"})
    if named.get("strings"):
        return Feeding((*before, _strings(inputs)))
    step, tokenizer = _tokens(named, inputs)
    return Feeding((*before, step), {TOKENIZER: tokenizer})


def _strings(inputs: Sequence[GraphInput]) -> dict[str, Any]:
    if len(inputs) != 1 or inputs[0].kind != "string" or len(inputs[0].shape) not in (1, 2):
        raise _refusal(
            "this graph does not read texts as they are: that takes one input of strings, (n) or (n, 1)", inputs
        )
    return {"op": "strings.v1", "input": inputs[0].name, "rank": len(inputs[0].shape)}


def _tokens(named: Mapping[str, Any], inputs: Sequence[GraphInput]) -> tuple[dict[str, Any], bytes]:
    found = {part: next((i for name in names for i in inputs if i.name == name), None) for part, names in NAMES.items()}
    taken = [i for i in found.values() if i is not None]
    if len(taken) != len(inputs) or found["ids"] is None:
        raise _refusal("this graph does not read tokens under names that are known", inputs, limit=_known_names())
    kinds = {i.kind for i in taken}
    if not kinds <= {"int64", "int32"} or len(kinds) != 1:
        raise _refusal("tokens are numbers, int64 or int32", inputs)
    path = Path(str(named["tokenizer"])).expanduser()
    if not path.is_file() or path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise NotFoundError(
            "tokenizer.none", "there is no tokenizer file of a usual size", limit=f"{MAX_TOKENIZER_BYTES:,} bytes",
            where=path, next="name the model's own tokenizer.json",
        )  # fmt: skip
    data = path.read_bytes()
    read_tokenizer(data.decode("utf-8", "replace"), path)
    said = json.loads(data)
    most = named.get("max_tokens") or (said.get("truncation") or {}).get("max_length")
    if not isinstance(most, int) or most < 1:
        raise _refusal("say at how many tokens a text is cut: max_tokens", inputs)
    length = found["ids"].shape[1] if len(found["ids"].shape) == 2 else None
    if length is not None and length < most:
        raise _refusal(f"the graph reads {length} tokens of a text, not {most}", inputs)
    step = {
        "op": "tokens.v1", "tokenizer": TOKENIZER, "max_tokens": most, "pad": _padding(said), "length": length or 0,
        "dtype": kinds.pop(), **{part: i.name if i else "" for part, i in found.items()},
    }  # fmt: skip
    return step, data


def _padding(said: Mapping[str, Any]) -> int:
    """The number of the padding token: as the file says, or of the token that is usually called so; else 0."""
    if said.get("padding"):
        return int(said["padding"]["pad_id"])
    added = {token["content"]: token["id"] for token in said.get("added_tokens") or ()}
    return int(next((added[name] for name in ("[PAD]", "<pad>") if name in added), 0))


def _known_names() -> str:
    return "; ".join(f"{part}: {' or '.join(names)}" for part, names in NAMES.items())


def _refusal(what: str, inputs: Sequence[GraphInput], limit: str | None = None) -> UsageError:
    where = "the graph reads " + "; ".join(map(str, inputs))
    return UsageError("import.preprocess", what, limit=limit, where=where, next=HELP)
