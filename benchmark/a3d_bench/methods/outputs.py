"""From the files that a method left to the pictures of the protocol's views.

Files of strangers: a path or a link that leaves their folder is refused, sizes are judged before
anything is read, and what can't be read as a picture is kept as it is, so that scoring names it.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.errors import BenchError
from a3d_bench.methods.avatars import FixedViews, GaussianAvatar, NoView
from a3d_bench.methods.card import CommandRunner, ExternalRunner, MethodCard
from a3d_bench.methods.job import Job
from a3d_bench.methods.mesh import MESH_SUFFIXES, read_mesh
from a3d_bench.methods.registry import RegisteredMethod
from a3d_bench.methods.stages import RenderTime, device_stamp, render_timed
from a3d_bench.types import Avatar
from any3davatar.core import Gaussians, InvalidInput, Views
from any3davatar.core.images import composite
from any3davatar.io import (
    GAUSSIAN_FORMATS,
    ColorRule,
    FormatError,
    read_camera_file,
    read_gaussians,
    read_png,
    read_video_frames,
    write_ply,
    write_png,
)

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv")
DEFAULT_TOLERANCE_DEG = 3.0
_PICTURE_LIMIT_BYTES = 1 << 27
_PIXELS_MAX = 1 << 26
_VIDEO_FRAMES_MAX = 5000
_CAPTURE_PLACES = ("{capture}", "{capture_path}", "{subject}")
_VIEW_PLACES = (
    "{place}/views/{view}", "{place}/{view}", "{place}/views/{view_name}", "{place}/{view_name}",
    "{place}_{view}", "{place}_{view_name}",
)  # fmt: skip
_FILE_PLACES = ("{place}/{name}", "{place}")
_NAMES = {
    "gaussians": ("gaussians", "point_cloud", "splats", "pc", "avatar", "output"),
    "mesh": ("mesh", "avatar", "output", "model"),
    "video": ("turntable", "video", "output"),
}


@dataclass
class Harvest:
    """What was found of a capture.

    Attributes:
        views: indices of the pictures that were written.
        notes: what was decided, for the prediction's details.
        rendered: what frames took, where the harness rendered.
    """

    views: list[int] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    rendered: RenderTime | None = None


def harvest(method: RegisteredMethod, job: Job, source: Path, folder: Path) -> Harvest:
    """Write ``views/NNN.png`` (and ``gaussians.ply``) of a capture into `folder`.

    Args:
        method: whose output it is.
        job: what was asked.
        source: where the output lies.
        folder: the prediction's.

    Raises:
        BenchError: the output is absent, or can't be used; the message is the reason.
    """
    (folder / "views").mkdir(parents=True, exist_ok=True)
    card = method.card
    if card.runner.kind == "python":
        found = _views_of_worker(job, source, folder)
        ply = inside(source, source / "gaussians.ply")
        if ply is not None:
            shutil.copyfile(ply, folder / "gaussians.ply")
        return found
    if card.output == "views":
        return _given_views(card, job, source, folder)
    path = _one_file(card, job, source)
    try:
        if card.output == "video":
            return _video_views(method, job, source, path, folder)
        return _rendered(card, job, path, folder)
    except (FormatError, InvalidInput, OSError) as error:
        raise BenchError(f"{path.name}: {error}") from error


def inside(source: Path, path: Path) -> Path | None:
    """Return a regular file that lies in `source`, links followed; None where there is none.

    Raises:
        BenchError: it lies elsewhere.
    """
    try:
        resolved = path.resolve()
        if not resolved.is_file():
            return None
    except (OSError, ValueError):
        return None
    if not resolved.is_relative_to(source.resolve()):
        raise BenchError(f"{path.name}: it is a link that leaves the output folder; copy the file")
    return resolved


def files_of_capture(source: Path, result: str | None, fields: Mapping[str, str]) -> Iterator[Path]:
    """Iterate over the files that may belong to a capture, for telling whether they changed."""
    patterns = [result] if result is not None else [f"{place}*" for place in _CAPTURE_PLACES]
    seen = set()
    for pattern in patterns:
        globbed = pattern.replace("{view}", "*").replace("{view_name}", "*")
        for hit in sorted(source.glob(_escaped(globbed, fields))):
            for path in sorted(hit.rglob("*")) if hit.is_dir() else [hit]:
                if path.is_file() and path not in seen:
                    seen.add(path)
                    yield path


def _escaped(pattern: str, fields: Mapping[str, str]) -> str:
    import glob

    for name, value in fields.items():
        pattern = pattern.replace(f"{{{name}}}", glob.escape(value))
    return pattern


def _views_of_worker(job: Job, source: Path, folder: Path) -> Harvest:
    found = Harvest()
    for view in range(job.views):
        path = inside(source, source / "views" / f"{view:03d}.png")
        if path is not None:
            _take_picture(path, job, folder, view, found)
    return found


def _given_views(card: MethodCard, job: Job, source: Path, folder: Path) -> Harvest:
    found = Harvest()
    runner = card.runner
    pattern = runner.result if isinstance(runner, CommandRunner | ExternalRunner) else None
    for view in range(job.views):
        fields = job.result_fields(view)
        path = _first(source, _view_candidates(pattern, fields))
        if path is not None:
            _take_picture(path, job, folder, view, found)
    if not found.views:
        tried = pattern or " or ".join(
            sorted({place.replace("{place}", "{capture}") for place in _VIEW_PLACES})[:3]
        )
        raise BenchError(
            f"no picture of {job.capture} is in {source.name}/; looked for {tried} with capture = "
            f"{job.result_fields()['capture']}"
        )
    return found


def _view_candidates(pattern: str | None, fields: Mapping[str, str]) -> Iterator[str]:
    if pattern is not None:
        yield _put(pattern, fields)
        return
    for place in _CAPTURE_PLACES:
        for form in _VIEW_PLACES:
            for suffix in PICTURE_SUFFIXES:
                yield _put(form.replace("{place}", place), fields) + suffix


def _one_file(card: MethodCard, job: Job, source: Path) -> Path:
    """Return the file that holds the whole capture.

    Raises:
        BenchError: there is none, or an empty one.
    """
    runner = card.runner
    pattern = runner.result if isinstance(runner, CommandRunner | ExternalRunner) else None
    suffixes = {
        "gaussians": tuple(GAUSSIAN_FORMATS), "mesh": MESH_SUFFIXES, "video": VIDEO_SUFFIXES
    }[card.output]  # fmt: skip
    fields = job.result_fields()
    if pattern is not None:
        candidates = [_put(pattern, fields)]
    else:
        candidates = [
            _put(form.replace("{place}", place).replace("{name}", name), fields) + suffix
            for place in _CAPTURE_PLACES
            for form in _FILE_PLACES
            for name in _NAMES[card.output]
            for suffix in suffixes
        ]
    path = _first(source, candidates)
    if path is None:
        raise BenchError(
            f"the output of {job.capture} is missing: looked for {candidates[0]}"
            + ("" if len(candidates) == 1 else f" and {len(candidates) - 1} other names")
        )
    if path.stat().st_size == 0:
        raise BenchError(f"{path.name}: the output of {job.capture} is an empty file")
    return path


def _first(source: Path, candidates: Iterator[str] | list[str]) -> Path | None:
    for name in candidates:
        path = inside(source, source / name)
        if path is not None:
            return path
    return None


def _put(pattern: str, fields: Mapping[str, str]) -> str:
    for name, value in fields.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def _take_picture(path: Path, job: Job, folder: Path, view: int, found: Harvest) -> None:
    """Write a picture as 8-bit RGB over the background; what is no picture is kept as it is."""
    target = folder / "views" / f"{view:03d}.png"
    if path.stat().st_size > _PICTURE_LIMIT_BYTES:
        found.notes[f"view_{view:03d}"] = f"left out: {path.stat().st_size} bytes"
        return
    try:
        rgb, alpha = _read_picture(path)
    except (FormatError, OSError):
        shutil.copyfile(path, target)
    else:
        if alpha is not None:
            rgb = composite(rgb, alpha, job.background_tensor())
        write_png(target, rgb)
    found.views.append(view)


def _read_picture(path: Path) -> tuple[Tensor, Tensor | None]:
    if path.suffix.lower() == ".png":
        return read_png(path)
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("JPEG",)) as picture:
            if picture.width * picture.height > _PIXELS_MAX:
                raise FormatError(f"{path}: {picture.size} pixels, at most {_PIXELS_MAX}")
            pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path}: not a JPEG: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), None


def _rendered(card: MethodCard, job: Job, path: Path, folder: Path) -> Harvest:
    avatar: Avatar
    to_canonical = card.world.to_canonical()
    if card.output == "mesh":
        avatar = read_mesh(path, to_canonical)
    else:
        color = card.color if path.suffix.lower() == ".ply" else ColorRule.SH
        gaussians = to_canonical.apply_to_gaussians(read_gaussians(path, color=color))
        avatar = GaussianAvatar(_on_fastest_device(gaussians))
        write_ply(folder / "gaussians.ply", gaussians)
    found = Harvest()
    device = "cuda" if isinstance(avatar, GaussianAvatar) and torch.cuda.is_available() else "cpu"
    background = job.background_tensor().to(device)

    def write(index: int, views: Views) -> None:
        write_png(folder / "views" / f"{index:03d}.png", views.rgb[0].cpu().clamp(0, 1))
        found.views.append(index)

    found.rendered = render_timed(avatar, job.cameras().to(device), background, write)
    found.notes["rendered_by"] = "a3d-bench"
    found.notes["rendered_on"] = device_stamp()
    return found


def _on_fastest_device(gaussians: Gaussians) -> Gaussians:
    return gaussians.to("cuda") if torch.cuda.is_available() else gaussians


def _video_views(
    method: RegisteredMethod, job: Job, source: Path, path: Path, folder: Path
) -> Harvest:
    """Match the frames of a video to the protocol's cameras by direction; others are missing."""
    cameras_path = _camera_path(method, job, source, path)
    frames = read_camera_file(cameras_path).cameras
    if len(frames) > _VIDEO_FRAMES_MAX:
        raise BenchError(f"{cameras_path.name}: more than {_VIDEO_FRAMES_MAX} frames")
    card, found, cameras = method.card, Harvest(), job.cameras()
    stand = FixedViews(
        pictures={},
        cameras=card.world.to_canonical().apply_to_cameras(frames),
        background=_color(card.background, job),
        tolerance_deg=DEFAULT_TOLERANCE_DEG,
    )
    frame_of_view: dict[int, int] = {}
    for view in range(job.views):
        try:
            frame_of_view[view] = stand.frame_of(cameras[view])
        except NoView as error:
            found.notes[f"view_{view:03d}"] = f"missing: {error}"
    if not frame_of_view:
        raise BenchError(f"{path.name}: no frame looks from where a view is asked for")
    avatar = replace(stand, pictures=_frames(path, set(frame_of_view.values())))
    for view, frame in frame_of_view.items():
        if frame not in avatar.pictures:
            found.notes[f"view_{view:03d}"] = f"missing: the video ends before frame {frame}"
            continue
        shown = avatar.view(cameras[view], job.background_tensor())
        write_png(folder / "views" / f"{view:03d}.png", shown.rgb.clamp(0, 1))
        found.views.append(view)
    worst_deg = max(avatar.nearest(cameras[view])[1] for view in frame_of_view)
    found.notes["frames"] = (
        f"{len(found.views)} of {job.views} views have a frame within "
        f"{DEFAULT_TOLERANCE_DEG:g} degrees, the worst is {worst_deg:.2f} away"
    )
    return found


def _frames(path: Path, wanted: set[int]) -> dict[int, Tensor]:
    """Decode a video once and keep the frames that are asked for."""
    kept = {}
    for index, frame in enumerate(read_video_frames(path)):
        if index in wanted:
            kept[index] = frame
        if index >= max(wanted):
            break
    return kept


def _camera_path(method: RegisteredMethod, job: Job, source: Path, video: Path) -> Path:
    runner = method.card.runner
    assert isinstance(runner, CommandRunner | ExternalRunner)
    named = runner.camera_path
    if named is None:
        candidates = [video.with_suffix(".json"), video.parent / "cameras.json"]
        candidates.append(source / "cameras.json")
    else:
        candidates = [source / _put(named, job.result_fields())]
    for candidate in candidates:
        path = inside(source, candidate)
        if path is not None:
            return path
    if named is not None and method.folder is not None:
        path = inside(method.folder, method.folder / named)
        if path is not None:
            return path
    raise BenchError(
        f"{video.name}: the cameras of its frames are missing; put {video.stem}.json or "
        "cameras.json beside it"
    )


def _color(color: tuple[float, float, float] | None, job: Job) -> Float[Tensor, "3"]:
    return job.background_tensor() if color is None else torch.tensor(color)


def sha256_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
