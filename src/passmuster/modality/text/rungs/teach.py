"""Contrastive few-label teaching of a pretrained encoder: texts of one class are drawn together, others apart.

As in SetFit (Tunstall et al. 2022, "Efficient few-shot learning without prompts") the cosine of two texts is taught to
be 1 in one class and 0 across classes. Three things make it several times cheaper: every pair within a batch is a
lesson, not one pair per two texts; the lower layers stay as they are, so what they make of a text is computed once; and
products run in bfloat16 where the processor can, or on a card. It is taught where the encoder's weights lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline
from passmuster.learn.precision import autocast, in_bf16
from passmuster.modality.text.rungs.bert_network import Bert, pooled

N_FROZEN = 2  # lower layers that stay as they are
MAX_TOKENS = 128  # of a text in a lesson: what a long text is about shows early, and its end costs as much
BATCH = 16  # texts in a lesson, all pairs of them
FEW, N_STEPS_FEW = 16, 10  # with so few labels a batch is all of them; few large steps teach as much as many small
LEARNING_RATE = 1.5e-4
WARM_UP = 0.1
DROPOUT = 0.1
WEIGHT_DECAY = 0.01
READ_BATCH = 32


@dataclass(frozen=True)
class Halfway:
    """Texts as the frozen layers leave them: one (length, d) tensor per text, in main memory.

    In bfloat16 where products are taken so.
    """

    rows: tuple[Any, ...]

    def batch(self, positions: Iterable[int], device: str = "cpu") -> tuple[Any, Any]:
        """These texts, padded (n, length, d) float32, and the mask of what is text, on a device."""
        import torch

        chosen = [self.rows[i] for i in positions]
        x = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True).float()
        lengths = torch.tensor([len(row) for row in chosen])
        mask = torch.arange(x.shape[1])[None, :] < lengths[:, None]
        return x.to(device), mask.to(device)


def halfway(bert: Bert, texts: Sequence[Sequence[int]]) -> Halfway:
    """Word pieces, one list per text, through the frozen layers; long texts are cut, their last piece kept."""
    import torch

    texts = [text if len(text) <= MAX_TOKENS else [*text[: MAX_TOKENS - 1], text[-1]] for text in texts]
    rows: list[Any] = [None] * len(texts)
    keep = torch.bfloat16 if in_bf16(bert.device) else torch.float32
    with torch.no_grad():
        for block in _alike([len(text) for text in texts]):
            x, mask = bert.enter([texts[i] for i in block])
            with autocast(bert.device):
                x = bert.layers(x, mask, 0, N_FROZEN)
            for row, i in zip(x, block, strict=True):
                rows[i] = row[: len(texts[i])].to("cpu", keep, copy=True)
    return Halfway(tuple(rows))


def finish(bert: Bert, texts: Halfway) -> np.ndarray:
    """Embeddings (n, d) of unit length, from where the frozen layers left the texts."""
    import torch

    out = np.empty((len(texts.rows), bert.weights["embeddings.LayerNorm.weight"].shape[0]), np.float32)
    with torch.no_grad():
        for block in _alike([len(row) for row in texts.rows]):
            out[block] = _embed(bert, texts, block, 0.0).cpu().numpy()
    return out


def teach(bert: Bert, texts: Halfway, labels: np.ndarray, deadline: Deadline, seed: int) -> tuple[Bert, bool]:
    """The encoder with its upper layers taught; and whether the deadline cut the lessons short.

    Parameters
    ----------
    texts : n labelled texts, and `labels` (n,) their classes as numbers, two classes at least
    seed : of batches and dropout; the same seed gives the same weights on the same processor and number of threads
    """
    import torch

    upper = [name for name in bert.weights if name.startswith("encoder.layer.") and int(name.split(".")[2]) >= N_FROZEN]
    taught = {name: bert.weights[name].clone().requires_grad_(True) for name in upper}
    pupil = Bert({**bert.weights, **taught}, bert.n_heads, bert.layer_norm_eps)
    optimiser = torch.optim.AdamW(taught.values(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    n_steps = steps_for(len(labels))
    batches = _batches(labels, np.random.default_rng(seed))
    truncated = False
    with torch.random.fork_rng(devices=[] if bert.device == "cpu" else None):
        torch.manual_seed(seed)
        for step in range(n_steps):
            if deadline.passed:
                truncated = True
                break
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / (WARM_UP * n_steps)) * (1 - step / n_steps)
            block = next(batches)
            loss = pair_loss(_embed(pupil, texts, block, DROPOUT), torch.from_numpy(labels[block]).to(bert.device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return Bert(
        {**pupil.weights, **{n: w.detach() for n, w in taught.items()}}, bert.n_heads, bert.layer_norm_eps
    ), truncated


def pair_loss(embeddings: Any, labels: Any) -> Any:
    """Mean squared error of the cosine, 1 within a class and 0 across; both kinds of pairs weigh one half."""
    import torch

    cosine = embeddings @ embeddings.T
    same = labels[:, None] == labels
    pairs = torch.ones_like(same).triu(1)
    parts = [
        (((cosine - wanted) ** 2) * kind).sum() / kind.sum()
        for kind, wanted in ((same & pairs, 1.0), (~same & pairs, 0.0))
        if kind.any()
    ]
    return torch.stack(parts).mean()


def steps_for(n_labels: int) -> int:
    """Lessons that so many labels are worth."""
    return N_STEPS_FEW if n_labels <= FEW else round(N_STEPS_FEW * (n_labels / FEW) ** 0.5)


def _embed(bert: Bert, texts: Halfway, block: np.ndarray, dropout: float) -> Any:
    x, mask = texts.batch(block, bert.device)
    with autocast(bert.device):
        x = bert.layers(x, mask, N_FROZEN, bert.n_layers, dropout)
    return pooled(x, mask)


def _alike(lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """Positions in blocks of like length, so that little is padded."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), READ_BATCH):
        yield order[start : start + READ_BATCH]


def _batches(labels: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches without end: as many classes as give each two texts or more, taken in random turns."""
    classes = np.unique(labels)
    members = {c: np.flatnonzero(labels == c) for c in classes}
    size = min(BATCH, len(labels))
    n_classes = min(len(classes), max(2, size // 2))
    turn: list[int] = []
    while True:
        if len(turn) < n_classes:
            turn += [int(c) for c in rng.permutation(classes) if c not in turn]
        chosen, turn = turn[:n_classes], turn[n_classes:]
        each = -(-size // n_classes)
        yield np.concatenate([rng.permutation(members[c])[:each] for c in chosen])
