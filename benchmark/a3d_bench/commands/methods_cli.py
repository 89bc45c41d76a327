"""``a3d-bench methods``: parsing and exit codes only; see `a3d_bench.commands.methods`.

Exit codes: 0 all is well, 1 a check of the contract failed, 2 the request itself is wrong.
"""

from pathlib import Path
from typing import Annotated

import typer

from a3d_bench.commands.ending import exit_codes

app = typer.Typer(
    name="methods",
    help="Methods that can be scored: which there are, what is known of them, how to add one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Adapters = Annotated[
    list[Path] | None,
    typer.Option("--adapter", help="Python file with a table METHODS; may be given again."),
]
Name = Annotated[str, typer.Argument(help="Id of a method, or ID=FOLDER of its outputs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_methods(adapter: Adapters = None, as_json: AsJson = False) -> None:
    """List all methods with their runner, their output and where they were found."""
    from a3d_bench.commands import methods as command

    with exit_codes():
        command.list_methods(tuple(adapter or ()), as_json=as_json)


@app.command()
def show(name: Name, adapter: Adapters = None, as_json: AsJson = False) -> None:
    """Show the card of a method: facts, how it is run, and what to do first."""
    from a3d_bench.commands import methods as command

    with exit_codes():
        command.show(name, tuple(adapter or ()), as_json=as_json)


@app.command()
def new(
    id: Annotated[str, typer.Argument(help="Id of the new method: a-z, 0-9, '.', '_', '-'.")],
    folder: Annotated[Path | None, typer.Argument(help="New folder; ID by default.")] = None,
    runner: Annotated[
        str, typer.Option(help="python (a class) or command (a program of its own).")
    ] = "python",
) -> None:
    """Write an adapter, a card and an example job to start a new method from."""
    from a3d_bench.commands import methods as command

    with exit_codes():
        command.new(id, folder or Path(id), runner)


@app.command("test")
def check(
    name: Name,
    adapter: Adapters = None,
    seconds: Annotated[float, typer.Option(help="Time limit for a subject.", min=0.1)] = 600.0,
    memory_gib: Annotated[
        float | None, typer.Option(help="Memory limit for a subject.", min=0.01)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Captures to take a head from, for methods that look for a face."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="Protocol that the captures are read by, with --data.")
    ] = "smoke",
    as_json: AsJson = False,
) -> None:
    """Check that a method keeps the contract: frame, left and right, shapes, files, timing."""
    from a3d_bench.commands import methods as command

    request = command.CheckRequest(name, tuple(adapter or ()), seconds, memory_gib, data, protocol)
    with exit_codes():
        failures = command.check(request, as_json=as_json)
    if failures:
        raise typer.Exit(1)
