"""A folder with a vision transformer goes through the verbs: shown, priced, trained, released and asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_case import muster, muster_apart
from vit_case import write_encoder

pytest.importorskip("onnx", reason="training needs the extra `train`")
datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn comes with the extra `train`")


def write_digits(folder: Path, n: int = 120) -> None:
    """Handwritten noughts and ones, a folder for each; every third for the test."""
    digits = datasets.load_digits(n_class=2)
    for i, (pixels, label) in enumerate(zip(digits.images[:n], digits.target[:n], strict=True)):
        path = folder / ("train" if i % 3 else "test") / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels * 16, 0, 255).astype(np.uint8)).save(path)


def test_an_image_encoder_from_a_folder_is_shown_trained_with_and_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "keys"))
    project = tmp_path / "p"
    write_digits(tmp_path / "digits")
    write_encoder(tmp_path / "vit")
    assert muster(tmp_path, "init", "p", "--modality", "image").returncode == 0
    settings = project / "muster.toml"
    settings.write_text(settings.read_text().replace("encoders = []", 'encoders = ["../vit"]', 1))
    assert muster(project, "add", str(tmp_path / "digits")).returncode == 0

    shown = json.loads(muster(project, "--json", "doctor").stdout)["data"]
    (encoder,) = shown["encoders"]
    assert (encoder["name"], shown["encoders_refused"]) == ("vit", [])
    assert f"SHA-256 {encoder['sha256']}" in muster(project, "doctor").stdout

    other = {"MUSTER_TRAIN_IMAGE_ENCODER_SHA256": f'["{"0" * 64}"]'}
    refused = muster_apart(project, "--json", "train", settings=other)
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (9, "encoder.digest")
    seen = json.loads(muster_apart(project, "--json", "doctor", settings=other).stdout)["data"]
    assert "train.image_encoder_sha256" in seen["encoders_refused"][0]

    trained = muster_apart(project, "train", "--time", "120s", "--rung", "pretrained.v1")
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.splitlines()[1].startswith("pretrained.v1")
    released = muster(project, "release")
    assert released.returncode in (0, 4), released.stderr
    (record,) = (project / ".muster" / "bundles").glob("*/preprocess.json")
    assert json.loads(record.read_text())["encoder_sha256"] == encoder["sha256"]
    bundle = record.parent.name
    asked = muster(project, "predict", "--bundle", bundle, str(tmp_path / "digits" / "test" / "0" / "0.png"))
    assert asked.returncode == 0, asked.stderr
