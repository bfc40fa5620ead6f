"""Whether this processor multiplies in bfloat16 faster than in float32."""

from __future__ import annotations

from functools import cache


@cache
def bf16_is_native() -> bool:
    """Whether it has instructions for it; without them autocast is slower than float32."""
    import torch

    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
