"""A configuration is checked when it is made, and a file brings the same one back."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from any3davatar.core import InvalidInput
from any3davatar.model import PRESETS
from any3davatar.train.config import (
    TRAIN_PRESETS,
    Machine,
    TrainConfig,
    differences,
    from_json,
    override,
    to_json,
)
from any3davatar.train.schedule import ema_decay, learning_rate
from tests.train.tiny_run import CONFIG


@pytest.mark.parametrize("name", list(TRAIN_PRESETS))
def test_a_preset_survives_a_file_and_trains_the_network_of_its_name(name: str) -> None:
    preset = TRAIN_PRESETS[name]
    assert from_json(to_json(preset)) == preset
    assert preset.model == PRESETS[name]


def test_the_full_preset_is_the_paper() -> None:
    full = TRAIN_PRESETS["full"]
    assert (full.l2_weight, full.lpips_weight, full.alpha_weight) == (1.0, 0.5, 0.0)
    assert (full.views_per_sample, full.learning_rate, full.decay) == (8, 1e-4, "cosine")
    assert full.avas


def test_settings_change_fields_of_the_run_and_of_its_network() -> None:
    changed = override(
        TRAIN_PRESETS["mini"],
        ["batch=4", "model.width=96", "objective=multi-step", "flip=false", "background=[0,0,0]"],
    )
    assert (changed.batch, changed.model.width, changed.objective) == (4, 96, "multi-step")
    assert (changed.flip, changed.background) == (False, (0, 0, 0))
    assert differences(TRAIN_PRESETS["mini"], changed)[0] == "model.width: 192 -> 96"
    assert override(Machine(), ["workers=3"]).workers == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["bacth=4"], r"TrainConfig has no field 'bacth'; it has .*batch"),
        (["model.depth=3"], "ModelConfig has no field 'depth'"),
        (["batch"], "a setting is field=value; got 'batch'"),
        (["batch=4.5"], r"TrainConfig\.batch must be of type int; got 4\.5"),
        (
            ["objective=two-step"],
            "objective must be one of 'multi-step', 'one-step'; got 'two-step'",
        ),
        (["learning_rate=NaN"], "learning_rate must be a finite number"),
        (["batch=0"], "batch must be at least 1; got 0"),
        (["batch=200000"], "batch must be at most total_samples = 100000; got 200000"),
        (["beta2=1"], r"beta2 must lie in \[0, 1\); got 1"),
        (["warmup_samples=100000"], "warmup_samples must be below total_samples = 100000"),
        (["lpips_weight=0", "l2_weight=0"], "nothing would compare colours"),
        (["input_range_deg=30"], "take the portrait to be seen from the front"),
        (["background=[0,0,2]"], r"background must lie in \[0, 1\]"),
        (["background=[0,0]"], "background must be 3 numbers"),
    ],
)
@pytest.mark.border
def test_impossible_settings_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        override(TRAIN_PRESETS["mini"], settings)


def test_a_machine_keeps_lines_of_the_log_whole() -> None:
    with pytest.raises(InvalidInput, match="checkpoint_samples must be a multiple of log_samples"):
        Machine(log_samples=100, checkpoint_samples=250)


def test_a_file_of_another_version_is_refused() -> None:
    values = to_json(CONFIG)
    del values["seed"]
    with pytest.raises(InvalidInput, match=r"other fields than this version's: \['seed'\]"):
        from_json(values)


def test_the_learning_rate_rises_to_its_value_and_falls_to_zero() -> None:
    config = replace(TRAIN_PRESETS["full"], total_samples=1000, warmup_samples=100, batch=10)
    rates = [learning_rate(config, n) for n in range(0, 1000, 10)]
    assert 0 < rates[0] < 0.1 * config.learning_rate
    assert max(rates) == rates[10] == config.learning_rate
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(config, 550) == pytest.approx(config.learning_rate / 2)  # half of a cosine
    assert learning_rate(config, 1000) == 0
    power = replace(config, decay="power", decay_power=0.7)
    assert learning_rate(power, 550) == pytest.approx(config.learning_rate * 0.5**0.7)
    assert learning_rate(replace(config, decay="constant"), 990) == config.learning_rate


def test_the_average_halves_over_its_half_life_whatever_the_batch() -> None:
    for batch in (1, 4, 20):
        config = TrainConfig(PRESETS["mini"], batch=batch, ema_halflife_samples=100)
        kept = math.prod(ema_decay(config, 10_000 + n) for n in range(0, 100, batch))
        assert kept == pytest.approx(0.5)
    early = TrainConfig(PRESETS["mini"], batch=10, ema_halflife_samples=10_000, ema_ramp=0.05)
    assert ema_decay(early, 100) == pytest.approx(0.5**2)  # a half-life of 5 of 100 samples
