"""What the user names of an endpoint: a TOML file of how it is asked, or an address that speaks as OpenAI's does."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from passmuster.core.codec import from_plain
from passmuster.core.errors import DataError, NotFoundError, UsageError
from passmuster.runtime.endpoint import AnswerPaths, Endpoint, UsagePaths, check_endpoint

SCHEMES = ("http://", "https://")
CHAT = "/chat/completions"
MAX_BYTES = 2**20
LEAST_TOKENS = 16  # of an answer
PROMPT = (
    "You sort {items} into classes. Answer with the name of one class, written exactly as it is here, and with nothing "
    "else.\nThe classes:\n{classes}"
)


def is_endpoint(named: str) -> bool:
    """Whether an import names an endpoint, not a file or folder with a model in it.

    >>> is_endpoint("https://example.org/v1"), is_endpoint("chat.toml"), is_endpoint("model.onnx")
    (True, True, False)
    """
    return named.lower().startswith(SCHEMES) or named.lower().endswith(".toml")


def read_endpoint(
    named: str, classes: Sequence[str], modality: str, *, model: str = "", prompt: str = "", key_variable: str = ""
) -> Endpoint:
    """How it is asked, checked.

    Parameters
    ----------
    named : the path of a TOML file with the fields of `Endpoint`, or an address that ends in ``/v1`` or
        ``/v1/chat/completions``
    model, prompt, key_variable : of an address: the model's name, the system prompt or the path of a file with it, in
        which ``{classes}`` stands for their list, and the environment variable of the key

    Raises
    ------
    UsageError, NotFoundError
        ``endpoint.*``, ``import.endpoint*``.
    """
    if named.lower().startswith(SCHEMES):
        return check_endpoint(
            chat_endpoint(named, classes, modality, model=model, prompt=prompt, key_variable=key_variable)
        )
    if given := [flag for flag, value in (("model", model), ("prompt", prompt)) if value]:
        raise UsageError("import.endpoint", f"the file says itself what --{given[0]} would", where=named)
    path = Path(named).expanduser()
    raw = _read_toml(path)
    if key_variable:
        raw["key_variable"] = key_variable
    try:
        endpoint = from_plain(Endpoint, raw, where=path.name)
    except DataError as error:
        raise UsageError(
            "import.endpoint", error.what, value=error.value, limit=error.limit, where=error.where,
            next="docs/how-to/import-a-model.md shows such a file",
        ) from error  # fmt: skip
    if unknown := [ours for ours in endpoint.names.values() if ours not in classes]:
        raise UsageError(
            "import.endpoint", "names leads to a class that there is not", value=unknown[0],
            limit=", ".join(classes[:20]), where=path,
        )  # fmt: skip
    return check_endpoint(endpoint, where=str(path))


def chat_endpoint(
    url: str, classes: Sequence[str], modality: str, *, model: str, prompt: str, key_variable: str
) -> Endpoint:
    """A chat endpoint in OpenAI's form, which most servers of language models speak.

    >>> chat_endpoint("http://localhost:8000/v1", ["ham", "spam"], "text", model="m", prompt="", key_variable="").url
    'http://localhost:8000/v1/chat/completions'
    """
    if not model:
        raise UsageError(
            "import.endpoint_model", "an address alone does not say which model is asked", where=url,
            next="--model NAME; for an endpoint of your own JSON, write a TOML file (docs/how-to/import-a-model.md)",
        )  # fmt: skip
    address = url.rstrip("/")
    system = _prompt(prompt).replace("{items}", f"{modality}s").replace("{classes}", "\n".join(classes))
    item: Any = "{text}"
    if modality == "image":
        item = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,{image}"}}]
    return Endpoint(
        url=address if address.endswith(CHAT) else address + CHAT,
        body={
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": item}],
            "temperature": 0,
            "max_tokens": max(LEAST_TOKENS, *(len(name) for name in classes)),
        },
        answer=AnswerPaths(label="choices.0.message.content"),
        key_variable=key_variable,
        usage=UsagePaths("usage.prompt_tokens", "usage.completion_tokens"),
    )


def _prompt(given: str) -> str:
    if not given:
        return PROMPT
    path = Path(given).expanduser()
    text = path.read_text(encoding="utf-8") if len(given) < 4_096 and path.is_file() else given
    if any(place in text for place in ("{text}", "{image}", "{texts}", "{images}")):
        raise UsageError(
            "import.endpoint", "the prompt comes before the item, which is sent by itself", where=given[:200],
            next="leave {text} or {image} out of the prompt",
        )  # fmt: skip
    return text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError("import.endpoint", "the file is too large", limit=f"{MAX_BYTES:,} bytes", where=path)
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError("import.none", "there is no such file", where=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("import.endpoint", f"the file is not TOML: {error}", where=path) from error
