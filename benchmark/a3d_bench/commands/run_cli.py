"""``a3d-bench run``, ``verify`` and ``demo``: parsing only; see `a3d_bench.commands.run`."""

from pathlib import Path
from typing import Annotated

import typer

from a3d_bench.commands.ending import exit_codes

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run(
    protocol: Annotated[
        str, typer.Option(help="Name of a shipped protocol, or a TOML file of your own.")
    ] = "anyhead",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method to score; give it again for more. ID=FOLDER for outputs that are there "
            "already. Without it: the controls."
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="A method with other options: NAME=METHOD,option=value,... such as "
            "mine=any3davatar,checkpoint=RUN/weights.safetensors,steps=10."
        ),
    ] = None,
    adapter: Annotated[
        list[Path] | None, typer.Option(help="Python file with a table METHODS of your own.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Captures; without it, anyhead-mini is drawn, and it is said."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/PROTOCOL by default.")
    ] = None,
    frame: Annotated[
        str | None, typer.Option(help="World of camera files: facelift, flame, panohead, ...")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a field of the protocol, and with it its digest."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute only this metric of the protocol; give it again for more. The digest "
            "stays; the other columns are left out until the command runs without it."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many captures at most.", min=1)] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; one for each processor by default.", min=1)
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds a method may take a subject.")] = 3600.0,
    memory: Annotated[
        float | None, typer.Option(help="GiB that a method's processes may take together.")
    ] = None,
    retry_failures: Annotated[
        bool, typer.Option("--retry-failures", help="Do failed predictions again.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write the report at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Score methods under a protocol: predict, validate, align, measure, report. Resumes."""
    from a3d_bench.commands import run as command

    with exit_codes():
        code = command.run(
            command.RunRequest(
                protocol=protocol,
                overrides=tuple(set_ or ()),
                methods=tuple(method or ()),
                variants=tuple(variant or ()),
                adapters=tuple(adapter or ()),
                data=data,
                out=out,
                frame=frame,
                limit=limit,
                metrics=tuple(metric or ()),
                workers=workers,
                timeout_seconds=timeout,
                memory_gib=memory,
                retry_failures=retry_failures,
                report=report,
            ),
            as_json=as_json,
        )
        raise typer.Exit(code)


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    share: Annotated[
        float, typer.Option(help="Share of the values to compute again; 1 for all.", min=0, max=1)
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Which values are drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Check that a run is what it says: digests of all files, and values computed again."""
    from a3d_bench.commands import run as command

    with exit_codes():
        command.verify(folder, share=share, seed=seed, as_json=as_json)


def demo(
    out: Annotated[Path, typer.Argument(help="Folder of the run.")] = Path("demo-run"),
) -> None:
    """Show everything at small size: four heads, controls, one that fails, and the report."""
    from a3d_bench.commands import run as command

    with exit_codes():
        raise typer.Exit(command.demo(out))
