"""``any3davatar data``: parsing and exit codes only; see `any3davatar.commands.data`.

Nothing heavy is imported here. Exit codes: 0 all is well, 1 something was rejected or is wrong with
the data (each was named), 2 the request itself is wrong or can't be met.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="data",
    help="The AnyHead data suite: build, check, count, show and split data sets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Root = Annotated[Path, typer.Argument(help="Root of a data set: the folder above its subsets.")]


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn a request that can't be met into one line and exit code 2."""
    from any3davatar.anyhead.errors import DataError
    from any3davatar.anyhead.heads.assets import AssetsUnavailable
    from any3davatar.commands.inputs import UsageError
    from any3davatar.core import InvalidInput
    from any3davatar.io import FormatError

    try:
        yield
    except (UsageError, DataError, AssetsUnavailable, InvalidInput, FormatError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.secho("stopped; what is done is kept, and the same command goes on", err=True)
        raise typer.Exit(130) from error


def _finish(failures: int) -> None:
    if failures:
        raise typer.Exit(1)


@app.command()
def build(
    name: Annotated[
        str,
        typer.Argument(
            help="anyhead-mini, anyhead-train, digital-human, accessory-rich or ai-generated."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Root to build into; the cache by default.")
    ] = None,
    heads: Annotated[int, typer.Option(help="Persons to build (anyhead-mini: always 16).")] = 16,
    accessory_heads: Annotated[
        int, typer.Option(help="anyhead-train: how many of them also with accessories.")
    ] = 0,
    ai_heads: Annotated[int, typer.Option(help="anyhead-train: AI-generated heads.")] = 0,
    first_seed: Annotated[
        int | None, typer.Option(help="First seed of a single subset; training seeds by default.")
    ] = None,
    size: Annotated[int, typer.Option(help="Picture width and height, pixels.")] = 512,
    rig: Annotated[
        str | None, typer.Option(help="Cameras of a single subset: digital80, anyhead80, ...")
    ] = None,
    groups: Annotated[
        int | None,
        typer.Option(help="Expressions or accessories a person (anyhead-train: expressions)."),
    ] = None,
    worn: Annotated[
        float | None,
        typer.Option(help="digital-human: share of the persons who wear an accessory."),
    ] = None,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="digital-human: fewer and wider hairs, in half the time."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes; one for each processor by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with what is there; --no-resume wants an empty folder.")
    ] = True,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try rejected heads of a subset again.")
    ] = False,
    backends: Annotated[
        Path | None,
        typer.Option(help="JSON file that names other back ends than the embedded ones."),
    ] = None,
    cost_limit: Annotated[
        float | None, typer.Option(help="Most that paid back ends may cost in all.")
    ] = None,
) -> None:
    """Build a data set, or what is missing of it."""
    from any3davatar.commands import data as command

    with _exit_codes():
        _finish(
            command.build(
                command.BuildJob(
                    name=name,
                    out=out,
                    heads=heads,
                    accessory_heads=accessory_heads,
                    ai_heads=ai_heads,
                    first_seed=first_seed,
                    size_px=size,
                    rig=rig,
                    groups=groups,
                    worn=worn,
                    draft=draft,
                    workers=workers,
                    resume=resume,
                    retry_rejected=retry_rejected,
                    backends=backends,
                    cost_limit=cost_limit,
                )
            )
        )


@app.command()
def verify(
    root: Root,
    silhouettes: Annotated[
        bool, typer.Option(help="Check that the views of a group agree through their cameras.")
    ] = True,
    redraw: Annotated[
        int, typer.Option(help="Views of each group to draw again and compare; seconds each.")
    ] = 0,
) -> None:
    """Find missing, changed and mirrored views, wrong cameras, duplicate identities."""
    from any3davatar.commands import data as command

    with _exit_codes():
        _finish(command.verify(root, silhouettes=silhouettes, redraw=redraw))


@app.command()
def stats(
    root: Root,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Count a data set: the row of the paper's table 6, and more."""
    from any3davatar.commands import data as command

    with _exit_codes():
        command.stats(root, as_json=as_json)


@app.command()
def preview(
    root: Root,
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    rows: Annotated[int, typer.Option(help="Groups to show, spread over the set.", min=1)] = 8,
    columns: Annotated[int, typer.Option(help="Views of each.", min=1)] = 8,
    cell: Annotated[int, typer.Option(help="Width of a cell, pixels.", min=8)] = 128,
) -> None:
    """Write a contact sheet."""
    from any3davatar.commands import data as command

    with _exit_codes():
        command.preview(root, out, rows=rows, columns=columns, cell_px=cell)


@app.command()
def review(
    root: Root,
    subset: Annotated[
        str, typer.Option(help="Whose groups to decide on.")
    ] = "Accessory_Rich_Heads_Dataset",
) -> None:
    """Write a sheet for each group and REVIEW.json, in which a person accepts and rejects."""
    from any3davatar.commands import data as command

    with _exit_codes():
        command.review(root, subset)


@app.command()
def split(
    root: Root,
    validation: Annotated[float, typer.Option(help="Share of subjects for validation.")] = 0.05,
    test: Annotated[float, typer.Option(help="Share of subjects for testing.")] = 0.05,
    salt: Annotated[str, typer.Option(help="Another salt gives another lot.")] = "anyhead-1",
) -> None:
    """Assign every subject to train, validation or test, and store it in SPLITS.json."""
    from any3davatar.commands import data as command

    with _exit_codes():
        command.split(root, validation=validation, test=test, salt=salt)
