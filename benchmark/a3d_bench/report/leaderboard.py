"""Many runs, one static page: those that may stand together do, the others are named with reasons.

Runs are found by their ``run.json``, at most `DEPTH` folders down. Runs of one protocol and one
data set form a board; in it a run with another metric network than the first is left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from a3d_bench.errors import BenchError
from a3d_bench.report.formats import to_csv, to_latex, to_markdown
from a3d_bench.report.results import Results, data_digest, difference, merged, read_results
from a3d_bench.report.templates import html_environment, read_asset
from a3d_bench.store import RunFolder
from a3d_bench.tables import TIE, Table, main_tables, timing_tables
from a3d_bench.timing import timings
from any3davatar.io import atomic_path

DEPTH = 4


@dataclass(frozen=True)
class Exclusion:
    """A run that is on no board.

    Attributes:
        path: its folder.
        reason: why.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Board:
    """Runs that may be compared.

    Attributes:
        title: protocol and data.
        runs: their folders.
        main: scores on common views.
        imputed: with failures as worst.
        timings: one a device.
    """

    title: str
    runs: tuple[str, ...]
    main: Table
    imputed: Table
    timings: tuple[Table, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Boards, largest first, and what is on none."""

    boards: tuple[Board, ...]
    exclusions: tuple[Exclusion, ...]


def leaderboard(folders: Sequence[Path]) -> Leaderboard:
    """Return the boards of all runs in some folders.

    Raises:
        BenchError: there is no run in any of them.
    """
    paths = list(dict.fromkeys(path for folder in folders for path in _runs_below(folder)))
    if not paths:
        raise BenchError(
            f"no run lies in {', '.join(map(str, folders))}: expected folders with a run.json, at "
            f"most {DEPTH} deep"
        )
    groups: dict[tuple[str, str], list[Results]] = {}
    exclusions = []
    for path in paths:
        try:
            results = read_results(RunFolder.open(path))
            results.numbers()
        # One damaged folder of a stranger must not hide everybody else's numbers.
        except (BenchError, ValueError, KeyError, TypeError, OSError) as error:
            exclusions.append(Exclusion(str(path), f"can't be read: {error}"))
            continue
        if results.partial:
            exclusions.append(Exclusion(str(path), f"partial: {results.partial}"))
            continue
        key = (results.protocol.digest, data_digest(results.captures))
        groups.setdefault(key, []).append(results)
    boards = []
    for group in sorted(groups.values(), key=len, reverse=True):
        fitting, odd = _same_networks(group)
        exclusions.extend(odd)
        boards.append(_board(fitting))
    return Leaderboard(tuple(boards), tuple(exclusions))


def write_leaderboard(folders: Sequence[Path], out: Path) -> Path:
    """Write ``index.html`` and the boards' tables into a folder; return the page's path.

    Raises:
        BenchError: there is no run in any of the folders.
    """
    found = leaderboard(folders)
    out.mkdir(parents=True, exist_ok=True)
    for number, board in enumerate(found.boards, 1):
        for table in (board.main, board.imputed, *board.timings):
            name = f"board-{number}-{table.name}"
            _write(out / f"{name}.csv", to_csv(table))
            _write(out / f"{name}.tex", to_latex(table))
            _write(out / f"{name}.md", to_markdown(table))
    template = html_environment().get_template("leaderboard.html.j2")
    return _write(
        out / "index.html", template.render(found=found, tie=TIE, style=read_asset("style.css"))
    )


def _runs_below(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    if (folder / "run.json").is_file():
        yield folder
    elif depth and folder.is_dir():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink():
                yield from _runs_below(child, depth - 1)


def _same_networks(group: Sequence[Results]) -> tuple[list[Results], list[Exclusion]]:
    fitting, odd = [group[0]], []
    for results in group[1:]:
        reason = difference(group[0], results)
        if reason is None:
            fitting.append(results)
        else:
            odd.append(Exclusion(str(results.runs[0].path), f"{reason} of {group[0].runs[0].path}"))
    return fitting, odd


def _board(group: Sequence[Results]) -> Board:
    together = merged(_with_different_names(group))
    main, imputed = main_tables(together.numbers(), together.label, together.unavailable)
    return Board(
        together.label,
        tuple(str(run.path) for run in together.runs),
        main,
        imputed,
        timing_tables(timings(together.predictions.values()), together.entrants),
    )


def _with_different_names(group: Iterable[Results]) -> list[Results]:
    """Return runs in the order of their folders, so that a board does not depend on arguments."""
    return sorted(group, key=lambda results: str(results.runs[0].path))


def _write(path: Path, text: str) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
