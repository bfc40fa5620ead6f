"""Random views of pictures: the small changes that leave a picture what it is. Whole batches at a time, in torch.

No mirror images: digits, letters and the side a shoe points to do not survive them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Strength:
    """How far a view may depart. Each value is the end of a range, uniform and symmetric where it has two sides."""

    rotation_degrees: float
    scale: float  # logarithm of the enlargement
    shift: float  # share of the side
    shear: float
    blur: float  # share of views that are blurred, by a random part
    contrast: float  # logarithm of the gamma, and relative change of brightness


# Stronger views, with squares cut out, were worse by half a point (docs/log-image.md).
MILD = Strength(rotation_degrees=8, scale=0.12, shift=0.05, shear=0.05, blur=0.3, contrast=0.4)


def random_views(pixels: Any, strength: Strength, generator: Any) -> Any:
    """One view of each picture: tensor (n, c, h, w) in [0, 1] to another."""
    import torch
    from torch.nn import functional

    n = len(pixels)

    def spread(*shape: int) -> Any:
        return torch.rand(*shape, generator=generator) * 2 - 1

    angle = spread(n) * math.radians(strength.rotation_degrees)
    x_scale = torch.exp(spread(n) * strength.scale)
    y_scale = x_scale * torch.exp(spread(n) * strength.scale / 2)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * x_scale
    theta[:, 0, 1] = -torch.sin(angle) * y_scale + spread(n) * strength.shear
    theta[:, 1, 0] = torch.sin(angle) * x_scale
    theta[:, 1, 1] = torch.cos(angle) * y_scale
    theta[:, :, 2] = spread(n, 2) * 2 * strength.shift
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    views = functional.grid_sample(pixels, grid, align_corners=False, padding_mode="border")
    blurred = functional.avg_pool2d(functional.pad(views, (1, 1, 1, 1), mode="replicate"), 3, 1)
    part = (torch.rand(n, 1, 1, 1, generator=generator) < strength.blur) * torch.rand(n, 1, 1, 1, generator=generator)
    views = (views + (blurred - views) * part).clamp(1e-4, 1)
    views = views ** torch.exp(spread(n, 1, 1, 1) * strength.contrast)
    return views * (1 + spread(n, 1, 1, 1) * strength.contrast)
