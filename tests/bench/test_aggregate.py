"""Claims about means, failures, ties and strata, against loops and cases made by hand."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from a3d_bench.aggregate import (
    Entrant,
    aggregate,
    checked_scores,
    metric_traits,
    ranking,
)
from a3d_bench.errors import BenchError
from a3d_bench.metrics import METRICS
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.tables import comparison_table, failure_table, main_tables, strata_tables
from a3d_bench.types import Prediction, Score, Seconds, Status, stratum_of

AZIMUTHS = (0.0, 60.0, 120.0, 180.0)


def _protocol(*overrides: str) -> Protocol:
    return load_protocol("smoke", ["metrics=[psnr]", *overrides])


def _entrants(*names: str, oracle: bool = False) -> list[Entrant]:
    made = [Entrant(name, name.upper()) for name in names]
    return [*made, Entrant("oracle", "ORACLE", sees_truth=True)] if oracle else made


def _score(
    method: str,
    subject: str,
    view: int,
    value: float | None,
    *,
    status: Status = "ok",
    metric: str = "psnr",
    is_input: bool = False,
) -> Score:
    azimuth = AZIMUTHS[view % len(AZIMUTHS)]
    return Score(
        method, f"{subject}/x", subject, view, f"{view:03d}", azimuth, 0.0, stratum_of(azimuth),
        is_input, "none", metric, value, status, "" if status == "ok" else "because", None, None,
        None, "", "",
    )  # fmt: skip


def _table(scores: Sequence[Score]) -> pd.DataFrame:
    return pd.DataFrame([dataclasses.asdict(score) for score in scores])


def _scores(values: dict[str, Sequence[Sequence[float | None]]]) -> pd.DataFrame:
    """Scores by method, subject and view; None is a view that timed out."""
    return _table(
        [
            _score(
                method, f"s{subject:02d}", view, value,
                status="ok" if value is not None else "timeout",
            )
            for method, subjects in values.items()
            for subject, views in enumerate(subjects)
            for view, value in enumerate(views)
        ]
    )  # fmt: skip


def test_subjects_weigh_the_same() -> None:
    scores = _scores({"a": [[10, 10, 10, 10], [20]]})
    numbers = aggregate(scores, _protocol(), _entrants("a"))
    assert numbers.main.columns[0].estimates["a"].mean == 15


def test_mean_equals_a_loop_over_common_views() -> None:
    generator = np.random.default_rng(0)
    values = {m: generator.normal(20, 3, (5, 4)).tolist() for m in ("a", "b", "c")}
    values["b"][1][2] = None
    values["c"][4] = [None] * 4
    numbers = aggregate(_scores(values), _protocol(), _entrants("a", "b", "c"))
    column = numbers.main.columns[0]
    for method in values:
        means = [
            np.mean(
                [
                    values[method][s][v]
                    for v in range(4)
                    if all(values[m][s][v] is not None for m in values)
                ]
            )
            for s in range(4)
        ]
        assert column.estimates[method].mean == pytest.approx(np.mean(means), rel=1e-12)
        assert column.estimates[method].subjects == 4
    assert (column.counted, column.expected, column.limited_by) == (15, 20, "c")


def test_order_of_rows_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    scores = _scores({m: generator.normal(20, 3, (7, 4)).tolist() for m in ("a", "b")})
    shuffled = scores.sample(frac=1, random_state=3)
    entrants = _entrants("a", "b")
    assert aggregate(scores, _protocol(), entrants) == aggregate(shuffled, _protocol(), entrants)


def test_method_without_any_value_does_not_empty_the_column() -> None:
    scores = _scores({"a": [[10, 12]] * 3, "dead": [[None, None]] * 3})
    column = aggregate(scores, _protocol(), _entrants("a", "dead")).main.columns[0]
    assert column.estimates["a"].mean == 11
    assert column.estimates["dead"].mean is None
    assert column.absent == ("dead",)
    assert column.limited_by is None


def test_failures_count_as_worst_in_the_second_table() -> None:
    scores = _scores({"a": [[30.0, None]], "b": [[20.0, 20.0]]})
    numbers = aggregate(scores, _protocol(), _entrants("a", "b"))
    imputed = numbers.imputed.columns[0]
    assert imputed.estimates["a"].mean == 15  # 0 dB is all that a missing view is worth
    assert imputed.estimates["b"].mean == 20
    assert imputed.counted == 2


def test_imputed_value_is_never_better_than_what_was_seen() -> None:
    scores = _scores({"a": [[30.0, None]], "b": [[-4.0, 20.0]]})
    numbers = aggregate(scores, _protocol(), _entrants("a", "b"))
    assert numbers.imputed.columns[0].estimates["a"].mean == 13


def test_change_of_ranks_is_said() -> None:
    scores = _scores({"a": [[30.0, None]], "b": [[20.0, 20.0]]})
    numbers = aggregate(scores, _protocol(), _entrants("a", "b"))
    (change,) = numbers.rank_changes
    assert (change.common, change.imputed) == (("a", "b"), ("b", "a"))
    main, _ = main_tables(numbers, "test")
    assert any("PSNR ranks differently by the two rules" in note for note in main.notes)


def test_equal_ranks_are_not_said() -> None:
    scores = _scores({"a": [[30.0, 29.0]], "b": [[20.0, None]]})
    assert aggregate(scores, _protocol(), _entrants("a", "b")).rank_changes == ()


def test_ceiling_neither_ranks_nor_limits_nor_ties() -> None:
    generator = np.random.default_rng(2)
    base = generator.normal(20, 1, (10, 4))
    values: dict[str, Sequence[Sequence[float | None]]] = {
        "a": (base + 5).tolist(),
        "b": base.tolist(),
        "oracle": [[99.0, None, None, None]] * 10,
    }
    numbers = aggregate(_scores(values), _protocol(), _entrants("a", "b", oracle=True))
    column = numbers.main.columns[0]
    assert column.counted == 40
    assert column.estimates["oracle"].standing == "apart"
    assert column.estimates["a"].standing == "best"
    assert column.estimates["b"].standing == "behind"
    assert ranking(column, numbers.entrants) == ("a", "b")
    main, _ = main_tables(numbers, "test")
    assert [(row.title, row.kind) for row in main.rows] == [
        ("A", "entrant"), ("B", "entrant"), ("ORACLE", "apart"),
    ]  # fmt: skip
    assert main.rows[-1].cells[0].emphasis == "plain"


def test_what_cannot_be_told_apart_is_tied() -> None:
    generator = np.random.default_rng(3)
    base = generator.normal(20, 1, (10, 4))
    values = {
        "a": (base + 0.05 + generator.normal(0, 1, (10, 1))).tolist(),
        "b": (base + generator.normal(0, 1, (10, 1))).tolist(),
        "c": (base - 5).tolist(),
    }
    numbers = aggregate(_scores(values), _protocol(), _entrants("a", "b", "c"))
    standings = {m: e.standing for m, e in numbers.main.columns[0].estimates.items()}
    assert standings == {"a": "tied", "b": "tied", "c": "behind"}
    main, _ = main_tables(numbers, "test")
    assert not any(cell.emphasis == "best" for row in main.rows for cell in row.cells)
    verdicts = [row.cells[-1].text for row in comparison_table(numbers).rows]
    assert sorted(verdicts) == ["better", "can't be told"]


def test_correction_counts_all_tests_of_the_table() -> None:
    """Two columns of one comparison each: the same p is doubled by Holm."""
    generator = np.random.default_rng(4)
    base = generator.normal(20, 1, (6, 4))
    rows = []
    for metric in ("psnr", "ssim"):
        for method, shift in (("a", 1.0), ("b", 0.0)):
            rows += [
                _score(method, f"s{s}", v, float(base[s, v] + shift), metric=metric)
                for s in range(6)
                for v in range(4)
            ]
    protocol = load_protocol("smoke")
    numbers = aggregate(_table(rows), protocol, _entrants("a", "b"))
    tests = [test for column in numbers.main.columns for test in column.comparisons]
    assert [test.p for test in tests] == [2 / 64, 2 / 64]
    assert [test.p_holm for test in tests] == [4 / 64, 4 / 64]
    assert numbers.main.tests == 2


def test_few_subjects_are_said_to_allow_no_verdict() -> None:
    scores = _scores({"a": [[30.0, 31.0]] * 3, "b": [[20.0, 21.0]] * 3})
    main, _ = main_tables(aggregate(scores, _protocol(), _entrants("a", "b")), "test")
    assert any("a tie may only mean that nothing could be told" in note for note in main.notes)
    assert any("Student's t interval" in note for note in main.notes)


def test_input_view_counts_only_where_the_protocol_says_so() -> None:
    rows = [
        _score("a", "s0", 0, 50.0, is_input=True),
        _score("a", "s0", 1, 10.0),
    ]
    without = _protocol("views.scores_input=false")
    with_it = _protocol("views.scores_input=true")
    entrants = _entrants("a")
    assert aggregate(_table(rows), without, entrants).main.columns[0].estimates["a"].mean == 10
    assert aggregate(_table(rows), with_it, entrants).main.columns[0].estimates["a"].mean == 30


def test_angles_split_by_stratum() -> None:
    scores = _scores({"a": [[10.0, 20.0, 30.0, 40.0]] * 2})
    numbers = aggregate(scores, _protocol(), _entrants("a"))
    means = {c.stratum: c.estimates["a"].mean for c in numbers.angles.columns}
    assert means == {"front": 10, "side": 25, "back": 40}
    assert all(c.estimates["a"].standing == "untested" for c in numbers.angles.columns)


def test_captures_split_by_what_they_differ_by() -> None:
    scores = _scores({"a": [[10.0], [20.0], [30.0]]})
    strata = {
        "s00/x": {"accessory": "hat", "expression": "smile"},
        "s01/x": {"accessory": "none", "expression": "smile"},
        "s02/x": {"accessory": "none", "expression": "smile"},
    }
    numbers = aggregate(scores, _protocol(), _entrants("a"), strata)
    assert list(numbers.strata) == ["accessory"]  # nothing differs in expression
    means = {c.stratum: c.estimates["a"].mean for c in numbers.strata["accessory"].columns}
    assert means == {"hat": 10, "none": 25}
    titles = [table.title for table in strata_tables(numbers, "test")]
    assert titles == ["Front, side and back on test", "By accessory on test"]


def test_failures_are_counted_once_a_view_by_status() -> None:
    rows = [
        _score("a", "s0", 0, None, status="timeout"),
        _score("a", "s0", 0, None, status="timeout", metric="ssim"),
        _score("a", "s0", 1, None, status="wrong_size"),
        _score("b", "s0", 0, 10.0),
        _score("b", "s0", 1, 10.0),
    ]
    numbers = aggregate(_table(rows), load_protocol("smoke"), _entrants("a", "b"))
    assert numbers.failures == {"a": {"wrong_size": 1, "timeout": 1}, "b": {}}
    table = failure_table(numbers)
    assert [heading.title for heading in table.headings] == ["wrong size", "timeout"]


def test_coverage_never_rounds_up_to_whole() -> None:
    views = [[20.0] * 4] * 400
    views_b: list[list[float | None]] = [[20.0] * 4 for _ in range(400)]
    views_b[7][1] = None
    numbers = aggregate(_scores({"a": views, "b": views_b}), _protocol(), _entrants("a", "b"))
    main, _ = main_tables(numbers, "test")
    assert [row.cells[-1].text for row in main.rows] == ["100 %", "99.9 %"]


def test_metric_without_values_keeps_its_column_and_says_why() -> None:
    scores = _scores({"a": [[10.0]] * 2})
    protocol = load_protocol("smoke", ["metrics=[psnr,lpips[alex]]"])
    numbers = aggregate(scores, protocol, _entrants("a"))
    main, _ = main_tables(numbers, "test", {"lpips[alex]": "fetch it"})
    assert [cell.text for cell in main.rows[0].cells[:2]] == ["10.00", "—"]
    assert "lpips[alex]: fetch it" in main.notes


def test_raw_columns_stand_beside_aligned_ones_without_marks() -> None:
    protocol = load_protocol(
        "smoke", ["metrics=[psnr]", "alignment.reported=[none,sim3]", "alignment.main=sim3"]
    )
    rows = []
    for alignment, bonus in (("none", 0.0), ("sim3", 3.0)):
        for method, shift in (("a", 5.0), ("b", 0.0)):
            rows += [
                dataclasses.replace(
                    _score(method, f"s{s}", v, 20.0 + s + shift + bonus), alignment=alignment
                )
                for s in range(8)
                for v in range(4)
            ]
    numbers = aggregate(_table(rows), protocol, _entrants("a", "b"))
    main, _ = main_tables(numbers, "test")
    assert [(h.group, h.title) for h in main.headings[:2]] == [
        ("PSNR ↑", "aligned 3D"), ("PSNR ↑", "raw"),
    ]  # fmt: skip
    assert [cell.emphasis for cell in main.rows[0].cells[:2]] == ["best", "plain"]
    assert [cell.value for cell in main.rows[0].cells[:2]] == [31.5, 28.5]


def test_value_that_is_ok_and_not_finite_is_refused() -> None:
    scores = _table([_score("a", "s0", 3, float("nan"))])
    with pytest.raises(BenchError, match=r"psnr of a, s0/x, view 3 .*expected a finite number"):
        checked_scores(scores, _protocol())


def test_value_that_is_not_ok_never_counts() -> None:
    rows = [_score("a", "s0", 0, 99.0, status="degenerate"), _score("a", "s0", 1, 10.0)]
    numbers = aggregate(_table(rows), _protocol(), _entrants("a"))
    assert numbers.main.columns[0].estimates["a"].mean == 10


def test_row_that_stands_twice_is_refused() -> None:
    scores = _table([_score("a", "s0", 0, 1.0), _score("a", "s0", 0, 2.0)])
    with pytest.raises(BenchError, match="stands twice"):
        checked_scores(scores, _protocol())


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(BenchError, match=r"'beauty'.*expected one of psnr"):
        metric_traits("beauty")


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_has_traits_and_a_worst_below_its_best(metric: str) -> None:
    traits = metric_traits(metric)
    assert traits.better(METRICS[metric].identity, traits.worst)


def test_times_of_two_devices_and_of_failures_never_mix() -> None:
    from a3d_bench.tables import timing_tables
    from a3d_bench.timing import timings

    def one(capture: str, device: str, infer: float, status: Status = "ok") -> Prediction:
        return Prediction(
            "", "a", capture, capture, status, "", {}, Seconds(infer=infer), "harness", None, None,
            device,
        )  # fmt: skip

    rows = timings(
        [
            one("x", "cpu: one", 1.0),
            one("y", "cpu: one", 3.0),
            one("z", "cuda: two", 0.1),
            one("w", "cpu: one", 0.0, "timeout"),
        ]
    )
    assert [(row.device, row.subjects, row.infer.median) for row in rows] == [
        ("cpu: one", 2, 2.0), ("cuda: two", 1, 0.1),
    ]  # fmt: skip
    tables = timing_tables(rows, _entrants("a"))
    assert [table.title for table in tables] == ["Seconds on cpu: one", "Seconds on cuda: two"]
    assert [len(table.rows) for table in tables] == [1, 1]
