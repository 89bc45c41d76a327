"""``any3davatar turntable``: a file of Gaussians to an H.264 video of one turn."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.commands.inputs import (
    UsageError,
    for_each_file,
    gaussian_files,
    output_names,
    progress_bar,
)
from any3davatar.commands.scene import HeadOptions, background_color, read_head
from any3davatar.core import Cameras
from any3davatar.io import write_mp4
from any3davatar.render import render


@dataclass(frozen=True)
class TurntableJob:
    """What `run` does: one video an input, to a file, or into a folder where `out` is none."""

    inputs: tuple[Path, ...]
    out: Path
    cameras: Cameras
    fps: int
    background: str
    head: HeadOptions


def run(job: TurntableJob) -> int:
    """Write the videos; return how many inputs failed."""
    files = gaussian_files(job.inputs)
    color = background_color(job.background)
    one_file = job.out.suffix.lower() == ".mp4"
    if one_file and len(files) > 1:
        raise UsageError(f"{len(files)} inputs need a folder to write to; got the file {job.out}")
    names = output_names(files)
    targets = {
        path: job.out if one_file else job.out / f"{name}.mp4"
        for path, name in zip(files, names, strict=True)
    }
    with progress_bar("rendering", len(files) * len(job.cameras)) as advance:

        def film(path: Path) -> None:
            gaussians = read_head(path, job.head)

            def frames() -> Iterator[Float[Tensor, "3 H W"]]:
                for i in range(len(job.cameras)):
                    with torch.inference_mode():
                        yield render(gaussians, job.cameras[i : i + 1], color).rgb[0].clamp(0, 1)
                    advance()

            targets[path].parent.mkdir(parents=True, exist_ok=True)
            write_mp4(targets[path], frames(), fps=job.fps)

        return for_each_file(files, film)
