"""``any3davatar train``: parsing and exit codes only; see `any3davatar.commands.train`.

Nothing heavy is imported here. Exit codes: 0 done or paused, 1 the run diverged, 2 the request
itself is wrong or can't be met.
"""

from pathlib import Path
from typing import Annotated

import typer


def train(
    out: Annotated[Path, typer.Argument(help="The run's folder; created if needed.")],
    data: Annotated[list[Path], typer.Option(help="Root of an AnyHead data set. Again for more.")],
    preset: Annotated[str, typer.Option(help="full, base, small or mini.")] = "mini",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A field of the run: batch=4, objective=multi-step, model.noise=pixel. Again for "
            "more.",
        ),
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            "--machine",
            help="How to carry it out: workers=2, devices=8, strategy=fsdp, compile=true, "
            "checkpoint_samples=1000. Again for more.",
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            help="Begin with these weights (.safetensors), of this network or of one with fewer "
            "blocks, and a fresh optimizer."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Visits of each group, in place of total_samples.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in OUT; --no-resume wants an empty folder.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure a few updates and tell time and memory.")
    ] = False,
) -> None:
    """Train a network on a data set; the same command goes on with a run that was stopped."""
    from any3davatar.anyhead.errors import DataError
    from any3davatar.commands import train as command
    from any3davatar.commands.inputs import UsageError
    from any3davatar.core import InvalidInput
    from any3davatar.io import FormatError
    from any3davatar.model import CheckpointError
    from any3davatar.registry_files import RegistryFileUnavailable
    from any3davatar.train.losses import TrainingDiverged

    job = command.TrainJob(
        out=out,
        data=tuple(data),
        preset=preset,
        settings=tuple(settings or ()),
        machine_settings=tuple(machine or ()),
        start_from=start_from,
        epochs=epochs,
        resume=resume,
        dry_run=dry_run,
    )
    try:
        command.run(job)
    except TrainingDiverged as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    except (
        UsageError,
        DataError,
        CheckpointError,
        InvalidInput,
        FormatError,
        RegistryFileUnavailable,
        OSError,
    ) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
