"""Where products of matrices are faster in bfloat16 than in float32, and the block in which torch takes them so."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def bf16_is_native() -> bool:
    """Whether this processor has instructions for it; without them autocast is slower than float32."""
    import torch

    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def in_bf16(device: str) -> bool:
    """Whether products on a device are taken in bfloat16: on a card always, on a processor where that is native."""
    return device == "cuda" or bf16_is_native()


def autocast(device: str, *, bf16: bool | None = None) -> Any:
    """Products in bfloat16 on that device; where `bf16` is None, as `in_bf16` says.

    >>> with autocast("cpu", bf16=False) as block:
    ...     block.device, block.fast_dtype
    ('cpu', torch.bfloat16)
    """
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=in_bf16(device) if bf16 is None else bf16)
