"""Attacks on images against torchattacks: of small networks as many right answers fall, within a point.

Steps, questions and sizes of change are equal; ours goes the whole way of an evaluation, through the engine, the torch
twin and whole levels of brightness. What torchattacks answers is kept in `attack_expected.json`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="gradients need the extra `train`")
pytest.importorskip("onnx", reason="training needs the extra `train`")

from onnx import TensorProto, helper, numpy_helper

from attack_case import ATTACKS, CASES, N_QUERIES, N_STEPS, answers, ask_torchattacks, expected, problem
from oracle_case import counted, oracle
from passmuster.modality.find import modalities
from passmuster.modality.harm import Target
from passmuster.modality.image import gradient_attacks, square_attack
from passmuster.runtime.engine import Engine

POINT = 0.01
SOME = {  # with one seed, 350 images each, in some seconds; what is not of digits needs the folder of real data
    "apgd_ce.v1": (("digits", 28), ("digits", 16), ("cifar10", 2)),
    "apgd_dlr.v1": (("digits", 28), ("digits", 16), ("fashion", 8)),
    "square.v1": (("fashion_hardened", 16), ("fashion", 8), ("fashion", 4)),
}
ALL = [(name, attack, levels) for name, case in CASES.items() for attack in ATTACKS for levels in case.levels]


class ShortOfTheEdge:
    """Chance for Square as torchattacks has it, as its authors do: no square touches the last row or column.

    Their paper lets squares lie anywhere, and so do we. On pictures of eight pixels a side that is worth ten points.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def integers(self, high: int) -> int:
        return int(self.rng.integers(max(1, high - 1)))

    def random(self, size: tuple[int, ...]) -> np.ndarray:
        return self.rng.random(size)


def graph_of(weights: dict[str, np.ndarray], side: int) -> bytes:
    """The network of `attack_case` as a graph."""
    nodes, at = [], "pixels"
    for i in "12":
        nodes += [
            helper.make_node("Conv", [at, f"k{i}", f"b{i}"], [f"c{i}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
            helper.make_node("MaxPool", [f"r{i}"], [f"p{i}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
        at = f"p{i}"
    nodes += [
        helper.make_node("Flatten", [at], ["embedding"], axis=1),
        helper.make_node("Gemm", ["embedding", "w", "b"], ["logits"]),
    ]
    shape = ["n", weights["k1"].shape[1], side, side]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(weights["b"])])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(made.SerializeToString())


@cache
def attacked(name: str) -> tuple[Target, list[np.ndarray], np.ndarray]:
    weights, images, classes = problem(name)
    preprocess = {"steps": [{"op": "to_mode.v1", "channels": images.shape[1]}, {"op": "stack.v1"}]}
    graph = graph_of(weights, images.shape[2])
    engine, prepare = Engine(graph), modalities["image"].preparer(preprocess, Path())
    pictures = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images]
    target = Target(lambda payloads: engine.run(prepare(payloads))["logits"], graph, preprocess, Path())
    np.testing.assert_allclose(target.ask(pictures), answers(weights, images), atol=1e-4)
    return target, pictures, classes


def fallen(name: str, attack: str, levels: int, n_seeds: int, *, as_published: bool = True) -> float:
    """The share of right answers that falls, the mean over seeds; Square by its authors' chance, or by ours."""
    target, images, classes = attacked(name)
    shares = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        if attack == "square.v1":
            chance: Any = ShortOfTheEdge(seed) if as_published else rng
            found = square_attack.square(target, images, classes, levels, chance, n_queries=N_QUERIES)
        else:
            loss = {"apgd_ce.v1": gradient_attacks.cross_entropy, "apgd_dlr.v1": gradient_attacks.dlr}[attack]
            found = gradient_attacks.run(target, images, classes, levels, rng, loss=loss, n_steps=N_STEPS)
        assert max(np.abs(a.astype(int) - b).max() for a, b in counted(zip(found, images, strict=True))) <= levels
        shares.append((target.ask(found).argmax(axis=1) != classes).mean())
    return float(np.mean(shares))


@oracle("torchattacks")
@pytest.mark.parametrize("name", SOME)
def test_as_many_fall_as_kept(name: str, request: pytest.FixtureRequest) -> None:
    for case, levels in SOME[name]:
        if CASES[case].data != "digits":
            request.getfixturevalue("bench_data")
        share = fallen(case, name, levels, 1)
        assert share == pytest.approx(expected()[f"{case} {name} {levels}"], abs=POINT), (case, levels)


def test_squares_at_the_edge_find_more() -> None:
    assert fallen("digits", "square.v1", 28, 1, as_published=False) > expected()["digits square.v1 28"] + 5 * POINT


def test_what_is_kept_of_torchattacks_is_what_it_answers(bench_data: Path, tmp_path: Path) -> None:
    """With the interpreter named by ``MUSTER_BENCH_TORCHATTACKS``, which need not have Muster; some minutes."""
    python = os.environ.get("MUSTER_BENCH_TORCHATTACKS", "")
    if not python:
        pytest.skip("MUSTER_BENCH_TORCHATTACKS names no interpreter: only kept answers of torchattacks were compared")
    asked = ask_torchattacks(python, list(CASES), tmp_path)
    for name, attack, levels in ALL:
        key = f"{name} {attack} {levels}"
        assert asked[key] == pytest.approx(expected()[key], abs=POINT / 2), key
        assert fallen(name, attack, levels, 8 if attack == "square.v1" else 2) == pytest.approx(
            asked[key], abs=POINT
        ), key
