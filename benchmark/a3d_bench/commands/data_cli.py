"""``a3d-bench data``: parsing and exit codes only; see `a3d_bench.commands.data`.

Exit codes: 0 all is well, 1 something in the data can't be scored (each was named), 2 the request
itself is wrong, 4 a file is not what its record says.
"""

from pathlib import Path
from typing import Annotated

import typer

from a3d_bench.commands.ending import exit_codes

app = typer.Typer(
    name="data",
    help="Captures that methods are scored on: what a folder holds, whether it is whole.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Folder = Annotated[
    Path,
    typer.Argument(help="AnyHead, NeRSemble V2, an import, or a folder with a camera file."),
]
Frame = Annotated[
    str | None,
    typer.Option(help="World of a camera file: facelift, flame, panohead, ...; guessed if absent."),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol", help="Choose as this protocol does; NeRSemble needs one (its own if absent)."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    folder: Folder,
    protocol: ProtocolName = None,
    frame: Frame = None,
    draw: Annotated[
        Path | None,
        typer.Option(help="Draw the cameras of the first capture here; cameras.png by default."),
    ] = None,
    capture: Annotated[
        str | None, typer.Option(help="Id of the capture to draw, instead of the first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a folder holds and what is missing, and draw the cameras."""
    from a3d_bench.commands import data as command

    with exit_codes():
        request = command.Request(folder, protocol, frame)
        problems = command.show(request, draw or Path("cameras.png"), capture, as_json=as_json)
    if problems:
        raise typer.Exit(1)


@app.command()
def verify(
    folder: Folder,
    protocol: ProtocolName = None,
    frame: Frame = None,
    as_json: AsJson = False,
) -> None:
    """Read every picture: damaged, missing, changed and wrong-sized ones are named."""
    from a3d_bench.commands import data as command

    with exit_codes():
        problems = command.verify(command.Request(folder, protocol, frame), as_json=as_json)
    if problems:
        raise typer.Exit(4)


@app.command("import")
def import_data(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="New folder for the normalised captures.")],
    protocol: ProtocolName = None,
    frame: Frame = None,
) -> None:
    """Copy captures into one layout: canonical cameras, RGBA pictures, digests of all files."""
    from a3d_bench.commands import data as command

    with exit_codes():
        problems = command.import_data(command.Request(folder, protocol, frame), out)
    if problems:
        raise typer.Exit(1)
