"""The command line `any3davatar`: parsing and exit codes only.

Nothing heavy is imported here: each subcommand imports its module when it runs.
Exit codes: 0 all done, 1 some inputs failed (each was named), 2 the request itself is wrong.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from any3davatar.commands import data_cli, train_cli

if TYPE_CHECKING:
    from any3davatar.commands.scene import HeadOptions

app = typer.Typer(
    name="any3davatar",
    help="3D Gaussian heads: data, training, rendering, files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Inputs = Annotated[
    list[Path],
    typer.Argument(help="Files of Gaussians (.ply .splat .spz .safetensors) or folders."),
]
Size = Annotated[int, typer.Option("--size", help="Picture width and height, pixels.", min=1)]
Radius = Annotated[float, typer.Option(help="Distance of the cameras from the head's centre.")]
Fov = Annotated[float, typer.Option("--fov", help="Vertical field of view, degrees.")]
Background = Annotated[str, typer.Option(help="white, black, grey or #rrggbb.")]
Frame = Annotated[
    str,
    typer.Option(help="World frame of the file: any3davatar, facelift, arc2avatar, id-sculpt, ..."),
]
Color = Annotated[
    str, typer.Option(help="Colours in the file: sh (usual), or raw-rgb (f_dc holds RGB: LAM).")
]
Fit = Annotated[
    bool, typer.Option("--fit", help="Centre the head and scale it into the unit sphere.")
]


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"any3davatar {version('any3davatar')}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def _head_options(frame: str, color: str, fit: bool) -> "HeadOptions":
    from any3davatar.commands.inputs import UsageError
    from any3davatar.commands.scene import HeadOptions
    from any3davatar.io import ColorRule

    try:
        rule = ColorRule(color)
    except ValueError as error:
        known = ", ".join(rule.value for rule in ColorRule)
        raise UsageError(f"unknown colour rule {color!r}; known: {known}") from error
    return HeadOptions(frame=frame, color=rule, fit=fit)


@contextmanager
def _exit_codes() -> Iterator[Callable[[int], None]]:
    """Turn a wrong request into one line and exit code 2; yields what takes the failure count."""
    from any3davatar.commands.inputs import UsageError
    from any3davatar.core import InvalidInput
    from any3davatar.io import FormatError

    def finish(failures: int) -> None:
        if failures:
            raise typer.Exit(1)

    try:
        yield finish
    except (UsageError, InvalidInput, FormatError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


@app.command()
def render(
    inputs: Inputs,
    out: Annotated[Path, typer.Option(help="Folder for the pictures; created if needed.")],
    rig: Annotated[
        str, typer.Option(help="anyhead80, accessory16, canonical4 or turntable16.")
    ] = "anyhead80",
    cameras: Annotated[
        Path | None,
        typer.Option(
            help="Cameras from a file instead: cameras.json, opencv_cameras.json, transforms.json."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Picture width and height, pixels. [default: 512, or the file's]", min=1),
    ] = None,
    radius: Radius = 2.7,
    fov: Fov = 50.0,
    background: Annotated[
        str, typer.Option(help="white, black, grey, #rrggbb, or transparent (RGBA).")
    ] = "white",
    bits: Annotated[int, typer.Option(help="8 or 16 bits a channel.")] = 8,
    frame: Frame = "any3davatar",
    color: Color = "sh",
    fit: Fit = False,
) -> None:
    """Render heads to PNGs and write their cameras.json."""
    from any3davatar.commands import render as command
    from any3davatar.commands.inputs import UsageError

    with _exit_codes() as finish:
        if bits != 8 and bits != 16:
            raise UsageError(f"a PNG has 8 or 16 bits a channel; got --bits {bits}")
        made, names = command.cameras_of(rig, cameras, size, radius, fov)
        job = command.RenderJob(
            inputs=tuple(inputs),
            out=out,
            cameras=made,
            names=names,
            background=background,
            bits=bits,
            head=_head_options(frame, color, fit),
        )
        finish(command.run(job))


@app.command()
def turntable(
    inputs: Inputs,
    out: Annotated[Path, typer.Argument(help="The .mp4 to write, or a folder for several.")],
    size: Size = 512,
    frames: Annotated[int, typer.Option(help="Pictures in one turn.", min=1)] = 120,
    fps: Annotated[int, typer.Option(help="Pictures a second.", min=1)] = 30,
    elevation: Annotated[float, typer.Option(help="Degrees above the horizon.")] = 0.0,
    radius: Radius = 2.7,
    fov: Fov = 50.0,
    background: Background = "white",
    frame: Frame = "any3davatar",
    color: Color = "sh",
    fit: Fit = False,
) -> None:
    """Film one turn around each head, from the front toward the subject's left."""
    from any3davatar.commands import turntable as command
    from any3davatar.core import rigs

    with _exit_codes() as finish:
        job = command.TurntableJob(
            inputs=tuple(inputs),
            out=out,
            cameras=rigs.turntable(
                frames, size_px=size, elevation_deg=elevation, radius=radius, vertical_fov_deg=fov
            ),
            fps=fps,
            background=background,
            head=_head_options(frame, color, fit),
        )
        finish(command.run(job))


@app.command()
def export(
    inputs: Inputs,
    out: Annotated[Path, typer.Argument(help="The file to write, or a folder with --to.")],
    to: Annotated[
        str | None, typer.Option(help="Format for a folder: ply, splat, spz or safetensors.")
    ] = None,
    frame: Frame = "any3davatar",
    color: Color = "sh",
    fit: Fit = False,
) -> None:
    """Convert heads between .ply, .splat, .spz and .safetensors."""
    from any3davatar.commands import export as command

    with _exit_codes() as finish:
        job = command.ExportJob(tuple(inputs), out, to, _head_options(frame, color, fit))
        finish(command.run(job))


@app.command()
def info(
    inputs: Inputs,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    """Tell what files of Gaussians hold: dialect, number, degree, extent, opacities, scales."""
    from any3davatar.commands import info as command

    with _exit_codes() as finish:
        finish(command.run(tuple(inputs), as_json))


@app.command()
def reconstruct(
    portraits: Annotated[
        list[Path],
        typer.Argument(help="Photographs with a face seen from the front, or folders of them."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the heads; created if needed.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights (.safetensors); by default the mini network.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Denoising steps; 1 is the paper's.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(help="Of the still and the turntable, pixels. [default: 256 or more]", min=1),
    ] = None,
    turntable: Annotated[bool, typer.Option(help="Film one turn as well.")] = True,
) -> None:
    """Turn portraits into heads: PLY, turntable, a still from four sides, and a record."""
    from any3davatar.commands import reconstruct as command

    with _exit_codes() as finish:
        finish(
            command.run(
                command.ReconstructJob(
                    tuple(portraits), out, checkpoint, steps, seed, size, turntable
                )
            )
        )


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the results; created if needed.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(help="Which person.")] = 24,
    size: Size = 256,
    gaussians: Annotated[int, typer.Option(help="How many.", min=100)] = 30_000,
    steps: Annotated[int, typer.Option(help="Optimisation steps.", min=1)] = 300,
) -> None:
    """Draw a head, fit Gaussians to it, render, film and export it: all of the project so far."""
    from any3davatar.commands import demo as command

    with _exit_codes() as finish:
        job = command.DemoJob(out, seed, size, gaussians, steps)
        finish(command.run(job))


app.add_typer(data_cli.app)
app.command()(train_cli.train)


def main() -> None:
    """Run the command line."""
    app()
