"""``a3d-bench report | compare | leaderboard | tables``: parsing, printing and exit codes only."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a3d_bench.commands.ending import exit_codes

if TYPE_CHECKING:
    from a3d_bench.paper_comparison import Counted
    from a3d_bench.store import RunFolder
    from a3d_bench.tables import Table

app = typer.Typer(
    name="report",
    help="Reports, comparisons, leaderboards and the paper's tables, from run folders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """Formats of a table."""

    TERMINAL = "terminal"
    MARKDOWN = "md"
    LATEX = "tex"
    HTML = "html"
    CSV = "csv"


Runs = Annotated[list[Path], typer.Argument(help="Run folders, made by `a3d-bench run`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def report(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; RUN/report by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.html: pictures, tables with intervals and ties, angles, failures, timing."""
    import json

    with exit_codes():
        from a3d_bench.report.page import write_report

        page = write_report([_open(path) for path in runs], out)
        typer.echo(json.dumps({"report": str(page)}) if as_json else f"report: {page}")


@app.command()
def compare(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="Write a report of all runs into this folder, too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put runs in one table; exit code 3 where protocol, data or metric networks differ."""
    with exit_codes():
        from a3d_bench.report.page import write_report
        from a3d_bench.report.results import merged, read_results
        from a3d_bench.tables import comparison_table, main_tables, timing_tables
        from a3d_bench.timing import timings

        folders = [_open(path) for path in runs]
        results = merged([read_results(folder) for folder in folders])
        numbers = results.numbers()
        tables = [
            *main_tables(numbers, results.label, results.unavailable),
            comparison_table(numbers),
            *timing_tables(timings(results.predictions.values()), results.entrants),
        ]
        _print(tables, as_json=as_json)
        if out is not None:
            page = write_report(folders, out)
            typer.echo(f"report: {page}", err=as_json)


@app.command()
def leaderboard(
    folders: Annotated[list[Path], typer.Argument(help="Folders that hold runs.")],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("leaderboard"),
    as_json: AsJson = False,
) -> None:
    """Write a static page of all runs that may be compared, and name the others with reasons."""
    import json

    with exit_codes():
        from a3d_bench.report.leaderboard import leaderboard as read_boards
        from a3d_bench.report.leaderboard import write_leaderboard

        page = write_leaderboard(folders, out)
        if not as_json:
            typer.echo(f"leaderboard: {page}")
            return
        found = read_boards(folders)
        typer.echo(
            json.dumps(
                {
                    "page": str(page),
                    "boards": [
                        {"title": board.title, "runs": list(board.runs)} for board in found.boards
                    ],
                    "left_out": {each.path: each.reason for each in found.exclusions},
                },
                indent=1,
            )
        )


@app.command()
def tables(
    number: Annotated[int, typer.Argument(min=1, max=9, help="Table of the paper.")],
    runs: Annotated[
        list[Path] | None, typer.Option("--runs", help="A run folder; may be repeated.")
    ] = None,
    table_format: Annotated[
        Format, typer.Option("--format", help="How it is printed.")
    ] = Format.TERMINAL,
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    studies: Annotated[
        list[Path] | None,
        typer.Option("--study", help="Made by `a3d-bench study score --format json`; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Table 6: a data set with AnyHead's folders, to be counted."),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row",
            help="ROW=METHOD: which method of the runs a row is, where its name alone does not "
            "say; repeatable.",
        ),
    ] = None,
) -> None:
    """Print a table of the paper: its value, ours, and the difference; what was not run says so."""
    with exit_codes():
        from a3d_bench.paper_comparison import paper_comparison
        from a3d_bench.report.formats import FORMATS
        from a3d_bench.report.results import read_results
        from a3d_bench.study.report import rated
        from a3d_bench.study.scores import read_scores

        table = paper_comparison(
            number,
            [read_results(_open(path)).measured() for path in runs or []],
            [each for path in studies or [] for each in rated(read_scores(path))],
            data=None if data is None else _counted(data),
            chosen=_choices(rows or []),
        )
        if table_format is Format.TERMINAL:
            _print([table], as_json=False)
            return
        text = FORMATS[table_format.value](table)
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
            typer.echo(f"table: {out}")


def _counted(root: Path) -> "Counted":
    from a3d_bench.errors import BenchError
    from a3d_bench.paper_comparison import Counted
    from any3davatar.anyhead.errors import DataError
    from any3davatar.anyhead.stats import statistics

    try:
        facts = statistics(root).table_row
    except DataError as error:
        raise BenchError(str(error)) from error
    return Counted(f"{root.resolve().name}, counted from its folders", facts)


def _choices(texts: list[str]) -> dict[str, str]:
    from a3d_bench.errors import BenchError

    choices: dict[str, str] = {}
    for text in texts:
        row, _, method = text.rpartition("=")  # "step=5" has an equals sign of its own
        if not (row and method):
            raise BenchError(f"--row {text!r}: expected ROW=METHOD, as in 'Any3DAvatar=ten-steps'")
        if row in choices:
            raise BenchError(f"--row names {row} twice")
        choices[row] = method
    return choices


def _open(path: Path) -> "RunFolder":
    from a3d_bench.store import RunFolder

    return RunFolder.open(path)


def _print(shown: "list[Table]", *, as_json: bool) -> None:
    if as_json:
        import dataclasses
        import json

        typer.echo(json.dumps([dataclasses.asdict(table) for table in shown], indent=1))
        return
    from rich.console import Console

    from a3d_bench.report.formats import for_width, to_terminal

    console = Console()
    for table in shown:
        for part in for_width(table, console.width):
            console.print(to_terminal(part))
