"""What quotes are made of: memory that covers what real runs took and grows with the data; texts in fair batches."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.budget import Machine
from passmuster.modality.base import Profile
from passmuster.modality.text.rungs import static
from passmuster.stages.train.climb import BATCH, BATCH_CHARS, FEWEST, batches_of
from passmuster.stages.train.plan import heads_bytes
from passmuster.stages.train.task import shared_words

MACHINE = Machine(2, 2**34, 200.0)
MIB = 2**20
# Pool, classes, characters, shared words; what the fit and the heads then took beyond what the process held (MiB).
SEEN = [
    (Profile(7_592, 616, 77, 59.0, 400.0, 1_250.0), 161, 398),  # Banking77
    (Profile(16_980, 100, 10, 784.0, 784.0), 0, 531),  # Fashion-MNIST
]


@pytest.mark.parametrize(("profile", "fit_mib", "heads_mib"), SEEN)
def test_memory_that_was_seen_is_quoted_and_not_many_times_over(profile: Profile, fit_mib: int, heads_mib: int) -> None:
    assert heads_mib <= heads_bytes(profile) / MIB <= 1.3 * heads_mib
    if fit_mib:
        assert fit_mib <= static.quote(MACHINE, profile).memory_bytes / MIB <= 2.5 * fit_mib


def test_quotes_grow_with_the_pool_and_with_the_words() -> None:
    small, large = Profile(1_000, 50, 5, 60.0, 100.0, 600.0), Profile(20_000, 50, 5, 60.0, 100.0, 2_600.0)
    rich = Profile(1_000, 50, 5, 60.0, 100.0, 3_000.0)
    assert heads_bytes(small) < heads_bytes(large)
    for other in (large, rich):
        assert static.quote(MACHINE, small).memory_bytes < static.quote(MACHINE, other).memory_bytes
        assert static.quote(MACHINE, small).seconds < static.quote(MACHINE, other).seconds


def test_words_are_counted_in_a_part_and_stand_for_all() -> None:
    rng = np.random.default_rng(0)
    texts = [f"word{i} common" for i in rng.integers(0, 400, 8_000)]
    assert shared_words(texts[:2_000]) == pytest.approx(401, rel=0.1)
    assert shared_words(texts) == pytest.approx(2 * 401, rel=0.1)
    assert shared_words(["once", "twice"]) == 0


@pytest.mark.parametrize("length", [1, 255, 256, 257, 1_000, 5_000, 1_000_000])
def test_batches_hold_everything_in_order_and_no_more_than_memory_likes(length: int) -> None:
    texts = ["x" * length + str(i) for i in range(150)]
    batches = list(batches_of(texts))
    assert [text for batch in batches for text in batch] == texts
    for batch in batches:
        assert len(batch) <= BATCH
        assert len(batch) <= FEWEST or len(batch) * max(map(len, batch)) <= BATCH_CHARS


def test_one_long_text_does_not_make_short_ones_slow() -> None:
    sizes = [len(batch) for batch in batches_of(["x"] * 64 + ["x" * 10_000] + ["x"] * 64)]
    assert sum(sizes) == 129
    assert len(sizes) <= 10
