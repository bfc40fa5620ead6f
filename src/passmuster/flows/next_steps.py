"""What comes next, as the command that does it: for a bundle, as far as it was judged, and for what a verdict lacks."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passmuster.core.records import Verdict  # brings numpy, which no help should wait for


# Of a test that nobody has looked at yet: with fewer labels no bound of the default policy passes, whatever the answers
# (.8 of them right at the level that five looks and the last gate leave, .05 / 5: ln .01 / ln .8), and a look is spent.
FEWEST_TEST_LABELS = 21
# Gates that hold for what no label changes, and what changes it.
TRAIN_ANEW = "muster train again: what is served answers otherwise than what was trained"
MENDED_BY = {
    "leakage.v1": "take what repeats test items out of training (muster check names them), then muster train",
    "parity.v1": TRAIN_ANEW,
    "score_parity.v1": TRAIN_ANEW,
    "guard_parity.v1": TRAIN_ANEW,
    "trigger.v1": "look at the items that the report names, and at where they come from",
    "test_labels.v1": "look at the test labels again: they cannot be what they seem",
}


def first_verdict(n_test: int, n_unlabelled: int, bundle: str = "") -> str:
    """What leads to a first verdict on a bundle, the latest when empty: test labels, of which there are `n_test`, where
    those are too few.

    >>> first_verdict(40, 100), first_verdict(2, 100)
    ('muster release', 'muster label --export todo.csv --for test (at least 19 more test labels), then muster release')
    """
    short = FEWEST_TEST_LABELS - n_test
    if short <= 0:
        return f"muster release {bundle[:16]}".strip()
    if not n_test + n_unlabelled:
        return (
            f"muster add PATH (no item is in the test; at least {short} labelled ones are needed), then muster release"
        )
    return f"{more_evidence(short, n_unlabelled, about='at least')}, then muster release"


def step_after(bundle: str, verdict: str, release: str, channels: Collection[str], *, origin: str = "trained") -> str:
    """The command that comes next for one bundle (its digest), by its latest verdict and release, "" before the first.

    >>> step_after("b" * 64, "", "", ())
    'muster release bbbbbbbbbbbbbbbb'
    >>> step_after("b" * 64, "SHIP", "r-1", ())
    'muster approve r-1'
    >>> step_after("b" * 64, "SHIP", "r-1", ("live",))
    'muster watch'
    """
    if "live" in channels:
        return "muster watch"
    if verdict == "HOLD":
        return after_a_hold(origin)
    if verdict == "INSUFFICIENT":
        return "muster label --for test --serve, then muster release"
    return f"muster approve {release}" if release else f"muster release {bundle[:16]}"


def after_a_hold(origin: str) -> str:
    """What may change a verdict of HOLD: other data for a model trained here, another model for an imported one.

    >>> after_a_hold("trained")
    'look at the report, mend the data and muster train again'
    """
    if origin == "imported":
        return "look at the report, mend the model where it is made and muster import it again"
    return "look at the report, mend the data and muster train again"


def mended_by(verdict: Verdict | None) -> str:
    """What changes a HOLD of which every gate holds for something that no label changes; "" for any other verdict."""
    if verdict is None or verdict.outcome != "HOLD":
        return ""
    failed = [gate.gate for gate in verdict.gates if gate.state == "failed"]
    if not all(name in MENDED_BY for name in failed):
        return ""
    return "; ".join(dict.fromkeys(MENDED_BY[name] for name in failed))


def n_left_out(verdict: Verdict) -> int:
    """How many items, drawn for the test and left without a label, a verdict waits for."""
    waiting = (gate.n_more for gate in verdict.gates if (gate.gate, gate.state) == ("test_labels.v1", "insufficient"))
    return next(waiting, None) or 0


def more_evidence(n_more: int | None, n_unlabelled: int, n_left: int = 0, *, about: str = "about") -> str:
    """How to get the test labels that are missing: from test items without one, and where they run out, from new items.

    `n_left` of them were drawn already and left without a label, not by lot: those come first.

    >>> more_evidence(30, 40)
    'muster label --export todo.csv --for test (about 30 more test labels)'
    >>> more_evidence(30, 0)
    'muster add PATH (every test item has a label; about 30 more labelled test items are needed)'
    >>> more_evidence(30, 10)
    'muster label --export todo.csv --for test (about 30 more test labels; 10 test items wait, muster add brings more)'
    """
    if n_left:
        return f"muster label --serve --for test --skipped --n {n_left} ({n_left:,} items that were drawn and left)"
    many = f"{about} {n_more:,} more" if n_more else "more"
    if not n_unlabelled:
        return f"muster add PATH (every test item has a label; {many} labelled test items are needed)"
    short = n_more is not None and n_more > n_unlabelled
    rest = f"; {n_unlabelled:,} test items wait, muster add brings more" if short else ""
    return f"muster label --export todo.csv --for test ({many} test labels{rest})"
