"""Pretrained text encoders that Muster knows by the SHA-256 of their weights, and where they may lie here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from passmuster.core.digests import file_sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError

SUFFIX = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")  # weights that can run code when they are read
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class KnownEncoder:
    """A BERT encoder: what its weights are, and how sentences are made of them."""

    name: str
    sha256: str
    n_bytes: int
    licence: str
    max_tokens: int
    n_heads: int
    layer_norm_eps: float
    pooling: str = "mean"


KNOWN: dict[str, KnownEncoder] = {
    encoder.sha256: encoder
    for encoder in (
        KnownEncoder(
            name="sentence-transformers/all-MiniLM-L6-v2",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            n_bytes=90_868_376,
            licence="Apache-2.0",
            max_tokens=256,
            n_heads=12,
            layer_norm_eps=1e-12,
        ),
    )
}


@dataclass(frozen=True)
class FoundEncoder:
    """A known encoder's files on this machine."""

    encoder: KnownEncoder
    weights: Path
    tokenizer: Path


@dataclass(frozen=True)
class Search:
    """What was found in the places searched, and why other weights there were refused.

    `found` is each encoder once; `named` is every copy of one in the folders that were named.
    """

    found: tuple[FoundEncoder, ...]
    refused: tuple[str, ...]
    named: tuple[FoundEncoder, ...] = ()


def find_encoders(folders: Iterable[str]) -> Search:
    """Known encoders in `folders`, the Hugging Face cache, and files of installed packages (read, never imported).

    Weights count by digest, wherever they lie and whatever they are called. In `folders`, weights of another digest
    are refused by name; elsewhere files of another size are passed over in silence.
    """
    return _find(tuple(str(folder) for folder in folders), str(_hub_folder()))


@lru_cache(maxsize=8)
def _find(folders: tuple[str, ...], hub: str) -> Search:
    found: dict[str, FoundEncoder] = {}
    refused: list[str] = []
    usable: list[FoundEncoder] = []
    named = [path for folder in folders for path in _weights_under(Path(folder).expanduser())]
    refused += [f"{folder} is no folder" for folder in folders if not Path(folder).expanduser().is_dir()]
    pickles = [path for folder in folders for path in _only_pickles(Path(folder).expanduser())]
    refused += [f"{path}: a pickle can run code when it is read, and is not" for path in pickles]
    sizes = {encoder.n_bytes for encoder in KNOWN.values()}
    for path, asked_for in [*((p, True) for p in named), *((p, False) for p in _elsewhere(Path(hub)))]:
        if not path.is_file() or (not asked_for and path.stat().st_size not in sizes):
            continue
        digest = file_sha256_hex(path)
        encoder = KNOWN.get(digest)
        if encoder is None:
            if asked_for:
                refused.append(f"{path}: SHA-256 {digest[:16]}… is not that of a known encoder")
        elif not (path.parent / TOKENIZER).is_file():
            refused.append(f"{path}: {encoder.name}, but {TOKENIZER} is not beside it")
        else:
            whole = FoundEncoder(encoder, path, path.parent / TOKENIZER)
            found.setdefault(digest, whole)
            usable += [whole] * asked_for
    return Search(tuple(found.values()), tuple(refused), tuple(usable))


def refuse_unusable(folders: Iterable[str]) -> None:
    """Hold a configuration to its word: each folder that it names holds a known encoder; nothing else takes its place.

    Raises
    ------
    NotFoundError
        ``encoder.no_folder``.
    IntegrityError
        ``encoder.pickle`` where the only weights are a pickle, ``encoder.digest`` where they are not those known.
    """
    search = find_encoders(folders)
    leave_out = "or take the folder out of train.encoders in muster.toml; muster doctor shows what is found without it"
    for folder in folders:
        path = Path(folder).expanduser()
        if any(found.weights.is_relative_to(path) for found in search.named):
            continue
        if not path.is_dir():
            raise NotFoundError(
                "encoder.no_folder", "train.encoders names a folder that is not there", where=path,
                next=f"mend the path, {leave_out}",
            )  # fmt: skip
        known = "; ".join(f"{encoder.name}, SHA-256 {encoder.sha256}" for encoder in KNOWN.values())
        original = f"put the original {known} there as model{SUFFIX} with its {TOKENIZER}, {leave_out}"
        if pickles := _only_pickles(path):
            raise IntegrityError(
                "encoder.pickle", "the encoder's weights are a pickle, which can run code when it is read, and is not",
                where=pickles[0], next=original,
            )  # fmt: skip
        reasons = [reason for reason in search.refused if reason.startswith(str(path))]
        raise IntegrityError(
            "encoder.digest", "the folder named in train.encoders holds no encoder that is known here",
            value="; ".join(reasons) or f"no {SUFFIX} file", where=path, next=original,
        )  # fmt: skip


def _only_pickles(folder: Path) -> list[Path]:
    if any(_weights_under(folder)):
        return []
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICKLES)


def _weights_under(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(folder.rglob(f"*{SUFFIX}"))


def _hub_folder() -> Path:
    cache = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    return Path(cache or os.path.join(home, "hub")).expanduser()


def _elsewhere(hub: Path) -> Iterator[Path]:
    yield from sorted(hub.glob(f"models--*/snapshots/*/*{SUFFIX}"))
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            if file.name.endswith(SUFFIX):
                yield Path(str(distribution.locate_file(file)))
