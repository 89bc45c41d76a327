"""A table of the paper in its own layout: its value, ours, and the difference.

What was not run says so; nothing is filled in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from a3d_bench.aggregate import Aggregate, Column, Entrant, Estimate, family_of
from a3d_bench.errors import BenchError
from a3d_bench.paper import PaperColumn, PaperEntry, PaperTable, normalized, paper_table, scientific
from a3d_bench.tables import NOTHING, Cell, Heading, Row, Table
from a3d_bench.timing import Timing

OUR_DATA_SET = "AnyHead"  # the row of the table of data sets that ours can be counted for


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
class Counted:
    """What a data set has for the paper's table of data sets.

    Attributes:
        label: the data set, for notes.
        facts: by title of the paper's column: a count, ``✓`` or ``✗``.
    """

    label: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class _Found:
    """The entrant of a run that is a row of the paper."""

    run: Measured
    entrant: Entrant


def paper_comparison(
    number: int,
    runs: Sequence[Measured],
    studies: Sequence[Rated] = (),
    *,
    data: Counted | None = None,
    chosen: Mapping[str, str] | None = None,
) -> Table:
    """Return a table of the paper in its layout: its value, ours, and the difference.

    Args:
        number: 1 to 9.
        runs: measured ones; those of another data set than the table's are not used.
        studies: of users; the same.
        data: a data set of the AnyHead kind, for the table of data sets.
        chosen: row of the table -> id of the entrant that it is; the other rows go to the entrants
            of their names.

    Raises:
        BenchError: no such table or row, no entrant of a chosen id, two runs or studies that hold
            the same method, or data for a table that has none.
    """
    table = paper_table(number)
    if data is not None and OUR_DATA_SET not in table.rows:
        raise BenchError(f"Table {number} counts no data sets; leave out --data")
    chosen = _checked_choice(table, chosen or {}, runs, studies)
    asked = [study for study in studies if study.data_kind == table.dataset.lower()]
    used = [run for run in runs if not table.dataset or run.data_kind == table.dataset.lower()]
    found = {row: _found(row, used, chosen) for row in table.rows}
    devices = _devices(table, found)
    ratings = {row: _our_rating(row, asked, chosen) for row in table.rows}
    counted = {OUR_DATA_SET: data}
    notes = (*_paper_notes(table, runs, used, found, devices), *_study_notes(table, studies, asked))
    if data is not None:
        notes = (*notes, f"Ours: {data.label}.")
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
                for cell in (
                    _fact_cells(table.entry(row, column.name), column, counted.get(row))
                    if column.kind == "fact" and not column.family
                    else _paper_cells(table, row, column, found[row], devices, ratings[row])
                )
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


def _fact_cells(
    entry: PaperEntry, column: PaperColumn, data: Counted | None
) -> tuple[Cell, Cell, Cell]:
    """Return what the paper says of a data set, what ours has, and whether that is the same."""
    printed = Cell(entry.printed, value=entry.value, note=entry.source)
    if data is None:
        return (
            printed,
            Cell("not counted", emphasis="muted"),
            Cell(NOTHING, emphasis="muted"),
        )
    text = data.facts[column.title]
    if entry.value is None:
        same = text == entry.printed
        return printed, Cell(text, note=data.label), Cell("same" if same else "differs")
    gap = float(text) - entry.value
    ours = Cell(text, value=float(text), note=data.label)
    return printed, ours, Cell(_signed(gap, entry), value=gap)


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


def _our_rating(row: str, studies: Sequence[Rated], chosen: Mapping[str, str]) -> Cell:
    """Return the mean rating of a row's method, with as many digits as the paper's."""
    hits = [
        (study, entrant) for study in studies for entrant in _named(row, study.entrants, chosen)
    ]
    if len(hits) > 1:
        raise _several(row, [(entrant, study.label) for study, entrant in hits])
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


def _found(row: str, runs: Sequence[Measured], chosen: Mapping[str, str]) -> _Found | None:
    """Return who is this row: who was chosen, else by the name in its card, its title or its id."""
    hits = [
        _Found(run, entrant)
        for run in runs
        for entrant in _named(row, run.numbers.entrants, chosen)
    ]
    if len(hits) > 1:
        raise _several(row, [(hit.entrant, hit.run.label) for hit in hits])
    return hits[0] if hits else None


def _several(row: str, places: Sequence[tuple[Entrant, str]]) -> BenchError:
    listed = "; ".join(f"{entrant.id} of {label}" for entrant, label in places)
    return BenchError(
        f"{row} is in {len(places)} places: {listed}; give one of the runs, or say which entrant "
        f"it is: --row '{row}={places[-1][0].id}'"
    )


def _checked_choice(
    table: PaperTable,
    chosen: Mapping[str, str],
    runs: Sequence[Measured],
    studies: Sequence[Rated],
) -> Mapping[str, str]:
    """Return a choice by the table's own names of its rows, in any spelling of them.

    Raises:
        BenchError: no such row, or nobody of that id anywhere.
    """
    rows = {normalized(row): row for row in table.rows}
    known = {
        entrant.id: None
        for entrants in (
            *(run.numbers.entrants for run in runs),
            *(study.entrants for study in studies),
        )
        for entrant in entrants
    }
    for row, id_ in chosen.items():
        if normalized(row) not in rows:
            raise BenchError(
                f"Table {table.number} has no row {row!r}; expected one of {', '.join(table.rows)}"
            )
        if id_ not in known:
            raise BenchError(
                f"nobody is named {id_!r} in these runs; expected one of {', '.join(known) or '-'}"
            )
    return {rows[normalized(row)]: id_ for row, id_ in chosen.items()}


def _named(row: str, entrants: Sequence[Entrant], chosen: Mapping[str, str]) -> list[Entrant]:
    """Return the entrants that are a row of the paper."""
    if row in chosen:
        return [entrant for entrant in entrants if entrant.id == chosen[row]]
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
