"""The engine runs graphs; the choice keeps neighbours and is measured."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from passmuster.core.errors import IntegrityError, UsageError
from passmuster.runtime.engine import Engine, EngineChoice, choose_engine, compare_embeddings
from serving_case import graph


def encoder(weights: list[np.ndarray], op: str = "MatMul") -> bytes:
    """`x` (n, d) through matrices with ReLU between, to `embedding`."""
    nodes, last = [], "x"
    for i, _ in enumerate(weights):
        out = "embedding" if i == len(weights) - 1 else f"h{i}"
        if op == "MatMul" and out != "embedding":
            nodes += [helper.make_node(op, [last, f"w{i}"], [f"p{i}"]), helper.make_node("Relu", [f"p{i}"], [out])]
        else:
            nodes.append(helper.make_node(op, [last, f"w{i}"], [out]))
        last = out
    made = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weights[0].shape[0]])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", weights[-1].shape[-1]])],
        [numpy_helper.from_array(w.astype(np.float32), f"w{i}") for i, w in enumerate(weights)],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def test_it_runs_by_name_and_ignores_inputs_the_graph_does_not_have() -> None:
    pixels = np.full((3, 1, 8, 8), 0.5, np.float32)
    out = Engine(graph()).run({"pixels": pixels, "mask": pixels})
    assert set(out) == {"embedding", "logits"}
    assert np.allclose(out["embedding"][:, 0], 0.5)


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(IntegrityError) as caught:
        Engine(b"no graph")
    assert caught.value.code == "graph.unreadable"


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="onnxruntime"):
        Engine(graph(), EngineChoice("onyxruntime"))


def test_int8_is_measured_and_taken_only_where_neighbours_stay() -> None:
    rng = np.random.default_rng(0)
    model = encoder([rng.normal(size=(64, 64)), rng.normal(size=(64, 32))])
    feeds = [{"x": rng.normal(size=(32, 64)).astype(np.float32)} for _ in range(2)]
    _, choice, rows = choose_engine(model, feeds, min_neighbour_agreement=1.01, threads=1, seconds=0.1)
    assert choice.precision == "float32"
    by_name = {row["precision"]: row for row in rows}
    assert "is below 1.01" in by_name["int8"]["reason"]
    assert 0.5 < by_name["int8"]["neighbour_agreement"] <= 1
    assert by_name["int8"]["items_per_s"] > 0
    assert by_name["float32"]["taken"]

    chosen, choice, rows = choose_engine(model, feeds, min_neighbour_agreement=0.0, threads=1, seconds=0.1)
    fastest = max(rows, key=lambda row: row["items_per_s"])
    assert choice.precision == fastest["precision"]
    assert fastest["taken"]
    assert ("MatMulInteger" in {n.op_type for n in onnx.load_model_from_string(chosen).graph.node}) == (
        choice.precision == "int8"
    )


def test_no_time_is_spent_on_a_choice_that_neighbours_have_made(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    model = encoder([rng.normal(size=(64, 64)), rng.normal(size=(64, 32))])
    feeds = [{"x": rng.normal(size=(32, 64)).astype(np.float32)} for _ in range(2)]
    passes: list[int] = []
    run = Engine.run

    def counted(self: Engine, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        passes.append(len(inputs["x"]))
        return run(self, inputs)

    monkeypatch.setattr(Engine, "run", counted)
    choose_engine(model, feeds, min_neighbour_agreement=1.01, threads=1, seconds=60.0)
    assert len(passes) == 2 * (1 + len(feeds)), "each warms up on a batch and passes once over all"
    passes.clear()
    choose_engine(model, feeds, min_neighbour_agreement=0.0, threads=1, seconds=60.0)
    assert len(passes) == 2 * (1 + 7 * len(feeds)), "two that may be taken are compared seven times"


def test_a_graph_without_an_int8_form_stays_as_it_is_and_says_why() -> None:
    model = encoder([np.arange(1.0, 5.0)], op="Mul")
    feeds = [{"x": np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)}]
    chosen, choice, rows = choose_engine(model, feeds, min_neighbour_agreement=0.9, threads=1, seconds=0.05)
    assert chosen == model
    assert choice == EngineChoice()
    assert rows[1]["reason"] == "no operation of this graph has an int8 form"


def test_a_choice_needs_items() -> None:
    with pytest.raises(UsageError, match="none were given"):
        choose_engine(encoder([np.eye(4)]), [], min_neighbour_agreement=0.9)


def test_agreement_falls_when_neighbours_are_shuffled() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 8))
    assert compare_embeddings(x, x + rng.normal(size=x.shape) * 1e-6)[0] == 1.0
    agreement, cosine = compare_embeddings(x, rng.normal(size=(60, 8)))
    assert agreement < 0.5
    assert abs(cosine) < 0.5
