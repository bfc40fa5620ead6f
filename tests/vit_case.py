"""Folders with small vision transformers of random weights, as `transformers` saves them, and some images.

`CASES` are the networks on which `vit_expected.json` keeps what `transformers` itself answers. With an interpreter that
has torch, transformers and Pillow:

python tests/vit_case.py write          write the file anew
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

EXPECTED = Path(__file__).with_name("vit_expected.json")
SMALL = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
VIT = {"model_type": "vit", **SMALL, "intermediate_size": 20, "image_size": 32, "patch_size": 16}
DINOV2 = {"model_type": "dinov2", **SMALL, "mlp_ratio": 2, "image_size": 42, "patch_size": 14}
SQUARE = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
MIDDLE = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 48}, "crop_size": {"height": 42, "width": 42},
}  # fmt: skip
OTHER_COLOURS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.1], "rescale_factor": 1 / 128}

# By name: config.json, preprocessor_config.json, and what stands before the names of the weights.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "vit": (VIT, SQUARE, ""),
    "vit_patch_14_large_prefixed": (
        {**VIT, "patch_size": 14, "image_size": 56},
        {**SQUARE, "size": {"height": 56, "width": 56}, "resample": 3}, "vit.",
    ),
    "vit_without_biases_other_colours": ({**VIT, "qkv_bias": False}, {**SQUARE, **OTHER_COLOURS}, ""),
    "vit_grey": (
        {**VIT, "num_channels": 1}, {**SQUARE, "image_mean": [0.3], "image_std": [0.4]}, "",
    ),
    "dinov2": (DINOV2, MIDDLE, ""),
    "dinov2_other_size": ({**DINOV2, "image_size": 70}, MIDDLE, "dinov2."),
    "dinov2_gated": ({**DINOV2, "use_swiglu_ffn": True}, {**MIDDLE, "do_normalize": False}, ""),
}  # fmt: skip


def write_encoder(folder: Path, case: str = "vit", seed: int = 0, **changes: Any) -> Path:
    """A folder with the case's network, its configuration changed by `changes`; where the tensors are as it says."""
    from safetensors.numpy import save_file

    from passmuster.modality.image.rungs.encoder_folder import read_shape
    from passmuster.modality.image.rungs.vit_graph import tensor_shapes

    config, processor, prefix = CASES[case]
    config = {**config, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in tensor_shapes(read_shape(config, folder)).items():
        weights[prefix + name] = (0.3 * rng.normal(size=shape) + ("norm" in name)).astype(np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def some_images(grey: bool = False) -> list[np.ndarray]:
    """Three images of (h, w, c) uint8, smooth enough to be like pictures: tall, wide, and small."""
    rng = np.random.default_rng(7)
    images = []
    for height, width in ((70, 50), (40, 90), (30, 28)):
        coarse = rng.integers(0, 256, (height // 10 + 1, width // 10 + 1, 1 if grey else 3))
        images.append(np.kron(coarse, np.ones((10, 10, 1)))[:height, :width].astype(np.uint8))
    return images


# Runs where transformers is: from folders that hold a model and images.npz to the last layer of each, normalised.
PROGRAM = """
import sys
import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel
for folder in sys.argv[1:]:
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    missing = {name for name in info["missing_keys"] if "pooler" not in name and "mask_token" not in name}
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], info
    processor = AutoImageProcessor.from_pretrained(folder)
    rows = []
    for image in np.load(folder + "/images.npz").values():
        image = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        pixels = processor(image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            rows.append(model.eval()(pixels).last_hidden_state[0].numpy())
    np.save(folder + "/tokens.npy", np.stack(rows))
"""


def ask_transformers(python: str, folder: Path) -> dict[str, np.ndarray]:
    """For each case, the class token and the mean of the patches as `transformers` computes them, (n, 2, d)."""
    folders = []
    for case in CASES:
        folders.append(write_encoder(folder / case, case))
        np.savez(folder / case / "images.npz", *some_images(CASES[case][0].get("num_channels") == 1))
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-c", PROGRAM, *map(str, folders)], check=True, env=environment)
    answers = {}
    for case, path in zip(CASES, folders, strict=True):
        tokens = np.load(path / "tokens.npy")
        answers[case] = np.stack([tokens[:, 0], tokens[:, 1:].mean(axis=1)], axis=1)
    return answers


def expected() -> dict[str, np.ndarray]:
    """What the file keeps, as `ask_transformers` gave it."""
    return {case: np.array(rows, np.float32) for case, rows in json.loads(EXPECTED.read_text()).items()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = ask_transformers(sys.argv[2] if len(sys.argv) > 2 else sys.executable, Path(scratch))
    kept = {case: np.round(rows.astype(float), 6).tolist() for case, rows in found.items()}
    lines = [f" {json.dumps(case)}: {json.dumps(rows)}" for case, rows in kept.items()]
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
