"""Distillation: a student learns what its teacher knows, and neither sees what they are judged by."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.learn.distilled import Teacher, cross_validate_distilled, distilled_s, fit_distilled
from passmuster.learn.folds import repeated_folds
from passmuster.learn.heads import Scaling, cross_validate_logistic
from passmuster.learn.logistic import one_hot
from passmuster.learn.pool_heads import judge_pool_heads

N_CLASSES = 3


def case(n: int = 24, n_free: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A wide, noisy view and a clear one of the same items: (light, heavy, truth, labels, fold); `n` are labelled."""
    rng = np.random.default_rng(0)
    truth = np.arange(n + n_free) % N_CLASSES
    centres = np.eye(N_CLASSES, dtype=np.float32)[truth]
    heavy = np.hstack([2.5 * centres, np.zeros((len(truth), 3))]) + rng.normal(size=(len(truth), 6))
    light = centres @ rng.normal(size=(N_CLASSES, 40)) + 2.5 * rng.normal(size=(len(truth), 40))
    labels = truth[:n]
    return light.astype(np.float32), heavy.astype(np.float32), truth, labels, repeated_folds(labels, rng)[0]


def judged_teacher(heavy: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> Teacher:
    x = Scaling.of(heavy).apply(heavy)
    logistic = cross_validate_logistic(x[: len(labels)], labels, fold[None], N_CLASSES)
    tried = judge_pool_heads(x, np.arange(len(labels)), labels, N_CLASSES, logistic, fold[None])
    return Teacher([heavy] * 4, tried)


def test_a_student_is_better_than_one_that_learns_the_labels_alone() -> None:
    light, heavy, truth, labels, fold = case()
    x, n = Scaling.of(light).apply(light), len(labels)
    teacher = judged_teacher(heavy, labels, fold)
    alone = cross_validate_logistic(x[:n], labels, fold[None], N_CLASSES)
    student = cross_validate_distilled(x, labels, fold, N_CLASSES, teacher)
    assert (student.kind, student.logits.shape) == ("distilled", (1, n, N_CLASSES))
    assert student.log_loss < alone.log_loss - 0.1
    answers = teacher.answers(0, labels, N_CLASSES)
    weight, bias = fit_distilled(x, one_hot(labels, N_CLASSES), answers, c=student.c)
    assert ((x[n:] @ weight + bias).argmax(axis=1) == truth[n:]).mean() > alone.accuracy


def test_a_label_that_is_held_out_teaches_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the labels of one fold told wrongly, what is answered about that fold does not change."""
    light, heavy, _, labels, fold = case()
    x = Scaling.of(light).apply(light)
    teacher = judged_teacher(heavy, labels, fold)
    wrong = labels.copy()
    wrong[fold == 0] = (labels[fold == 0] + 1) % N_CLASSES
    inside = np.flatnonzero(fold != 0)
    right, lied = (teacher.answers(0, told, N_CLASSES, inside) for told in (labels, wrong))
    np.testing.assert_array_equal(right, lied)
    monkeypatch.setattr("passmuster.learn.distilled.PENALTIES", (10.0,))
    honest, fooled = (cross_validate_distilled(x, told, fold, N_CLASSES, teacher) for told in (labels, wrong))
    np.testing.assert_allclose(fooled.logits[0][fold == 0], honest.logits[0][fold == 0], atol=1e-5)


def test_each_fold_is_taught_by_its_own_rows() -> None:
    light, heavy, _, labels, fold = case()
    teacher = judged_teacher(heavy, labels, fold)
    other = Teacher([heavy, np.zeros_like(heavy) + 1e-3 * light[:, :6], heavy, heavy], teacher.tried)
    assert np.abs(other.answers(1, labels, N_CLASSES) - teacher.answers(1, labels, N_CLASSES)).max() > 0.1
    np.testing.assert_array_equal(other.answers(0, labels, N_CLASSES), teacher.answers(0, labels, N_CLASSES))


def test_the_price_grows_with_items_classes_and_folds() -> None:
    usual = distilled_s(1e11, 1_000, 640.0, 4, 4)
    assert distilled_s(1e11, 2_000, 640.0, 4, 4) == pytest.approx(2 * usual)
    assert distilled_s(1e11, 1_000, 640.0, 8, 4) == pytest.approx(2 * usual)
    assert distilled_s(1e11, 1_000, 640.0, 4, 8) > 1.8 * usual
