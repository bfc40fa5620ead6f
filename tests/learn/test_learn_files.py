"""What learning leaves on disk: checkpoints that are whole or absent, and the head inside the graph."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.errors import IntegrityError, ResourceError
from passmuster.learn.checkpoint import FileCheckpoint, write_atomic
from passmuster.learn.graph import append_head

pytest.importorskip("onnx", reason="training needs the extra `train`")


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path / "rung")
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "bytes": np.frombuffer(b"ab", np.uint8)}
    checkpoint.save("step", arrays, {"step": 3, "names": ["é"]})
    loaded = checkpoint.load("step")
    assert loaded is not None
    np.testing.assert_array_equal(loaded[0]["w"], arrays["w"])
    assert loaded[1] == {"step": 3, "names": ["é"]}
    assert checkpoint.load("other") is None


@pytest.mark.parametrize("kept", [0, 5, 40])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, kept: int) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    checkpoint.save("step", {"w": np.ones(20, np.float32)}, {})
    path = tmp_path / "step.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(IntegrityError) as caught:
        checkpoint.load("step")
    assert caught.value.code == "checkpoint.damaged"
    assert str(path) in str(caught.value)


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError) as caught:
        write_atomic(path, b"new")
    assert caught.value.code == "disk.full"
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_head_is_part_of_the_graph() -> None:
    import onnxruntime
    from onnx import TensorProto, helper

    node = helper.make_node("Relu", ["x"], ["embedding"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([node], "encoder", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    session = onnxruntime.InferenceSession(
        append_head(model.SerializeToString(), weight, bias), providers=["CPUExecutionProvider"]
    )
    batch = rng.normal(size=(5, 3)).astype(np.float32)
    embedding, logits = session.run(["embedding", "logits"], {"x": batch})
    np.testing.assert_allclose(embedding, np.maximum(batch, 0))
    np.testing.assert_allclose(logits, np.maximum(batch, 0) @ weight + bias, rtol=1e-5)
