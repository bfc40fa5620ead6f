"""`muster predict`: answers for files or texts, offline, from a bundle or a channel's release."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.options import ChannelNamed
from passmuster.cli.session import session_of
from passmuster.core.errors import DataError, NotFoundError, UsageError
from passmuster.core.label_sets import NO_CLASS, label_in_words, split_label

if TYPE_CHECKING:
    from passmuster.core.records import Payload, Prediction
    from passmuster.modality.base import Modality
    from passmuster.runtime.bundle import LoadedBundle
    from passmuster.runtime.predictor import Predictor
    from passmuster.store.store import Store

SHOWN_CHARS = 120  # of a text or a name in a line


def predict(
    context: typer.Context,
    items: Annotated[
        list[str] | None, typer.Argument(help="Files, or texts; - or nothing reads one text per line from stdin.")
    ] = None,
    bundle: Annotated[str, typer.Option("--bundle", help="First digits of a bundle's digest, or its folder.")] = "",
    channel: ChannelNamed = "live",
) -> None:
    """Predict items without a server: label or labels, probability, and whether the answer is withheld and why."""
    from passmuster.runtime.predictor import Predictor

    session = session_of(context)
    store = session.store()
    predictor = Predictor(find_bundle(store, bundle, channel), threads=store.config.serve.threads)
    if not bundle and (words := withheld_by_the_server(store, channel)):
        session.progress.say(words)
    names, payloads = read_items(items or ["-"], predictor.modality, store)
    rows: list[dict[str, Any]] = []
    for name, prediction in zip(names, predictor.predict(payloads), strict=True):
        rows.append(
            {
                "item": name,
                **answered(prediction, predictor),
                "probability": prediction.probability,
                "prediction_set": prediction.prediction_set,
                "abstained": prediction.abstained,
                "reasons": prediction.reasons,
                "novelty": prediction.novelty,
            }
        )
    session.done({"bundle": predictor.bundle.digest, "predictions": rows}, map(shown, rows), "muster serve")


def withheld_by_the_server(store: Store, channel: str) -> str:
    """What a server would not answer here, because the release is provisional; "" otherwise."""
    from passmuster.store.approvals import provisional_words
    from passmuster.store.releases import read_channels

    with store.read() as db:
        pointed = read_channels(db).get(channel)
    return provisional_words(pointed) if pointed is not None else ""


def answered(prediction: Prediction, predictor: Predictor) -> dict[str, Any]:
    """The answer itself: one label, or of a multi-label model its classes with their probabilities."""
    if prediction.whole is None:
        return {"label": prediction.label}
    by_class = dict(zip(predictor.classes, prediction.probabilities, strict=True))
    names = sorted(split_label(prediction.label), key=lambda name: (-by_class[name], name))
    return {"labels": {name: by_class[name] for name in names}}


def shown(row: dict[str, Any]) -> str:
    """A prediction as one line: label, probability, whether it is withheld and why, the item.

    Of a multi-label model: the classes with their probabilities, then the probability of the whole set.
    """
    state = f"withheld: {', '.join(row['reasons'])}" if row["abstained"] else "ok"
    if "label" in row:
        said = row["label"]
    else:
        said = " + ".join(f"{name} {p:.2f}" for name, p in row["labels"].items()) or label_in_words(NO_CLASS)
    item = row["item"] if len(row["item"]) <= SHOWN_CHARS else row["item"][:SHOWN_CHARS] + "…"
    return f"{said}\t{row['probability']:.3f}\t{state}\t{item}"


def find_bundle(store: Store, bundle: str, channel: str) -> LoadedBundle:
    """The bundle named by digest or folder; else the channel's, whose signature is checked; digests always are.

    Raises
    ------
    NotFoundError
        ``bundle.none``, ``channel.none``.
    IntegrityError
        ``bundle.*``, ``signature.*``.
    """
    from passmuster.runtime.bundle import open_bundle
    from passmuster.runtime.release import open_release
    from passmuster.store.approvals import points_at_nothing
    from passmuster.store.releases import read_bundle, read_channels, read_release

    if bundle and Path(bundle).is_dir():
        return open_bundle(Path(bundle))
    with store.read() as db:
        if bundle:
            return open_bundle(store.bundle_folder(read_bundle(db, bundle).path))
        channels = read_channels(db)
        if channel not in channels:
            error = points_at_nothing(db, channel)
            raise NotFoundError(
                error.code, error.what, value=error.value, next=f"{error.next}, or muster predict --bundle DIGEST"
            )
        release = read_release(db, channels[channel].release)
    return open_release(store, release)


def read_items(words: list[str], modality: Modality, store: Store) -> tuple[list[str], list[Payload]]:
    """Names and payloads of what was typed: files, folders of files, texts, or ``-`` for lines of stdin."""
    names: list[str] = []
    payloads: list[Payload] = []
    for word in words:
        if word == "-":
            lines = [line.rstrip("\n") for line in sys.stdin]
            found = [(line, line.encode()) for line in lines if line.strip()]
        else:
            found = read_word(word, modality)
        for name, data in found:
            try:
                payloads.append(modality.decode(data, store.config.data))
            except DataError as error:
                raise DataError(
                    error.code, error.what, value=error.value, limit=error.limit, where=name[:SHOWN_CHARS],
                    next=error.next or "mend it, or leave it out",
                ) from error  # fmt: skip
            names.append(name)
    if not payloads:
        raise UsageError("predict.no_items", "there is nothing to predict", next='muster predict FILE, or "a text"')
    return names, payloads


def read_word(word: str, modality: Modality) -> list[tuple[str, bytes]]:
    """One argument: a file, the files of a folder, or a text itself."""
    path = Path(word)
    try:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in modality.suffixes)
            return [(str(p), p.read_bytes()) for p in files]
        if path.is_file():
            return [(word, path.read_bytes())]
    except (OSError, ValueError):  # a text may be too long for a file's name
        if modality.name != "text":
            raise
    if modality.name == "text":
        return [(word, word.encode())]
    raise NotFoundError("predict.no_file", "there is no such file", value=word)
