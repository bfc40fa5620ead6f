"""A few labels per class on pictures: Fashion-MNIST with 10 and CIFAR-10 with 25, `--time 10m`, two cores.

The first draw of each set goes the whole way through the commands a user types; the encoders never see a label, so the
other draws refit and choose the heads on the first one's embeddings, exactly as training does. The peer, in the same
run on the same labels: histograms of oriented gradients with label spreading over them (scikit-learn), and, for
comparison, the same histograms with logistic regression. The official test is given to nobody.

    python bench/fewlabel_image.py [--quick] [--only fashion_mnist] [--draws N] [--json FILE]
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
from story import (
    Draw,
    Setting,
    every_setting,
    grey,
    hide,
    hog,
    hog_head,
    hog_logistic,
    read_fashion_mnist,
    refit,
    tell,
    write_images,
)

N_DRAWS = 10
N_GRAPH = 10_000  # unlabelled pictures in the peer's graph
N_NEIGHBOURS, ALPHA = 15, 0.5  # as Muster's own spreading; scikit-learn's defaults (7, 0.2) were not better


def main() -> None:
    """Every setting, every draw; print and write the claims."""
    every_setting("fewlabel_image", __doc__ or "", SETTINGS, measure, n_draws=N_DRAWS, n_quick=2)


def measure(setting: Setting, n_draws: int, arguments: Any, report: harness.Report, scratch: Path) -> None:
    """All draws of one set, the peers beside each, and the claims: accuracy, and the paired gain over the peer."""
    found, peers, heads = [], [], []
    for number in range(n_draws):
        seed = arguments.seed + number
        draw = setting.read(harness.bench_data(), seed, arguments.quick)
        began = time.perf_counter()
        peers.append(setting.peer(draw))
        peer_s = time.perf_counter() - began
        heads.append(hog_logistic(draw))
        if number == 0:
            run = tell(setting, draw, seed, scratch, setting.quick_time if arguments.quick else setting.time)
        else:
            run = refit(scratch / setting.claim / str(arguments.seed), draw, seed)
        found.append(run["accuracy"])
        report.run(setting=setting.claim, seed=seed, peer=setting.peer_name, peer_accuracy=peers[-1],
                   peer_seconds=round(peer_s, 2), hog_logistic_accuracy=heads[-1], **run)  # fmt: skip
        print(f"{setting.claim} draw {number}: {found[-1]:.4f} ({run['rung']}, {run['head']}, {run['train_s']:.0f} s); "
              f"{setting.peer_name} {peers[-1]:.4f}", file=sys.stderr)  # fmt: skip
    name, here = setting.claim, np.array(found)
    peer = {"name": setting.peer_name, "value": float(np.mean(peers)), "low": min(peers), "high": max(peers)}
    report.claim(f"{name}.accuracy", float(here.mean()), "share right", low=min(found), high=max(found), peer=peer)
    for over, theirs in (("hog_spreading", np.array(peers)), ("hog_logistic", np.array(heads))):
        gain = here - theirs
        report.claim(f"{name}.paired_gain_over_{over}", float(gain.mean()), "share right",
                     low=float(gain.min()), high=float(gain.max()), peer=float(theirs.mean()))  # fmt: skip


def hog_spreading(draw: Draw) -> float:
    """Label spreading (Zhou et al. 2004, as scikit-learn has it) over the labelled and some of the unlabelled.

    Test pictures whose neighbours no label reaches are answered by logistic regression.
    """
    from sklearn.semi_supervised import LabelSpreading

    names, y = np.unique(draw.labels, return_inverse=True)
    y = y - 1 if names[0] == "" else y  # -1: hidden
    known = np.flatnonzero(y >= 0)
    others = np.flatnonzero(y < 0)
    rng = np.random.default_rng(len(draw.labels))
    chosen = np.concatenate([known, rng.choice(others, min(N_GRAPH, len(others)), replace=False)])
    x = hog(grey(np.stack([draw.payloads[i] for i in chosen])))
    model = LabelSpreading(kernel="knn", n_neighbors=N_NEIGHBOURS, alpha=ALPHA, max_iter=100).fit(x, y[chosen])
    z = hog(grey(np.stack(draw.test_payloads)))
    with np.errstate(invalid="ignore"):
        shares = model.predict_proba(z)
    unreached = ~np.isfinite(shares).all(axis=1)
    answers = names[1:][np.where(unreached, 0, np.nan_to_num(shares).argmax(axis=1))]
    answers[unreached] = hog_head(x[: len(known)], names[1:][y[known]]).predict(z[unreached]) if unreached.any() else ""
    return float((answers == draw.test_labels).mean())


def read_cifar10(data: Path, seed: int, quick: bool) -> Draw:
    """25 labels per class; when quick, 3,000 of the training images and 1,000 of the test."""
    from PIL import Image

    with np.load(data / "cifar10" / "cifar10_jpeg.npz", allow_pickle=False) as arrays:
        jpeg, offsets = arrays["jpeg"], arrays["offsets"]
        names = np.array([str(name) for name in arrays["class_names"]])[arrays["label"]]
        is_test = arrays["is_test"].astype(bool)
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if quick:
        train = np.sort(np.random.default_rng(1).choice(train, 3_000, replace=False))
        test = test[::10]
    labels = hide(names[train], 25, seed)

    def image(i: int) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())).convert("RGB"))

    return Draw(np.stack([image(i) for i in train]), labels, [image(i) for i in test], names[test])


SETTINGS = (
    Setting("fashion_mnist.10_per_class", "image", read_fashion_mnist, write_images, hog_spreading,
            "HOG + label spreading", "10m"),
    Setting("cifar10.25_per_class", "image", read_cifar10, write_images, hog_spreading, "HOG + label spreading", "10m"),
)  # fmt: skip

if __name__ == "__main__":
    main()
