"""A small hand for writing ONNX graphs: nodes by operator, constants by value, one output named ``embedding``."""

from __future__ import annotations

from typing import Any

import numpy as np

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-6


class GraphBuilder:
    """Collects nodes; `add` returns the name of a node's output, `constant` that of a stored array.

    Examples
    --------
    >>> import onnxruntime
    >>> g = GraphBuilder(channels=1, size=2)
    >>> flat = g.add("Flatten", g.pixels, axis=1)
    >>> model = g.model(g.add("Mul", flat, g.constant(np.float32(2))), width=4)
    >>> session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    >>> session.run(["embedding"], {"pixels": np.ones((1, 1, 2, 2), np.float32)})[0].tolist()
    [[2.0, 2.0, 2.0, 2.0]]
    """

    pixels = "pixels"

    def __init__(self, channels: int, size: int) -> None:
        self.channels, self.size = channels, size
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output."""
        from onnx import helper

        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray | np.generic) -> str:
        """Store an array in the graph; float64 becomes float32."""
        from onnx import numpy_helper

        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def unit(self, rows: str) -> str:
        """Rows (n, d) divided by their length; a row of zeros stays one."""
        length = self.add("ReduceL2", rows, axes=[1], keepdims=1)
        return self.add("Div", rows, self.add("Max", length, self.constant(np.float32(EPSILON))))

    def pad_edges(self, maps: str, before: int, after: int) -> str:
        """Repeat the outermost pixels of (n, c, h, w)."""
        pads = np.array([0, 0, before, before, 0, 0, after, after], dtype=np.int64)
        return self.add("Pad", maps, self.constant(pads), mode="edge")

    def model(self, output: str, width: int) -> bytes:
        """The finished model: `output` (n, width) is called ``embedding``."""
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [output], ["embedding"], name="embedding"))
        pixels = helper.make_tensor_value_info(
            self.pixels, TensorProto.FLOAT, ["n", self.channels, self.size, self.size]
        )
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width])
        graph = helper.make_graph(self._nodes, "encoder", [pixels], [embedding], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="passmuster")
        model.ir_version = IR_VERSION
        return bytes(model.SerializeToString())
