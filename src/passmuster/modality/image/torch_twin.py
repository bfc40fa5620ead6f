"""A graph in ONNX as a function of torch, so that gradients of its scores can be had: the torch twin of what is served.

It computes what the graph computes, operator by operator, and is held against the engine before it is used. Operators
of dynamic int8 quantisation are followed with gradients that pass through their rounding (Bengio, Léonard and
Courville 2013, the straight-through estimator).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Operator = Callable[[list[Any], dict[str, Any]], Any]


class TwinError(ValueError):
    """A graph that has no twin: an operator, or a form of one, is not known here."""


class TorchTwin:
    """The graph `onnx_bytes` in torch; called with an input's value it gives every output by name.

    Raises
    ------
    TwinError
        When an operator is not known.
    """

    def __init__(self, onnx_bytes: bytes) -> None:
        import onnx
        from onnx import numpy_helper

        graph = onnx.load_model_from_string(onnx_bytes).graph
        self._constants = {t.name: torch.from_numpy(np.array(numpy_helper.to_array(t))) for t in graph.initializer}
        self.inputs = [entry.name for entry in graph.input if entry.name not in self._constants]
        self.outputs = [entry.name for entry in graph.output]
        self._nodes = []
        for node in graph.node:
            if node.op_type not in OPERATORS:
                raise TwinError(f"the operator {node.op_type} has no twin")
            attributes = {a.name: _attribute(onnx.helper.get_attribute_value(a)) for a in node.attribute}
            self._nodes.append((OPERATORS[node.op_type], list(node.input), list(node.output), attributes))

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values: dict[str, Any] = {"": None, **self._constants, **inputs}
        for operator, names, outputs, attributes in self._nodes:
            found = operator([values[name] for name in names], attributes)
            for name, value in zip(outputs, found if isinstance(found, tuple) else (found,), strict=False):
                values[name] = value
        return {name: values[name] for name in self.outputs}


def _attribute(value: Any) -> Any:
    from onnx import TensorProto, numpy_helper

    if isinstance(value, TensorProto):
        return torch.from_numpy(np.array(numpy_helper.to_array(value)))
    return value.decode() if isinstance(value, bytes) else value


def _ints(value: Any) -> list[int]:
    return [int(v) for v in (value.tolist() if isinstance(value, Tensor) else value)]


def _axes(args: list[Any], said: dict[str, Any]) -> list[int] | None:
    """Axes as an attribute, or as the second input; None for all."""
    if "axes" in said:
        return _ints(said["axes"])
    return _ints(args[1]) if len(args) > 1 and args[1] is not None else None


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def run(args: list[Any], said: dict[str, Any]) -> Tensor:
        axes = _axes(args, said)
        return function(args[0], list(range(args[0].ndim)) if axes is None else axes, bool(said.get("keepdims", 1)))

    return run


def _pads(said: dict[str, Any], n_axes: int) -> list[int]:
    """Paddings of a convolution or a pool as ONNX orders them: where each axis begins, then where each ends."""
    if said.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise TwinError(f"padding {said['auto_pad']} has no twin")
    return list(said.get("pads", [0] * 2 * n_axes))


def _as_torch(pads: list[int]) -> list[int]:
    half = len(pads) // 2
    return [n for i in reversed(range(half)) for n in (pads[i], pads[i + half])]


def _conv(args: list[Any], said: dict[str, Any]) -> Tensor:
    x, weight, *rest = args
    convolve = {3: functional.conv1d, 4: functional.conv2d}.get(weight.ndim)
    if convolve is None:
        raise TwinError("a convolution over three dimensions has no twin")
    n = weight.ndim - 2
    padded = functional.pad(x, _as_torch(_pads(said, n)))
    return convolve(
        padded, weight, rest[0] if rest else None, stride=said.get("strides", [1] * n),
        dilation=said.get("dilations", [1] * n), groups=said.get("group", 1),
    )  # fmt: skip


def _pool(function: Callable[..., Tensor], fill: float) -> Operator:
    def run(args: list[Any], said: dict[str, Any]) -> Tensor:
        kernel = list(said["kernel_shape"])
        if said.get("ceil_mode") or any(d != 1 for d in said.get("dilations", [1])):
            raise TwinError("this form of pooling has no twin")
        pads, strides = _pads(said, len(kernel)), said.get("strides", [1] * len(kernel))
        if fill == 0 and any(pads) and not said.get("count_include_pad"):
            raise TwinError("an average that leaves padding out has no twin")
        return function(functional.pad(args[0], _as_torch(pads), value=fill), kernel, strides)

    return run


def _pad(args: list[Any], said: dict[str, Any]) -> Tensor:
    x, mode = args[0], {"constant": "constant", "edge": "replicate", "reflect": "reflect"}[said.get("mode", "constant")]
    pads = _ints(args[1])
    if len(args) > 3 and args[3] is not None:
        whole, axes = [0] * (2 * x.ndim), _ints(args[3])
        for i, axis in enumerate(axes):
            whole[axis], whole[axis + x.ndim] = pads[i], pads[i + len(axes)]
        pads = whole
    if mode == "constant":
        value = float(args[2]) if len(args) > 2 and args[2] is not None else 0.0
        return functional.pad(x, _as_torch(pads), value=value)
    spatial = x.ndim - 2
    if any(pads[:2]) or any(pads[x.ndim : x.ndim + 2]) or x.ndim not in (3, 4):
        raise TwinError("this form of padding has no twin")
    own = pads[2 : 2 + spatial] + pads[x.ndim + 2 :]
    return functional.pad(x, _as_torch(own), mode=mode)


def _gemm(args: list[Any], said: dict[str, Any]) -> Tensor:
    a = args[0].T if said.get("transA") else args[0]
    b = args[1].T if said.get("transB") else args[1]
    product: Tensor = said.get("alpha", 1.0) * (a @ b)
    return product + said.get("beta", 1.0) * args[2] if len(args) > 2 and args[2] is not None else product


def _reshape(args: list[Any], said: dict[str, Any]) -> Tensor:
    x: Tensor = args[0]
    shape = _ints(args[1])
    return x.reshape([x.shape[i] if n == 0 and not said.get("allowzero") else n for i, n in enumerate(shape)])


def _slice(args: list[Any], said: dict[str, Any]) -> Tensor:
    x: Tensor = args[0]
    starts, ends = _ints(args[1]), _ints(args[2])
    axes = _ints(args[3]) if len(args) > 3 and args[3] is not None else list(range(len(starts)))
    steps = _ints(args[4]) if len(args) > 4 and args[4] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise TwinError("a slice that runs backwards has no twin")
        n = x.shape[axis]
        x = x.movedim(axis, 0)[slice(*slice(start, end if abs(end) <= n else n, step).indices(n))].movedim(0, axis)
    return x


def _unsqueeze(args: list[Any], said: dict[str, Any]) -> Tensor:
    x: Tensor = args[0]
    for axis in sorted(a % (x.ndim + len(_axes(args, said) or ())) for a in _axes(args, said) or ()):
        x = x.unsqueeze(axis)
    return x


def _squeeze(args: list[Any], said: dict[str, Any]) -> Tensor:
    x: Tensor = args[0]
    axes = _axes(args, said)
    for axis in sorted((a % x.ndim for a in axes), reverse=True) if axes is not None else ():
        x = x.squeeze(axis)
    return x.squeeze() if axes is None else x


def _gather(args: list[Any], said: dict[str, Any]) -> Tensor:
    x: Tensor = args[0]
    at, axis = args[1].long(), said.get("axis", 0) % x.ndim
    at = torch.where(at < 0, at + x.shape[axis], at)
    picked = x.index_select(axis, at.reshape(-1))
    return picked.reshape([*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]])


def _batch_norm(args: list[Any], said: dict[str, Any]) -> Tensor:
    x, scale, bias, mean, variance = args
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, said.get("epsilon", 1e-5))


def _layer_norm(args: list[Any], said: dict[str, Any]) -> Tensor:
    x, axis = args[0], said.get("axis", -1) % args[0].ndim
    bias = args[2] if len(args) > 2 else None
    return functional.layer_norm(x, list(x.shape[axis:]), args[1], bias, said.get("epsilon", 1e-5))


def _cast(args: list[Any], said: dict[str, Any]) -> Tensor:
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
    if said["to"] not in kinds:
        raise TwinError("a cast to this type has no twin")
    x: Tensor = args[0]
    kind = kinds[said["to"]]
    # Whole numbers that quantised products give are kept as floats here, so that gradients pass.
    return x if x.requires_grad and not kind.is_floating_point else x.to(kind)


def _rounded(x: Tensor) -> Tensor:
    return x + (torch.round(x) - x).detach()


def _quantise(args: list[Any], said: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """``DynamicQuantizeLinear``: to whole numbers 0 to 255 over the range of the batch, with gradients through."""
    x = args[0]
    low, high = torch.clamp(x.detach().min(), max=0.0), torch.clamp(x.detach().max(), min=0.0)
    scale = torch.clamp((high - low) / 255, min=torch.finfo(torch.float32).tiny)
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    return torch.clamp(_rounded(x / scale) + zero, 0, 255), scale, zero


def _less_zero(args: list[Any], conv: bool) -> tuple[Tensor, Tensor]:
    a, b = args[0].to(torch.float32), args[1].to(torch.float32)
    if len(args) > 2 and args[2] is not None:
        a = a - args[2].to(torch.float32)
    if len(args) > 3 and args[3] is not None:
        zero = args[3].to(torch.float32)
        b = b - (zero.reshape([-1, *[1] * (b.ndim - 1)]) if conv and zero.ndim else zero)
    return a, b


def _conv_integer(args: list[Any], said: dict[str, Any]) -> Tensor:
    return _conv([*_less_zero(args, True)], said)


def _reduce_max(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.amax(axes, keep)


def _flatten(args: list[Any], said: dict[str, Any]) -> Tensor:
    x: Tensor = args[0]
    return x.reshape(math.prod(x.shape[: said.get("axis", 1)]), -1)


def _transpose(args: list[Any], said: dict[str, Any]) -> Tensor:
    x: Tensor = args[0]
    return x.permute(said["perm"] if "perm" in said else list(reversed(range(x.ndim))))


def _clip(args: list[Any], said: dict[str, Any]) -> Tensor:
    low, high = ([*args[1:], None, None])[:2]
    low, high = said.get("min") if low is None else float(low), said.get("max") if high is None else float(high)
    return torch.clamp(args[0], low, high)


def _gelu(args: list[Any], said: dict[str, Any]) -> Tensor:
    return functional.gelu(args[0], approximate=said.get("approximate", "none"))


OPERATORS: dict[str, Operator] = {
    "Abs": lambda a, _: a[0].abs(),
    "Add": lambda a, _: a[0] + a[1],
    "AveragePool": _pool(functional.avg_pool2d, 0.0),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, said: torch.cat(a, dim=said["axis"]),
    "Constant": lambda _, said: torch.as_tensor(next(iter(said.values()))),
    "Conv": _conv,
    "ConvInteger": _conv_integer,
    "Div": lambda a, _: a[0] / a[1] if a[0].is_floating_point() else torch.div(a[0], a[1], rounding_mode="trunc"),
    "Dropout": lambda a, _: a[0],
    "DynamicQuantizeLinear": _quantise,
    "Elu": lambda a, said: functional.elu(a[0], said.get("alpha", 1.0)),
    "Erf": lambda a, _: torch.erf(a[0]),
    "Exp": lambda a, _: torch.exp(a[0]),
    "Expand": lambda a, _: a[0] * torch.ones(_ints(a[1]), dtype=a[0].dtype),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, _: a[0].mean(list(range(2, a[0].ndim)), keepdim=True),
    "HardSigmoid": lambda a, said: torch.clamp(said.get("alpha", 0.2) * a[0] + said.get("beta", 0.5), 0, 1),
    "HardSwish": lambda a, _: functional.hardswish(a[0]),
    "Identity": lambda a, _: a[0],
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, said: functional.leaky_relu(a[0], said.get("alpha", 0.01)),
    "Log": lambda a, _: torch.log(a[0]),
    "LogSoftmax": lambda a, said: torch.log_softmax(a[0], said.get("axis", -1)),
    "MatMul": lambda a, _: a[0] @ a[1],
    "MatMulInteger": lambda a, _: torch.matmul(*_less_zero(a, False)),
    "Max": lambda a, _: a[0] if len(a) == 1 else torch.maximum(a[0], a[1]),
    "MaxPool": _pool(functional.max_pool2d, -math.inf),
    "Min": lambda a, _: a[0] if len(a) == 1 else torch.minimum(a[0], a[1]),
    "Mul": lambda a, _: a[0] * a[1],
    "Neg": lambda a, _: -a[0],
    "Pad": _pad,
    "Pow": lambda a, _: torch.pow(a[0], a[1]),
    "Reciprocal": lambda a, _: 1 / a[0],
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceMax": _reduce(_reduce_max),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "Relu": lambda a, _: functional.relu(a[0]),
    "Reshape": _reshape,
    "Shape": lambda a, _: torch.tensor(a[0].shape, dtype=torch.int64),
    "Sigmoid": lambda a, _: torch.sigmoid(a[0]),
    "Slice": _slice,
    "Softmax": lambda a, said: torch.softmax(a[0], said.get("axis", -1)),
    "Sqrt": lambda a, _: torch.sqrt(torch.clamp(a[0], min=1e-14)),  # at 0 its slope is infinite, and spoils every other
    "Squeeze": _squeeze,
    "Sub": lambda a, _: a[0] - a[1],
    "Tanh": lambda a, _: torch.tanh(a[0]),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
