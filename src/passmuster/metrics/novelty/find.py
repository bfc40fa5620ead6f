"""The novelty detectors there are."""

from __future__ import annotations

from passmuster.core.tables import Table
from passmuster.metrics.novelty.base import Detector
from passmuster.metrics.novelty.boundary import FDBD, VIM
from passmuster.metrics.novelty.gaussian import MAHALANOBIS, RMDS
from passmuster.metrics.novelty.logits import ENERGY, GEN, MAX_LOGIT, MSP
from passmuster.metrics.novelty.neighbours import CENTROID, KNN

detectors: Table[Detector] = Table("novelty detector")
detectors.add("knn.v1", KNN)
detectors.add("mahalanobis.v1", MAHALANOBIS)
detectors.add("energy.v1", ENERGY)
detectors.add("msp.v1", MSP)
detectors.add("rmds.v1", RMDS)
detectors.add("centroid.v1", CENTROID)
detectors.add("fdbd.v1", FDBD)
detectors.add("vim.v1", VIM)
detectors.add("gen.v1", GEN)
detectors.add("max_logit.v1", MAX_LOGIT)
