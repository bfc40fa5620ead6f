"""Texts as a modality: the value that the rest of Muster knows."""

from __future__ import annotations

from passmuster.core.tables import Table
from passmuster.modality.base import Marks, Modality, Rung
from passmuster.modality.harm import Attack
from passmuster.modality.text.corruptions import USUAL, corruptions, why_left_out
from passmuster.modality.text.feeding import feed
from passmuster.modality.text.marks import find_marks, in_words, transplant
from passmuster.modality.text.operations import operations
from passmuster.modality.text.own_words import read_own_words
from passmuster.modality.text.personal_data import find_personal_data
from passmuster.modality.text.read import decode, encode, from_json, open_json, preview
from passmuster.modality.text.twins import find_twins

rungs: Table[Rung] = Table("rung")
rungs.add_lazy("static.v1", "passmuster.modality.text.rungs.static:STATIC")
rungs.add_lazy("pretrained.v1", "passmuster.modality.text.rungs.pretrained:PRETRAINED")
rungs.add_lazy("stacked.v1", "passmuster.modality.text.rungs.stacked:STACKED")
rungs.add_lazy("adapted.v1", "passmuster.modality.text.rungs.adapted:ADAPTED")
rungs.add_lazy("tuned.v1", "passmuster.modality.text.rungs.tuned:TUNED")
rungs.add_lazy("distilled.v1", "passmuster.modality.text.rungs.distilled:DISTILLED")
rungs.add_lazy("transformer.v1", "passmuster.modality.text.rungs.transformer:TRANSFORMER")

attacks: Table[Attack] = Table("attack")
attacks.add_lazy("characters.v1", "passmuster.modality.text.attacks:CHARACTERS")
attacks.add_lazy("synonyms.v1", "passmuster.modality.text.attacks:SYNONYMS")

TEXT = Modality(
    name="text",
    suffixes=frozenset({".txt", ".md", ".text"}),
    decode=decode,
    encode=encode,
    open_json=open_json,
    of_value=from_json,
    preview=preview,
    operations=operations,
    corruptions=corruptions,
    usual_faults=USUAL,
    why_fault_left_out=why_left_out,
    find_twins=find_twins,
    find_personal_data=find_personal_data,
    rungs=rungs,
    feed=feed,
    attacks=attacks,
    marks=Marks(find_marks, transplant, in_words),
    own_words=read_own_words,
)
