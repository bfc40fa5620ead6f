"""Lessons from pairs: what they draw together, that they are repeatable, and that they end by the deadline."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from passmuster.core.budget import Deadline

torch = pytest.importorskip("torch", reason="teaching an encoder needs the extra `train`")

from bert_case import EPSILON, N_HEADS, random_bert  # noqa: E402  (needs torch)
from passmuster.modality.text.rungs import teach  # noqa: E402
from passmuster.modality.text.rungs.bert_network import Bert, pooled  # noqa: E402

LABELS = np.array([0, 1] * 8)


def case() -> tuple[Bert, teach.Halfway]:
    """Texts of two classes that differ in one word among random ones."""
    rng = np.random.default_rng(1)
    bert = Bert.of(random_bert(), N_HEADS, EPSILON)
    texts = [[1, *rng.integers(10, 40, 4 + i % 3), 5 + label, 2] for i, label in enumerate(LABELS)]
    return bert, teach.halfway(bert, texts)


def margin(embeddings: np.ndarray) -> float:
    """Mean cosine within the classes less that across them."""
    cosine = embeddings @ embeddings.T
    same = (LABELS[:, None] == LABELS) & ~np.eye(len(LABELS), dtype=bool)
    return float(cosine[same].mean() - cosine[LABELS[:, None] != LABELS].mean())


def test_one_class_is_drawn_together_and_others_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teach, "LEARNING_RATE", 3e-3)  # random weights have more to learn
    monkeypatch.setattr(teach, "N_STEPS_FEW", 60)
    bert, texts = case()
    taught, truncated = teach.teach(bert, texts, LABELS, Deadline.after(3600), seed=0)
    assert not truncated
    assert margin(teach.finish(taught, texts)) > margin(teach.finish(bert, texts)) + 0.2


def test_only_the_upper_layers_are_taught_and_the_given_encoder_stays_as_it_was() -> None:
    bert, texts = case()
    before = {name: weight.clone() for name, weight in bert.weights.items()}
    taught, _ = teach.teach(bert, texts, LABELS, Deadline.after(3600), seed=0)
    for name, weight in bert.weights.items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
        layer = int(name.split(".")[2]) if name.startswith("encoder.layer.") else -1
        assert (taught.weights[name] is weight) == (layer < teach.N_FROZEN)


def test_the_same_seed_teaches_the_same_and_the_global_generator_is_left_alone() -> None:
    bert, texts = case()
    state = torch.random.get_rng_state()
    once, again, other = (teach.teach(bert, texts, LABELS, Deadline.after(3600), seed=s)[0] for s in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    name = f"encoder.layer.{teach.N_FROZEN}.output.dense.weight"
    assert torch.equal(once.weights[name], again.weights[name])
    assert not torch.equal(once.weights[name], other.weights[name])


def test_a_deadline_that_has_passed_cuts_the_lessons_short() -> None:
    bert, texts = case()
    taught, truncated = teach.teach(bert, texts, LABELS, Deadline.after(-1), seed=0)
    assert truncated
    name = f"encoder.layer.{teach.N_FROZEN}.output.dense.weight"
    assert torch.equal(taught.weights[name], bert.weights[name])


def test_half_the_way_and_the_rest_are_the_whole_way() -> None:
    bert, texts = case()
    with torch.no_grad():
        x, mask = texts.batch([0, 5])
        rest = pooled(bert.layers(x, mask, teach.N_FROZEN, bert.n_layers), mask).numpy()
    np.testing.assert_allclose(teach.finish(bert, texts)[[0, 5]], rest, atol=0.02)  # bfloat16 on the way


def test_the_loss_weighs_both_kinds_of_pairs_alike() -> None:
    rows = torch.eye(3)[[0, 0, 1]]
    assert float(teach.pair_loss(rows, torch.tensor([0, 0, 1]))) == 0.0
    # One pair within a class is right; of two across, both lie on each other.
    assert float(teach.pair_loss(torch.eye(3)[[0, 0, 0]], torch.tensor([0, 0, 1]))) == pytest.approx(0.5)
    # Only pairs across: the other kind has no say.
    assert float(teach.pair_loss(torch.eye(3)[[0, 0]], torch.tensor([0, 1]))) == pytest.approx(1.0)


@pytest.mark.parametrize(("n_classes", "each"), [(2, 8), (5, 40), (60, 3), (3, 1)])
def test_batches_hold_several_texts_of_a_class_and_every_class_has_its_turn(n_classes: int, each: int) -> None:
    labels = np.repeat(np.arange(n_classes), each)
    batches = teach._batches(labels, np.random.default_rng(0))
    taken = [next(batches) for _ in range(60)]
    for batch in taken:
        assert len(set(batch.tolist())) == len(batch)
        assert len(np.unique(labels[batch])) >= 2
        if each > 1:
            assert np.bincount(labels[batch]).max() >= 2
    assert len(np.unique(labels[np.concatenate(taken)])) == n_classes


def test_all_of_a_lesson_lies_where_the_encoders_weights_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device "meta", where shapes are computed and nothing else: what lay on the processor would not fit.

    It stands for a card, which there is none of here. What depends on values is taken as given.
    """
    asked: list[str] = []

    def no_autocast(device: str) -> contextlib.nullcontext[None]:
        asked.append(device)
        return contextlib.nullcontext()

    bert, texts = case()
    monkeypatch.setattr(teach, "autocast", no_autocast)
    monkeypatch.setattr(torch.Tensor, "all", lambda self: False)
    monkeypatch.setattr(torch.Tensor, "any", lambda self: True)
    taught, _ = teach.teach(bert.to("meta"), texts, LABELS, Deadline.after(60), 0)
    assert {weight.device.type for weight in taught.weights.values()} == {"meta"}
    assert asked
    assert set(asked) == {"meta"}
