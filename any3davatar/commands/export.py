"""``any3davatar export``: from one file format of Gaussians to another."""

from dataclasses import dataclass
from pathlib import Path

from any3davatar.commands.inputs import (
    UsageError,
    console,
    for_each_file,
    gaussian_files,
    output_names,
    progress_bar,
)
from any3davatar.commands.scene import HeadOptions, read_head
from any3davatar.core import Gaussians
from any3davatar.io import GAUSSIAN_FORMATS, write_gaussians


@dataclass(frozen=True)
class ExportJob:
    """What `run` does: `out` is a file, or a folder when `to` names the suffix to write."""

    inputs: tuple[Path, ...]
    out: Path
    to: str | None
    head: HeadOptions


def _without_view_dependence(path: Path, gaussians: Gaussians) -> Gaussians:
    """Keep the colour that a .splat can hold, and say so where something is lost."""
    if bool(gaussians.sh[..., 1:, :].any()):
        console.print(
            f"warning: {path}: a .splat holds one colour a Gaussian; view-dependent colour (SH "
            f"degree {gaussians.sh_degree}) is dropped",
            style="yellow",
            soft_wrap=True,
        )
    return gaussians.with_sh_degree(0)


def run(job: ExportJob) -> int:
    """Write every input in the other format; return how many failed."""
    files = gaussian_files(job.inputs)
    suffix = f".{job.to.lstrip('.').lower()}" if job.to else None
    if suffix is not None and suffix not in GAUSSIAN_FORMATS:
        raise UsageError(
            f"cannot write {suffix} files; known: {', '.join(sorted(GAUSSIAN_FORMATS))}"
        )
    if suffix is None:
        if len(files) > 1 or job.out.is_dir():
            raise UsageError("to write into a folder, name the format: --to ply, splat, spz, ...")
        targets = {files[0]: job.out}
    else:
        names = output_names(files)
        targets = {p: job.out / f"{n}{suffix}" for p, n in zip(files, names, strict=True)}

    with progress_bar("exporting", len(files)) as advance:

        def convert(path: Path) -> None:
            gaussians = read_head(path, job.head)
            target = targets[path]
            if target.exists() and target.samefile(path):
                raise UsageError(f"{path}: refusing to overwrite the input with its own export")
            if target.suffix.lower() == ".splat" and gaussians.sh_degree > 0:
                gaussians = _without_view_dependence(path, gaussians)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_gaussians(target, gaussians)
            console.print(
                f"{target}: {gaussians.count:,} Gaussians, {target.stat().st_size:,} bytes",
                highlight=False,
                soft_wrap=True,
            )
            advance()

        return for_each_file(files, convert)
