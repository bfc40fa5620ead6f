"""A vision transformer from a folder: computed and prepared as `transformers` does it, and refused with the reason."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.digests import file_sha256_hex
from passmuster.core.errors import DataError, IntegrityError, MusterError, NotFoundError
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import Encoder, FitView, Profile
from passmuster.modality.image.modality import IMAGE
from passmuster.modality.image.rungs import pretrained
from passmuster.modality.image.rungs.encoder_folder import read_encoder
from passmuster.modality.image.rungs.vit_graph import cubic_matrix
from passmuster.runtime.engine import Engine
from vit_case import CASES, MIDDLE, ask_transformers, expected, some_images, write_encoder

pytest.importorskip("onnx", reason="training needs the extra `train`")
MACHINE = Machine(n_cores=2, memory_bytes=2**33, matmul_gflops=100.0)
TOLERANCE = 1e-4


def fit(folder: Path, **settings: Any) -> Encoder:
    view = FitView([], np.zeros(0, int), 2, TrainConfig(encoders=(str(folder),), **settings))
    return pretrained.fit(view, Deadline.after(1), FileCheckpoint(folder), np.random.default_rng(0))


def embed(encoder: Encoder, images: list[np.ndarray], folder: Path) -> np.ndarray:
    """As a bundle would: preprocessing by name, the graph by the engine that serves."""
    graph = pretrained.export(encoder)
    preprocess = json.loads(json.dumps(graph.preprocess))
    return Engine(graph.onnx, threads=1).run(IMAGE.preparer(preprocess, folder)(images))["embedding"]


def pooled(rows: np.ndarray, pooling: str) -> np.ndarray:
    """The embedding from class tokens and means (n, 2, d)."""
    unit = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    return {"cls": unit[:, 0], "mean": unit[:, 1], "both": np.hstack([unit[:, 0], unit[:, 1]]) * 0.5**0.5}[pooling]


def images_of(case: str) -> list[np.ndarray]:
    return some_images(CASES[case][0].get("num_channels") == 1)


@pytest.mark.parametrize("pooling", ["cls", "mean", "both"])
@pytest.mark.parametrize("case", CASES)
def test_the_graph_answers_as_transformers_does(case: str, pooling: str, tmp_path: Path) -> None:
    """With the kept answers: resizing, cropping and colours are in them."""
    encoder = fit(write_encoder(tmp_path / case, case), image_pooling=pooling)
    found = embed(encoder, images_of(case), tmp_path)
    np.testing.assert_allclose(found, pooled(expected()[case], pooling), atol=TOLERANCE)


def test_what_is_kept_of_transformers_is_what_it_answers(tmp_path: Path) -> None:
    """With the interpreter named by ``MUSTER_BENCH_TRANSFORMERS``, which needs Pillow and not Muster."""
    python = os.environ.get("MUSTER_BENCH_TRANSFORMERS", "")
    if not python:
        pytest.skip(
            "MUSTER_BENCH_TRANSFORMERS names no interpreter: only the kept answers of transformers were compared"
        )
    if subprocess.run([python, "-c", "import PIL"], capture_output=True).returncode:
        pytest.skip("the interpreter of MUSTER_BENCH_TRANSFORMERS lacks Pillow: only the kept answers were compared")
    for case, rows in ask_transformers(python, tmp_path).items():
        np.testing.assert_allclose(expected()[case], rows, atol=1e-5, err_msg=case)


def test_a_grey_image_is_one_of_three_equal_colours(tmp_path: Path) -> None:
    encoder = fit(write_encoder(tmp_path / "vit"))
    grey = some_images(grey=True)
    found = embed(encoder, grey, tmp_path)
    np.testing.assert_allclose(found, embed(encoder, [np.repeat(i, 3, axis=2) for i in grey], tmp_path), atol=1e-6)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = write_encoder(tmp_path / "vit")
    wide = embed(fit(folder), some_images(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value.astype(np.float16) for name, value in weights.items()}, folder / "model.safetensors")
    np.testing.assert_allclose(embed(fit(folder), some_images(), tmp_path), wide, atol=5e-3)


def test_a_very_long_image_takes_no_more_memory_than_eight_to_one(tmp_path: Path) -> None:
    strip = np.zeros((1, 100_000, 3), np.uint8)
    strip[:, 49_000:51_000] = 200
    prepare = IMAGE.preparer({"steps": [
        {"op": "resize_shorter.v1", "size": 256, "filter": "bicubic"}, {"op": "centre_crop.v1", "size": 224},
        {"op": "stack.v1"},
    ]}, tmp_path)  # fmt: skip
    pixels = prepare([strip])["pixels"]
    assert pixels.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(pixels, 200 / 255, atol=1e-6)


def test_cubic_interpolation_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=7)
    for m in (3, 7, 16):
        wanted = torch.nn.functional.interpolate(
            torch.from_numpy(values)[None, None, None, :], size=(1, m), mode="bicubic", align_corners=False
        )[0, 0, 0]
        np.testing.assert_allclose(cubic_matrix(7, m) @ values, wanted.numpy(), atol=1e-12)


def refusal(folder: Path, **settings: Any) -> MusterError:
    with pytest.raises(MusterError) as refused:
        pretrained.unavailable(TrainConfig(encoders=(str(folder),), **settings))
    assert "train.encoders" in str(refused.value.next)
    assert refused.value.where is not None
    return refused.value


def test_without_a_folder_or_switched_off_it_is_not_available(tmp_path: Path) -> None:
    assert "train.encoders" in pretrained.unavailable(TrainConfig())
    assert "switched off" in pretrained.unavailable(TrainConfig(pretrained=False, encoders=("nowhere",)))
    assert pretrained.unavailable(TrainConfig(encoders=(str(write_encoder(tmp_path / "vit")),))) == ""


def test_weights_must_have_a_digest_that_was_asked_for(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "vit")
    digest = file_sha256_hex(folder / "model.safetensors")
    config = TrainConfig(encoders=(str(folder),), image_encoder_sha256=(digest.upper(),))
    assert pretrained.unavailable(config) == ""
    error = refusal(folder, image_encoder_sha256=("0" * 64,))
    assert (type(error), error.code, error.value) == (IntegrityError, "encoder.digest", digest)
    assert error.limit == "0" * 64
    write_encoder(folder, seed=1)  # other weights under the same name
    with pytest.raises(IntegrityError):
        pretrained.unavailable(config)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    error = refusal(folder)
    assert (type(error), error.code, error.where) == (IntegrityError, "encoder.pickle", folder / "pytorch_model.bin")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "vit")
    (folder / name).unlink()
    error = refusal(folder)
    assert (type(error), error.code, error.where) == (NotFoundError, "encoder.no_file", folder)
    assert name in error.what
    assert refusal(tmp_path / "absent").code == "encoder.no_folder"


@pytest.mark.parametrize(
    ("changes", "code", "value", "limit"),
    [
        ({"model_type": "swin"}, "encoder.model_type", "swin", "vit or dinov2"),
        ({"hidden_act": "gelu_new"}, "encoder.config", "gelu_new", "gelu"),
        ({"num_attention_heads": 5}, "encoder.config", 5, "a divisor of 12"),
        ({"image_size": [32, 48]}, "encoder.config", [32, 48], "a whole number above 0"),
        ({"num_channels": 4}, "encoder.config", 4, "1 or 3"),
        ({"hidden_size": 24}, "encoder.weights", [1, 1, 12], [1, 1, 24]),
        ({"num_hidden_layers": 3}, "encoder.weights", None, "encoder.layer.2.attention.attention.query.weight"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(
    changes: dict[str, Any], code: str, value: Any, limit: Any, tmp_path: Path
) -> None:
    folder = write_encoder(tmp_path / "vit")
    (folder / "config.json").write_text(json.dumps({**CASES["vit"][0], **changes}))
    error = refusal(folder)
    assert (error.code, error.value, error.limit) == (code, value, limit)


@pytest.mark.parametrize(
    ("processor", "value"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "CLIPImageProcessor"),
        ({"do_resize": False}, False),
        ({"size": {"height": 32, "width": 48}}, {"height": 32, "width": 48}),
        ({"size": {"shortest_edge": 32}}, False),
        ({**MIDDLE, "crop_size": 64}, 64),
        ({"resample": 9}, 9),
        ({"image_mean": [0.5, 0.5]}, [0.5, 0.5]),
        ({"image_std": 0.0}, 0.0),
        ({"do_pad": True}, True),
    ],
)
def test_a_processor_that_cannot_be_served_is_refused(processor: dict[str, Any], value: Any, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "vit")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    error = refusal(folder)
    assert (type(error), error.code, error.value) == (DataError, "encoder.processor", value)


def test_old_ways_to_write_a_processor_are_read(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "vit")
    for raw in ({"size": 32}, {"size": 32, "feature_extractor_type": "ViTFeatureExtractor", "crop_size": None}):
        (folder / "preprocessor_config.json").write_text(json.dumps(raw))
        steps = read_encoder(folder).processor.steps
        assert steps[1] == {"op": "resize.v1", "size": 32, "filter": "bilinear"}
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "BitImageProcessorFast", "size": 256}')
    assert [step["op"] for step in read_encoder(folder).processor.steps][1:3] == ["resize_shorter.v1", "centre_crop.v1"]


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_broken_file_is_named(name: str, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "vit")
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    error = refusal(folder)
    assert error.code == ("encoder.weights" if name == "model.safetensors" else "encoder.config")
    assert error.where == folder / name


def test_weights_that_change_or_go_while_training_are_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "vit")
    encoder = fit(folder)
    write_encoder(folder, seed=1)
    with pytest.raises(IntegrityError) as changed:
        pretrained.export(encoder)
    assert changed.value.code == "encoder.changed"
    (folder / "model.safetensors").unlink()
    with pytest.raises(NotFoundError):
        pretrained.export(encoder)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = write_encoder(tmp_path / "vit")
    weights = load_file(folder / "model.safetensors")
    weights["layernorm.bias"] = np.full(12, np.nan, np.float32)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(IntegrityError, match="finite"):
        pretrained.export(fit(folder))


def test_the_quote_grows_with_what_is_embedded_and_with_the_network(tmp_path: Path) -> None:
    small, large = (
        write_encoder(tmp_path / name, **changes)
        for name, changes in (("small", {}), ("large", {"num_hidden_layers": 24, "hidden_size": 96}))
    )
    few = Profile(1_000, 40, 10, 784.0, 784.0, encoders=(str(small),))
    price = pretrained.quote(MACHINE, few)
    assert 0 < price.seconds < pretrained.quote(MACHINE, replace(few, n_pool=100_000)).seconds
    other = pretrained.quote(MACHINE, replace(few, encoders=(str(large),)))
    assert price.seconds < other.seconds
    assert price.memory_bytes < other.memory_bytes
    slow = replace(MACHINE, matmul_gflops=1.0)  # here the network costs more than reading the images
    grown = []
    for folder in (small, large):
        profile = replace(few, encoders=(str(folder),))
        whole = pretrained.quote(slow, replace(profile, n_pool=100_000, n_labels=4_000)).seconds
        grown.append(whole - pretrained.quote(slow, profile).seconds)
    assert grown[1] > 5 * grown[0]  # every image passes it
    with pytest.raises(NotFoundError):
        pretrained.quote(MACHINE, replace(few, encoders=()))
