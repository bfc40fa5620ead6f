"""Every entry of every table whose formula somebody published has an oracle, and every number that a report can hold.

What is Muster's own invention has no other version to be held against: it is named below; its properties are tested.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest

from oracle_case import N_CASES, counted, oracle
from passmuster.metrics.conformal import set_methods
from passmuster.metrics.fairness import GAPS
from passmuster.metrics.gates.find import gates
from passmuster.metrics.novelty.find import detectors
from passmuster.modality.find import modalities
from passmuster.modality.image.corruptions import COMMON, VALIDATION
from passmuster.signals.find import signals

TESTS = Path(__file__).parents[1]
EVALUATE = TESTS.parent / "src" / "passmuster" / "stages" / "evaluate"
LIBRARIES = "oracles/test_oracle_references.py::"
ECE = LIBRARIES + "test_calibration_error_by_netcal_and_torchmetrics"
RATES = "oracles/test_oracle_metrics.py::test_intervals_of_rates_and_mcnemar"
CERTAINTY, METRICS, SETS = (f"oracles/test_oracle_{name}.py::" for name in ("certainty", "metrics", "label_sets"))
CONFORMAL = "oracles/test_oracle_conformal.py::test_scores_and_thresholds_by_hand"
RISK = "oracles/test_oracle_risk_control.py::test_how_many_may_be_wrong_by_scipy"
TANGO = "oracles/test_oracle_faults.py::test_at_the_ends_of_tangos_interval_the_score_is_the_normal_quantile"
COSTS = CERTAINTY + "test_mean_cost_by_the_table_of_mistakes"
GROUPS = LIBRARIES + "test_gaps_by_fairlearn"
NUMBERS = {
    "accuracy": METRICS + "test_accuracy_and_confusion", "macro_f1": METRICS + "test_macro_accuracy_and_f1",
    "macro_accuracy": METRICS + "test_macro_accuracy_and_f1", "recall": METRICS + "test_precision_and_recall",
    "precision": METRICS + "test_precision_and_recall", "item_f1": SETS + "test_f1_of_items",
    "micro_f1": SETS + "test_f1", "hamming_loss": SETS + "test_hamming_loss",
    "ranking_precision": SETS + "test_ranking_precision", "ece": ECE,
    "ece_equal_mass": CERTAINTY + "test_calibration_error_of_equal_mass",
    "ece_classwise": ECE, "nll": METRICS + "test_log_loss_and_brier",
    "brier": METRICS + "test_log_loss_and_brier",
    "aurc": LIBRARIES + "test_areas_of_abstention_by_torch_uncertainty",
    "augrc": LIBRARIES + "test_areas_of_abstention_by_torch_uncertainty",
    "novelty_auroc": METRICS + "test_auroc_and_false_positives_by_the_roc_curve",
    "novelty_fpr95": METRICS + "test_auroc_and_false_positives_by_the_roc_curve",
    "novelty_fpr95_ordinary_positive": METRICS + "test_auroc_and_false_positives_by_the_roc_curve",
    "accuracy_under_faults": "oracles/test_oracle_faults.py::test_accuracy_under_faults_is_the_mean_over_all",
    "mce": "oracles/test_oracle_faults.py::test_corruption_error_is_errors_over_errors",
    **dict.fromkeys(("accuracy_difference", "robust_accuracy_change"), TANGO),
    **dict.fromkeys(("expected_cost", "cost_difference", "incumbent_cost", "cost_added", "cost_saved"), COSTS),
    **dict.fromkeys(GAPS, GROUPS), "group_accuracy": "oracles/test_oracle_fairness.py::test_accuracy_of_each_group",
    **dict.fromkeys(("set_coverage", "set_size"), CONFORMAL),
    **dict.fromkeys(("promised_risk", "promised_share"), RISK),
    **dict.fromkeys(
        ("abstention_rate", "accuracy_answered", "no_answer", "novelty_flagged", "behaviour_failure_rate",
         "robust_accuracy", "slice_error", "negative_flip_rate"), RATES,
    ),
}  # fmt: skip
SECOND = "::test_decides_as_the_second_does"
GATES = [f"oracles/test_oracle_gates{part}.py{SECOND}" for part in ("", "_holding", "_promised")]
EVERYDAY, TEXTS = "modality/test_image_corrupt_everyday.py::test_", "modality/test_text_corrupt_oracles.py::"
ORACLES = {  # of the entries of every other table
    **dict.fromkeys(detectors, LIBRARIES + "test_scores_by_pytorch_ood"),
    "centroid.v1": "oracles/test_oracle_novelty.py::test_as_published",  # which no library has
    **dict.fromkeys(set_methods, LIBRARIES + "test_thresholds_by_mapie"),
    **dict.fromkeys((*COMMON, *VALIDATION), "modality/test_image_corrupt_library.py::test_as_the_library"),
    **dict.fromkeys(("brightness.v1", "contrast.v1"), EVERYDAY + "brightness_and_contrast"),
    **{f"{name}.v1": EVERYDAY + name for name in ("blur", "rotation", "pixelation", "occlusion")},
    "gaussian_noise.v1": EVERYDAY + "noise",
    **dict.fromkeys(
        ("typos.v1", "ocr.v1", "casing.v1", "spaces.v1", "truncation.v1", "word_drop.v1", "misspellings.v1",
         "contractions.v1", "names.v1", "gender.v1", "nationality.v1"), TEXTS + "test_as_described",
    ),
    **dict.fromkeys(
        ("apgd_ce.v1", "apgd_dlr.v1", "square.v1"), "oracles/test_oracle_attacks.py::test_as_many_fall_as_kept"
    ),
    "characters.v1": "oracles/test_oracle_text_attacks.py::test_as_many_fall_as_by_textattack",
}  # fmt: skip
BOTH = {  # corruptions and attacks of the same name
    "synonyms.v1": (
        TEXTS + "test_as_described", "oracles/test_oracle_text_attacks.py::test_as_many_fall_as_by_textattack",
    ),
}  # fmt: skip
OWN = {  # of Muster's own making, and without a second version: their properties are tested
    "signal": {"errors.v1", "novelty.v1", "unanswered.v1"},
    "number": {"estimated_accuracy"},
}
NOT_LITERAL = {  # where the name of a number is computed: what it can be
    "gap.kind": GAPS,
    "OTHER_CONVENTION": ("novelty_fpr95_ordinary_positive",),
    "name": ("incumbent_cost", "cost_difference", "cost_added", "cost_saved"),
}


def numbers() -> set[str]:
    """The first argument of every ``draft.add`` in the stage."""
    found: set[str] = set()
    for path in EVALUATE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "draft.add":
                said = node.args[0]
                found.update([said.value] if isinstance(said, ast.Constant) else NOT_LITERAL[ast.unparse(said)])
    return found


def oracle_at(where: str) -> Callable[..., None]:
    """The test itself, which has to be marked as one that tries `N_CASES` cases against a reference."""
    file, _, name = where.partition("::")
    folder = str((TESTS / file).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    test = getattr(importlib.import_module(Path(file).stem), name)
    assert test.reference, where
    return cast("Callable[..., None]", test)


def entries_of(test: Callable[..., None]) -> set[str] | None:
    """The entries that a test goes through as its parameter ``name``; None where it has none."""
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            said = mark.args[0]
            for at, name in enumerate(said.split(",") if isinstance(said, str) else said):
                if name == "name":
                    return {values if isinstance(values, str) else values[at] for values in mark.args[1]}
    return None


@pytest.mark.parametrize("n", [0, N_CASES - 1, N_CASES])
def test_a_marked_test_fails_with_fewer_cases(n: int) -> None:
    @oracle("nothing")
    def tries() -> None:
        assert len(list(counted(range(n)))) == n

    with nullcontext() if n == N_CASES else pytest.raises(AssertionError, match=f"tried {n} cases"):
        tries()


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_of_a_report_has_an_oracle(number: str) -> None:
    assert numbers() == set(NUMBERS) | OWN["number"]
    oracle_at(NUMBERS[number])


def test_every_gate_has_one() -> None:
    decided = [entries_of(oracle_at(where)) or set() for where in GATES]
    assert sum(map(len, decided)) == len(set().union(*decided))
    assert set().union(*decided) == set(gates)


@pytest.mark.parametrize("entry", [*ORACLES, *BOTH])
def test_every_entry_has_one(entry: str) -> None:
    for where in BOTH.get(entry) or (ORACLES[entry],):
        tried = entries_of(oracle_at(where))
        assert tried is None or entry in tried, where


def test_no_table_has_another_entry() -> None:
    corruptions = {name for modality in map(modalities.__getitem__, modalities) for name in modality.corruptions}
    attacks = {name for modality in map(modalities.__getitem__, modalities) for name in modality.attacks}
    assert corruptions | attacks | set(detectors) | set(set_methods) == set(ORACLES) | set(BOTH)
    assert corruptions & attacks == set(BOTH)
    assert set(signals) == OWN["signal"]
