"""Natural faults of images at severity 1 to 5; pixels stay uint8.

Two banks. The everyday one, in this file, has strengths relative to the picture's size, so that pictures of eight
pixels a side and of a thousand are damaged alike. The published one (`passmuster.modality.image.corrupt`) holds the 15
common and 4 validation corruptions of Hendrycks & Dietterich (2019), with their constants by image size. A usual
evaluation tries `USUAL`: one or two of each family; all are tried where ``[evaluate] corruptions`` asks for ``"all"``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np
from PIL import Image, ImageFilter

from passmuster.core.errors import UsageError
from passmuster.core.records import Payload
from passmuster.core.tables import Table
from passmuster.modality.harm import Corruption
from passmuster.modality.image.read import as_image, from_pillow

corruptions: Table[Corruption] = Table("corruption")
USUAL = (
    "gaussian_noise.v1", "blur.v1", "rotation.v1", "brightness.v1", "contrast.v1", "pixelation.v1", "occlusion.v1",
    "motion_blur.v1", "fog.v1", "jpeg_compression.v1",
)  # fmt: skip
COMMON = {  # the 15 common, as published, and where they lie
    "gaussian_noise.v2": "noise:gaussian_noise", "shot_noise.v1": "noise:shot_noise",
    "impulse_noise.v1": "noise:impulse_noise", "defocus_blur.v1": "blurs:defocus_blur",
    "glass_blur.v1": "blurs:glass_blur", "motion_blur.v1": "blurs:motion_blur", "zoom_blur.v1": "blurs:zoom_blur",
    "snow.v1": "weather:snow", "frost.v1": "weather:frost", "fog.v1": "weather:fog",
    "brightness.v2": "digital:brightness", "contrast.v2": "digital:contrast",
    "elastic_transform.v1": "digital:elastic_transform", "pixelate.v1": "digital:pixelate",
    "jpeg_compression.v1": "digital:jpeg_compression",
}  # fmt: skip
VALIDATION = {
    "speckle_noise.v1": "noise:speckle_noise", "gaussian_blur.v1": "blurs:gaussian_blur",
    "spatter.v1": "spatter:spatter", "saturate.v1": "digital:saturate",
}  # fmt: skip
_Body = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def fault(name: str, strengths: tuple[float, float, float, float, float]) -> Callable[[_Body], Corruption]:
    """Register ``body(pixels, strength, rng)`` under `name`; severity 0 is the identity, s has ``strengths[s - 1]``."""

    def register(body: _Body) -> Corruption:
        @wraps(body)
        def corrupt(payload: Payload, severity: int, rng: np.random.Generator) -> Payload:
            if not 0 <= severity <= 5:
                raise UsageError("corruption.severity", "no such severity", value=severity, limit="0 to 5")
            return body(np.asarray(payload), strengths[severity - 1], rng) if severity else payload

        return corruptions.add(name, corrupt)

    return register


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


@fault("gaussian_noise.v1", (0.04, 0.08, 0.13, 0.2, 0.3))
def gaussian_noise(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Independent normal noise on each value, as in low light; `sigma` of full scale."""
    return _to_uint8(pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * (255 * sigma))


@fault("blur.v1", (0.02, 0.035, 0.05, 0.075, 0.11))
def blur(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Out of focus: Gaussian blur, `strength` of the shorter side."""
    return from_pillow(as_image(pixels).filter(ImageFilter.GaussianBlur(strength * min(pixels.shape[:2]))))


@fault("rotation.v1", (8.0, 16.0, 25.0, 35.0, 50.0))
def rotation(pixels: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Turned left or right; the corners take the colour of the border."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(v) for v in np.median(border, axis=0))
    angle = degrees if rng.random() < 0.5 else -degrees
    turned = as_image(pixels).rotate(
        angle, resample=Image.Resampling.BILINEAR, fillcolor=fill if len(fill) > 1 else fill[0]
    )
    return from_pillow(turned)


@fault("brightness.v1", (0.1, 0.2, 0.3, 0.42, 0.55))
def brightness(pixels: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Too bright or too dark by `shift` of full scale."""
    return _to_uint8(pixels + (255 * shift if rng.random() < 0.5 else -255 * shift))


@fault("contrast.v1", (0.75, 0.55, 0.4, 0.25, 0.12))
def contrast(pixels: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Washed out: values drawn towards the picture's mean."""
    mean = pixels.mean()
    return _to_uint8((pixels - mean) * factor + mean)


@fault("pixelation.v1", (0.75, 0.55, 0.42, 0.32, 0.22))
def pixelation(pixels: np.ndarray, keep: float, rng: np.random.Generator) -> np.ndarray:
    """Few large pixels: `keep` of each side's resolution is left."""
    image = as_image(pixels)
    small = image.resize((max(1, round(image.width * keep)), max(1, round(image.height * keep))), Image.Resampling.BOX)
    return from_pillow(small.resize(image.size, Image.Resampling.NEAREST))


@fault("occlusion.v1", (0.2, 0.3, 0.4, 0.5, 0.62))
def occlusion(pixels: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
    """A grey block, `side` of each dimension, hides a part."""
    height, width = pixels.shape[:2]
    block_h, block_w = max(1, round(height * side)), max(1, round(width * side))
    y, x = rng.random(), rng.random()
    top, left = round(y * (height - block_h)), round(x * (width - block_w))
    out = pixels.copy()
    out[top : top + block_h, left : left + block_w] = 127
    return out


for _name, _place in {**COMMON, **VALIDATION}.items():
    corruptions.add_lazy(_name, f"passmuster.modality.image.corrupt.{_place}")
