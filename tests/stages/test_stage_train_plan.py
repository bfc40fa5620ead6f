"""What quotes are made of: memory that covers what real runs took and grows with the data; texts in fair batches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.errors import BudgetError
from passmuster.core.records import Price
from passmuster.modality.base import Profile, Rung
from passmuster.modality.image.rungs.conv import CONV
from passmuster.modality.image.rungs.gradients import GRADIENTS
from passmuster.modality.image.rungs.patches import PATCHES
from passmuster.modality.text.rungs import static
from passmuster.modality.text.rungs.distilled import DISTILLED
from passmuster.modality.text.rungs.static import STATIC
from passmuster.modality.text.rungs.tuned import TUNED
from passmuster.stages.train.embedding import BATCH, BATCH_CHARS, FEWEST, batches_of
from passmuster.stages.train.limits import Limits
from passmuster.stages.train.plan import Quote, _quote, _refuse, heads_bytes, run_bytes
from passmuster.stages.train.task import shared_words

MACHINE = Machine(2, 2**34, 200.0)
MIB = 2**20
BANKING = Profile(7_592, 616, 77, 59.0, 400.0, 1_250.0)
FASHION = Profile(16_980, 100, 10, 784.0, 784.0)
CIFAR = Profile(7_638, 250, 10, 1_024.0, 1_024.0)
# The most that the process held in a whole run, beyond what it held when the rung was priced (MiB).
SEEN = [(STATIC, BANKING, 398), (GRADIENTS, FASHION, 499), (PATCHES, FASHION, 531), (GRADIENTS, CIFAR, 351),
        (PATCHES, CIFAR, 306), (CONV, CIFAR, 695)]  # fmt: skip


@pytest.mark.parametrize(("rung", "profile", "seen_mib"), SEEN, ids=lambda value: getattr(value, "name", ""))
def test_memory_that_was_seen_is_quoted_and_not_many_times_over(rung: Rung, profile: Profile, seen_mib: int) -> None:
    quoted = run_bytes(rung.quote(MACHINE, profile).memory_bytes, profile) / MIB
    assert seen_mib <= quoted <= 1.4 * seen_mib


def test_the_cheapest_rung_is_the_one_that_needs_least_whatever_the_time() -> None:
    """A rung with dear heads may be quoted for more, and need less, because cheaper heads would do."""
    dear, plain = Quote("dear.v1", 40.0, MIB, "", "time", heads_seconds=38.0), Quote("plain.v1", 30.0, MIB, "", "time")
    for seconds in (1.0, 5.0):
        limits = Limits(seconds)
        with pytest.raises(BudgetError, match=r"dear\.v1") as caught:
            _refuse([plain, dear], TrainConfig(time=f"{seconds:g}s"), BANKING, MACHINE, Deadline.after(seconds), limits)
        assert caught.value.code == "budget.time"


@pytest.mark.parametrize("rung", [TUNED, DISTILLED], ids=lambda rung: rung.name)
def test_a_rung_that_cannot_learn_sets_has_no_price_for_them(rung: Rung) -> None:
    there = replace(
        rung, unavailable=lambda config: "", quote=lambda machine, profile: Price(1.0, MIB, "x", heads_s=1.0)
    )
    ask = partial(_quote, there, TrainConfig(), MACHINE, deadline=Deadline.after(600.0), limits=Limits(600.0))
    assert ask(BANKING).refused == ""
    quote = ask(replace(BANKING, label_sets=True))
    assert (quote.seconds, quote.refused) == (0.0, "not available: it is not taught by sets of classes yet")


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


def test_a_pool_too_large_for_memory_is_not_quoted_as_if_it_lay_there() -> None:
    large = Profile(1_000_000, 160, 8, 180.0, 400.0, 30_000.0)
    whole = 4 * 640 * large.n_pool
    assert heads_bytes(large) < 0.5 * whole
    assert heads_bytes(replace(large, n_pool=2_000_000)) > heads_bytes(large)  # its index does lie there
