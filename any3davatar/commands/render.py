"""``any3davatar render``: files of Gaussians to PNGs from a camera rig."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from any3davatar.commands.inputs import (
    UsageError,
    console,
    for_each_file,
    gaussian_files,
    output_names,
    progress_bar,
)
from any3davatar.commands.scene import HeadOptions, background_color, read_head
from any3davatar.core import Cameras
from any3davatar.core.images import straight_rgb
from any3davatar.core.rigs import RIGS
from any3davatar.io import read_camera_file, write_cameras, write_png
from any3davatar.render import render

DEFAULT_SIZE_PX = 512
EMPTY_COVERAGE = 0.002  # a head that covers less of all pictures than this is probably misplaced


@dataclass(frozen=True)
class RenderJob:
    """What `run` does.

    Attributes:
        inputs: files of Gaussians, or folders of them.
        out: folder for the pictures; several inputs get a folder each inside it.
        cameras: which pictures to make.
        names: file name of each picture, without suffix.
        background: name or ``#rrggbb``, or "transparent" for straight-alpha RGBA.
        bits: 8 or 16 a channel.
        head: how files are read.
    """

    inputs: tuple[Path, ...]
    out: Path
    cameras: Cameras
    names: tuple[str, ...]
    background: str
    bits: Literal[8, 16]
    head: HeadOptions


def cameras_of(
    rig: str,
    camera_file: Path | None,
    size_px: int | None,
    radius: float,
    vertical_fov_deg: float,
) -> tuple[Cameras, tuple[str, ...]]:
    """Return the cameras of a named rig or of a file, and a name for each picture.

    A size is `DEFAULT_SIZE_PX` for a rig unless given; a file's own unless the file states none.
    """
    if camera_file is not None:
        size = None if size_px is None else (size_px, size_px)
        loaded = read_camera_file(camera_file, image_size=size)
        return loaded.cameras, tuple(Path(name).name for name in loaded.names)
    if rig not in RIGS:
        raise UsageError(f"unknown rig {rig!r}; known: {', '.join(RIGS)}")
    cameras = RIGS[rig](
        size_px or DEFAULT_SIZE_PX, radius=radius, vertical_fov_deg=vertical_fov_deg
    )
    return cameras, tuple(f"{i:03d}" for i in range(len(cameras)))


def run(job: RenderJob) -> int:
    """Render every input; return how many failed."""
    files = gaussian_files(job.inputs)
    folders = dict(zip(files, output_names(files), strict=True))
    if len(set(job.names)) != len(job.names):
        raise UsageError("two cameras would write the same picture: their names repeat")
    transparent = job.background == "transparent"
    color = torch.zeros(3) if transparent else background_color(job.background)

    with progress_bar("rendering", len(files) * len(job.cameras)) as advance:

        def render_file(path: Path) -> None:
            gaussians = read_head(path, job.head)
            folder = job.out / folders[path] if len(files) > 1 else job.out
            folder.mkdir(parents=True, exist_ok=True)
            coverage = 0.0
            for i, name in enumerate(job.names):
                with torch.inference_mode():
                    view = render(gaussians, job.cameras[i : i + 1], color)[0]
                rgb, alpha = view.rgb, None
                if transparent:
                    rgb, alpha = straight_rgb(view.rgb, view.alpha, color), view.alpha
                write_png(folder / f"{name}.png", rgb.clamp(0, 1), alpha, bits=job.bits)
                coverage += float(view.alpha.mean()) / len(job.names)
                advance()
            write_cameras(folder / "cameras.json", job.cameras, job.names)
            if coverage < EMPTY_COVERAGE:
                console.print(
                    f"warning: {path}: the head covers only {coverage:.2%} of the pictures. Is it "
                    "in another frame or scale? Try --fit, or --frame.",
                    style="yellow",
                    soft_wrap=True,
                )

        return for_each_file(files, render_file)
