"""A small hand for writing graphs of token encoders: nodes by operator, constants by value, and what all share."""

from __future__ import annotations

from typing import Any

import numpy as np

OPSET = 18  # that of the static vectors, so that both fit into one graph
MASKED = -1e9


class Nodes:
    """Nodes and constants as they are written, and a counter that keeps names apart."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def model(self, name: str, width: int) -> bytes:
        """The model: ``input_ids`` and ``attention_mask`` (n, length) int64, to ``embedding`` (n, width)."""
        from onnx import TensorProto, helper

        inputs = [
            helper.make_tensor_value_info(given, TensorProto.INT64, ["n", "length"])
            for given in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width])
        graph = helper.make_graph(self.nodes, name, inputs, [output], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        return bytes(model.SerializeToString())

    def op(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """Write one node and name its output."""
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [attributes.pop("output", name)], name=name, **attributes))
        return str(self.nodes[-1].output[0])

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Store an array, and name it."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(value, dtype=dtype) if np.ndim(value) else np.array(value, dtype=dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, a: str, b: str) -> str:
        return self.op("Add", [a, b])

    def length(self) -> str:
        """How many tokens the batch's longest text has, (1,) int64."""
        return self.op("Slice", [self.op("Shape", ["input_ids"]), *(self.constant([v], np.int64) for v in (1, 2))])

    def first_rows(self, table: np.ndarray, length: str) -> str:
        """As many rows of a table as the batch is long."""
        start = self.constant([0], np.int64)
        return self.op("Slice", [self.constant(table), start, length, start])

    def mask_bias(self) -> str:
        """(n, 1, 1, length): 0 where a token is kept, a large negative number where it is padding."""
        mask = self.op("Cast", ["attention_mask"], to=1)
        hidden = self.op("Mul", [self.op("Sub", [self.constant(1.0), mask]), self.constant(MASKED)])
        return self.op("Unsqueeze", [hidden, self.constant([1, 2], np.int64)])

    def gelu(self, x: str) -> str:
        """The exact GELU (Hendrycks and Gimpel 2016)."""
        bell = self.op("Erf", [self.op("Div", [x, self.constant(np.sqrt(2.0))])])
        return self.op("Mul", [self.op("Mul", [x, self.add(bell, self.constant(1.0))]), self.constant(0.5)])

    def pool(self, x: str) -> None:
        """Mean over kept tokens, then unit length. (The mean's divisor cancels in the unit vector.)"""
        mask = self.op("Unsqueeze", [self.op("Cast", ["attention_mask"], to=1), self.constant([1], np.int64)])
        total = self.op("Squeeze", [self.op("MatMul", [mask, x]), self.constant([1], np.int64)])
        norm = self.op("ReduceL2", [total, self.constant([1], np.int64)], keepdims=1)
        length = self.op("Max", [norm, self.constant(1e-12)])
        self.op("Div", [total, length], output="embedding")
