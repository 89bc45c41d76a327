"""``any3davatar reconstruct``: portraits to heads, with what a person looks at first."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.commands.inputs import (
    UsageError,
    console,
    for_each_file,
    output_names,
    progress_bar,
)
from any3davatar.core import rigs
from any3davatar.io import (
    atomic_path,
    read_photo,
    write_gaussians,
    write_mp4,
    write_png,
)
from any3davatar.io.photo import FORMATS
from any3davatar.model import CheckpointError
from any3davatar.reconstruct import Head, Reconstructor
from any3davatar.render import render

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"})
SIZE_PX = 256
FRAMES = 60
FPS = 20


@dataclass(frozen=True)
class ReconstructJob:
    """What `run` does.

    Attributes:
        inputs: portraits, or folders of them.
        out: folder; each portrait gets one inside.
        checkpoint: weights, or None for the network that comes with the package.
        steps: N of Eqs. 2-3.
        seed: of the noise.
        size_px: of the still and the turntable; None: 256, or the network's size if that is more.
        turntable: whether to film one.
    """

    inputs: tuple[Path, ...]
    out: Path
    checkpoint: Path | None
    steps: int
    seed: int
    size_px: int | None
    turntable: bool


def run(job: ReconstructJob) -> int:
    """Write the heads; return how many portraits failed."""
    files = portrait_files(job.inputs)
    names = dict(zip(files, output_names(files), strict=True))
    start = time.perf_counter()
    try:
        reconstruct = Reconstructor.load(job.checkpoint)
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    load_seconds = time.perf_counter() - start
    with progress_bar("reconstructing", len(files)) as advance:

        def one(path: Path) -> None:
            try:
                head = reconstruct(read_photo(path), steps=job.steps, seed=job.seed)
                _write(head, job, job.out / names[path], path.name, load_seconds, reconstruct)
            finally:
                advance()

        return for_each_file(files, one)


def portrait_files(paths: tuple[Path, ...]) -> list[Path]:
    """Return the files named, and the pictures directly inside the folders named.

    Raises:
        UsageError: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"{path}: no picture in this folder; looked for {FORMATS}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or folder")
    return found


def _write(
    head: Head,
    job: ReconstructJob,
    folder: Path,
    source: str,
    load_seconds: float,
    reconstruct: Reconstructor,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_gaussians(folder / "head.ply", head.gaussians)
    write_png(folder / "portrait.png", head.portrait.views.rgb, head.portrait.views.alpha)
    config = reconstruct.model.config
    size_px = job.size_px or max(SIZE_PX, config.size_px)
    orbit = {"size_px": size_px, "vertical_fov_deg": config.vertical_fov_deg}
    start = time.perf_counter()
    four = render(head.gaussians, rigs.canonical_four(**orbit), reconstruct.background)
    render_seconds = (time.perf_counter() - start) / len(four.rgb)
    write_png(folder / "four.png", torch.cat(list(four.rgb.clamp(0, 1)), dim=-1))
    if job.turntable:
        cameras = rigs.turntable(FRAMES, **orbit)

        def frames() -> Iterator[Float[Tensor, "3 H W"]]:
            for i in range(FRAMES):
                view = render(head.gaussians, cameras[i : i + 1], reconstruct.background)
                yield view.rgb[0].clamp(0, 1)

        write_mp4(folder / "turntable.mp4", frames(), fps=FPS)
    record = {
        "source": source,
        "checkpoint": "mini (shipped)" if job.checkpoint is None else job.checkpoint.name,
        "network_px": config.size_px,
        "gaussians": head.gaussians.count,
        "steps": job.steps,
        "seed": job.seed,
        "framing": {"how": head.portrait.how, **head.portrait.record},
        "seconds": {
            "load": round(load_seconds, 4),
            **{name: round(value, 4) for name, value in head.seconds.items()},
            "render_a_frame": round(render_seconds, 4),
        },
    }
    with atomic_path(folder / "head.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for note in record["framing"]["notes"]:
        console.print(f"{source}: {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{source}: {record['gaussians']} Gaussians in {head.seconds['infer']:.2f} s; in {folder}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
