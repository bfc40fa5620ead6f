"""The stage itself: from a model that was made elsewhere to an unsigned bundle.

    read it with limits → ask it about the project's own items → match its classes → calibrate, if asked to →
    write its graph in a bundle's form → guard → bundle → one ledger event

The model's answers are not changed, unless a temperature is asked for. Test items are not read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from passmuster.core.config import MIN_REFERENCE_ITEMS
from passmuster.core.errors import UsageError
from passmuster.core.label_sets import MULTI
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Snapshot
from passmuster.learn.calibration import fit_temperature
from passmuster.metrics.conformal import set_methods
from passmuster.metrics.novelty import AUTO, FALLBACK, find_detector, refuse_unknown_detector, with_backing
from passmuster.modality.find import modalities
from passmuster.runtime.answers import prices_of
from passmuster.runtime.engine import Engine, EngineChoice
from passmuster.runtime.guard import fit_guard
from passmuster.runtime.risk import risk_in_words, risk_of
from passmuster.stages.importing.asking import Calibration, Sample, open_as_it_came, read_calibration, read_sample
from passmuster.stages.importing.brought import bring_onnx
from passmuster.stages.importing.classes import match_classes, name_classes, read_names
from passmuster.stages.importing.expected import compare, read_expected
from passmuster.stages.importing.folder import bring_folder
from passmuster.stages.importing.keeping import ImportResult, keep
from passmuster.stages.importing.learnt import Learnt, read_learnt, told
from passmuster.stages.importing.rewrite import LOGITS, with_answers
from passmuster.stages.importing.trial import ask
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

HELD_SHARE = 0.2
# The guard's detector where a model gives no embedding: it looks at the scores alone (Hendrycks and Gimpel 2017).
WITHOUT_EMBEDDING = "msp.v1"


def import_model(
    store: Store,
    path: Path,
    *,
    labels: str | Sequence[str] = "",
    preprocess: Sequence[str] = (),
    output: str = "",
    scores: str = "",
    embedding: str = "",
    calibrate: bool = False,
    accept_classes: bool = False,
    expect: Path | None = None,
    learnt_from: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Take in an ONNX file or a folder of ``transformers``; leave an unsigned bundle, on the latest data-set version.

    Parameters
    ----------
    labels : class names in the order of the scores, also as a list with commas, or a file; "" where the model has them
    preprocess : words such as ``"size=224"``, or the path of a TOML file of them; what may be named, the modality says
    output : which output or inner tensor are the scores; "" where only one can be
    scores : "probabilities" or "logits"; "" where the output's name says it
    embedding : a tensor of the graph, one row for each item, by which novelty is judged and labels are chosen
    calibrate : fit a temperature and prediction sets on the project's training labels, which the model must not have
        learnt from
    accept_classes : take a model whose classes are not those of the project's labels
    expect : a table of items with what the model said of them where it was made; what differs is refused
    learnt_from : a table of the items that the model learnt from; copies of them are left out of its test
    dry_run : do all of it but write; `bundle`, `path` and `run` are ""

    Raises
    ------
    DataError
        ``import.*``: what is wrong with the file, its classes, or its scores on the project's own items.
    UsageError
        ``import.*``: what was not named.
    NotFoundError
        ``import.none``, ``snapshot.none``, ``tokenizer.none``.
    """
    progress = progress or Silent()
    with store.lock("import"), tempfile.TemporaryDirectory() as folder:
        snapshot = latest_snapshot(store)
        modality = modalities[snapshot.modality]
        given = read_names(labels)
        if path.is_dir():
            refuse_named(output=output, scores=scores, embedding=embedding)
            brought = bring_folder(path, modality, preprocess=preprocess)
        else:
            brought = bring_onnx(
                path, modality, preprocess=preprocess, output=output, scores=scores, embedding=embedding
            )  # fmt: skip
        notes = list(brought.notes)
        learnt = Learnt() if learnt_from is None else read_learnt(store, learnt_from, modality)
        if learnt.digests:
            notes.append(told(store, learnt))
        sample = read_sample(store, snapshot, modality)
        asked = open_as_it_came(brought, modality, sample, Path(folder))
        classes = name_classes(given, brought.scores.classes, asked.width)
        notes += match_classes(classes, snapshot.classes, accept=accept_classes)
        if expect is not None:
            expected = read_expected(expect, modality, store.config.data, classes)
            notes.append(compare(expected, asked.logits_of(expected.payloads, expected.where), classes))
        progress.say(f"asking the model about {len(sample.items):,} items that are not for the test")
        logits = asked.logits_of(sample.payloads, sample.where)
        temperature, calibration = 1.0, Calibration()
        if calibrate:
            calibration = read_calibration(store, snapshot, modality, classes, asked, learnt.digests)
            temperature = fit_temperature(calibration.logits, calibration.labels)
        graph = with_answers(
            brought.reduced, brought.scores.kind, len(classes), one_column=asked.width == 1,
            embeds=bool(brought.embedding), temperature=temperature,
        )  # fmt: skip
        answered = ask(Engine(graph), asked.prepare, sample.payloads, sample.where)
        guard, novelty = fit_the_guard(
            store, bool(brought.embedding), sample, answered, calibration, temperature, classes
        )
        if not brought.embedding:
            notes.append(f"the model gives no embedding: novelty is judged by its scores alone ({novelty})")
        if risk := risk_of(guard):
            notes.append(risk_in_words(risk))
        if not calibrate:
            notes.append("prediction sets hold every class: no labels were given to fit them (--calibrate)")

        result = ImportResult(
            bundle="", path="", run="", snapshot=snapshot.digest, classes=classes, source=brought.source,
            scores=brought.scores.kind, embedding=brought.embedding, novelty=novelty, temperature=temperature,
            n_calibration=len(calibration.labels), n_asked=len(sample.items),
            n_learnt=len(learnt.digests), learnt=learnt.sha256, notes=tuple(notes),
        )  # fmt: skip
        for note in notes:
            progress.say(note)
        if dry_run:
            return result
        return keep(
            store, snapshot, result, sample, learnt, answered=answered, as_it_came=logits / temperature,
            engine=EngineChoice(), graph=graph, preprocess={"steps": list(brought.feeding.steps)},
            assets=brought.feeding.assets, guard=guard,
        )  # fmt: skip


def latest_snapshot(store: Store) -> Snapshot:
    """The data-set version that an imported model is tried on, if one may be imported at all."""
    with store.read() as db:
        snapshot = read_snapshot(db)
    if snapshot.task == MULTI:
        raise UsageError(
            "import.multi_label", "models for multi-label tasks are not imported yet",
            next="muster train learns one in this project",
        )  # fmt: skip
    set_methods[store.config.policy.guard.sets]
    refuse_unknown_detector(store.config.policy.guard.novelty)
    return snapshot


def refuse_named(**named: str) -> None:
    """Refuse what a folder says itself."""
    if given := [name for name, value in named.items() if value]:
        raise UsageError(
            "import.folder_says", f"a folder says itself what --{given[0]} would", next=f"leave --{given[0]} out"
        )


def fit_the_guard(
    store: Store,
    embeds: bool,
    sample: Sample,
    answered: Mapping[str, np.ndarray],
    calibration: Calibration,
    temperature: float,
    classes: Sequence[str],
) -> tuple[dict[str, np.ndarray], str]:
    """The guard's arrays and the name of its detector: the policy's, or one that looks at scores alone."""
    policy = store.config.policy.guard
    if policy.novelty == AUTO:  # the model has learnt all its classes: none can be left out of it to choose by
        policy = replace(policy, novelty=with_backing(FALLBACK))
    if not embeds and find_detector(policy.novelty).needs_embeddings:
        policy = replace(policy, novelty=WITHOUT_EMBEDDING)
    fit, held = np.arange(sample.n_pool), np.arange(sample.n_pool, len(sample.items))
    if len(held) < MIN_REFERENCE_ITEMS or not len(fit):
        rng = np.random.default_rng([store.config.train.seed, 3])
        order = rng.permutation(len(sample.items))
        n_held = int(len(order) * HELD_SHARE)
        held, fit = np.sort(order[:n_held]), np.sort(order[n_held:])
    embeddings, logits = answered["embedding"], answered[LOGITS]
    guard = fit_guard(
        fit_embeddings=embeddings[fit], fit_logits=logits[fit], held_embeddings=embeddings[held],
        held_logits=logits[held], oof_logits=calibration.logits / temperature, oof_labels=calibration.labels,
        policy=policy, prices=prices_of(store.config.policy.costs, classes),
    )  # fmt: skip
    return guard, policy.novelty
