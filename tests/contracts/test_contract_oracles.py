"""Every entry of every table whose formula somebody published has an oracle, and every number that a report can hold.

What is Muster's own invention has no other version to be held against: it is named below; its properties are tested.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from passmuster.metrics.conformal import set_methods
from passmuster.metrics.fairness import GAPS
from passmuster.metrics.gates.find import gates
from passmuster.metrics.novelty.find import detectors
from passmuster.modality.find import modalities
from passmuster.modality.image.corruptions import COMMON, VALIDATION
from passmuster.signals.find import signals

TESTS = Path(__file__).parents[1]
EVALUATE = TESTS.parent / "src" / "passmuster" / "stages" / "evaluate"
RATES = "oracles/test_oracle_metrics.py::test_intervals_of_rates_and_mcnemar"
CERTAINTY, METRICS, SETS = (f"oracles/test_oracle_{name}.py::" for name in ("certainty", "metrics", "label_sets"))
CONFORMAL = "oracles/test_oracle_conformal.py::test_scores_and_thresholds_by_hand"
RISK = "oracles/test_oracle_risk_control.py::test_how_many_may_be_wrong_by_scipy"
TANGO = "oracles/test_oracle_faults.py::test_at_the_ends_of_tangos_interval_the_score_is_the_normal_quantile"
COSTS = CERTAINTY + "test_mean_cost_by_the_table_of_mistakes"
GROUPS = "oracles/test_oracle_fairness.py::test_gaps_as_defined"
NUMBERS = {
    "accuracy": METRICS + "test_accuracy_and_confusion", "macro_f1": METRICS + "test_macro_accuracy_and_f1",
    "macro_accuracy": METRICS + "test_macro_accuracy_and_f1", "recall": METRICS + "test_precision_and_recall",
    "precision": METRICS + "test_precision_and_recall", "item_f1": SETS + "test_f1_of_items",
    "micro_f1": SETS + "test_f1", "hamming_loss": SETS + "test_hamming_loss",
    "ranking_precision": SETS + "test_ranking_precision", "ece": CERTAINTY + "test_calibration_error",
    "ece_equal_mass": CERTAINTY + "test_calibration_error_of_equal_mass",
    "ece_classwise": CERTAINTY + "test_classwise_calibration_error", "nll": METRICS + "test_log_loss_and_brier",
    "brier": METRICS + "test_log_loss_and_brier",
    "aurc": METRICS + "test_area_under_risk_coverage",
    "augrc": CERTAINTY + "test_undetected_errors_by_the_area_under_the_roc_curve",
    "novelty_auroc": METRICS + "test_auroc_and_false_positives_by_the_roc_curve",
    "novelty_fpr95": METRICS + "test_auroc_and_false_positives_by_the_roc_curve",
    "novelty_fpr95_ordinary_positive": METRICS + "test_auroc_and_false_positives_by_the_roc_curve",
    "accuracy_under_faults": "oracles/test_oracle_faults.py::test_accuracy_under_faults_is_the_mean_over_all",
    "mce": "oracles/test_oracle_faults.py::test_corruption_error_is_errors_over_errors",
    **dict.fromkeys(("accuracy_difference", "robust_accuracy_change"), TANGO),
    **dict.fromkeys(("expected_cost", "cost_difference", "incumbent_cost", "cost_added", "cost_saved"), COSTS),
    **dict.fromkeys(("group_accuracy", *GAPS), GROUPS),
    **dict.fromkeys(("set_coverage", "set_size"), CONFORMAL),
    **dict.fromkeys(("promised_risk", "promised_share"), RISK),
    **dict.fromkeys(
        ("abstention_rate", "accuracy_answered", "no_answer", "novelty_flagged", "behaviour_failure_rate",
         "robust_accuracy", "slice_error", "negative_flip_rate"), RATES,
    ),
}  # fmt: skip
SPOILT = {
    **dict.fromkeys(("gaussian_noise.v2", "shot_noise.v1", "impulse_noise.v1", "speckle_noise.v1"), "noise"),
    **dict.fromkeys(("elastic_transform.v1", "spatter.v1"), "moved"),
}
IMAGES = {name: f"modality/test_image_corrupt_{SPOILT.get(name, 'oracles')}.py::" for name in (*COMMON, *VALIDATION)}
NOISE = "modality/test_image_corrupt_noise.py::"
ATTACKS = {
    **dict.fromkeys(
        ("apgd_ce.v1", "apgd_dlr.v1", "square.v1"), "oracles/test_oracle_attacks.py::test_as_many_fall_as_kept"
    ),
    **dict.fromkeys(
        ("characters.v1", "synonyms.v1"), "oracles/test_oracle_text_attacks.py::test_as_many_fall_as_by_textattack"
    ),
}
EVERYDAY = {
    **dict.fromkeys(
        ("gaussian_noise.v1", "blur.v1", "rotation.v1", "brightness.v1", "contrast.v1", "pixelation.v1", "occlusion.v1",
         "jpeg_compression.v1"), "modality/test_image_corrupt_everyday.py::",
    ),
    **dict.fromkeys(
        ("typos.v1", "ocr.v1", "casing.v1", "spaces.v1", "truncation.v1", "word_drop.v1", "misspellings.v1",
         "contractions.v1", "synonyms.v1", "names.v1", "gender.v1", "nationality.v1"),
        "modality/test_text_corrupt_oracles.py::",
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


def names_in(file: str) -> set[str]:
    return {node.name for node in ast.parse((TESTS / file).read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_number_of_a_report_has_an_oracle() -> None:
    assert numbers() == set(NUMBERS) | OWN["number"]
    for oracle in NUMBERS.values():
        file, _, name = oracle.partition("::")
        assert name in names_in(file), oracle


def oracles_in(file: str) -> set[str]:
    """The keys of a file's table ``ORACLES``."""
    for node in ast.parse((TESTS / "oracles" / file).read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ORACLES":
            assert isinstance(node.value, ast.Dict)
            return {ast.literal_eval(key) for key in node.value.keys if key is not None}
    raise AssertionError(f"{file} has no table ORACLES")


def test_every_gate_has_one() -> None:
    files = ("test_oracle_gates.py", "test_oracle_gates_holding.py", "test_oracle_gates_promised.py")
    assert set().union(*map(oracles_in, files)) == set(gates)


@pytest.mark.parametrize(
    ("file", "table"), [("test_oracle_novelty.py", detectors), ("test_oracle_conformal.py", set_methods)]
)
def test_every_detector_and_prediction_set_has_one(file: str, table) -> None:
    """Those files take their names from the table, and fail for one that they do not know."""
    text = (TESTS / "oracles" / file).read_text()
    assert f'parametrize("name", {"detectors" if table is detectors else "set_methods"}.names())' in text
    assert len(table)


def test_every_corruption_and_attack_has_one() -> None:
    corruptions = {name for modality in map(modalities.__getitem__, modalities) for name in modality.corruptions}
    attacks = {name for modality in map(modalities.__getitem__, modalities) for name in modality.attacks}
    assert corruptions == set(IMAGES) | set(EVERYDAY)
    assert attacks == set(ATTACKS)
    assert set(signals) == OWN["signal"]
    for name, file in {**IMAGES, **EVERYDAY}.items():
        text = (TESTS / file.removesuffix("::")).read_text()
        assert f'"{name}"' in text or name.split(".")[0] in text, name
    for oracle in ATTACKS.values():
        file, _, test = oracle.partition("::")
        assert test in names_in(file)
