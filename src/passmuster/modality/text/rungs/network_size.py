"""How large a network pays for its training: by the operations that the time holds, and by the text there is.

A network of N parameters that reads T tokens takes 6 N T operations. Spending C of them best means about 20 tokens per
parameter (Hoffmann et al. 2022), so N = sqrt(C / 120). Reading a small pool again stops helping after some tens of
passes (Muennighoff et al. 2023), so N is at most what `MAX_PASSES` passes can feed. The largest of `SIZES` below both
bounds is taken, and at least the smallest.
"""

from __future__ import annotations

from passmuster.modality.text.rungs.modernbert import Shape

TOKENS_PER_PARAMETER = 20.0
MAX_PASSES = 40
SIZES = ((128, 2), (192, 3), (256, 4), (384, 6), (512, 8), (768, 12), (768, 22))  # width and layers; the last: base
HEAD_WIDTH = 64
HEAD_WIDTH_OF_SMALL, SMALL = 32, 256  # heads half as wide below this width
HIDDEN_PER_WIDTH = 1.5
MULTIPLY_ADD, FORWARD_AND_BACKWARD = 2.0, 3.0


def make_shape(width: int, n_layers: int, n_words: int, max_tokens: int, window: int = 0) -> Shape:
    """A network of the usual proportions.

    >>> make_shape(384, 6, 8_192, 256).n_heads
    6
    """
    head = HEAD_WIDTH if width >= SMALL else HEAD_WIDTH_OF_SMALL
    return Shape(n_words, width, n_layers, width // head, int(HIDDEN_PER_WIDTH * width), max_tokens, window)


def best_size(flops: float, n_tokens: float) -> tuple[int, int]:
    """Width and layers for so many operations of training and so many tokens in the pool.

    >>> best_size(1e13, 1.5e5), best_size(1e18, 1e9)
    ((128, 2), (768, 12))
    """
    most = min((flops / (6.0 * TOKENS_PER_PARAMETER)) ** 0.5, MAX_PASSES * n_tokens / TOKENS_PER_PARAMETER)
    fitting = [size for size in SIZES if n_parameters(size) <= most]
    return fitting[-1] if fitting else SIZES[0]


def n_parameters(size: tuple[int, int]) -> int:
    """Parameters of the layers; the words' table, of which a token reads one row, left out."""
    return make_shape(*size, n_words=0, max_tokens=0).n_matrix_parameters


def flops_per_token(shape: Shape, mean_length: float, hidden_share: float) -> float:
    """Operations of a training step per token: layers, attention over a text of `mean_length`, predicting words.

    What a model needs, not what an implementation does: the measure of model FLOPs utilisation (Chowdhery et al. 2022).
    """
    attention = 2.0 * shape.n_layers * shape.width * mean_length
    predictor = hidden_share * shape.width * (shape.width + shape.n_words)
    return FORWARD_AND_BACKWARD * MULTIPLY_ADD * (shape.n_matrix_parameters + attention + predictor)
