"""The modalities there are."""

from __future__ import annotations

from passmuster.core.tables import Table
from passmuster.modality.base import Modality

modalities: Table[Modality] = Table("modality")
modalities.add_lazy("text", "passmuster.modality.text.modality:TEXT")
modalities.add_lazy("image", "passmuster.modality.image.modality:IMAGE")
