"""`muster demo text`: which package does this documentation come from? Real, messy text that every install carries.

The documentation strings of installed packages hold what real data holds: exact copies, near-twins within and across
packages (one class documents what another documents again), e-mail addresses, and licences of nobody in particular.
Names that give the answer away are masked. A random split of such text leaks, and the leak makes the score look better;
the demo shows both, and that the leaky candidate is held.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.config_file import FILE_NAME, read_config, render_config
from passmuster.flows.demo.digits import LIMIT_BYTES, LIMIT_S, check_verdict
from passmuster.flows.demo.story import Client, Story, open_store
from passmuster.runtime.bundle import open_bundle
from passmuster.store.releases import read_bundle, read_channels, read_report
from passmuster.store.snapshots import read_findings, read_snapshot

PACKAGES = {
    "numpy": "numpy|np|ndarray",
    "scipy": "scipy|sp",
    "sklearn": "sklearn|scikit-learn|scikit",
    "polars": "polars|pl",
    "narwhals": "narwhals|nw",
    "sqlalchemy": "sqlalchemy|sa",
    "altair": "altair|alt|vega|vega-lite|vegalite",
    "rich": "rich",
}
NEVER_SEEN = ("torch", "torch|pytorch")
N_PER_PACKAGE, N_LABELLED_PER_PACKAGE, N_TRAFFIC, N_STRANGERS = 300, 110, 40, 600
MAX_CHARS = 400


@dataclass(frozen=True)
class Text:
    """One documentation string, its place in the package, and the package."""

    id: str
    text: str
    label: str


def tell(folder: Path) -> None:
    """Run the whole demo in `folder`."""
    story = Story(folder)
    rng = np.random.default_rng(0)
    story.chapter(f"1. {N_PER_PACKAGE} documentation strings of each of {len(PACKAGES)} packages, names masked")
    texts, traffic = gather(rng)
    n_labelled = write_table(folder / "random-split.csv", texts, rng, with_split=True)
    write_table(folder / "texts.csv", texts, rng, with_split=False)
    leaky, clean = folder / "leaky", folder / "clean"
    story.run(folder, "init", "leaky", "--modality", "text")
    state_policy(leaky)

    story.chapter(f"2. Split at random, as is the custom: {n_labelled} labelled texts, half of them to test on")
    story.run(leaky, "add", str(folder / "random-split.csv"), "--label-column", "package", "--split-column", "split")
    kinds = finding_counts(leaky)
    story.check("copies across the split are found", kinds.get("leakage", 0) > 0, f"{kinds.get('leakage', 0)} items")
    story.check("personal data is found", kinds.get("personal_data", 0) > 0, f"{kinds.get('personal_data', 0)} items")
    story.run(leaky, "train", "--time", "90s", "--rung", "static.v1")
    story.run(leaky, "evaluate")
    story.run(leaky, "release", expect=4)
    check_verdict(story, leaky, "HOLD")

    story.chapter("3. The same texts, split so that copies stay together")
    story.run(folder, "init", "clean", "--modality", "text")
    state_policy(clean)
    story.run(clean, "add", str(folder / "texts.csv"), "--label-column", "package")
    kinds = finding_counts(clean)
    story.check("no copy crosses Muster's own split", kinds.get("leakage", 0) == 0, f"{kinds.get('leakage', 0)} items")
    story.run(clean, "train", "--time", "90s", "--rung", "static.v1")
    print(f"What is strange to it, training tells by {chosen_detector(clean)}.")
    story.run(clean, "evaluate", "--novel", str(write_never_seen(folder / "never-seen.csv", rng)))
    story.run(clean, "release")
    check_verdict(story, clean, "SHIP")
    story.run(clean, "approve")
    with_twins, without = headline(leaky), headline(clean)
    story.check(
        "the held candidate had the better headline",
        with_twins > without,
        f"{with_twins:.3f} on the leaky split, {without:.3f} on the clean one",
    )

    story.chapter("4. Ask it; then ask about a package that it never saw")
    with story.serving(clean) as client:
        known = ask(client, traffic)
        print(f"{len(traffic)} texts of known packages: {known:.0%} called novel")
        strangers = list(read_package(*NEVER_SEEN, limit=N_STRANGERS, rng=rng))
        strange = ask(client, strangers)
        print(f"{len(strangers)} texts of {NEVER_SEEN[0]}: {strange:.0%} called novel")
    p = p_value_of_rise(known, len(traffic), strange, len(strangers))
    story.check("a package never seen arrives as novelty", p < 0.05, f"{known:.0%} to {strange:.0%} (p = {p:.2g})")

    story.chapter("5. Evidence that anyone can verify")
    story.run(clean, "verify")
    with open_store(clean).read() as db:
        live = read_channels(db)["live"].bundle
    with open_store(leaky).read() as db:
        held = read_bundle(db).digest
    print(f"Twins side by side: {leaky / '.muster' / 'reports' / held[:16] / 'report.html'}")
    story.ending(clean / ".muster" / "reports" / live[:16] / "report.html", limit_s=LIMIT_S, limit_bytes=LIMIT_BYTES)


def gather(rng: np.random.Generator) -> tuple[list[Text], list[Text]]:
    """Texts of every package for learning and testing, and some more as traffic."""
    texts: list[Text] = []
    traffic: list[Text] = []
    for package, names in PACKAGES.items():
        found = list(read_package(package, names, limit=N_PER_PACKAGE + N_TRAFFIC, rng=rng))
        texts += found[:N_PER_PACKAGE]
        traffic += found[N_PER_PACKAGE:]
    return texts, traffic


def read_package(package: str, names: str, *, limit: int, rng: np.random.Generator) -> Iterator[Text]:
    """Up to `limit` documentation strings of an installed package, read from its files and never imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return
    root = Path(next(iter(spec.submodule_search_locations)))
    mask = re.compile(rf"\b(?:{names})\b", re.IGNORECASE)
    files = sorted(p for p in root.rglob("*.py") if "tests" not in p.parts)
    n = 0
    for i in rng.permutation(len(files)):
        try:
            tree = ast.parse(files[i].read_text(encoding="utf-8"))
        except SyntaxError:  # templates and files for other versions of Python
            continue
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            text = mask.sub("____", ast.get_docstring(node) or "")[:MAX_CHARS]
            if len(text) >= 80:
                place = files[i].relative_to(root.parent).with_suffix("").as_posix()
                yield Text(f"{place}:{getattr(node, 'name', '')}:{getattr(node, 'lineno', 0)}", text, package)
                n += 1
            if n == limit:
                return


def write_table(path: Path, texts: Sequence[Text], rng: np.random.Generator, *, with_split: bool) -> int:
    """A CSV of id, text, package (for some) and, if asked, a random split; returns how many are labelled."""
    rows, n_labelled = [], 0
    seen: dict[str, int] = {}
    for text in texts:
        seen[text.label] = seen.get(text.label, 0) + 1
        labelled = seen[text.label] <= N_LABELLED_PER_PACKAGE
        n_labelled += labelled
        split = ("test" if seen[text.label] % 2 else "train") if labelled else "train"
        rows.append([text.id, text.text, text.label if labelled else "", *([split] if with_split else [])])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "package", *(["split"] if with_split else [])])
        writer.writerows(rows[i] for i in rng.permutation(len(rows)))
    return n_labelled


def write_never_seen(path: Path, rng: np.random.Generator) -> Path:
    """A CSV of texts of a package that is in no training data."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows((t.id, t.text) for t in read_package(*NEVER_SEEN, limit=200, rng=rng))
    return path


def chosen_detector(project: Path) -> str:
    """The novelty detector of the latest bundle, and why training chose it."""
    store = open_store(project)
    with store.read() as db:
        bundle = read_bundle(db)
    facts: Any = open_bundle(store.bundle_folder(bundle.path)).head["guard"]
    return f"{facts['detector']}: {facts['why']}"


def state_policy(project: Path) -> None:
    """Write the demo's policy: at least 60 % right among eight packages, and no copy between training and test."""
    config = read_config(project)
    gates: dict[str, dict[str, float]] = {
        "accuracy.v1": {"min": 0.60},
        "leakage.v1": {"max_twins": 0},
        "parity.v1": {"min_agreement": 0.99},
    }
    guard = replace(config.policy.guard, novelty_rate=0.05)
    data = replace(config.data, test_share=0.5, max_sealed_items=0)
    stated = replace(config, data=data, policy=replace(config.policy, gates=gates, guard=guard))
    (project / FILE_NAME).write_text(render_config(stated), encoding="utf-8")


def finding_counts(project: Path) -> dict[str, int]:
    """How many items each kind of finding names."""
    with open_store(project).read() as db:
        found = read_findings(db, read_snapshot(db).digest)
    return {kind: sum(len(f.items) for f in found if f.kind == kind) for kind in {f.kind for f in found}}


def headline(project: Path) -> float:
    """Accuracy of the latest bundle on its test set."""
    with open_store(project).read() as db:
        found = read_report(db, read_bundle(db).digest)
    metric = found[1].metric("accuracy") if found else None
    return metric.value if metric else float("nan")


def p_value_of_rise(before: float, n_before: int, after: float, n_after: int) -> float:
    """Fisher's exact one-sided test that the second rate is the larger one."""
    from scipy.stats import fisher_exact

    counts = [(round(rate * n), n) for rate, n in ((after, n_after), (before, n_before))]
    return float(fisher_exact([[k, n - k] for k, n in counts], alternative="greater").pvalue)


def ask(client: Client, texts: Sequence[Text]) -> float:
    """Ask about each text over HTTP; the share whose answer was withheld as novel."""
    answers = [client.post("/v1/predict", {"item": text.text}) for text in texts]
    return sum("novel" in answer["reasons"] for answer in answers) / len(answers)
