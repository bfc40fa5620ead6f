"""The rung `tuned.v1`: as `stacked.v1`, with the pretrained view taught by the few labels there are.

Its embeddings have seen labels, so a head over them may only be judged on labels that the encoder did not see either:
`held_out` teaches one encoder per fold. That is done first; only when it promises to pay is the encoder taught by all
labels, and the pool embedded a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.learn.device import begin_on, training_device
from passmuster.learn.folds import N_FOLDS
from passmuster.learn.precision import bf16_is_native
from passmuster.modality.base import N_JUDGED_BESIDE, Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.text.rungs import pretrained, stacked, static, teach
from passmuster.modality.text.rungs.bert_network import Bert

BACKWARD = 2.0  # of a lesson against the forward pass alone
LESSON_EFFICIENCY = 0.35  # of torch against a plain product of matrices, on small batches of unlike length
BF16_SPEED = 2.0  # of products in bfloat16 against float32, seen where it is native
MEMORY_BYTES = 700 * 2**20  # torch, the weights twice, the optimiser's moments, and a batch on its way back
TAUGHT = "taught."


def unavailable(config: TrainConfig) -> str:
    """As the pretrained encoder."""
    return pretrained.unavailable(config)


def quote(machine: Machine, profile: Profile) -> Price:
    """Both views of the pool, and an encoder taught for each fold and once for all."""
    frozen = stacked.quote(machine, profile)
    tokens = min(float(teach.MAX_TOKENS), profile.mean_size / pretrained.CHARS_PER_TOKEN + 3.0)
    upper = 1.0 - teach.N_FROZEN / 6.0
    lessons = (N_FOLDS + 1) * teach.steps_for(profile.n_labels) * min(teach.BATCH, profile.n_labels)
    sample = profile.n_labels + min(N_JUDGED_BESIDE, profile.n_pool)
    passes = upper * (lessons * (1.0 + BACKWARD) + N_FOLDS * sample) + (1.0 - upper) * sample
    speed = machine.matmul_gflops * 1e9 * LESSON_EFFICIENCY * (BF16_SPEED if bf16_is_native() else 1.0)
    seconds = passes * tokens * pretrained.FLOPS_PER_TOKEN / speed
    return Price(
        frozen.seconds + seconds, frozen.memory_bytes + MEMORY_BYTES, f"{lessons} texts in lessons; {frozen.note}"
    )


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """The static view learnt from the raw texts, the pretrained one taught by the labels in `view`."""
    done = checkpoint.load("tuned")
    if done is not None:
        return Encoder("tuned.v1", *done)
    seed = int(rng.integers(2**31))
    chosen = np.sort(rng.choice(len(view.payloads), min(stacked.N_MEASURED, len(view.payloads)), replace=False))
    parts = stacked.fit_views(view, deadline, checkpoint, rng)
    bert, pieces = _bert(parts["pretrained"])
    labelled = np.flatnonzero(view.labels >= 0)
    texts = teach.halfway(bert, pieces([view.payloads[i] for i in labelled.tolist()]))
    taught, truncated = teach.teach(bert, texts, view.labels[labelled], deadline, seed)
    sample = [view.payloads[i] for i in chosen]
    views = (_static(parts["static"], sample), teach.finish(taught, teach.halfway(taught, pieces(sample))))
    arrays = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.arrays.items()}
    upper = {n: w for n, w in taught.weights.items() if w is not bert.weights[n]}
    arrays |= {f"{TAUGHT}{name}": weight.cpu().numpy() for name, weight in upper.items()}
    arrays |= {"scales": stacked.scales_of(views)}
    settings: dict[str, Any] = {name: dict(part.settings) for name, part in parts.items()}
    settings |= {"truncated": truncated, "n_steps": teach.steps_for(len(labelled)), "n_frozen": teach.N_FROZEN}
    checkpoint.save("tuned", arrays, settings)
    return Encoder("tuned.v1", arrays, settings)


def held_out(
    view: FitView,
    items: np.ndarray,
    folds: np.ndarray,
    deadline: Deadline,
    checkpoint: Checkpoint,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Per fold, embeddings (m, d) of the texts at `items` (m,) by an encoder that saw no label of that fold.

    `folds` (n,) is the fold of each text of the pool, -1 where it is in none. Ends early when the deadline passes.
    """  # fmt: skip
    seeds = rng.integers(2**31, size=int(folds.max()) + 1)
    parts = stacked.fit_views(view, deadline, checkpoint, rng)
    bert, pieces = _bert(parts["pretrained"])
    chosen = [view.payloads[i] for i in items]
    spelled, texts = _static(parts["static"], chosen), teach.halfway(bert, pieces(chosen))
    place = {int(item): row for row, item in enumerate(items)}
    for fold, seed in enumerate(seeds):
        saved = checkpoint.load(f"fold-{fold}")
        if saved is None:
            seen = np.flatnonzero((view.labels >= 0) & (folds != fold))
            lessons = teach.Halfway(tuple(texts.rows[place[int(i)]] for i in seen))
            taught, truncated = teach.teach(bert, lessons, view.labels[seen], deadline, int(seed))
            if truncated:
                return
            views = (spelled, teach.finish(taught, texts))
            rows = np.hstack([s * x for s, x in zip(stacked.scales_of(views), views, strict=True)])
            checkpoint.save(f"fold-{fold}", {"rows": rows}, {"fold": fold})
            saved = checkpoint.load(f"fold-{fold}")
        assert saved is not None
        yield saved[0]["rows"]


def export(encoder: Encoder) -> EncoderGraph:
    """As `stacked.v1`, with the taught weights in the place of those they came from."""
    taught = {n.removeprefix(TAUGHT): w for n, w in encoder.arrays.items() if n.startswith(TAUGHT)}
    parts = {name: stacked.part_of(encoder, name) for name in stacked.VIEWS}
    graphs = [static.export(parts["static"]), pretrained.export(parts["pretrained"], taught)]
    return stacked.side_by_side(graphs, encoder.arrays["scales"])


def _static(part: Encoder, texts: Sequence[Any]) -> np.ndarray:
    return stacked.embed(static.export(part), texts)


def _bert(part: Encoder) -> tuple[Bert, Callable[[Sequence[Any]], list[list[int]]]]:
    """The pretrained encoder for learning, and what turns texts into its word pieces, one list per text."""
    found = pretrained.named(part)
    graph = pretrained.export(part)

    def pieces(texts: Sequence[Any]) -> list[list[int]]:
        with stacked.preparer(graph) as prepare:
            inputs = [prepare([text]) for text in texts]
        return [one["input_ids"][0][one["attention_mask"][0] > 0].tolist() for one in inputs]

    bert = Bert.of(pretrained.read_weights(found), found.encoder.n_heads, found.encoder.layer_norm_eps)
    return bert.to(begin_on(training_device())), pieces


TUNED = Rung(
    name="tuned.v1",
    summary="static vectors beside a pretrained encoder found on this machine, its upper half taught by the labels",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
    held_out=held_out,
    sampled=True,
)
