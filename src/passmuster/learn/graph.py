"""The served graph: an encoder's ONNX model with the head written behind it."""

from __future__ import annotations

import numpy as np


def append_head(onnx_bytes: bytes, weight: np.ndarray, bias: np.ndarray) -> bytes:
    """The model with outputs ``embedding`` (n, d) and ``logits`` (n, k) = ``embedding @ weight + bias``.

    Parameters
    ----------
    onnx_bytes : an ONNX model whose output is ``embedding``
    weight : (d, k) float32
    bias : (k,) float32
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_model_from_string(onnx_bytes)
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight, np.float32), "head_weight"))
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(bias, np.float32), "head_bias"))
    graph.node.append(helper.make_node("Gemm", ["embedding", "head_weight", "head_bias"], ["logits"], name="head"))
    del graph.output[1:]
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", int(weight.shape[1])]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
