"""Images as a modality: the value that the rest of Muster knows."""

from __future__ import annotations

from passmuster.core.tables import Table
from passmuster.modality.base import Marks, Modality, Rung, Span
from passmuster.modality.harm import Attack
from passmuster.modality.image.corruptions import USUAL, corruptions
from passmuster.modality.image.feeding import feed
from passmuster.modality.image.marks import find_marks, in_words, transplant
from passmuster.modality.image.operations import operations
from passmuster.modality.image.read import decode, encode, of_value, open_json, preview
from passmuster.modality.image.twins import find_twins

rungs: Table[Rung] = Table("rung")
rungs.add_lazy("gradients.v1", "passmuster.modality.image.rungs.gradients:GRADIENTS")
rungs.add_lazy("patches.v1", "passmuster.modality.image.rungs.patches:PATCHES")
# Before the rung that takes whatever time is left.
rungs.add_lazy("pretrained.v1", "passmuster.modality.image.rungs.pretrained:PRETRAINED")
rungs.add_lazy("conv.v1", "passmuster.modality.image.rungs.conv:CONV")


def no_spans(payload: object) -> list[Span]:
    """Nothing: personal data in pictures (faces, plates) is not looked for, and the check says so."""
    return []


attacks: Table[Attack] = Table("attack")
attacks.add_lazy("apgd_ce.v1", "passmuster.modality.image.gradient_attacks:APGD_CE")
attacks.add_lazy("apgd_dlr.v1", "passmuster.modality.image.gradient_attacks:APGD_DLR")
attacks.add_lazy("square.v1", "passmuster.modality.image.square_attack:SQUARE")

IMAGE = Modality(
    name="image",
    suffixes=frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}),
    decode=decode,
    encode=encode,
    open_json=open_json,
    of_value=of_value,
    preview=preview,
    operations=operations,
    corruptions=corruptions,
    usual_faults=USUAL,
    find_twins=find_twins,
    find_personal_data=no_spans,
    rungs=rungs,
    feed=feed,
    attacks=attacks,
    finds_personal_data=False,
    marks=Marks(find_marks, transplant, in_words),
)
