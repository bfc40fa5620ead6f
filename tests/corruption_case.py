"""The published constants of the 19 corruptions, a thousand pictures for each, and what the library makes of them.

The library is `imagecorruptions` 1.1.2 (Michaelis et al. 2019), which carries the authors' formulas with the constants
of ImageNet alone: its source is run with the constants that are asked for, and with the numbers that ours draws, so
that what chance decides is equal too. What the library does otherwise than its authors is set back (`PROGRAM`).

`corruption_expected.npz` keeps of each answer its mean, its deviation and two projections. With an interpreter PYTHON
that has imagecorruptions, numpy, scipy, scikit-image and opencv-python-headless:

python tests/corruption_case.py PYTHON   ask the library anew
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

EXPECTED = Path(__file__).with_name("corruption_expected.npz")
N_CASES = 1_000
SIZES = ("cifar", "tiny", "imagenet")
SHAPES = np.array([(0, 0), (11, 2), (3, 10), (7, 7), (0, 5), (6, 1)])  # pixels over the least
TIMES = 244 / 224  # the authors' lengths for ImageNet are of 244 pixels, and were applied to 224

# By Hendrycks and Dietterich's make_cifar_c.py, make_tinyimagenet_c.py and make_imagenet_c.py, severities 1 to 5.
PUBLISHED: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]] = {
    "gaussian_noise.v2": (
        (0.04, 0.06, 0.08, 0.09, 0.1), (0.04, 0.08, 0.12, 0.15, 0.18), (0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise.v1": ((500, 250, 100, 75, 50), (250, 100, 50, 30, 15), (60, 25, 12, 5, 3)),
    "impulse_noise.v1": (
        (0.01, 0.02, 0.03, 0.05, 0.07), (0.01, 0.02, 0.05, 0.08, 0.14), (0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "speckle_noise.v1": ((0.06, 0.1, 0.12, 0.16, 0.2), (0.15, 0.2, 0.25, 0.3, 0.35), (0.15, 0.2, 0.35, 0.45, 0.6)),
    "gaussian_blur.v1": ((0.4, 0.6, 0.7, 0.8, 1), (0.5, 0.75, 1, 1.25, 1.5), (1, 2, 3, 4, 6)),
    "glass_blur.v1": (
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "defocus_blur.v1": (
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "motion_blur.v1": (
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur.v1": (  # the end of the factors, and the step from one to the next
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "fog.v1": (
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "frost.v1": (
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "snow.v1": (
        ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
         (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
        ((0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.1, 0.2, 1, 0.5, 10, 4, 0.8), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
         (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)),
        ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
         (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
    ),
    "spatter.v1": (
        ((0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5, 0),
         (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1)),
        ((0.62, 0.1, 0.7, 0.7, 0.6, 0), (0.65, 0.1, 0.8, 0.7, 0.6, 0), (0.65, 0.3, 1, 0.69, 0.6, 0),
         (0.65, 0.1, 0.7, 0.68, 0.6, 1), (0.65, 0.1, 0.5, 0.67, 0.6, 1)),
        ((0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
         (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1)),
    ),
    "contrast.v2": ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness.v2": ((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "saturate.v1": (
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
    "jpeg_compression.v1": ((80, 65, 58, 50, 40), (65, 58, 50, 40, 25), (25, 18, 15, 10, 7)),
    "pixelate.v1": ((0.95, 0.9, 0.85, 0.75, 0.65), (0.9, 0.8, 0.7, 0.6, 0.5), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "elastic_transform.v1": (  # in sides of the picture
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        ((2 * TIMES, 0.7 * TIMES, 0.1 * TIMES), (2 * TIMES, 0.08 * TIMES, 0.2 * TIMES),
         (0.05 * TIMES, 0.01 * TIMES, 0.02 * TIMES), (0.07 * TIMES, 0.01 * TIMES, 0.02 * TIMES),
         (0.12 * TIMES, 0.01 * TIMES, 0.02 * TIMES)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A picture (h, w, 1 or 3) uint8, whose constants, which severity, and the seed of what chance decides."""

    picture: np.ndarray
    size: int
    severity: int
    seed: int

    def constants(self, name: str) -> Any:
        found = PUBLISHED[name][self.size][self.severity - 1]
        return np.arange(1, *found) if name == "zoom_blur.v1" else found


@cache
def cases(name: str) -> list[Case]:
    """Noise, flat colours, black and white alone, soft and hard steps; grey or coloured, of odd and even sides."""
    rng, found = np.random.default_rng(sorted(PUBLISHED).index(name)), []
    for number in range(N_CASES):
        least = {"snow.v1": 29, "motion_blur.v1": (26, 26, 42)[number // 5 % 3]}.get(name, 13)
        h, w = least + SHAPES[rng.integers(len(SHAPES))]  # beyond a side's length the library lets what moves end
        if name == "elastic_transform.v1":  # the authors take the height for the width, so that only squares are told
            w = h
        channels = 1 if number % 4 == 3 else 3
        x = rng.integers(0, 256, (h, w, channels)).astype(float)
        if number % 7 == 1:
            x[:] = x[0, 0]
        elif number % 7 == 2:
            x = np.where(x > 127, 255, 0)
        elif number % 7 > 2:
            rough = rng.uniform(0, 255, (h // 6 + 1, w // 6 + 1, channels)).repeat(6, axis=0).repeat(6, axis=1)
            x = rough[:h, :w] + rng.normal(0, 4 * (number % 7 - 3), (h, w, channels))
        picture = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        case = Case(picture, number // 5 % 3, 1 + number % 5, number)
        while name == "spatter.v1" and overflows(case):
            case = replace(case, seed=case.seed + N_CASES)
        found.append(case)
    return found


def overflows(case: Case) -> bool:
    """Whether so much water lies somewhere that the published conversion to bytes begins again at nought."""
    from scipy.ndimage import gaussian_filter

    mean, spread, smooth, *_ = case.constants("spatter.v1")
    noise = mean + spread * np.random.default_rng(case.seed).standard_normal(case.picture.shape[:2])
    return bool(gaussian_filter(noise, smooth, mode="nearest").max() > 255.9 / 255)


# What is kept of pictures (h, w, c) in [0, 1]: a difference of root mean square d moves either projection by about d.
SUMMARY = """
import numpy as np

def summary(x):
    x = np.asarray(x, dtype=np.float64).ravel()
    at = np.arange(1.0, len(x) + 1)
    signs = [np.cos(at * (0.5 + 2**0.5 * k)) * (2 / len(x)) ** 0.5 for k in (1, 2)]
    return [x.mean(), x.std(), x @ signs[0], x @ signs[1]]
"""

# Runs where the library is. Set back to what its authors published: snow is cut to whole levels before it is smeared,
# an enlarged picture is trimmed on both sides alike, small pixels are enlarged by areas, and elastic moves three points
# before the rest. Glass is given one channel at a time, as in three its swap of two pixels copies one over the other;
# a pane over a grey picture comes as RGB, as the library weighs it. What rounding leaves a
# thousandth under a whole level is that level. Where no water is, the library divides by nothing.
PROGRAM = (
    SUMMARY
    + """
import ast, importlib.util, json, sys, types, warnings
from pathlib import Path
import cv2
import scipy.ndimage
import skimage.color, skimage.filters, skimage.util
from PIL import Image

warnings.simplefilter("ignore")
sys.modules["pkg_resources"] = types.SimpleNamespace(resource_filename=lambda *place: place[-1])
path = Path(importlib.util.find_spec("imagecorruptions").origin).with_name("corruptions.py")
tree = ast.parse(path.read_text())
for function in tree.body:
    for node in getattr(function, "body", []):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "c" and "severity" in ast.unparse(node):
            node.value = ast.copy_location(ast.Name("GIVEN", ast.Load()), node.value)

class Chance:
    def __init__(self, name, seed, shape, c):
        self.name, self.rng, self.shape, self.c, self.left = name, np.random.default_rng(seed), shape, c, []

    def normal(self, size, scale, loc=0.0):
        if self.name in ("snow", "spatter"):
            return (loc + scale * self.rng.standard_normal(size)).astype(np.float32)
        return scale * self.rng.standard_normal((*size, 1)[:3], dtype=np.float32).reshape(size).astype(float)

    def poisson(self, lam):
        return self.rng.poisson(np.float32(lam))

    def uniform(self, low, high, size=None):
        return self.rng.uniform(low, high, size)

    def randint(self, low, high=None, size=None):
        if self.name == "frost":
            if high is None:
                return 0
            self.left = self.left or self.rng.integers(0, self.c["side"], size=2).tolist()
            return self.left.pop(0)
        if not self.left:
            rows, columns = (n - 2 * high for n in self.shape[:2])
            self.left = self.rng.integers(low, high, size=(rows, columns, 2)).reshape(-1, 2).tolist()
        down, right = self.left.pop(0)
        return right, down

class Salted(np.random.Generator):
    "Which values are lost, and which of them become white, from one number each."
    def __init__(self, seed, share):
        super().__init__(np.random.PCG64(0))
        self.drawn, self.share = seed, share
    def random(self, shape):
        if isinstance(self.drawn, int):
            self.drawn = np.random.default_rng(self.drawn).random((*shape, 1)[:3], dtype=np.float32).reshape(shape)
            return np.where(self.drawn < self.share, 0.0, 1.0)
        return np.where(self.drawn < self.share / 2, 1.0, 0.0)

def blurred(x, sigma, multichannel=False, **options):
    return skimage.filters.gaussian(x, sigma=sigma, channel_axis=2 if multichannel and x.ndim == 3 else None, **options)

def trimmed(x, factor):
    inner = [int(np.ceil(n / factor)) for n in x.shape[:2]]
    first = [(n - m) // 2 for n, m in zip(x.shape, inner)]
    part = x[first[0] : first[0] + inner[0], first[1] : first[1] + inner[1]]
    large = scipy.ndimage.zoom(part, (factor, factor, 1), order=1)
    trim = [(m - n) // 2 for n, m in zip(x.shape, large.shape)]
    return large[trim[0] : trim[0] + x.shape[0], trim[1] : trim[1] + x.shape[1]]

def elastic(x, c, chance):
    "scipy in place of OpenCV's warpAffine, which rounds places to a thirty-second of a pixel."
    side = x.shape[0]
    strength, smooth, shift = (value * side for value in c)
    middle, arm = side // 2, side // 3
    before = np.float32([[middle + arm] * 2, [middle + arm, middle - arm], [middle - arm] * 2])
    after = before + chance.uniform(-shift, shift, before.shape)
    matrix = np.linalg.solve(np.column_stack([before, np.ones(3)]), after).T
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    rows = inverse[:2][::-1][:, [1, 0, 2]]
    warped = [
        scipy.ndimage.affine_transform(x[..., k], rows[:, :2], rows[:, 2], order=1, mode="mirror")
        for k in range(x.shape[2])
    ]
    fields = [chance.uniform(-1, 1, x.shape[:2]) for _ in range(2)]
    if smooth:
        fields = [skimage.filters.gaussian(one, smooth, mode="reflect", truncate=3) for one in fields]
    at = np.indices(x.shape[:2]) + strength * np.stack(fields[::-1])
    return np.stack([scipy.ndimage.map_coordinates(one, at, order=1, mode="reflect") for one in warped], axis=2)

def asked(name, x, c, seed, pane):
    if name == "glass_blur" and x.shape[2] == 3:
        return np.concatenate([asked(name, x[:, :, k : k + 1], c, seed, pane) for k in range(3)], axis=2)
    chance = Chance(name, seed, x.shape, {"side": len(pane)} if name == "frost" else c)
    if name == "elastic_transform":
        return elastic(x / np.float64(255), c, chance)
    given = x if name in IN_LEVELS else x.astype(np.float32) / np.float32(255) * np.float64(255)
    if x.shape[2] == 1:
        given = given[:, :, 0] if name not in ("motion_blur",) else np.repeat(given, 3, axis=2)
    if name in ("pixelate", "jpeg_compression", "spatter"):
        given = Image.fromarray(given)
    numbers = types.SimpleNamespace(**{k: getattr(np, k) for k in dir(np) if not k.startswith("__")})
    numbers.random, numbers.float_ = chance, np.float64
    scope = dict(SCOPE)
    scope.update(GIVEN=c, np=numbers, gaussian=blurred)
    scope["rgb2gray"] = lambda rgb: np.dot(rgb[..., :3], [0.299, 0.587, 0.114])
    scope["clipped_zoom"] = trimmed
    scope["sk"] = types.SimpleNamespace(
        color=skimage.color,
        util=types.SimpleNamespace(
            random_noise=lambda image, mode, amount: skimage.util.random_noise(
                image, mode=mode, amount=amount, rng=Salted(seed, amount)
            )
        ),
    )
    own = {k: types.FunctionType(f.__code__, scope, k, f.__defaults__, f.__closure__) for k, f in FUNCTIONS.items()}
    own |= {"clipped_zoom": trimmed, "rgb2gray": scope["rgb2gray"]}
    scope.update(own)
    if name == "frost":
        wide = np.tile(pane * 255, (2, 2, 1))
        wide = wide[:, :, ::-1] if x.shape[2] == 3 else wide
        scope["cv2"] = types.SimpleNamespace(imread=lambda file: wide, resize=lambda image, **size: wide, INTER_CUBIC=0)
    if name == "glass_blur":
        lifted = [1e-3 / 255, 0.0]
        scope["gaussian"] = lambda x, **options: blurred(x, **options) + lifted.pop(0)
    if name == "pixelate":
        scope["Image"] = types.SimpleNamespace(BOX=Image.BOX, NEAREST=Image.BOX)
    if name == "snow":
        smear = own["_motion_blur"]
        scope["_motion_blur"] = lambda x, **way: smear(np.floor(np.clip(x, 0, 1) * 255) / 255, **way)
    out = np.asarray(own[name](given, 1), dtype=np.float64) / 255
    out = out if out.ndim == 3 else out[:, :, None]
    return np.where(np.isnan(out), x / 255, out)[:, :, : x.shape[2]]

SCOPE = {}
exec(compile(tree, "corruptions", "exec"), SCOPE)
FUNCTIONS = {k: f for k, f in SCOPE.items() if isinstance(f, types.FunctionType) and f.__globals__ is SCOPE}
IN_LEVELS = ("glass_blur", "pixelate", "jpeg_compression", "spatter", "motion_blur", "frost")
folder = Path(sys.argv[1])
panes = dict(np.load(folder / "panes.npz"))
for name, jobs in json.loads((folder / "jobs.json").read_text()).items():
    kept = np.load(folder / (name + ".npz"))
    answers, short = {}, name.split(".")[0]
    for number, (size, seed, c) in enumerate(jobs):
        c = np.arange(1, *c) if short == "zoom_blur" else c
        answers[str(number)] = asked(short, kept[str(number)], c, seed, panes[str(size)]).astype(np.float32)
    np.savez(folder / (name + ".answers.npz"), summary=[summary(x) for x in answers.values()], **answers)
"""
)


def panes() -> dict[str, np.ndarray]:
    """The frozen panes of the three sizes, which are of our making, as the photographs that the library would open."""
    from passmuster.modality.image.corrupt.weather import _pane

    return {str(size): _pane(scale) for size, scale in enumerate((0.2, 0.3, 1.0))}


def ask_library(python: str, folder: Path, names: list[str]) -> None:
    """Leaves in `folder` of each corruption ``NAME.answers.npz``: the answers by number, and what is kept of them."""
    jobs = {}
    np.savez(folder / "panes.npz", **panes())
    for name in names:
        np.savez(folder / f"{name}.npz", **{str(i): case.picture for i, case in enumerate(cases(name))})
        jobs[name] = [(case.size, case.seed, PUBLISHED[name][case.size][case.severity - 1]) for case in cases(name)]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run([python, "-c", PROGRAM, str(folder)], check=True, cwd=folder)


def expected(name: str) -> np.ndarray:
    """What the file keeps of the answers: (cases, 4)."""
    return np.asarray(np.load(EXPECTED)[name], dtype=np.float64)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        ask_library(sys.argv[1], Path(scratch), list(PUBLISHED))
        summaries = {name: np.load(Path(scratch) / f"{name}.answers.npz")["summary"] for name in PUBLISHED}
    np.savez_compressed(EXPECTED, **{name: kept.astype(np.float32) for name, kept in summaries.items()})
