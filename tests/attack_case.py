"""Small convolutional networks, and the shares of their right answers that attacks of `torchattacks` make wrong.

`attack_models.npz` keeps their weights, `attack_expected.json` those shares. The handwritten digits come with
scikit-learn; Fashion-MNIST and CIFAR-10 are read from the folder that ``MUSTER_BENCH_DATA`` names. With torch, and
with an interpreter PYTHON that has torch and torchattacks (3.5.1 was asked; installed with ``--no-deps`` it wants
scipy, tqdm and requests too):

python tests/attack_case.py train          train the networks anew
python tests/attack_case.py write PYTHON   ask torchattacks anew
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("attack_models.npz")
EXPECTED = Path(__file__).with_name("attack_expected.json")
ATTACKS = ("apgd_ce.v1", "apgd_dlr.v1", "square.v1")
N_STEPS, N_QUERIES = 50, 200  # of gradient attacks, of Square


def n_seeds(name: str, attack: str) -> int:
    """Of how many the mean is kept: torchattacks draws a square for all pictures at once, and its shares scatter."""
    return 40 if attack == "square.v1" and name in ("digits", "cifar10") else 4


@dataclass(frozen=True)
class Case:
    """A network: its images, the widths of its convolutions, and the sizes of change it is tried at, of 255 levels."""

    data: str
    widths: tuple[int, int]
    levels: tuple[int, ...]
    hardened: int = 0  # levels of the changes that it was trained against


CASES = {
    "digits": Case("digits", (8, 16), (16, 28)),
    "fashion": Case("fashion_mnist", (8, 16), (4, 8)),
    "fashion_hardened": Case("fashion_mnist", (8, 16), (8, 16), hardened=8),
    "cifar10": Case("cifar10", (16, 24), (1, 2)),
}
N_ITEMS = 350  # of each network that it answers rightly: 1,050 different images in all


@cache
def images_of(data: str, test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, c, h, w) uint8 and their classes (n,): 1,000 of the test part, or 12,500 of the other."""
    n = 1_000 if test else 12_500
    if data == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        part = slice(1_000, None) if test else slice(1_000)  # of 1,797
        return np.round(found.images[part] * 255 / 16).astype(np.uint8)[:, None], found.target[part]
    folder = Path(os.environ["MUSTER_BENCH_DATA"])
    if data == "fashion_mnist":
        with np.load(folder / "fashion_mnist" / "fashion_mnist.npz") as kept:
            part = "test" if test else "train"
            images, classes = kept[f"x_{part}"][:n, None], kept[f"y_{part}"][:n].astype(int)
    else:
        from PIL import Image

        with np.load(folder / "cifar10" / "cifar10_jpeg.npz") as kept:
            jpeg, at, chosen = kept["jpeg"].tobytes(), kept["offsets"], np.flatnonzero(kept["is_test"] == test)
            chosen = chosen[:: len(chosen) // n][:n]  # they lie by class
            classes = kept["label"].astype(int)[chosen]
        opened = [Image.open(io.BytesIO(jpeg[at[i] : at[i + 1]])).convert("RGB") for i in chosen]
        images = np.stack([np.asarray(image) for image in opened]).transpose(0, 3, 1, 2)
    return images, classes


def weights_of(name: str) -> dict[str, np.ndarray]:
    """Of one network: k1 (a, c, 3, 3), b1, k2 (b, a, 3, 3), b2, w (b·h/4·w/4, classes), b."""
    with np.load(WEIGHTS) as kept:
        return {key.split("/")[1]: kept[key].astype(np.float32) for key in kept.files if key.split("/")[0] == name}


# The network, for whoever has torch and not Muster: two convolutions, halved each, and a product.
NETWORK = """
import torch
from torch.nn import functional

class Network(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.ParameterDict({k: torch.nn.Parameter(torch.as_tensor(v)) for k, v in weights.items()})

    def forward(self, x):
        w = self.weights
        for i in "12":
            x = functional.max_pool2d(functional.relu(functional.conv2d(x, w["k" + i], w["b" + i], padding=1)), 2)
        return x.flatten(1) @ w["w"] + w["b"]
"""

# Runs where torchattacks is: from a folder of problems to the share of each that falls, by attack, size and seed.
PROGRAM = (
    NETWORK
    + """
import json
import sys
from pathlib import Path
import numpy as np
import torchattacks
folder = Path(sys.argv[1])
said = json.loads((folder / "jobs.json").read_text())
shares = []
for name, attack, levels, seed in said["jobs"]:
    kept = dict(np.load(folder / (name + ".npz")))
    x, y = torch.from_numpy(kept.pop("x")).float() / 255, torch.from_numpy(kept.pop("y"))
    network = Network(kept).eval()
    if attack == "square.v1":
        made = torchattacks.Square(network, eps=levels / 255, n_queries=said["n_queries"], seed=seed)
    else:
        loss = {"apgd_ce.v1": "ce", "apgd_dlr.v1": "dlr"}[attack]
        made = torchattacks.APGD(network, eps=levels / 255, steps=said["n_steps"], loss=loss, seed=seed)
    with torch.no_grad():
        shares.append(float((network(made(x, y)).argmax(1) != y).float().mean()))
(folder / "shares.json").write_text(json.dumps(shares))
"""
)


def problem(name: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A network's weights, and the first images that it answers rightly, with their classes."""
    weights, (images, classes) = weights_of(name), images_of(CASES[name].data, test=True)
    right = np.flatnonzero(answers(weights, images).argmax(axis=1) == classes)[:N_ITEMS]
    return weights, images[right], classes[right]


def answers(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Scores (n, classes) of images (n, c, h, w) uint8, by torch."""
    import torch

    space: dict = {}
    exec(NETWORK, space)
    with torch.no_grad():
        return np.asarray(space["Network"](weights)(torch.from_numpy(images).float() / 255))


def ask_torchattacks(python: str, names: list[str], folder: Path) -> dict[str, float]:
    """By ``name attack levels`` the share of right answers that falls, the mean over seeds."""
    jobs = []
    for name in names:
        weights, x, y = problem(name)
        np.savez(folder / f"{name}.npz", x=x, y=y, **weights)
        jobs += [
            (name, attack, n, seed)
            for attack in ATTACKS for n in CASES[name].levels for seed in range(n_seeds(name, attack))
        ]  # fmt: skip
    (folder / "jobs.json").write_text(json.dumps({"jobs": jobs, "n_steps": N_STEPS, "n_queries": N_QUERIES}))
    subprocess.run([python, "-c", PROGRAM, str(folder)], check=True, cwd=folder)
    shares = json.loads((folder / "shares.json").read_text())
    return {
        f"{name} {attack} {n}": float(np.mean([s for s, job in zip(shares, jobs) if job[:3] == (name, attack, n)]))
        for name, attack, n, seed in jobs
        if seed == 0
    }


def expected() -> dict[str, float]:
    """What the file keeps, as `ask_torchattacks` gave it."""
    return dict(json.loads(EXPECTED.read_text()))


def train(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """Adam for some passes over the images, hardened by one gradient step first."""
    import torch
    from torch.nn import functional

    images, classes = images_of(case.data, test=False)
    rng, (a, b), (c, h, w) = np.random.default_rng(seed), case.widths, images.shape[1:]
    flat, n_classes = b * (h // 4) * (w // 4), 10
    torch.manual_seed(seed)
    made = {
        "k1": rng.normal(size=(a, c, 3, 3)) * (2 / (9 * c)) ** 0.5, "b1": np.zeros(a),
        "k2": rng.normal(size=(b, a, 3, 3)) * (2 / (9 * a)) ** 0.5, "b2": np.zeros(b),
        "w": rng.normal(size=(flat, n_classes)) / flat**0.5, "b": np.zeros(n_classes),
    }  # fmt: skip
    space: dict = {}
    exec(NETWORK, space)
    network = space["Network"]({k: v.astype(np.float32) for k, v in made.items()})
    n_passes = {"digits": 20, "fashion_mnist": 4, "cifar10": 5}[case.data]
    n_steps = n_passes * (len(images) // 100)
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(adam, 6e-3, total_steps=n_steps)
    for step in range(n_steps):
        if step % (len(images) // 100) == 0:
            order = rng.permutation(len(images))
        at = order[(step * 100) % (len(images) - 99) :][:100]
        x, y = torch.from_numpy(images[at]).float() / 255, torch.from_numpy(classes[at])
        if case.hardened:
            bound = case.hardened / 255
            moved = (x + bound * (2 * torch.rand(x.shape) - 1)).requires_grad_()
            (slope,) = torch.autograd.grad(functional.cross_entropy(network(moved), y), moved)
            x = torch.clamp(x + torch.clamp(moved.detach() - x + 1.25 * bound * slope.sign(), -bound, bound), 0, 1)
        adam.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        adam.step()
        pace.step()
    return {k: v.detach().numpy().astype(np.float16) for k, v in network.weights.items()}


if __name__ == "__main__":
    if sys.argv[1] == "train":
        trained = {name: train(case) for name, case in CASES.items()}
        np.savez_compressed(WEIGHTS, **{f"{name}/{k}": v for name, kept in trained.items() for k, v in kept.items()})
    else:
        with tempfile.TemporaryDirectory() as scratch:
            asked = ask_torchattacks(sys.argv[2], list(CASES), Path(scratch))
        EXPECTED.write_text(json.dumps({k: round(v, 4) for k, v in asked.items()}, indent=1) + "\n")
