"""What fairlearn, MAPIE, netcal, torchmetrics, torch-uncertainty and pytorch-ood answer to a thousand cases each.

`reference_expected.npz` keeps their answers. With two interpreters, of which the first has fairlearn (0.15.0), MAPIE
(1.6.0) and netcal (1.4.0), the other torch, pandas, scikit-learn, torchmetrics (1.9.0), torch-uncertainty (0.13.0) and
pytorch-ood (0.4.0), without torchvision (what else these import the questions do not need, and is stood in for):

python tests/reference_case.py PYTHON PYTHON   ask all of them anew
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

EXPECTED = Path(__file__).with_name("reference_expected.npz")
N_CASES = 1_000
KINDS = ("accuracy", "selection", "opportunity", "false_alarms", "precision")


@dataclass(frozen=True)
class Groups:
    """True and said classes, groups and weights of the items of all cases, end to end, with the number of the case."""

    case: np.ndarray
    y: np.ndarray
    said: np.ndarray
    group: np.ndarray
    weights: np.ndarray


@cache
def groups() -> Groups:
    """One class or more, groups without an item or with too few, all right or all wrong; two classes at most."""
    rng, found = np.random.default_rng(0), []
    for number in range(N_CASES):
        n, c = int(rng.integers(20, 90)), int(rng.choice([1, 2], p=[0.1, 0.9]))
        y = rng.integers(0, c, n)
        said = np.where(rng.random(n) < rng.choice([0.0, 0.7, 1.0], p=[0.1, 0.8, 0.1]), y, rng.integers(0, c, n))
        shares = [[0.6, 0.3, 0.1], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]][int(rng.choice(3, p=[0.8, 0.1, 0.1]))]
        weights = rng.choice([1.0, 3.5], n) if number % 4 == 1 else np.ones(n)
        found.append((np.full(n, number), y, said, rng.choice(3, n, p=shares), weights))
    return Groups(*(np.concatenate(column) for column in zip(*found)))


@dataclass(frozen=True)
class Answers:
    """Probabilities (n, c), labels (n,), numbers of chance (n,) and a coverage that is wanted."""

    p: np.ndarray
    labels: np.ndarray
    u: np.ndarray
    coverage: float


@cache
def answers() -> list[Answers]:
    """Few items, classes without an item, sure and unsure ones, ties in every third; weighed by nothing."""
    found = []
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        n, c = int(rng.integers(2, 40)), int(rng.integers(2, 6))
        p = rng.dirichlet(np.full(c, rng.choice([0.2, 1.0, 20.0])), n)
        if number % 3 == 0:
            p = np.round(20 * p + 0.5)
        p = p / p.sum(axis=1, keepdims=True)
        found.append(Answers(p, rng.integers(0, rng.integers(1, c + 1), n), rng.random(n), rng.choice([0.5, 0.8, 0.9])))
    return found


@dataclass(frozen=True)
class Strange:
    """Embeddings (n, d), those of new items (3, d), and the head between them and logits: (d, c) and (c,)."""

    x: np.ndarray
    new: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def logits(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows @ self.weight + self.bias)


@cache
def strange() -> list[Strange]:
    """More items than dimensions, ties in every third, one class said of all in every fourth."""
    found = []
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        d = int(rng.integers(2, 6))
        n, c = int(rng.integers(8 * d, 60)), int(rng.integers(d + 1, 9))  # so many classes that the head reads all
        x, new = rng.normal(1, 1, (n, d)), rng.normal(1, 3, (3, d))
        if number % 3 == 0:
            x, new = np.round(2 * x) / 2, np.round(new)
            x[~x.any(axis=1)] = 1.0  # what points nowhere is nobody's neighbour here, and everybody's there
        bias = rng.normal(3, 1, c) + (30.0 if number % 4 == 1 else 0.0) * (np.arange(c) == 0)
        found.append(Strange(x, new, rng.normal(size=(d, c)) / d, bias))
    return found


# Where fairlearn, MAPIE and netcal are. MAPIE ranks tied classes in whatever order its sort leaves them, and weighs the
# true class by one minus a number of chance; netcal puts a value on an edge into the bin above. So ties are parted by a
# hair, the numbers are one minus ours, and values a little under.
FIRST = """
import sys, warnings
from pathlib import Path
import numpy as np
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from mapie.conformity_scores.sets.aps import APSConformityScore
from mapie.conformity_scores.sets.lac import LACConformityScore
from mapie.conformity_scores.sets.raps import RAPSConformityScore
from netcal.metrics import ECE
from sklearn.metrics import accuracy_score, precision_score

warnings.simplefilter("ignore")
folder, found = Path(sys.argv[1]), {}
of = dict(np.load(folder / "groups.npz"))
N, FEWEST = 1000, 10

def gaps(metric, among, y, said):
    "The widest gap of each case, of groups with enough items behind a rate; nothing with fewer than two of those."
    behind = np.zeros((N, 3), int)
    np.add.at(behind, (of["case"][among], of["group"][among]), 1)
    keep = behind[of["case"], of["group"]] >= FEWEST
    frame = MetricFrame(
        metrics=metric, y_true=y[keep], y_pred=said[keep], sensitive_features=of["group"][keep],
        control_features=of["case"][keep], sample_params={"sample_weight": of["weights"][keep]},
    )
    gap = frame.difference(method="between_groups")
    out = np.full(N, np.nan)
    out[gap.index.to_numpy().astype(int)] = gap.to_numpy()
    return np.where((behind >= FEWEST).sum(axis=1) > 1, out, np.nan)

def precision(y_true, y_pred, sample_weight=None):
    return precision_score(y_true, y_pred, sample_weight=sample_weight, zero_division=np.nan)

every = np.ones(len(of["y"]), bool)
found["accuracy"] = gaps(accuracy_score, every, of["y"], of["said"])[:, None]
by_class = {"selection": [], "opportunity": [], "false_alarms": [], "precision": []}
for c in (0, 1):
    y, said = (of["y"] == c).astype(int), (of["said"] == c).astype(int)
    by_class["selection"].append(gaps(selection_rate, every, y, said))
    by_class["opportunity"].append(gaps(true_positive_rate, y == 1, y, said))
    by_class["false_alarms"].append(gaps(false_positive_rate, y == 0, y, said))
    by_class["precision"].append(gaps(precision, said == 1, y, said))
found.update({kind: np.stack(both, axis=1) for kind, both in by_class.items()})

class Given(np.random.RandomState):
    def uniform(self, size):
        return self.u

cases = np.load(folder / "answers.npz")
lists = {name: [] for name in ("lac", "aps", "raps", "ece")}
for i in range(N):
    p, labels, u, coverage = (cases[f"{i}/{name}"] for name in ("p", "labels", "u", "coverage"))
    n, c = p.shape
    parted, y, alpha = p - 1e-12 * np.arange(c), labels, np.array([1 - coverage])
    chance = Given(0)
    chance.u = 1 - u
    for name, score in (("lac", LACConformityScore()), ("aps", APSConformityScore()), ("raps", APSConformityScore())):
        score.set_external_attributes(classes=np.arange(c), random_state=chance)
        if name == "lac":
            own = score.get_conformity_scores(y, parted, y_enc=y)
        elif c == 2:  # of two classes MAPIE's table of true classes has one column
            three = np.column_stack([np.full(n, -1.0), parted])
            score.set_external_attributes(classes=np.arange(3), random_state=chance)
            own = score.get_conformity_scores(y + 1, three, y_enc=y + 1)
            ranks = score.cutoff
        else:
            own = score.get_conformity_scores(y, parted, y_enc=y)
            ranks = score.cutoff
        if name == "raps":
            own = RAPSConformityScore._regularize_conformity_score(np.array([2]), 0.05, own, ranks)[:, :, 0]
        if round((n + 1) * coverage, 9) > n:
            lists[name].append(np.nan)
        else:
            lists[name].append(float(score.get_conformity_score_quantiles(own, alpha, cv="prefit")[0]))
    lists["ece"].append(float(ECE(15).measure(p.max(axis=1) - 1e-12, (p.argmax(axis=1) == labels).astype(int))))
found.update({name: np.array(values) for name, values in lists.items()})
np.savez(folder / "first.npz", **found)
"""

# Where pytorch-ood and torch-uncertainty are, which compute in double precision here. Detectors answer in units of
# their own: sums for means, half of a square, covariances that are not divided by the number of items.
SECOND = """
import importlib.abc, importlib.machinery, importlib.util, sys, warnings
from pathlib import Path
from unittest.mock import MagicMock
import numpy as np
import torch

UNASKED = {"torchvision", "matplotlib", "PIL", "tqdm", "requests", "gdown", "huggingface_hub", "lightning"}

class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in UNASKED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        made = MagicMock(name=spec.name)
        made.__path__, made.__spec__, made.__name__ = [], spec, spec.name
        return made
    def exec_module(self, module):
        pass

warnings.simplefilter("ignore")
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error
sys.meta_path.insert(0, StandIn())
torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double
from pytorch_ood.detector import GEN, KNN, RMD, EnergyBased, Mahalanobis, MaxLogit, MaxSoftmax, ViM, fDBD
place = Path(importlib.util.find_spec("torch_uncertainty").submodule_search_locations[0])
spec = importlib.util.spec_from_file_location("risk", place / "metrics" / "classification" / "risk_coverage.py")
risk = importlib.util.module_from_spec(spec)
spec.loader.exec_module(risk)

folder, N = Path(sys.argv[1]), 1000
cases = np.load(folder / "answers.npz")
names = ("torch_ece", "classwise", "aurc", "augrc")
lists = {name: [] for name in names}
for i in range(N):
    p, labels = torch.tensor(cases[f"{i}/p"]), torch.tensor(cases[f"{i}/labels"])
    under, c = (p - 1e-12).clamp(0, 1), p.shape[1]
    lists["torch_ece"].append(float(multiclass_calibration_error(under, labels, c, n_bins=15, norm="l1")))
    parts = [binary_calibration_error(under[:, k], (labels == k).int(), n_bins=15, norm="l1") for k in range(c)]
    lists["classwise"].append(float(torch.stack(parts).mean()))
    for name, metric in (("aurc", risk.AURC()), ("augrc", risk.AUGRC())):
        metric.update(p + 1e-9 * torch.tensor(cases[f"{i}/u"])[:, None], labels)  # no two items as sure as each other
        lists[name].append(float(metric.compute()))

kept = np.load(folder / "strange.npz")
scores = {name: [] for name in ("msp", "max_logit", "energy", "gen", "knn", "mahalanobis", "rmds", "fdbd", "vim")}
for i in range(N):
    x, new, weight, bias = (torch.tensor(kept[f"{i}/{name}"]) for name in ("x", "new", "weight", "bias"))
    logits, n, (d, c) = new @ weight + bias, len(x), weight.shape
    said = torch.unique((x @ weight + bias).argmax(1), return_inverse=True)[1]
    head = torch.nn.Linear(d, c)
    head.weight.data, head.bias.data = weight.T.contiguous(), bias
    knn = KNN(None, k=min(10, n)).fit_features(x, said)
    knn.knn.n_jobs = 1
    scores["msp"].append(1 + MaxSoftmax.score(logits))
    scores["max_logit"].append(MaxLogit.score(logits))
    scores["energy"].append(EnergyBased.score(logits))
    scores["gen"].append(c * GEN.score(0.3 * logits, gamma=0.1, M=100))
    scores["knn"].append(knn.predict_features(new))
    scores["mahalanobis"].append(2 * n * Mahalanobis(None).fit_features(x, said).predict_features(new))
    scores["rmds"].append(n * RMD(None).fit_features(x, said).predict_features(new))
    scores["fdbd"].append(fDBD(None, head).fit_features(x).predict_features(new))
    scores["vim"].append(ViM(None, d // 2, weight.T, bias).fit_features(x, said).predict_features(new))
found = {name: np.array(values) for name, values in lists.items()}
found |= {name: torch.stack(rows).detach().numpy() for name, rows in scores.items()}
np.savez(folder / "second.npz", **found)
"""


def ask(first: str, second: str, folder: Path) -> dict[str, np.ndarray]:
    """The answers by name: (cases,), gaps (cases, classes), scores of new items (cases, 3); NaN where there is none."""
    np.savez(folder / "groups.npz", **vars(groups()))
    for name, cases in (("answers", answers()), ("strange", strange())):
        np.savez(
            folder / f"{name}.npz", **{f"{i}/{k}": v for i, case in enumerate(cases) for k, v in vars(case).items()}
        )
    found: dict[str, np.ndarray] = {}
    for name, python, program in (("first", first, FIRST), ("second", second, SECOND)):
        subprocess.run([python, "-c", program, str(folder)], check=True, cwd=folder)
        found |= dict(np.load(folder / f"{name}.npz"))
    return found


@cache
def expected() -> dict[str, np.ndarray]:
    """What the file keeps, as `ask` gave it, in single precision."""
    return {name: values.astype(np.float64) for name, values in np.load(EXPECTED).items()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asked = ask(sys.argv[1], sys.argv[2], Path(scratch))
    np.savez_compressed(EXPECTED, **{name: values.astype(np.float32) for name, values in asked.items()})
