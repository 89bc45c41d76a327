"""``a3d-bench study make | score``: parsing, printing and exit codes only."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from a3d_bench.commands.ending import exit_codes

app = typer.Typer(
    help="The blind user study: make its sheets, score what comes back.",
    no_args_is_help=True,
)


class StudyFormat(StrEnum):
    """How scores are printed."""

    TERMINAL = "terminal"
    MARKDOWN = "md"
    LATEX = "tex"
    HTML = "html"
    CSV = "csv"
    JSON = "json"


@app.command()
def make(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs, of one or more data sets.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; must not hold one.")],
    participants: Annotated[int, typer.Option(min=1, max=999, help="How many sheets.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of all orders.")] = 0,
    subjects: Annotated[
        int, typer.Option(min=1, help="Heads that each participant sees of each data set.")
    ] = 1,
    views: Annotated[
        str,
        typer.Option(help="Directions by commas: front, left, back, right, or degrees."),
    ] = "front,left,back,right",
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", help="Show only these; by default all that don't see the truth."),
    ] = None,
) -> None:
    """Write one blind sheet a participant, and the key that stays with you."""
    with exit_codes():
        from a3d_bench.store import RunFolder
        from a3d_bench.study.entries import parse_directions, study_data
        from a3d_bench.study.sheets import write_study

        directions = parse_directions(views)
        sets = study_data([RunFolder.open(path) for path in runs], directions, methods or [])
        key = write_study(
            sets,
            out,
            directions=directions,
            participants=participants,
            subjects=subjects,
            seed=seed,
        )
        for data in sets:
            names = ", ".join(entrant.id for entrant in data.entrants)
            typer.echo(f"{data.results.label}: {names}")
            for direction, count in data.lacking.items():
                typer.echo(f"  no view of {count} captures from: {direction}; not shown there")
            if data.absent:
                typer.echo(f"  no picture of {data.absent} views that methods failed on")
        typer.echo(f"study {key.study}: {participants} sheets in {out}; keep key.json to yourself")


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, with its key.json.")],
    answers: Annotated[list[Path], typer.Argument(help="Files that participants sent back.")],
    study_format: Annotated[
        StudyFormat, typer.Option("--format", help="How it is printed.")
    ] = StudyFormat.TERMINAL,
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
) -> None:
    """Score what came back: means, intervals and tests over participants, and their agreement."""
    with exit_codes():
        from a3d_bench.study.answers import read_answers
        from a3d_bench.study.key import read_key
        from a3d_bench.study.report import in_text, study_tables
        from a3d_bench.study.scores import score_study, write_scores

        key = read_key(folder)
        scores = score_study(key, read_answers(key, answers))
        if study_format is StudyFormat.TERMINAL:
            from rich.console import Console

            from a3d_bench.report.formats import for_width, to_terminal

            console = Console()
            for table in study_tables(scores):
                for part in for_width(table, console.width):
                    console.print(to_terminal(part))
            return
        if study_format is StudyFormat.JSON:
            text = write_scores(scores)
        else:
            text = in_text(study_tables(scores), study_format.value)
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
            typer.echo(f"scores: {out}")
