"""What the page shows of an item: a text, or a picture inside the answer, so that showing it waits for nothing."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from passmuster.core.errors import MusterError
from passmuster.core.records import Item
from passmuster.flows.labelling import Suggestion
from passmuster.modality.find import modalities
from passmuster.store.store import Store

SHOWN_CHARACTERS = 20_000  # of a text; more than anybody reads for one label
PICTURE_PIXELS = 1_024  # longest side, one at a time
THUMBNAIL_PIXELS = 192  # in the grid
JPEG_FROM_PIXELS = 256  # larger pictures are photos more often than not
JPEG_QUALITY = 88


def describe(store: Store, suggestion: Suggestion, item: Item, *, thumbnail: bool = False) -> dict[str, Any]:
    """A suggestion as the page takes it. An item that cannot be decoded any more says so in place of its content."""
    shown: dict[str, Any] = {
        "key": suggestion.key,
        "id": item.id,
        "role": suggestion.role,
        "why": suggestion.why,
        "guess": suggestion.guess,
        "confidence": None if math.isnan(suggestion.confidence) else round(suggestion.confidence, 4),
    }
    try:
        payload = modalities[store.config.project.modality].decode(store.blobs.get(item.blob), store.config.data)
    except MusterError as error:
        return {**shown, "text": f"(this item cannot be shown: {error.what})", "more": 0}
    if isinstance(payload, str):
        return {**shown, "text": payload[:SHOWN_CHARACTERS], "more": max(0, len(payload) - SHOWN_CHARACTERS)}
    height, width = payload.shape[:2]
    limit = THUMBNAIL_PIXELS if thumbnail else PICTURE_PIXELS
    return {**shown, "image": data_url(payload, limit), "width": width, "height": height}


def data_url(pixels: np.ndarray, limit: int) -> str:
    """A picture as a ``data:`` address, at most `limit` pixels a side; drawn anew, so nothing but pixels is in it."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if max(image.size) > limit:
        image.thumbnail((limit, limit))
    file = io.BytesIO()
    if max(image.size) > JPEG_FROM_PIXELS:
        image.save(file, format="JPEG", quality=JPEG_QUALITY)
        kind = "jpeg"
    else:
        image.save(file, format="PNG")
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
