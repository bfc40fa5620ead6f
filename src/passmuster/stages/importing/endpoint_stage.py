"""An endpoint as a bundle: a model that stays where it is, asked over HTTP, judged and served like one that is here.

read how it is asked → ask it about items of the project → match its classes → calibrate, if asked to →
guard → bundle → one ledger event
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import DataError, UsageError
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Payload
from passmuster.learn.calibration import fit_temperature
from passmuster.modality.base import Modality
from passmuster.modality.find import modalities
from passmuster.runtime.account import Account
from passmuster.runtime.endpoint import NO_ANSWER, Asking, write_asking
from passmuster.runtime.endpoint_calls import ITEM
from passmuster.runtime.engine import HTTP, Engine, EngineChoice
from passmuster.runtime.risk import risk_in_words, risk_of
from passmuster.signals.novelty import novel_rate_bound
from passmuster.stages.importing.asking import Calibration, read_calibration, read_sample
from passmuster.stages.importing.classes import match_classes, read_names
from passmuster.stages.importing.endpoint_named import read_endpoint
from passmuster.stages.importing.expected import compare, read_expected
from passmuster.stages.importing.keeping import ImportResult, keep
from passmuster.stages.importing.learnt import Learnt, read_learnt, told
from passmuster.stages.importing.stage import fit_the_guard, latest_snapshot
from passmuster.store.store import Store

N_ASKED = 200  # items that an endpoint is tried on: enough for a threshold, and a fraction of a cent
N_FIRST = 5  # asked before the others: a wrong mapping or key costs no more than these
# Share of answers that name no class, above which the mapping is wrong and not the model; of few, half may be chance.
MAX_UNREAD, MAX_UNREAD_FIRST = 0.2, 0.5
BATCH = 64
COARSE = 0.1  # share of ordinary items called novel, at most, above which a watch sees little of novelty
STEPS = {"steps": [{"op": "encoded.v1", "input": ITEM}]}


@dataclass
class EndpointAsked:
    """The endpoint, ready to be asked; what the asking takes is added to `account`."""

    engine: Engine
    modality: Modality
    progress: Progress
    account: Account = field(default_factory=Account)

    def logits_of(self, payloads: Sequence[Payload], where: Sequence[str]) -> np.ndarray:
        """Logits (m, c) of items."""
        prepare = self.modality.preparer(STEPS, Path())
        parts = []
        for at in self.progress.track(range(0, len(payloads), BATCH), "asking the endpoint"):
            outputs = self.engine.run(prepare(payloads[at : at + BATCH]))
            self.account.add(outputs)
            parts.append(outputs["logits"])
        return np.concatenate(parts).astype(np.float64)


def import_endpoint(
    store: Store,
    named: str,
    *,
    labels: str | Sequence[str] = "",
    model: str = "",
    prompt: str = "",
    key_variable: str = "",
    n_asked: int = N_ASKED,
    calibrate: bool = False,
    accept_classes: bool = False,
    expect: Path | None = None,
    learnt_from: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Take in a model behind an address; leave an unsigned bundle that asks it.

    Parameters
    ----------
    named : an address that speaks as OpenAI's chat does, or a TOML file of how the endpoint is asked
    labels : its classes, where they are not those of the project's labels; in the order of scores given as a list
    model, prompt, key_variable : see `read_endpoint`
    n_asked : items of the project, none of the test, that it is tried on
    calibrate, accept_classes, expect, learnt_from, dry_run : as of `import_model`; a dry run asks `N_FIRST` items

    Raises
    ------
    DataError, NotFoundError, UsageError
        ``import.*``, ``endpoint.*``.
    NetworkError
        ``endpoint.*``: it does not answer, or refuses.
    """
    progress = progress or Silent()
    if n_asked < 2 * N_FIRST:
        raise UsageError("import.n_asked", "an endpoint is tried on a few items", value=n_asked, limit=2 * N_FIRST)
    with store.lock("import"):
        snapshot = latest_snapshot(store)
        modality = modalities[snapshot.modality]
        known = read_names(labels) or snapshot.classes
        if len(known) < 2:
            raise UsageError(
                "import.no_labels", "neither the project nor --labels names classes to choose from",
                next="--labels first,second, or muster label",
            )  # fmt: skip
        notes = list(match_classes(known, snapshot.classes, accept=accept_classes))
        if NO_ANSWER in known:
            raise UsageError("import.labels", "this name is what an answer of no class is called", value=NO_ANSWER)
        endpoint = read_endpoint(
            named, known, modality.name, model=model, prompt=prompt, key_variable=key_variable
        )  # fmt: skip
        classes = (*known, NO_ANSWER)
        asking = Asking(endpoint, classes, "utf-8" if modality.name == "text" else "png")
        learnt = Learnt() if learnt_from is None else read_learnt(store, learnt_from, modality)
        if learnt.digests:
            notes.append(told(store, learnt))
        sample = read_sample(store, snapshot, modality, most=n_asked)
        asked = EndpointAsked(Engine(write_asking(asking), EngineChoice(HTTP)), modality, progress)
        first = slice(0, N_FIRST)
        n = len(sample.payloads[first] if dry_run else sample.payloads)
        progress.say(f"asking {endpoint.url} about {n:,} items that are not for the test")
        logits = asked.logits_of(sample.payloads[first], sample.where[first])
        check_read(asked.account, MAX_UNREAD_FIRST)
        if expect is not None:
            expected = read_expected(expect, modality, store.config.data, classes)
            notes.append(compare(expected, asked.logits_of(expected.payloads, expected.where), classes))
        rest = slice(N_FIRST, N_FIRST if dry_run else None)
        if sample.payloads[rest]:
            logits = np.concatenate([logits, asked.logits_of(sample.payloads[rest], sample.where[rest])])
            check_read(asked.account, MAX_UNREAD)
        temperature, calibration = 1.0, Calibration()
        if calibrate and not dry_run:
            calibration = read_calibration(store, snapshot, modality, known, asked, learnt.digests)
            temperature = fit_temperature(calibration.logits, calibration.labels)
        said = asked.account.summary(endpoint.price, endpoint.batch)
        notes += notes_of(asking, said, asked.account.unread, calibrate=calibrate)
        if not dry_run:
            notes += never_answered(logits, known)
        source = {
            "format": HTTP, "file": endpoint.url, "sha256": sha256_hex(write_asking(asking)),
            "model": str(endpoint.body.get("model", "")), "output": endpoint.answer.label or endpoint.answer.scores,
        }  # fmt: skip
        result = ImportResult(
            bundle="", path="", run="", snapshot=snapshot.digest, classes=classes, source=source,
            scores="label" if endpoint.answer.label else endpoint.answer.kind, embedding="", novelty="",
            temperature=temperature, n_calibration=len(calibration.labels), n_asked=len(logits),
            n_learnt=len(learnt.digests), learnt=learnt.sha256, notes=tuple(notes), asking=said,
        )  # fmt: skip
        for note in notes:
            progress.say(note)
        if dry_run:
            return result
        logits = logits / temperature
        answered = {"logits": logits, "embedding": logits - logits.mean(axis=1, keepdims=True)}
        guard, novelty = fit_the_guard(store, False, sample, answered, calibration, temperature, classes)
        if risk := risk_of(guard):
            progress.say(risk_in_words(risk))
        if coarse := coarse_novelty(float(guard["novelty_rate"]), int(guard["n_held"])):
            progress.say(coarse)
        return keep(
            store, snapshot, replace(result, novelty=novelty), sample, learnt, answered=answered, as_it_came=logits,
            engine=EngineChoice(HTTP), graph=write_asking(replace(asking, temperature=temperature)), preprocess=STEPS,
            assets={}, guard=guard,
        )  # fmt: skip


def check_read(account: Account, most: float) -> None:
    """Refuse an endpoint whose answers mostly name no class: how it is asked, or where its answer lies, is wrong.

    Raises
    ------
    DataError
        ``import.unread`` with what it said.
    """
    n = len(account.seconds)
    if account.n_unread > most * n:
        raise DataError(
            "import.unread", "too many answers of the endpoint cannot be read as one of the classes",
            value=f"{account.n_unread} of {n}, such as {'; '.join(map(repr, account.unread[:3]))}",
            limit=f"{most:.0%}",
            next="look at answer.label or answer.scores, at names, and at the prompt",
        )  # fmt: skip


def never_answered(logits: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Classes that none of the answers named, as where two names of the endpoint lead to one class.

    >>> never_answered(np.array([[1.0, 0.0, 0.0]]), ["ham", "spam"])
    ["of 1 answer none was 'spam'"]
    """
    said = {int(i) for i in logits.argmax(axis=1)}
    gone = [name for i, name in enumerate(classes) if i not in said]
    if not gone:
        return []
    shown = " or ".join(map(repr, gone[:3])) + (f" (or {len(gone) - 3:,} more classes)" if gone[3:] else "")
    return [f"of {len(logits):,} answer{'' if len(logits) == 1 else 's'} none was {shown}"]


def coarse_novelty(rate: float, n_held: int) -> str:
    """That too few answers set the threshold of novelty for a watch to see much by it; "" where they do.

    >>> coarse_novelty(0.01, 400), coarse_novelty(1 / 8, 7)
    ('', 'up to 35 % of ordinary items may be called novel: 7 answers set the threshold (--ask 400 asks about more)')
    """
    most = novel_rate_bound(rate, n_held)
    if most < COARSE:
        return ""
    told = f"{n_held:,} answers set the threshold (--ask 400 asks about more)"
    return f"up to {100 * most:.0f} % of ordinary items may be called novel: {told}"


def notes_of(asking: Asking, said: dict[str, object], unread: Sequence[str], *, calibrate: bool) -> list[str]:
    """What its owner should know before relying on it."""
    notes = ["the endpoint gives no embedding: novelty is judged by its scores alone"]
    if asking.endpoint.answer.label and not calibrate:
        notes.append("it names a class and no probability: how sure it is, is not known (--calibrate measures it)")
    if not calibrate:
        notes.append("prediction sets hold every class: no labels were given to fit them (--calibrate)")
    if said.get("n_unread"):
        few = "; ".join(repr(text) for text in unread[:3])
        notes.append(
            f"{said['n_unread']} of {said['n_answers']} answers name no class and count as wrong, such as {few}"
        )
    if not said.get("per_million"):
        notes.append("what an answer costs is not known: [price] in the endpoint's file")
    return notes
