"""Train: climb the ladder of a modality within a budget, and leave an unsigned bundle."""

from passmuster.stages.train.stage import TrainResult, price, train

__all__ = ["TrainResult", "price", "train"]
