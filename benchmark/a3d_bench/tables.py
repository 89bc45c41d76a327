"""The table model, and the tables that reports show: text is decided here, format elsewhere.

A `Table` is what all formats print: Markdown, LaTeX, HTML, CSV and the terminal show the same
cells (`a3d_bench.report.formats`). Builders take numbers that are computed already
(`a3d_bench.aggregate`, `a3d_bench.timing`) and decide digits, marks and notes.

Marks. Bold: better than every other entrant, after correction. ``≈``: the best, and those that it
can't be told from. Italic, below the line: shown the truth, so no competitor. ``—``: no value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from a3d_bench.aggregate import (
    SIGNIFICANT,
    Aggregate,
    Column,
    Comparison,
    Entrant,
    Estimate,
    MetricTraits,
    Summary,
)
from a3d_bench.errors import BenchError
from a3d_bench.timing import Stage, Timing
from a3d_bench.types import STATUSES, Alignment, Status

NOTHING = "—"
TIE = "≈"
Emphasis = Literal["plain", "best", "tied", "muted"]
RowKind = Literal["entrant", "apart", "header"]

_ALIGNMENT_TITLES: Mapping[Alignment, str] = {
    "none": "raw",
    "landmark2d": "aligned 2D",
    "sim3": "aligned 3D",
}


@dataclass(frozen=True)
class Heading:
    """A column's head.

    Attributes:
        title: of the column.
        group: heading over several neighbours, or empty.
    """

    title: str
    group: str = ""

    @property
    def full(self) -> str:
        """Group and title in one line."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what is shown.
        detail: shown smaller beside it: an interval.
        emphasis: how it is set.
        value: the number behind the text, or None.
        low: lower end of its interval.
        high: upper end.
        note: more about it: a tooltip on a page.
    """

    text: str
    detail: str = ""
    emphasis: Emphasis = "plain"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        title: its first cell.
        cells: as many as there are headings.
        kind: ``apart`` stands below a line; ``header`` names what follows in its columns.
    """

    title: str
    cells: tuple[Cell, ...]
    kind: RowKind = "entrant"


@dataclass(frozen=True)
class Span:
    """A heading over several columns; empty text over columns that have none."""

    title: str
    columns: int


@dataclass(frozen=True)
class Table:
    """A table in no format yet.

    Attributes:
        name: of its files: ``main``, ``timing-1``.
        title: caption.
        corner: heading of the first column.
        headings: of the others.
        rows: from top to bottom.
        notes: below it.
    """

    name: str
    title: str
    corner: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.headings):
                raise BenchError(
                    f"table {self.name}: row {row.title!r} has {len(row.cells)} cells, expected "
                    f"{len(self.headings)}"
                )

    @property
    def spans(self) -> tuple[Span, ...]:
        """The upper line of headings; empty where no column has a group."""
        if not any(heading.group for heading in self.headings):
            return ()
        return tuple(
            Span(group, len(list(members)))
            for group, members in groupby(self.headings, lambda heading: heading.group)
        )


def main_tables(
    numbers: Aggregate, label: str, unavailable: Mapping[str, str] | None = None
) -> tuple[Table, Table]:
    """Return the main table, on common views, and the one that counts failures as worst.

    Args:
        numbers: of the run or runs.
        label: protocol and data, for the captions.
        unavailable: by metric id, why a column is empty and what mends it.
    """
    why = unavailable or {}
    return (
        _summary_table("main", f"Scores on {label}: common views", numbers, numbers.main, why),
        _summary_table(
            "imputed",
            f"Scores on {label}: what could not be scored counts as worst",
            numbers,
            numbers.imputed,
            why,
        ),
    )


def strata_tables(numbers: Aggregate, label: str) -> tuple[Table, ...]:
    """Return scores by angle, and by everything else that captures differ by."""
    made = [_strata_table("angles", f"Front, side and back on {label}", numbers, numbers.angles)]
    for index, (name, summary) in enumerate(numbers.strata.items(), 1):
        made.append(_strata_table(f"strata-{index}", f"By {name} on {label}", numbers, summary))
    return tuple(made)


def comparison_table(numbers: Aggregate) -> Table:
    """Return the tests behind bold and ties: the best of each column against every other."""
    titles = {entrant.id: entrant.title for entrant in numbers.entrants}
    rows = [
        Row(column.metric.title, comparison_cells(comparison, titles, column.metric.decimals))
        for column in numbers.main.columns
        for comparison in column.comparisons
    ]
    return Table(
        "comparisons",
        "Is the best better? Paired differences over subjects",
        "Metric",
        tuple(
            Heading(title)
            for title in (
                "Best", "Against", "Difference", "p", "p, Holm", "Detectable", "Subjects",
                "Verdict",
            )
        ),
        tuple(rows),
        (
            f"Sign-flip test by subject; Holm over all {numbers.main.tests} tests of "
            "the main table; detectable: the difference that would be seen four times in five at "
            "p < 0.05 without correction.",
        ),
    )  # fmt: skip


def failure_table(numbers: Aggregate) -> Table:
    """Return how many views have which status, by entrant; only statuses that occur."""
    seen: list[Status] = [
        status
        for status in STATUSES
        if any(status in counts for counts in numbers.failures.values())
    ]
    rows = [
        Row(
            entrant.title,
            tuple(_count_cell(numbers.failures[entrant.id].get(status, 0)) for status in seen),
            "apart" if entrant.sees_truth else "entrant",
        )
        for entrant in _in_order(numbers.entrants)
    ]
    return Table(
        "failures",
        "Views without a value, by reason",
        "Method",
        tuple(Heading(status.replace("_", " ")) for status in seen),
        tuple(rows),
        () if seen else ("Every view of every method was scored.",),
    )


def timing_tables(rows: Sequence[Timing], entrants: Sequence[Entrant]) -> tuple[Table, ...]:
    """Return one table a device: no column mixes two."""
    devices = list(dict.fromkeys(row.device for row in rows))
    return tuple(
        _timing_table(
            f"timing-{index}", device, [row for row in rows if row.device == device], entrants
        )
        for index, device in enumerate(devices, 1)
    )


def seconds_text(seconds: float | None) -> str:
    """Return seconds with three digits and the unit that suits them."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"


def _summary_table(
    name: str, title: str, numbers: Aggregate, summary: Summary, unavailable: Mapping[str, str]
) -> Table:
    columns = summary.columns
    several = len({column.alignment for column in columns}) > 1
    coverages = _coverage_columns(columns, numbers.entrants)
    rows = [
        Row(
            entrant.title,
            (
                *(_estimate_cell(c.metric, c.estimates[entrant.id]) for c in columns),
                *(coverage_cell(column.estimates[entrant.id], "views") for column in coverages),
            ),
            "apart" if entrant.sees_truth else "entrant",
        )
        for entrant in _in_order(numbers.entrants)
    ]
    coverage_headings = (
        (Heading("Scored"),)
        if len(coverages) == 1
        else tuple(Heading(_column_title(c, several=several), "Scored") for c in coverages)
    )
    return Table(
        name,
        title,
        "Method",
        (
            *(
                Heading(_ALIGNMENT_TITLES[c.alignment], f"{c.metric.title} {c.metric.arrow}")
                if several
                else Heading(f"{c.metric.title} {c.metric.arrow}")
                for c in columns
            ),
            *coverage_headings,
        ),
        tuple(rows),
        _summary_notes(numbers, summary, unavailable),
    )


def _summary_notes(
    numbers: Aggregate, summary: Summary, unavailable: Mapping[str, str]
) -> tuple[str, ...]:
    notes = [
        "Mean of subject means, with its interval over subjects. Bold: better than every other "
        f"method (sign-flip test by subject, p < {SIGNIFICANT} after Holm over the table's tests). "
        f"{TIE}: the best, and those that it can't be told from."
    ]
    titles = {entrant.id: entrant.title for entrant in numbers.entrants}
    rules = {
        estimate.interval.rule
        for column in summary.columns
        for estimate in column.estimates.values()
        if estimate.interval
    }
    if "student-t" in rules:
        notes.append("Fewer than 6 subjects: Student's t interval, for want of draws.")
    if summary.tests and summary.smallest_p * summary.tests >= SIGNIFICANT:
        notes.append(
            f"With so few subjects the smallest p that a test can give is "
            f"{summary.smallest_p:.3g}, and {summary.tests} tests are corrected for: a tie may "
            "only mean that nothing could be told."
        )
    if summary.rule == "common":
        notes.extend(_common_view_notes(summary.columns, titles))
    else:
        notes.append(
            "A view without a value counts as the metric's worst: "
            + ", ".join(
                f"{column.metric.title} {column.metric.worst:g}"
                for column in _first_by_metric(summary.columns)
            )
            + " (or the worst value seen, where that is worse)."
        )
    notes.extend(_rank_notes(numbers, titles))
    if any(entrant.sees_truth for entrant in numbers.entrants):
        notes.append("Below the line: shown the truth, so a ceiling and no competitor.")
    notes.extend(f"{metric}: {reason}" for metric, reason in unavailable.items())
    return tuple(notes)


def _common_view_notes(columns: Sequence[Column], titles: Mapping[str, str]) -> list[str]:
    """Return which columns count fewer views than there are, and because of whom."""
    reduced: dict[tuple[int, int, str], list[str]] = {}
    for column in columns:
        if column.limited_by is not None:
            key = (column.counted, column.expected, titles[column.limited_by])
            shown = reduced.setdefault(key, [])
            if column.metric.title not in shown:
                shown.append(column.metric.title)
    return [
        f"{', '.join(metrics)}: {counted} of {expected} views are common to all; {title} lacks "
        "most."
        for (counted, expected, title), metrics in reduced.items()
    ]


def _rank_notes(numbers: Aggregate, titles: Mapping[str, str]) -> list[str]:
    return [
        f"{change.metric.title} ranks differently by the two rules: on common views "
        f"{' > '.join(titles[m] for m in change.common)}; with failures as worst "
        f"{' > '.join(titles[m] for m in change.imputed)}."
        for change in numbers.rank_changes
    ]


def _strata_table(name: str, title: str, numbers: Aggregate, summary: Summary) -> Table:
    columns = [column for column in summary.columns if column.expected]
    rows = [
        Row(
            entrant.title,
            tuple(_estimate_cell(c.metric, c.estimates[entrant.id]) for c in columns),
            "apart" if entrant.sees_truth else "entrant",
        )
        for entrant in _in_order(numbers.entrants)
    ]
    return Table(
        name,
        title,
        "Method",
        tuple(Heading(c.stratum or "all", f"{c.metric.title} {c.metric.arrow}") for c in columns),
        tuple(rows),
        ("Common views; intervals over subjects. Not tested: no bold, no ties.",),
    )


def _estimate_cell(metric: MetricTraits, estimate: Estimate) -> Cell:
    if estimate.mean is None:
        return Cell(NOTHING, emphasis="muted", note="no view with a value")
    note = (
        f"{estimate.subjects} subjects, {estimate.views} views; {estimate.scored} of "
        f"{estimate.expected} scored"
    )
    return mean_cell(estimate, estimate.mean, metric.decimals, note)


def mean_cell(estimate: Estimate, mean: float, digits: int, note: str) -> Cell:
    """Return a mean with its interval and where it stands; ``note`` is the tooltip."""
    interval = estimate.interval
    emphasis: Emphasis = "plain"
    if estimate.standing in ("best", "tied"):
        emphasis = "best" if estimate.standing == "best" else "tied"
    return Cell(
        f"{mean:.{digits}f}",
        f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if interval else "",
        emphasis,
        mean,
        interval.low if interval else None,
        interval.high if interval else None,
        note,
    )


def _coverage_columns(columns: Sequence[Column], entrants: Sequence[Entrant]) -> tuple[Column, ...]:
    """Return the columns whose coverage is shown: one where all are alike."""
    available = [c for c in columns if len(c.absent) < len(entrants)] or list(columns[:1])
    kinds: dict[tuple[float, ...], Column] = {}
    for column in available:
        kinds.setdefault(tuple(column.estimates[e.id].coverage for e in entrants), column)
    return tuple(kinds.values())


def coverage_cell(estimate: Estimate, of: str) -> Cell:
    """Return the share of what is expected that has a value; ``of`` what, for the tooltip."""
    share = estimate.coverage
    full = estimate.scored == estimate.expected
    # Rounding must not make whole what is not.
    text = "100 %" if full else f"{min(share, 0.999) * 100:.3g} %"
    return Cell(
        text,
        emphasis="plain" if full else "muted",
        value=share,
        note=f"{estimate.scored} of {estimate.expected} {of}",
    )


def comparison_cells(
    comparison: Comparison, titles: Mapping[str, str], digits: int
) -> tuple[Cell, ...]:
    """Return who, against whom, difference, p, p by Holm, detectable, how many, and the verdict."""
    interval = comparison.interval
    detectable = comparison.minimum_detectable
    return (
        Cell(titles[comparison.best]),
        Cell(titles[comparison.other]),
        Cell(
            f"{comparison.difference:+.{digits}f}",
            f"[{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]" if interval else "",
            value=comparison.difference,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
        ),
        Cell(_p_text(comparison.p), value=comparison.p),
        Cell(_p_text(comparison.p_holm), value=comparison.p_holm),
        Cell(NOTHING if detectable is None else f"{detectable:.{digits}f}", value=detectable),
        Cell(str(comparison.subjects), value=float(comparison.subjects)),
        Cell("better", emphasis="best")
        if comparison.survives
        else Cell("can't be told", emphasis="muted"),
    )


def _p_text(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def _count_cell(count: int) -> Cell:
    return Cell(str(count), emphasis="plain" if count else "muted", value=float(count))


def _timing_table(
    name: str, device: str, rows: Sequence[Timing], entrants: Sequence[Entrant]
) -> Table:
    titles = {entrant.id: entrant.title for entrant in entrants}
    watches = {
        "harness": "harness",
        "method": "the method itself",
        "process": "whole process, with loading",
        "nobody": "nobody",
    }
    stages: Sequence[tuple[str, Callable[[Timing], Stage]]] = (
        ("Load", lambda row: row.load),
        ("Preprocess", lambda row: row.preprocess),
        ("Infer", lambda row: row.infer),
        ("Render, one frame", lambda row: row.render),
    )
    return Table(
        name,
        f"Seconds on {device}",
        "Method",
        (
            *(Heading(part, title) for title, _ in stages for part in ("median", "p95")),
            Heading("RAM", "Peak memory"),
            Heading("GPU", "Peak memory"),
            Heading("Heads"),
            Heading("Timed by"),
        ),
        tuple(
            Row(
                titles.get(row.method, row.method),
                (
                    *(cell for _, stage in stages for cell in _stage_cells(stage(row))),
                    _bytes_cell(row.peak_rss_bytes),
                    _bytes_cell(row.peak_gpu_bytes),
                    Cell(str(row.subjects), value=float(row.subjects)),
                    Cell(watches.get(row.timed_by, row.timed_by)),
                ),
            )
            for row in rows
        ),
        ("Median and 95th percentile over heads; failed heads are left out.",),
    )


def _stage_cells(stage: Stage) -> tuple[Cell, Cell]:
    return tuple(
        Cell(
            seconds_text(value),
            emphasis="muted" if value is None else "plain",
            value=value,
        )
        for value in (stage.median, stage.p95)
    )  # type: ignore[return-value]


def _bytes_cell(count: int | None) -> Cell:
    if count is None:
        return Cell(NOTHING, emphasis="muted")
    return Cell(f"{count / 1e9:.2f} GB", value=float(count))


def _column_title(column: Column, *, several: bool) -> str:
    title = column.metric.title
    return f"{title}, {_ALIGNMENT_TITLES[column.alignment]}" if several else title


def _first_by_metric(columns: Sequence[Column]) -> list[Column]:
    return list({column.metric.id: column for column in reversed(columns)}.values())[::-1]


def _in_order(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Return competitors first, ceilings below."""
    return sorted(entrants, key=lambda entrant: entrant.sees_truth)
