"""The torch twin says what the engine says, and attacks find what is there to be found and no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from passmuster.core.records import Payload
from passmuster.modality.find import modalities
from passmuster.modality.harm import Target
from passmuster.modality.image.gradient_attacks import APGD_CE, APGD_DLR, apgd, checks, cross_entropy, dlr
from passmuster.modality.image.square_attack import SQUARE, margin, side, square
from passmuster.modality.image.torch_twin import OPERATORS, TorchTwin, TwinError
from passmuster.runtime.engine import Engine

STACK = {"steps": [{"op": "to_mode.v1", "channels": 1}, {"op": "resize.v1", "size": 6}, {"op": "stack.v1"}]}


def linear(weight: np.ndarray, bias: np.ndarray) -> bytes:
    """pixels (n, 1, 6, 6) to logits (n, c)."""
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["embedding"], axis=1),
        helper.make_node("Gemm", ["embedding", "w", "b"], ["logits"]),
    ]
    return model(nodes, {"w": weight.astype(np.float32), "b": bias.astype(np.float32)}, ["n", 1, 6, 6], weight.shape[1])


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list, width: int) -> bytes:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return made.SerializeToString()


def target(graph: bytes) -> Target:
    engine, prepare = Engine(graph), modalities["image"].preparer(STACK, Path())
    return Target(lambda payloads: engine.run(prepare(payloads))["logits"], graph, STACK, Path())


def pictures(n: int, seed: int = 0) -> list[Payload]:
    rng = np.random.default_rng(seed)
    return [rng.integers(110, 146, (6, 6, 1)).astype(np.uint8) for _ in range(n)]


def worst_lead(weight: np.ndarray, bias: np.ndarray, images: Sequence[Payload], labels: np.ndarray, levels: int):
    """Of a linear model what no change within the bound can go below, exactly: the lead less the bound times |w|."""
    x = np.stack([np.asarray(i).ravel() for i in images]) / 255
    leads = []
    for row, y in zip(x @ weight + bias, labels, strict=True):
        others = [c for c in range(len(row)) if c != y]
        reach = [np.abs(weight[:, y] - weight[:, c]).sum() * levels / 255 for c in others]
        leads.append(min(row[y] - row[c] - r for c, r in zip(others, reach, strict=True)))
    return np.array(leads)


@pytest.mark.parametrize("attack", [APGD_CE, APGD_DLR, SQUARE], ids=lambda a: a.name)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_of_a_linear_model_exactly_those_fall_that_can(attack, n_classes: int) -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(36, n_classes))
    bias = -weight.sum(axis=0) / 2  # so that grey is between the classes
    victim, images = target(linear(weight, bias)), pictures(60)
    labels = victim.ask(images).argmax(axis=1)
    assert attack.unavailable(victim, images) == ""
    for levels in (1, 2):
        possible = worst_lead(weight, bias, images, labels, levels) < 0
        found = attack.run(victim, images, labels, float(levels), np.random.default_rng(0))
        changes = np.abs(np.stack(found).astype(int) - np.stack(images).astype(int))
        assert changes.max() <= levels
        fell = victim.ask(found).argmax(axis=1) != labels
        assert not fell[~possible].any()
        # Of four classes the steepest way may lead to one that is out of reach; who may only ask, finds less.
        least = {"apgd_ce.v1": 0.85, "apgd_dlr.v1": 0.95, "square.v1": 0.7}[attack.name]
        least = 0.99 if attack.white and n_classes == 2 else least
        assert fell[possible].mean() >= least
        assert 0 < possible.sum() < 60


def test_square_begins_with_its_largest_square_and_asks_as_often_as_it_says() -> None:
    """Of a victim that nothing moves: stripes first, then one square over them, of .8 of 20 x 20 pixels, and so on."""
    asked: list[np.ndarray] = []

    def unmoved(payloads: Sequence[Payload]) -> np.ndarray:
        asked.extend(np.asarray(payload) for payload in payloads)
        return np.tile([1.0, 0.0], (len(payloads), 1))

    seen_so = {"steps": [{"op": "to_mode.v1", "channels": 1}, {"op": "stack.v1"}]}
    grey = np.full((20, 20, 1), 128, np.uint8)
    square(Target(unmoved, b"", seen_so, Path()), [grey], np.array([0]), 2, np.random.default_rng(0), n_queries=50)
    assert len(asked) == 50
    stripes, *squares = asked
    assert (stripes == stripes[:1]).all()
    changed = [np.flatnonzero((one != stripes).any(axis=(1, 2))) for one in squares]
    sides = [rows[-1] - rows[0] + 1 for rows in changed if len(rows)]
    assert sides[0] == round((0.8 * 400) ** 0.5)
    assert sides == sorted(sides, reverse=True)


def test_attacks_repeat_themselves() -> None:
    rng = np.random.default_rng(3)
    victim, images = target(linear(rng.normal(size=(36, 3)), np.zeros(3))), pictures(10)
    labels = victim.ask(images).argmax(axis=1)
    for attack in (APGD_CE, SQUARE):
        once, again = (attack.run(victim, images, labels, 4.0, np.random.default_rng(1)) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def convolutional(seed: int) -> bytes:
    """A small network of many of the operators that graphs of ours use."""
    rng = np.random.default_rng(seed)
    constants = {
        "k": rng.normal(size=(4, 1, 3, 3)).astype(np.float32) / 3, "kb": rng.normal(size=4).astype(np.float32),
        "scale": np.float32(rng.uniform(0.5, 1.5, 4)), "shift": np.float32(rng.normal(size=4)),
        "mean": np.float32(rng.normal(size=4)), "var": np.float32(rng.uniform(0.5, 1.5, 4)),
        "w": rng.normal(size=(16, 3)).astype(np.float32), "half": np.float32(0.5), "one": np.array([1], np.int64),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "g": np.ones(16, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Pad", ["pixels", "pads"], ["padded"], mode="edge"),
        helper.make_node("Conv", ["padded", "k", "kb"], ["c"], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Sqrt", ["p"], ["s"]),
        helper.make_node("Flatten", ["s"], ["f"], axis=1),
        helper.make_node("LayerNormalization", ["f", "g"], ["l"]),
        helper.make_node("ReduceMean", ["l", "one"], ["m"], keepdims=1),
        helper.make_node("Sub", ["l", "m"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["q"]),
        helper.make_node("Mul", ["q", "half"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "w"], ["logits"]),
    ]
    return model(nodes, constants, ["n", 1, 6, 6], 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_twin_says_what_the_engine_says(seed: int) -> None:
    graph = convolutional(seed)
    x = np.random.default_rng(seed).random((200, 1, 6, 6)).astype(np.float32)
    ours = TorchTwin(graph)({"pixels": torch.from_numpy(x)})["logits"].numpy()
    np.testing.assert_allclose(ours, Engine(graph).run({"pixels": x})["logits"], atol=2e-5)


def test_a_quantised_graph_has_a_twin_with_gradients(tmp_path: Path) -> None:
    from passmuster.runtime.engine import _quantise

    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(36, 4)) ** 3).astype(np.float32)  # large ones saturate in 16 bits on some processors
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["embedding"], axis=1),
        helper.make_node("MatMul", ["embedding", "w"], ["logits"]),
    ]
    graph, why = _quantise(model(nodes, {"w": weight}, ["n", 1, 6, 6], 4))
    assert why == ""
    x = torch.rand(32, 1, 6, 6, requires_grad=True)
    logits = TorchTwin(graph)({"pixels": x})["logits"]
    np.testing.assert_allclose(
        logits.detach().numpy(), Engine(graph).run({"pixels": x.detach().numpy()})["logits"], atol=1e-3
    )
    (slope,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert np.corrcoef(slope[0].numpy().ravel(), weight[:, 0])[0, 1] > 0.99


def test_an_operator_that_is_not_known_is_said() -> None:
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["embedding"], axis=1),
        helper.make_node("Selu", ["embedding"], ["logits"]),
    ]
    graph = model(nodes, {}, ["n", 1, 6, 6], 36)
    with pytest.raises(TwinError, match="Selu"):
        TorchTwin(graph)
    assert "Selu" in APGD_CE.unavailable(target(graph), pictures(3))
    assert SQUARE.unavailable(target(graph), pictures(3)) == ""


def test_preprocessing_that_changes_its_own_result_is_not_attacked() -> None:
    steps = [{"op": "resize_shorter.v1", "size": 8, "filter": "bilinear"}, {"op": "centre_crop.v1", "size": 6}]
    graph = linear(np.ones((36, 2)), np.zeros(2))
    moving = Target(lambda p: np.zeros((len(p), 2)), graph, {"steps": [*steps, {"op": "stack.v1"}]}, Path())
    assert "changes an image" in SQUARE.unavailable(moving, pictures(3))


def test_dlr_and_the_steps_are_the_papers() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(1_000, 5)), rng.integers(0, 5, 1_000)
    found = dlr(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()
    for row, y, value in zip(logits, labels, found, strict=True):
        ranked = np.sort(row)[::-1]
        other = max(row[c] for c in range(5) if c != y)
        assert value == pytest.approx(-(row[y] - other) / (ranked[0] - ranked[2] + 1e-12), abs=1e-9)
    assert checks(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert [side(k, 10_000, 100, 100) for k in (0, 11, 51, 9_999)] == [89, 63, 45, 4]
    assert margin(logits, labels).shape == (1_000,)
    assert cross_entropy(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(np.log(2))


def test_a_bound_of_nothing_changes_nothing() -> None:
    x = torch.rand(3, 1, 4, 4)
    found = apgd(lambda t: t.flatten(1)[:, :3], x, torch.tensor([0, 1, 2]), 0.0, cross_entropy, 5, 0)
    assert torch.equal(found, x)


def test_operators_are_in_order() -> None:
    assert list(OPERATORS) == sorted(OPERATORS)


def test_a_wrong_answer_is_kept_though_a_right_one_has_more_loss() -> None:
    """Of three classes: the brighter the pixel the higher the loss, but only where it is dark is the answer wrong."""

    def scores(x: torch.Tensor) -> torch.Tensor:
        x = x[:, 0, 0, :1]
        share = torch.sigmoid(40 * (x - 0.6))  # of the bright end, where all three are nearly equal
        dark = torch.cat([torch.zeros_like(x), x / 2 + 0.05, x - 9], dim=1)
        return (1 - share) * dark + share * torch.cat([0 * x + 0.1, x / 50, x / 50], dim=1)

    images, labels = torch.full((40, 1, 1, 1), 0.5), torch.zeros(40, dtype=torch.long)
    assert scores(torch.ones(1, 1, 1, 1)).argmax() == 0
    assert cross_entropy(scores(torch.ones(1, 1, 1, 1)), labels[:1]) > cross_entropy(scores(images[:1]), labels[:1])
    found = apgd(scores, images, labels, 0.5, cross_entropy, 20, 0)
    assert (scores(found).argmax(dim=1) != 0).float().mean() > 0.25  # those that began at the dark end
