"""The novelty detectors there are, and two of them as one."""

from __future__ import annotations

from passmuster.core.tables import Table
from passmuster.metrics.novelty.backed import BACKING, JOINED, backed
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


def find_detector(name: str) -> Detector:
    """A detector of the table, or two of them as one (``"near.v1+far.v1"``).

    >>> find_detector("max_logit.v1+mahalanobis.v1").uses
    'both'
    """
    near, joined, far = name.partition(JOINED)
    return backed(detectors[near], detectors[far]) if joined else detectors[name]


def with_backing(name: str) -> str:
    """That detector, backed by one that tells what is far from everything; which needs none itself.

    >>> with_backing("max_logit.v1"), with_backing("mahalanobis.v1")
    ('max_logit.v1+mahalanobis.v1', 'mahalanobis.v1')
    """
    return name if name == BACKING or JOINED in name else f"{name}{JOINED}{BACKING}"
