"""Which device training runs on: the one that was named, or a card where torch can use one."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from passmuster.core.budget import VISIBLE_CARDS, count_gpus
from passmuster.core.config import Config, CostConfig, TrainConfig
from passmuster.core.cost import cost_of
from passmuster.core.errors import ResourceError
from passmuster.core.meter import Meter
from passmuster.core.records import Snapshot
from passmuster.learn import device, precision
from passmuster.learn.device import begin_on, on_device, training_device
from passmuster.stages.train.limits import limits_of
from passmuster.stages.train.stage import _arguments


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A machine with one card that torch can use, as far as this process can tell (there is none to be had here)."""
    torch = pytest.importorskip("torch")
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv(VISIBLE_CARDS, raising=False)
    monkeypatch.setattr(device, "count_gpus", lambda: count_gpus(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_a_card_is_taken_unless_the_processor_is_named(card: None) -> None:
    assert training_device() == "cuda"
    for name in ("auto", "cuda"):
        with on_device(name):
            assert training_device() == "cuda"
    with on_device("cpu"):
        assert training_device() == "cpu"
        assert os.environ[VISIBLE_CARDS] == ""
    assert training_device() == "cuda", "what was hidden is seen again"
    assert VISIBLE_CARDS not in os.environ


def test_what_hid_cards_before_hides_them_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE_CARDS, "1")
    with on_device("cpu"):
        assert os.environ[VISIBLE_CARDS] == ""
    assert os.environ[VISIBLE_CARDS] == "1"


def test_a_card_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "count_gpus", lambda: 0)
    with pytest.raises(ResourceError) as caught, on_device("cuda"):
        raise AssertionError("nothing may begin")
    assert caught.value.code == "device.none"


def test_another_device_is_another_training() -> None:
    """A run that was killed is not gone on with on another device: its weights would be others."""
    config, snapshot = TrainConfig(), Snapshot("d" * 64, "", "", "text", ("a", "b"), {}, {}, 0)
    assert _arguments(replace(config, device="cpu"), snapshot) != _arguments(config, snapshot)


def test_a_card_is_paid_for_by_whoever_used_it(card: None) -> None:
    """It is counted in what a second may cost beforehand, and afterwards only where work on it began."""
    config = Config(cost=CostConfig(per_core_hour=0.0, per_gpu_hour=3600.0, energy_included=True))
    with on_device("auto"):
        assert limits_of(config, 60.0).per_s == 1.0
    with on_device("cpu"):
        assert limits_of(config, 60.0).per_s == 0.0
    idle, busy = Meter(), Meter()
    assert begin_on("cpu") == "cpu"
    assert idle.usage().n_gpus == 0
    assert begin_on("cuda") == "cuda"
    assert busy.usage().n_gpus == 1
    assert Meter().usage().n_gpus == 0, "what used it before this one began is not its own"
    assert cost_of(busy.usage(), config.cost).money > 0.0


def test_products_are_taken_in_bfloat16_on_a_card_whatever_the_processor_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (False, True):
        monkeypatch.setattr(precision, "bf16_is_native", lambda native=native: native)
        assert precision.in_bf16("cuda")
        assert precision.in_bf16("cpu") == native
        torch = pytest.importorskip("torch")
        with precision.autocast("cpu"):
            assert torch.is_autocast_enabled("cpu") == native
        with precision.autocast("cpu", bf16=not native):
            assert torch.is_autocast_enabled("cpu") != native
