"""The ablations script: its arms are what they say, and its tables show the numbers given."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from a3d_bench.aggregate import metric_traits
from a3d_bench.paper import PAPER_TABLES, paper_entries, paper_table
from a3d_bench.protocol import load_protocol
from a3d_bench.report.formats import to_markdown
from a3d_bench.statistics import Interval
from any3davatar.model.config import PRESETS
from any3davatar.train.config import TRAIN_PRESETS, override
from benchmarks import ablations
from benchmarks.ablations import ARMS, Arm, Number, Training

METRICS = tuple(map(metric_traits, ("psnr", "ssim", "lpips[alex]")))
RULE = load_protocol(ablations.PROTOCOL).aggregation


@pytest.mark.parametrize("arm", ARMS.values(), ids=list(ARMS))
def test_an_arm_is_the_preset_with_its_settings_and_nothing_else(arm: Arm):
    changed = ablations.settings_between(TRAIN_PRESETS[ablations.PRESET], arm.config())
    # A setting that the preset has already would make two arms one.
    assert sorted(changed) == sorted(arm.settings)


def test_only_the_baseline_is_its_own_reference():
    assert [arm.name for arm in ARMS.values() if arm.reference == arm.name] == ["one-step"]
    assert {arm.reference for arm in ARMS.values()} <= set(ARMS)


def test_an_arm_differs_from_its_reference_in_one_thing():
    several = {
        arm.name
        for arm in ARMS.values()
        if len(ablations.settings_between(ARMS[arm.reference].config(), arm.config())) != 1
    }
    # Nothing, everything at once, what ways can't do without, and weights that go with a bend.
    assert several == {"one-step", "paper-conditioning", "no-ways", "bent-errors"}


def test_paper_conditioning_turns_off_all_that_mini_adds():
    paper, got = PRESETS["full"], ARMS["paper-conditioning"].config().model
    switches = [
        field.name
        for field in fields(paper)
        if isinstance(getattr(paper, field.name), bool)
        or field.name in ("palette_colors", "hull_ways", "hull_waves")
    ]
    assert len(switches) >= 6
    for name in switches:
        assert getattr(got, name) == getattr(paper, name), name


def test_steps_are_those_of_the_papers_tables():
    for number in (4, 5):
        assert tuple(f"step={n}" for n in ablations.STEPS) == PAPER_TABLES[number].rows


def test_settings_round_trip_through_the_command_line():
    before = TRAIN_PRESETS["mini"]
    after = override(before, ("total_samples=800", "decay=cosine", "model.heads=6"))
    settings = ablations.settings_between(before, after)
    assert override(before, settings) == after
    assert len(settings) == 3


def test_variants_are_the_arms_that_are_done(tmp_path):
    assert ablations.variants(tmp_path) == []
    for name in ("multi-step", "no-hull"):
        weights = ablations.weights_of(tmp_path, ARMS[name])
        weights.parent.mkdir()
        weights.touch()
    made = ablations.variants(tmp_path)
    assert [text.partition("=")[0] for text in made] == [
        "multi-step",
        *(f"multi-step-{n}" for n in (5, 10, 20, 30)),
        "no-hull",
    ]
    weights = tmp_path / "multi-step" / "weights.safetensors"
    assert made[1] == f"multi-step-5=any3davatar,checkpoint={weights},steps=5"


def score_rows(values: dict[tuple[str, str, int], float]) -> pd.DataFrame:
    """Scores by method, subject and view."""
    return pd.DataFrame(
        [
            {"method": m, "subject": s, "capture": s, "view": v, "value": value}
            for (m, s, v), value in values.items()
        ]
    )


def test_a_difference_weighs_subjects_alike_and_drops_views_that_one_lacks():
    rows = score_rows(
        {
            ("a", "x", 0): 3.0, ("b", "x", 0): 1.0,
            ("a", "x", 1): 6.0, ("b", "x", 1): 2.0,
            ("a", "y", 0): 5.0, ("b", "y", 0): 4.0,
            ("a", "y", 1): 99.0, ("b", "y", 1): float("nan"),
        }
    )  # fmt: skip
    got = ablations.paired(rows, "a", "b", RULE, seed=0)
    assert got is not None
    assert got.mean == (3.0 + 1.0) / 2
    assert ablations.paired(rows, "a", "nobody", RULE, seed=0) is None


def test_what_heads_share_widens_no_interval_of_a_difference():
    g = np.random.default_rng(0)
    hard = g.normal(size=8) * 5
    rows = score_rows(
        {
            (method, f"head {s}", v): hard[s] + shift
            for method, shift in (("a", 1.0), ("b", 0.5))
            for s in range(8)
            for v in range(3)
        }
    )
    got = ablations.paired(rows, "a", "b", RULE, seed=0)
    assert got is not None
    assert got.interval is not None
    # Sums near 10 in float64, divided by a standard error that is all rounding.
    assert (got.interval.low, got.interval.high) == pytest.approx((0.5, 0.5), abs=1e-9)


def test_a_cell_shows_sign_interval_and_no_negative_zero():
    number = Number(-0.0004, Interval(-0.2, 0.113, "bootstrap-t"))
    cell = ablations.number_cell(number, 2, signed=True)
    assert (cell.text, cell.detail) == ("+0.00", "[-0.20, +0.11]")
    plain = ablations.number_cell(Number(17.004, None), 2, signed=False)
    assert (plain.text, plain.detail) == ("17.00", "")
    assert ablations.number_cell(None, 2, signed=False).text == "—"


@pytest.mark.parametrize("number", [4, 5])
def test_the_papers_numbers_are_printed_digit_for_digit(number: int):
    shown = to_markdown(ablations.paper_steps(paper_table(number), METRICS))
    wanted = [
        entry
        for entry in paper_entries()
        if entry.table == number and entry.column in ("PSNR", "SSIM", "LPIPS", "Time")
    ]
    assert len(wanted) == 5 * 4
    for entry in wanted:
        assert f"| {entry.printed} " in shown
    for line in shown.splitlines()[2:]:
        assert line.count("|") in (0, 9)  # N, three pairs, time


def test_the_papers_change_is_against_its_first_step():
    shown = to_markdown(ablations.paper_steps(paper_table(4), METRICS))
    # 18.6976 - 18.6689, and 0.2014 - 0.2038, of the paper's Table 4.
    assert "| 18.6976 ± 0.3073 | +0.0287 |" in shown
    assert "| 0.2014 ± 0.0037 | -0.0024 |" in shown


@pytest.mark.parametrize(
    ("azimuth_deg", "centre_deg"),
    [(0.0, 0.0), (-0.0001, 0.0), (-180.0, 180.0), (179.9, 180.0), (-150.0, -157.5), (31.0, 22.5)],
)
def test_azimuths_fall_into_bins_around_the_rigs_columns(azimuth_deg: float, centre_deg: float):
    assert ablations.azimuth_bins(pd.Series([azimuth_deg])).item() == centre_deg


def training(name: str, *settings: str, data: str = "d") -> Training:
    return Training(override(ARMS[name].config(), settings), 2, data, 1, 1.0, {}, {}, ())


def test_arms_of_one_page_were_trained_alike():
    trainings = {n: training(n, "total_samples=800") for n in ("one-step", "avas", "noise-latent")}
    assert ablations.shared_settings(trainings) == ("total_samples=800",)
    # What one arm sets itself may be given to all.
    alike = {n: training(n, "alpha_weight=0") for n in ("one-step", "avas", "no-alpha")}
    assert ablations.shared_settings(alike) == ("alpha_weight=0",)


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        (training("avas", "total_samples=900"), "total_samples=900 against total_samples=800"),
        (training("avas", "total_samples=800", data="e"), "trained on other data"),
        (
            replace(training("avas", "total_samples=800"), config=ARMS["one-step"].config()),
            "avas=false against total_samples=800",
        ),
    ],
)
def test_arms_that_were_not_trained_alike_make_no_page(odd: Training, text: str):
    trainings = {"one-step": training("one-step", "total_samples=800"), "avas": odd}
    with pytest.raises(SystemExit, match=text):
        ablations.shared_settings(trainings)


def test_what_an_arm_changes_is_told_over_the_training():
    def seen(name: str, held_out_db: dict[int, float]) -> Training:
        return replace(training(name), held_out_db=held_out_db)

    trainings = {
        "one-step": seen("one-step", {100: 16.0, 200: 17.0, 300: 17.5}),
        "no-alpha": seen("no-alpha", {100: 15.75, 200: 17.004}),  # one point behind
    }
    lines = [("one-step", "one-step", "one-step"), ("no-alpha", "no-alpha", "one-step")]
    (text,) = ablations.over_training(lines, trainings)
    assert "| one-step | 16.00 | 17.00 |" in text
    assert "| no-alpha | -0.25 | +0.00 |" in text
    assert "| Arm | 100 | 200 |" in text
    without = {name: replace(each, held_out_db={}) for name, each in trainings.items()}
    assert list(ablations.over_training(lines, without)) == []
