"""The table model, and the tables that reports show: text is decided here, format elsewhere.

A `Table` is what all formats print: Markdown, LaTeX, HTML, CSV and the terminal show the same
cells (`a3d_bench.report.formats`). Builders take numbers that are computed already
(`a3d_bench.aggregate`, `a3d_bench.timing`, `a3d_bench.paper`) and decide digits, marks and notes.

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
    family_of,
)
from a3d_bench.errors import BenchError
from a3d_bench.paper import PaperColumn, PaperEntry, PaperTable, normalized, paper_table, scientific
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


@dataclass(frozen=True)
class Measured:
    """What one run has for the paper's tables.

    Attributes:
        label: run, protocol and data, for notes.
        data_kind: of the protocol: ``anyhead``, ``nersemble`` or ``any``.
        remarks: why its numbers are not the paper's: another protocol, other data, partial.
        numbers: scores.
        timings: seconds.
    """

    label: str
    data_kind: str
    remarks: tuple[str, ...]
    numbers: Aggregate
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Rated:
    """What a user study has for the paper's tables, on one data set.

    Attributes:
        label: study, protocol, data and how many took part, for notes.
        data_kind: of the protocol: ``anyhead``, ``nersemble`` or ``any``.
        remarks: why its numbers are not the paper's.
        entrants: that were rated.
        estimates: by entrant's id, of the mean over questions and participants.
    """

    label: str
    data_kind: str
    remarks: tuple[str, ...]
    entrants: tuple[Entrant, ...]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class _Found:
    """The entrant of a run that is a row of the paper."""

    run: Measured
    entrant: Entrant


def paper_comparison(number: int, runs: Sequence[Measured], studies: Sequence[Rated] = ()) -> Table:
    """Return a table of the paper in its layout: its value, ours, and the difference.

    Args:
        number: 1 to 9.
        runs: measured ones; those of another data set than the table's are not used.
        studies: of users; the same.

    Raises:
        BenchError: no such table, or two runs or studies hold the same method for it.
    """
    table = paper_table(number)
    asked = [study for study in studies if study.data_kind == table.dataset.lower()]
    used = [run for run in runs if not table.dataset or run.data_kind == table.dataset.lower()]
    found = {row: _found(row, used) for row in table.rows}
    devices = _devices(table, found)
    ratings = {row: _our_rating(row, asked) for row in table.rows}
    notes = (*_paper_notes(table, runs, used, found, devices), *_study_notes(table, studies, asked))
    if table.blocks:
        return _lying_table(table, found, devices, notes)
    headings = tuple(
        Heading(part, column.title) for column in table.columns for part in ("paper", "ours", "Δ")
    )
    rows = tuple(
        Row(
            row,
            tuple(
                cell
                for column in table.columns
                for cell in _paper_cells(table, row, column, found[row], devices, ratings[row])
            ),
        )
        for row in table.rows
    )
    return Table(f"paper-{number}", _paper_title(table), table.corner, headings, rows, notes)


def _paper_title(table: PaperTable) -> str:
    return f"Table {table.number}: {table.title} Paper, ours, and ours minus the paper's"


def _lying_table(
    table: PaperTable,
    found: Mapping[str, _Found | None],
    devices: Sequence[str],
    notes: tuple[str, ...],
) -> Table:
    """Return a table that lists methods from left to right, in blocks below each other."""
    width = max(table.blocks)
    starts = [sum(table.blocks[:index]) for index in range(len(table.blocks))]
    blocks = [
        table.rows[start : start + count] for start, count in zip(starts, table.blocks, strict=True)
    ]
    rows: list[Row] = []
    for index, block in enumerate(blocks):
        if index:
            rows.append(Row(table.corner, _padded([Cell(name) for name in block], width), "header"))
        for column in table.columns:
            lines = [
                _paper_cells(table, row, column, found[row], devices, _NO_STUDY) for row in block
            ]
            for part, title in enumerate((f"{column.title}: paper", "ours", "Δ")):
                rows.append(Row(title, _padded([line[part] for line in lines], width)))
    return Table(
        f"paper-{table.number}",
        _paper_title(table),
        table.corner,
        tuple(Heading(name) for name in (*blocks[0], *[""] * (width - len(blocks[0])))),
        tuple(rows),
        notes,
    )


def _padded(cells: Sequence[Cell], width: int) -> tuple[Cell, ...]:
    return (*cells, *[Cell("")] * (width - len(cells)))


def _paper_cells(
    table: PaperTable,
    row: str,
    column: PaperColumn,
    found: _Found | None,
    devices: Sequence[str],
    rating: Cell,
) -> tuple[Cell, Cell, Cell]:
    """Return the paper's value, ours and the difference; each says so where there is none."""
    entry = table.entry(row, column.name)
    printed = Cell(entry.printed, value=entry.value, note=entry.source)
    ours = rating if column.kind == "study" else _our_cell(entry, column, found, devices)
    if ours.value is not None and entry.value is not None:
        gap = ours.value - entry.value
        return printed, ours, Cell(_signed(gap, entry), value=gap)
    if column.family == "output" and ours.emphasis != "muted":
        return printed, ours, Cell("same" if ours.text == entry.text else "differs")
    return printed, ours, Cell(NOTHING, emphasis="muted")


def _our_cell(
    entry: PaperEntry, column: PaperColumn, found: _Found | None, devices: Sequence[str]
) -> Cell:
    if column.kind == "fact" and column.family != "output":
        return Cell("not measured", emphasis="muted")
    if found is None:
        return Cell("not run", emphasis="muted")
    if column.family == "output":
        kinds = {"gaussians": "gs", "mesh": "mesh", "views": "views", "video": "video"}
        kind = kinds.get(found.entrant.output)
        return Cell(kind) if kind else Cell("unknown", emphasis="muted")
    if column.kind == "time":
        return _our_time(entry, column, found, devices)
    return _our_score(entry, column, found)


_NO_STUDY = Cell("no study", emphasis="muted")


def _our_rating(row: str, studies: Sequence[Rated]) -> Cell:
    """Return the mean rating of a row's method, with as many digits as the paper's."""
    hits = [(study, entrant) for study in studies for entrant in _named(row, study.entrants)]
    if len(hits) > 1:
        raise BenchError(
            f"{row} is in {len(hits)} places: "
            + "; ".join(f"{entrant.id} of {study.label}" for study, entrant in hits)
            + "; give one of them"
        )
    if not hits:
        return _NO_STUDY if not studies else Cell("not rated", emphasis="muted")
    study, entrant = hits[0]
    estimate = study.estimates[entrant.id]
    if estimate.mean is None:
        return Cell("not rated", emphasis="muted")
    error = estimate.standard_error
    return Cell(
        f"{estimate.mean:.4f}" + ("" if error is None else f" ± {error:.4f}"),
        value=estimate.mean,
        note=f"{study.label}; {estimate.views} ratings by {estimate.subjects} participants",
    )


def _study_notes(
    table: PaperTable, studies: Sequence[Rated], asked: Sequence[Rated]
) -> tuple[str, ...]:
    if not any(column.kind == "study" for column in table.columns):
        return ()
    notes = []
    for study in asked:
        notes.append(
            f"Rated: {study.label}. Mean over both questions; after ±: standard error over "
            "participants."
        )
        if study.remarks:
            notes.append(f"Not the paper's conditions: {'; '.join(study.remarks)}.")
    notes.extend(
        f"Not used, since it is not on {table.dataset}: {study.label}."
        for study in studies
        if study not in asked
    )
    return tuple(dict.fromkeys(notes))


def _our_score(entry: PaperEntry, column: PaperColumn, found: _Found) -> Cell:
    scored = _paper_metric(found.run, column)
    estimate = scored.estimates[found.entrant.id] if scored else None
    if scored is None or estimate is None or estimate.mean is None:
        return Cell("no value", emphasis="muted")
    digits = entry.decimals
    error = estimate.standard_error
    return Cell(
        f"{estimate.mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}"),
        value=estimate.mean,
        note=f"{scored.metric.id}, {found.run.label}",
    )


def _paper_metric(run: Measured, column: PaperColumn) -> Column | None:
    """Return a run's column for one of the paper's: the protocol's first metric of the family."""
    for scored in run.numbers.main.columns:
        if family_of(scored.metric.id) == column.family and len(scored.absent) < len(
            run.numbers.entrants
        ):
            return scored
    return None


def _our_time(
    entry: PaperEntry, column: PaperColumn, found: _Found, devices: Sequence[str]
) -> Cell:
    if len(devices) > 1:
        return Cell("several devices", emphasis="muted")
    rows = [row for row in found.run.timings if row.method == found.entrant.id]
    seconds = _paper_seconds(rows[0], column.family) if len(rows) == 1 else None
    if seconds is None:
        return Cell("not timed", emphasis="muted")
    return Cell(
        _like(seconds, entry),
        value=seconds,
        note=f"{rows[0].device}; timed by {rows[0].timed_by}",
    )


def _paper_seconds(row: Timing, family: str) -> float | None:
    parts = {
        "infer": (row.infer.median,),
        "render": (row.render.median,),
        "infer+render": (row.infer.median, row.render.median),
    }[family]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _like(value: float, entry: PaperEntry) -> str:
    """Return a number with as many digits as the paper's."""
    if "e" in entry.text:
        mantissa, _, exponent = f"{value:.{entry.decimals}e}".partition("e")
        return scientific(mantissa, int(exponent))
    return f"{value:.{entry.decimals}f}"


def _signed(gap: float, entry: PaperEntry) -> str:
    return _like(gap, entry) if gap < 0 else f"+{_like(gap, entry)}"


def _found(row: str, runs: Sequence[Measured]) -> _Found | None:
    """Return who is this row: by the name in its card, its title or its id."""
    hits = [_Found(run, entrant) for run in runs for entrant in _named(row, run.numbers.entrants)]
    if len(hits) > 1:
        raise BenchError(
            f"{row} is in {len(hits)} places: "
            + "; ".join(f"{hit.entrant.id} of {hit.run.label}" for hit in hits)
            + "; give one of them"
        )
    return hits[0] if hits else None


def _named(row: str, entrants: Sequence[Entrant]) -> list[Entrant]:
    """Return the entrants that are a row of the paper."""
    wanted = normalized(row)
    if wanted.startswith("step"):
        wanted = f"any3davatar{wanted}"
    return [e for e in entrants if wanted in {normalized(name) for name in _names(e)}]


def _names(entrant: Entrant) -> tuple[str, ...]:
    if entrant.paper_name:
        return (entrant.paper_name,)
    return (entrant.title, entrant.id)


def _devices(table: PaperTable, found: Mapping[str, _Found | None]) -> list[str]:
    if not any(column.kind == "time" for column in table.columns):
        return []
    devices = [
        row.device
        for hit in found.values()
        if hit
        for row in hit.run.timings
        if row.method == hit.entrant.id
    ]
    return list(dict.fromkeys(devices))


def _paper_notes(
    table: PaperTable,
    runs: Sequence[Measured],
    used: Sequence[Measured],
    found: Mapping[str, _Found | None],
    devices: Sequence[str],
) -> tuple[str, ...]:
    notes = []
    hits = [hit for hit in found.values() if hit]
    shown = [run for run in used if any(hit.run is run for hit in hits)]
    notes.extend(f"Ours: {run.label}." for run in shown)
    remarks = list(dict.fromkeys(remark for run in shown for remark in run.remarks))
    if remarks:
        notes.append(f"Not the paper's conditions: {'; '.join(remarks)}.")
    if any(column.kind == "metric" for column in table.columns) and shown:
        ids = {
            scored.metric.id: None
            for run in shown
            for column in table.columns
            if column.kind == "metric" and (scored := _paper_metric(run, column))
        }
        notes.append(
            f"Ours are {', '.join(ids)}; the paper names no networks. Ours are means of subject "
            "means on the views common to all methods of the run; after ±: standard error over "
            "subjects; the paper does not say what its ± is."
        )
    if len(devices) > 1:
        notes.append(
            f"Times were measured on several devices ({'; '.join(devices)}): they don't belong in "
            "one column; give runs of one device."
        )
    elif devices:
        notes.append(
            f"Our times: {devices[0]}, median over heads. The paper's: an NVIDIA A6000; loading "
            "is not counted."
        )
    absent = [row for row in table.rows if found[row] is None]
    if absent and any(column.kind in ("metric", "time") for column in table.columns):
        notes.append(f"Not run: {', '.join(absent)}.")
    notes.extend(
        f"Not used, since it is not on {table.dataset}: {run.label}."
        for run in runs
        if run not in used
    )
    return tuple(notes)
