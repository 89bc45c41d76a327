"""One job: what a method is handed for one portrait, as files that any program can read.

::

    job.json              everything below, with paths relative to it
    in/portrait.png       the portrait over the background, alone in its folder
    portrait_rgba.png     with straight alpha, where the protocol shows it
    portrait_camera.json  the portrait's camera, where the protocol shows it
    cameras.json          the cameras to render
    truth/000.png ...     true views, for controls that are shown them
    out/                  empty: the method's

``cameras.json`` is `any3davatar.io`'s: OpenCV axes, world to camera, in the canonical world (right
handed, +y up, the face looks along +z, the origin is the head's centre).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from a3d_bench.errors import BenchError
from a3d_bench.names import slug
from a3d_bench.types import Capture, Portrait
from any3davatar.core import Cameras, Views
from any3davatar.core.images import composite, straight_rgb
from any3davatar.io import read_cameras, read_png, write_cameras, write_png
from any3davatar.io.json_file import read_json_object

SCHEMA = 1


@dataclass(frozen=True)
class Job:
    """A job on disk.

    Attributes:
        folder: that holds it.
        capture: id of the capture.
        subject: whose head it is.
        view_names: of the cameras, in order.
        seed: for what is random.
        width: of the pictures to render, in pixels.
        height: of the pictures to render, in pixels.
        background: sRGB colour behind the head.
        shows_alpha: whether ``portrait_rgba.png`` is there.
        shows_camera: whether ``portrait_camera.json`` is there.
        shows_truth: whether ``truth/`` is there.
    """

    folder: Path
    capture: str
    subject: str
    view_names: tuple[str, ...]
    seed: int
    width: int
    height: int
    background: tuple[float, float, float]
    shows_alpha: bool
    shows_camera: bool
    shows_truth: bool

    @property
    def path(self) -> Path:
        """Where ``job.json`` is."""
        return self.folder / "job.json"

    @property
    def out(self) -> Path:
        """The folder that the method fills."""
        return self.folder / "out"

    @property
    def views(self) -> int:
        """How many views are asked for."""
        return len(self.view_names)

    def background_tensor(self) -> torch.Tensor:
        """Return the background, (3,)."""
        return torch.tensor(self.background)

    def cameras(self) -> Cameras:
        """Read the (V,) cameras to render."""
        return read_cameras(self.folder / "cameras.json").cameras

    def portrait(self) -> Portrait:
        """Read what the method may see."""
        rgb, _ = read_png(self.folder / "in" / "portrait.png")
        alpha = read_png(self.folder / "portrait_rgba.png")[1] if self.shows_alpha else None
        camera = (
            read_cameras(self.folder / "portrait_camera.json").cameras[0]
            if self.shows_camera
            else None
        )
        return Portrait(self.capture, rgb, alpha, self.background_tensor(), camera)

    def truth(self) -> Views:
        """Read the (V,) true views over the background."""
        read = [read_png(self.folder / "truth" / f"{i:03d}.png") for i in range(self.views)]
        rgb = torch.stack([one[0] for one in read])
        alpha = torch.stack(
            [torch.ones_like(one[0][:1]) if one[1] is None else one[1] for one in read]
        )
        return Views(composite(rgb, alpha, self.background_tensor()), alpha)

    def fields(self) -> dict[str, str]:
        """Return what the fields of a command stand for."""
        return {
            "job": str(self.path),
            "portrait": str(self.folder / "in" / "portrait.png"),
            "portrait_rgba": str(self.folder / "portrait_rgba.png"),
            "input_folder": str(self.folder / "in"),
            "cameras": str(self.folder / "cameras.json"),
            "out": str(self.out),
            "seed": str(self.seed),
            "width": str(self.width),
            "height": str(self.height),
            "background": ",".join(f"{value:g}" for value in self.background),
        }

    def result_fields(self, view: int | None = None) -> dict[str, str]:
        """Return what the fields of a result's place stand for."""
        fields = {
            "capture": slug(self.capture),
            "capture_path": "/".join(slug(part) for part in self.capture.split("/")),
            "subject": slug(self.subject),
        }
        if view is not None:
            fields["view"] = f"{view:03d}"
            fields["view_name"] = slug(self.view_names[view])
        return fields


def write_job(
    folder: Path,
    *,
    capture: Capture,
    portrait: Portrait,
    cameras: Cameras,
    background: Sequence[float],
    seed: int,
    truth: Sequence[Path] | None,
) -> Job:
    """Write a job into a new folder.

    Args:
        folder: must not exist.
        capture: what it is about.
        portrait: what the method sees.
        cameras: (V,) what it is to render.
        background: sRGB colour behind the head.
        seed: for what is random.
        truth: RGBA pictures of the V views, for controls that are shown them.
    """
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    r, g, b = (float(value) for value in background)
    job = Job(
        folder=folder.resolve(),
        capture=capture.id,
        subject=capture.subject,
        view_names=capture.view_names,
        seed=seed,
        width=cameras.width,
        height=cameras.height,
        background=(r, g, b),
        shows_alpha=portrait.alpha is not None,
        shows_camera=portrait.camera is not None,
        shows_truth=truth is not None,
    )
    write_png(folder / "in" / "portrait.png", portrait.rgb.clamp(0, 1))
    if portrait.alpha is not None:
        straight = straight_rgb(portrait.rgb, portrait.alpha, portrait.background)
        write_png(folder / "portrait_rgba.png", straight.clamp(0, 1), portrait.alpha)
    if portrait.camera is not None:
        write_cameras(folder / "portrait_camera.json", portrait.camera.reshape(1), ("portrait",))
    write_cameras(folder / "cameras.json", cameras, capture.view_names)
    if truth is not None:
        (folder / "truth").mkdir()
        for index, path in enumerate(truth):
            (folder / "truth" / f"{index:03d}.png").symlink_to(path.resolve())
    _write_description(job)
    return job


def read_job(path: Path) -> Job:
    """Read a job.

    Raises:
        BenchError: ``job.json`` is not one of this version.
    """
    values = read_json_object(path)
    if values.values.get("schema") != SCHEMA:
        raise BenchError(
            f"{path}: got schema {values.values.get('schema')!r}, expected {SCHEMA}: the job was "
            "written by another version of a3d-bench"
        )
    try:
        r, g, b = (float(value) for value in values.values["background"])
        return Job(
            folder=path.resolve().parent,
            capture=values.text("capture"),
            subject=values.text("subject"),
            view_names=tuple(str(name) for name in values.values["view_names"]),
            seed=int(values.number("seed")),
            width=values.pixels("width"),
            height=values.pixels("height"),
            background=(r, g, b),
            shows_alpha=values.values["portrait_rgba"] is not None,
            shows_camera=values.values["portrait_camera"] is not None,
            shows_truth=values.values["truth"] is not None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{path}: not a job of a3d-bench: {error}") from error


def _write_description(job: Job) -> None:
    import json

    from any3davatar.io import atomic_path

    truth = [f"truth/{i:03d}.png" for i in range(job.views)] if job.shows_truth else None
    values = {
        "schema": SCHEMA,
        "capture": job.capture,
        "subject": job.subject,
        "view_names": list(job.view_names),
        "seed": job.seed,
        "width": job.width,
        "height": job.height,
        "background": list(job.background),
        "portrait": "in/portrait.png",
        "portrait_rgba": "portrait_rgba.png" if job.shows_alpha else None,
        "portrait_camera": "portrait_camera.json" if job.shows_camera else None,
        "cameras": "cameras.json",
        "truth": truth,
        "out": "out",
    }
    with atomic_path(job.path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
