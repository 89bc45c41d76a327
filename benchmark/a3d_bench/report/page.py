"""The page ``report.html``: opens from disk, needs no network, pictures first.

A report is a folder: the page, ``pictures/`` in WebP, and ``tables/`` in Markdown, LaTeX and CSV.
It can be moved or sent; the run that it was made from can't be made again from it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from a3d_bench.aggregate import Entrant, Frame, MetricTraits, checked_scores, metric_traits
from a3d_bench.align.record import read_alignment
from a3d_bench.errors import BenchError
from a3d_bench.names import slug
from a3d_bench.report.charts import Curves, HeatMaps, curves, heat_maps
from a3d_bench.report.formats import to_csv, to_latex, to_markdown
from a3d_bench.report.pictures import (
    FULL_SCALE,
    LOSSLESS_UP_TO_PX,
    RGB,
    difference_map,
    flip_heat,
    read_over,
    write_display,
)
from a3d_bench.report.results import Results, merged, read_results
from a3d_bench.report.templates import html_environment, read_asset
from a3d_bench.store import CaptureRow, RunFolder
from a3d_bench.tables import (
    NOTHING,
    TIE,
    Table,
    comparison_table,
    failure_table,
    main_tables,
    strata_tables,
    timing_tables,
)
from a3d_bench.timing import timings
from a3d_bench.types import Alignment, Status
from any3davatar.io import atomic_path

WALL_CAPTURES = 16
WALLS_OPEN = 3
WALL_VIEWS = 8
WORST_CASES = 4
FAILURE_SAMPLES = 6
NOTES_SHOWN = 4
_VALIDATION_LIMIT = 1 << 22
_NOT_TOLD = frozenset(("card", "source", "warm_up_seconds", "process_seconds"))  # by the harness


@dataclass(frozen=True)
class Shot:
    """A picture of a report, or why there is none.

    Attributes:
        picture: path from the page, or empty.
        errors: path of the map of differences from the truth, or empty.
        text: below it: the score, or what is wrong.
    """

    picture: str
    errors: str
    text: str


@dataclass(frozen=True)
class Strip:
    """One figure of the wall: what a method shows of a head from each chosen view.

    Attributes:
        title: of the method.
        shots: one a view.
    """

    title: str
    shots: tuple[Shot, ...]

    @property
    def as_json(self) -> str:
        """The shots for the page's script."""
        return json.dumps([[shot.picture, shot.errors, shot.text] for shot in self.shots])


@dataclass(frozen=True)
class Wall:
    """A head: input, truth and methods, view by view.

    Attributes:
        title: of the capture.
        details: subject and what it may be split by.
        input: the picture that methods were given.
        views: what each chosen view is, in words.
        truth: the truth from each.
        strips: one a method.
        first: index of the view that is shown at first.
    """

    title: str
    details: str
    input: Shot
    views: tuple[str, ...]
    truth: Strip
    strips: tuple[Strip, ...]
    first: int

    @property
    def last(self) -> int:
        """Index of the last view."""
        return len(self.views) - 1

    @property
    def views_json(self) -> str:
        """What each view is, for the page's script."""
        return json.dumps(self.views)


@dataclass(frozen=True)
class Case:
    """A single view that is looked at: truth, prediction, differences, FLIP's map."""

    title: str
    text: str
    truth: str
    shot: Shot
    flip: str


@dataclass(frozen=True)
class CaseGroup:
    """Cases of one method.

    Attributes:
        title: of the method.
        cases: worst first.
    """

    title: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Failure:
    """Views of a method that failed in one way.

    Attributes:
        method: title of the method.
        status: what became of them.
        reason: in the method's or the harness's words.
        where: captures and views, in words.
        views: how many.
        samples: some of them, with the truth beside.
    """

    method: str
    status: str
    reason: str
    where: str
    views: int
    samples: tuple[Case, ...]


@dataclass(frozen=True)
class Finding:
    """What validation says about a method's files.

    Attributes:
        method: title of the method.
        capture: id of the capture.
        texts: what was found, in words.
        pictures: paths from the page.
    """

    method: str
    capture: str
    texts: tuple[str, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class AlignmentNote:
    """What is to be known about an alignment of a method, besides its numbers.

    Attributes:
        method: title of the method.
        alignment: its name.
        summary: how many heads it is about.
        texts: a line a head.
    """

    method: str
    alignment: str
    summary: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class MethodNotes:
    """What is noted of a method's heads: what it told, and how its output was taken over.

    Attributes:
        method: its title.
        said: what it is about, and each thing said with the number of heads.
    """

    method: str
    said: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ShownTable:
    """A table, and its text in the formats that are copied from the page."""

    table: Table
    latex: str
    csv: str
    markdown: str


@dataclass(frozen=True)
class Page:
    """Everything that the template places.

    Attributes:
        title: protocol.
        subtitle: data, methods, date.
        warnings: what a reader must know before any number.
        small_pictures: whether views are so small that pixels are shown as squares.
        walls: heads that are seen at once.
        more_walls: heads that are unfolded.
        walls_note: which heads are shown, or empty.
        error_scale: what white means in a map of differences.
        main: the main table.
        imputed: with failures as worst.
        comparisons: the tests.
        strata: by angle, and by what captures differ by.
        maps: by azimuth and elevation.
        curves: by view index.
        worst: the views with the worst values.
        worst_by: the metric that they are the worst by.
        failures: what failed.
        failure_table: counts.
        findings: of validation.
        alignments: heads that an alignment left as they were, or whose frame looks wrong.
        timings: one table a device.
        notes: what is noted of the heads of each method.
        provenance: a list of keys and values a run.
    """

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    small_pictures: bool
    walls: tuple[Wall, ...]
    more_walls: tuple[Wall, ...]
    walls_note: str
    error_scale: str
    main: ShownTable
    imputed: ShownTable
    comparisons: ShownTable
    strata: tuple[ShownTable, ...]
    maps: tuple[HeatMaps, ...]
    curves: tuple[Curves, ...]
    worst: tuple[CaseGroup, ...]
    worst_by: str
    failures: tuple[Failure, ...]
    failure_table: Table
    findings: tuple[Finding, ...]
    alignments: tuple[AlignmentNote, ...]
    timings: tuple[ShownTable, ...]
    notes: tuple[MethodNotes, ...]
    provenance: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def write_report(runs: Sequence[RunFolder], out: Path | None = None) -> Path:
    """Write the report of one run, or of several that may be compared.

    Args:
        runs: at least one.
        out: folder of the report; by default ``report`` in the first run.

    Returns:
        The path of ``report.html``.

    Raises:
        NotComparable: protocols, data or metric networks differ.
        BenchError: a run is damaged or not scored yet.
    """
    if not runs:
        raise BenchError("a report needs at least one run; got none")
    results = merged([read_results(run) for run in runs])
    folder = runs[0].path / "report" if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    page = _page(results, _Pictures(results, folder))
    for shown in (page.main, page.imputed, page.comparisons, *page.strata, *page.timings):
        _write_table(folder / "tables", shown)
    text = (
        html_environment()
        .get_template("report.html.j2")
        .render(page=page, tie=TIE, style=read_asset("style.css"), script=read_asset("script.js"))
    )
    return _write(folder / "report.html", text)


def _page(results: Results, pictures: "_Pictures") -> Page:
    numbers = results.numbers()
    label = results.label
    main, imputed = main_tables(numbers, label, results.unavailable)
    rows = checked_scores(results.scores, results.protocol)
    rows = rows[rows["alignment"] == results.protocol.alignment.main]
    metrics = [metric_traits(metric) for metric in results.asked]
    by = metrics[0]
    shown = _wall_captures(results.captures)
    walls = tuple(_wall(results, capture, rows, by, pictures) for capture in shown)
    note = ""
    if len(shown) < len(results.captures):
        note = f"{len(shown)} of {len(results.captures)} captures are shown, evenly chosen."
    return Page(
        results.protocol.title,
        f"{results.protocol.id} · {results.data_label} · "
        f"{', '.join(entrant.title for entrant in results.entrants)}",
        _warnings(results),
        results.protocol.picture.size_px <= LOSSLESS_UP_TO_PX,
        walls[:WALLS_OPEN],
        walls[WALLS_OPEN:],
        note,
        f"{FULL_SCALE:g}",
        _shown(main),
        _shown(imputed),
        _shown(comparison_table(numbers)),
        tuple(_shown(table) for table in strata_tables(numbers, label)),
        _made(heat_maps(rows, metric, results.entrants) for metric in metrics),
        _made(curves(rows, metric, results.entrants) for metric in metrics),
        tuple(_worst_cases(results, rows, by, pictures)),
        by.title,
        tuple(_failures(results, rows, pictures)),
        failure_table(numbers),
        tuple(_findings(results, pictures)),
        tuple(_alignment_notes(results)),
        tuple(
            _shown(table)
            for table in timing_tables(timings(results.predictions.values()), results.entrants)
        ),
        tuple(_notes(results)),
        tuple(
            (str(run.path.name), tuple(_flat(provenance)))
            for run, provenance in zip(results.runs, results.provenances, strict=True)
        ),
    )


def _warnings(results: Results) -> tuple[str, ...]:
    warnings = []
    if results.partial:
        warnings.append(f"Partial: {results.partial}. Not the protocol's whole set.")
    if "+" in results.protocol.name:
        changed = ", ".join(results.protocol.name.split("+")[1:])
        warnings.append(f"The protocol was changed for this run ({changed}).")
    warnings.extend(f"No {metric}: {reason}" for metric, reason in results.unavailable.items())
    return tuple(warnings)


class _Pictures:
    """Writes what the page shows, once each, and returns paths from the page."""

    def __init__(self, results: Results, folder: Path) -> None:
        self._results = results
        self._folder = folder
        self._background = results.protocol.picture.background
        self._written: set[str] = set()
        self._truths: dict[tuple[str, int], RGB | None] = {}

    def truth(self, capture: CaptureRow, view: int) -> str:
        """Return the path of a true view, or nothing where it can't be read."""
        picture = self._truth(capture, view)
        name = f"pictures/truth/{capture.slug}/{view:03d}.webp"
        return self._put(name, picture) if picture is not None else ""

    def shot(self, entrant: str, capture: CaptureRow, view: int, text: str) -> Shot:
        """Return a method's view with its map of differences."""
        picture = self._predicted(entrant, capture, view)
        if picture is None:
            return Shot("", "", text)
        place = _place(entrant, capture, view)
        truth = self._truth(capture, view)
        errors = None if truth is None else difference_map(picture, truth)
        return Shot(
            self._put(f"{place}.webp", picture),
            self._put(f"{place}-errors.webp", errors) if errors is not None else "",
            text,
        )

    def flip(self, entrant: str, capture: CaptureRow, view: int) -> str:
        """Return the path of FLIP's map of a method's view, or nothing where there is none."""
        picture, truth = self._predicted(entrant, capture, view), self._truth(capture, view)
        if picture is None or truth is None:
            return ""
        heat = flip_heat(picture, truth)
        return (
            "" if heat is None else self._put(f"{_place(entrant, capture, view)}-flip.webp", heat)
        )

    def copied(self, path: Path, name: str) -> str:
        """Return the path of a copy of any picture, or nothing where it is none."""
        picture = read_over(path, self._background)
        return self._put(name, picture) if picture is not None else ""

    def _predicted(self, entrant: str, capture: CaptureRow, view: int) -> RGB | None:
        path, _ = self._results.shown_view(entrant, capture, view)
        return read_over(path, self._background)

    def _truth(self, capture: CaptureRow, view: int) -> RGB | None:
        key = (capture.id, view)
        if key not in self._truths:
            path = self._results.runs[0].truth_path(capture.slug, view)
            self._truths[key] = read_over(path, self._background)
        return self._truths[key]

    def _put(self, name: str, picture: RGB) -> str:
        if name not in self._written:
            write_display(picture, self._folder / name)
            self._written.add(name)
        return quote(name)


def _wall(
    results: Results,
    capture: CaptureRow,
    rows: Frame,
    by: MetricTraits,
    pictures: _Pictures,
) -> Wall:
    views = _wall_views(capture)
    values = rows[(rows["capture"] == capture.id) & (rows["metric"] == by.id)]
    texts = {
        (row.method, row.view): _score_text(by, row.value, row.status, row.reason)
        for row in values.itertuples()
    }
    strips = []
    for entrant in results.entrants:
        prediction = results.predictions.get((entrant.id, capture.id))
        otherwise = "not asked"
        if prediction is not None:
            failed = prediction.status != "ok"
            otherwise = _told(prediction.status, prediction.reason) if failed else "not scored"
        strips.append(
            Strip(
                _title(entrant),
                tuple(
                    pictures.shot(
                        entrant.id, capture, view, texts.get((entrant.id, view), otherwise)
                    )
                    for view in views
                ),
            )
        )
    details = ", ".join([f"subject {capture.subject}", *map(": ".join, capture.strata.items())])
    return Wall(
        capture.id,
        details,
        Shot(pictures.truth(capture, capture.input_view), "", ""),
        tuple(_direction(capture, view) for view in views),
        Strip("Truth", tuple(Shot(pictures.truth(capture, view), "", "") for view in views)),
        tuple(strips),
        min(range(len(views)), key=lambda index: _away_deg(capture, views[index])),
    )


def _wall_captures(captures: Sequence[CaptureRow]) -> list[CaptureRow]:
    """Return at most `WALL_CAPTURES`, evenly from first to last."""
    if len(captures) <= WALL_CAPTURES:
        return list(captures)
    last = len(captures) - 1
    return [captures[round(i * last / (WALL_CAPTURES - 1))] for i in range(WALL_CAPTURES)]


def _wall_views(capture: CaptureRow) -> list[int]:
    """Return at most `WALL_VIEWS` views spread over directions, from left to right."""
    import numpy as np

    azimuth = np.radians([view.azimuth_deg for view in capture.views])
    elevation = np.radians([view.elevation_deg for view in capture.views])
    toward = np.stack(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ],
        axis=-1,
    )
    # Each next view is the one farthest from those chosen; the input only repels.
    nearest = toward @ toward[capture.input_view]
    chosen: list[int] = []
    while len(chosen) < min(WALL_VIEWS, len(capture.views) - 1):
        candidates = [
            v for v in range(len(capture.views)) if v not in (capture.input_view, *chosen)
        ]
        pick = min(candidates, key=lambda view: float(nearest[view]))
        chosen.append(pick)
        nearest = np.maximum(nearest, toward @ toward[pick])
    chosen = chosen or [capture.input_view]
    return sorted(chosen, key=lambda v: ((capture.views[v].azimuth_deg + 180) % 360, v))


def _away_deg(capture: CaptureRow, view: int) -> float:
    """Return how far a view is from the one that walls show at first: half turned, level."""
    row = capture.views[view]
    return abs((row.azimuth_deg - 45 + 180) % 360 - 180) + abs(row.elevation_deg)


def _worst_cases(
    results: Results, rows: Frame, by: MetricTraits, pictures: _Pictures
) -> Iterable[CaseGroup]:
    captures = {capture.id: capture for capture in results.captures}
    for entrant in results.entrants:
        own = rows[
            (rows["method"] == entrant.id) & (rows["metric"] == by.id) & rows["value"].notna()
        ]
        order = ["value", "capture", "view"]
        worst = own.sort_values(order, ascending=[by.higher_is_better, True, True])
        cases = tuple(
            _case(
                captures[row.capture], int(row.view), entrant.id,
                f"{by.title} {row.value:.{by.decimals}f}", pictures,
            )
            for row in worst.head(WORST_CASES).itertuples()
        )  # fmt: skip
        if cases:
            yield CaseGroup(_title(entrant), cases)


def _failures(results: Results, rows: Frame, pictures: _Pictures) -> Iterable[Failure]:
    captures = {capture.id: capture for capture in results.captures}
    failed = rows[rows["status"] != "ok"].drop_duplicates(
        ["method", "capture", "view", "status", "reason"]
    )
    titles = {entrant.id: _title(entrant) for entrant in results.entrants}
    for (method, status, reason), group in failed.groupby(
        ["method", "status", "reason"], sort=False
    ):
        if method not in titles:
            continue
        pairs = [(captures[row.capture], int(row.view)) for row in group.itertuples()]
        samples = [
            _case(capture, view, method, str(status), pictures)
            for capture, view in pairs[:FAILURE_SAMPLES]
        ]
        yield Failure(
            titles[method],
            str(status).replace("_", " "),
            str(reason),
            _where(pairs),
            len(pairs),
            tuple(case for case in samples if case.shot.picture),
        )


def _findings(results: Results, pictures: _Pictures) -> Iterable[Finding]:
    """Return what `a3d_bench.validate` left."""
    for entrant in results.entrants:
        files = results.files[entrant.id]
        for capture in results.captures:
            folder = files.run.capture_folder("validation", files.method, capture.slug)
            said = _validation(folder.with_name(f"{folder.name}.json"))
            if not said:
                continue
            thumbnails = [
                picture
                for index, name in enumerate(_thumbnails(said))
                if (path := _inside(folder.parent, name)) is not None
                and (
                    picture := pictures.copied(
                        path,
                        f"pictures/validation/{slug(entrant.id)}/{capture.slug}/{index:03d}.webp",
                    )
                )
            ]
            yield Finding(
                _title(entrant),
                capture.id,
                tuple(_finding_text(finding) for finding in said),
                tuple(thumbnails),
            )


def _alignment_notes(results: Results) -> Iterable[AlignmentNote]:
    """Return what `a3d_bench.align` refused, could not do, or found wrong with a frame."""
    kinds: list[Alignment] = [
        kind for kind in results.protocol.alignment.reported if kind != "none"
    ]
    for entrant in results.entrants:
        files = results.files[entrant.id]
        for kind in kinds:
            texts, kept, count = [], 0, 0
            for capture in results.captures:
                record = read_alignment(files.run, files.method, capture.slug, kind)
                if record is None:
                    continue
                count += 1
                kept += bool(record.kept)
                said = [record.kept, record.reason, *record.diagnosis]
                texts += [f"{capture.id}: {text}" for text in said if text]
            if texts:
                summary = f"{kept} of {count} heads kept raw" if kept else f"{count} heads"
                yield AlignmentNote(_title(entrant), kind, summary, tuple(texts))


def _notes(results: Results) -> Iterable[MethodNotes]:
    """Return what methods told of their heads, and how their output was taken over."""
    for entrant in results.entrants:
        counts: dict[str, Counter[str]] = {}
        for capture in results.captures:
            prediction = results.predictions.get((entrant.id, capture.id))
            for key, value in (prediction.details if prediction else {}).items():
                if key not in _NOT_TOLD:
                    counts.setdefault(key, Counter())[value] += 1
        if counts:
            yield MethodNotes(
                _title(entrant), tuple((key, _counted(told)) for key, told in counts.items())
            )


def _counted(told: Counter[str]) -> str:
    """Return each value with its number of heads, the most frequent first."""
    shown = told.most_common(NOTES_SHOWN)
    texts = [f"{value} ({count} {'head' if count == 1 else 'heads'})" for value, count in shown]
    more = len(told) - len(shown)
    return "; ".join([*texts, f"and {more} others"] if more else texts)


def _validation(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file() or path.stat().st_size > _VALIDATION_LIMIT:
        return []
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{path} is damaged: {error}; validate the run again") from error
    if not isinstance(said, list):
        raise BenchError(f"{path}: got no list of findings; validate the run again")
    return [finding for finding in said if isinstance(finding, Mapping)]


def _finding_text(finding: Mapping[str, Any]) -> str:
    view = finding.get("view")
    place = f"view {view}: " if view is not None else ""
    kind = str(finding.get("kind", "finding")).replace("_", " ")
    return f"{place}{kind}: {finding.get('message', '')}"


def _thumbnails(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [finding.get("thumbnail") for finding in findings]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _inside(folder: Path, name: str) -> Path | None:
    """Return a file in a folder, or None where the name leads out of it or to nothing."""
    path = (folder / name).resolve()
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


def _place(entrant: str, capture: CaptureRow, view: int) -> str:
    return f"pictures/{slug(entrant)}/{capture.slug}/{view:03d}"


def _case(capture: CaptureRow, view: int, entrant: str, text: str, pictures: _Pictures) -> Case:
    return Case(
        f"{capture.id}, {_direction(capture, view)}",
        text,
        pictures.truth(capture, view),
        pictures.shot(entrant, capture, view, text),
        pictures.flip(entrant, capture, view),
    )


def _where(pairs: Sequence[tuple[CaptureRow, int]]) -> str:
    views: dict[str, list[int]] = {}
    for capture, view in pairs:
        views.setdefault(capture.id, []).append(view)
    told = [
        f"{capture} (view {', '.join(map(str, indices[:8]))}{' ...' if len(indices) > 8 else ''})"
        for capture, indices in list(views.items())[:6]
    ]
    more = len(views) - len(told)
    return "; ".join(told) + (f"; and {more} more heads" if more > 0 else "")


def _score_text(by: MetricTraits, value: float, status: Status, reason: str) -> str:
    if status == "ok":
        return f"{by.title} {value:.{by.decimals}f}"
    return _told(status, reason)


def _told(status: str, reason: str) -> str:
    told = status.replace("_", " ")
    return f"{told}: {reason}" if reason else told


def _direction(capture: CaptureRow, view: int) -> str:
    row = capture.views[view]
    return f"view {view}: azimuth {row.azimuth_deg:z.0f}°, elevation {row.elevation_deg:z.0f}°"


def _title(entrant: Entrant) -> str:
    return f"{entrant.title} (sees the truth)" if entrant.sees_truth else entrant.title


def _made(charts: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(chart for chart in charts if chart is not None)


def _shown(table: Table) -> ShownTable:
    return ShownTable(table, to_latex(table), to_csv(table), to_markdown(table))


def _flat(value: Any, place: str = "") -> Iterable[tuple[str, str]]:
    """Return the leaves of a JSON value, with the path to each."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and any(isinstance(inner, (list, Mapping)) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{place}[{index}]")
    elif isinstance(value, list):
        yield place, " ".join(map(str, value))
    else:
        # A commit that nobody knows and a limit that nobody set look alike in a record.
        yield place, NOTHING if value in (None, "", {}) else str(value)


def _write_table(folder: Path, shown: ShownTable) -> None:
    for suffix, text in (("md", shown.markdown), ("tex", shown.latex), ("csv", shown.csv)):
        _write(folder / f"{shown.table.name}.{suffix}", text)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
