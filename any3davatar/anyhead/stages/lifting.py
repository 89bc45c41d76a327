"""Stage iii: from a portrait to 3D Gaussians, and from these to many views."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from any3davatar.anyhead import people
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.programs import BackEndFailed, Program, described
from any3davatar.anyhead.stages.portraits import HeadIdea, resized
from any3davatar.core import Cameras, Gaussians, InvalidInput, Views
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.core.images import composite, straight_rgb
from any3davatar.core.rigs import orbit
from any3davatar.fitting import FitConfig, fit_gaussians
from any3davatar.io import FormatError, read_gaussians, read_png, write_cameras, write_png
from any3davatar.render import render

GREY = torch.full((3,), 0.5)
BLACK = torch.zeros(3)


@runtime_checkable
class ImageToViews(Protocol):
    """Makes many views from a portrait. Frozen, and fit for sending to another process."""

    def views(self, idea: HeadIdea, portrait: Views, cameras: Cameras) -> Views:
        """Return (V, ...) straight colour and alpha of the portrait's head.

        Raises:
            BackEndFailed: there is no usable result for this head.
            DataError: there will be none for any head.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what the recipe records about the back end, as JSON."""
        ...


def views_of_gaussians(gaussians: Gaussians, cameras: Cameras) -> Views:
    """Render Gaussians, one view at a time, to straight colour and alpha."""
    rgb, alpha = [], []
    with torch.inference_mode():
        for v in range(len(cameras)):
            drawn = render(gaussians, cameras[v : v + 1], BLACK)
            rgb.append(straight_rgb(drawn.rgb, drawn.alpha, BLACK).clamp(0, 1)[0])
            alpha.append(drawn.alpha[0])
    return Views(torch.stack(rgb).clone(), torch.stack(alpha).clone())


@dataclass(frozen=True)
class EmbeddedLifting:
    """Optimises Gaussians against renders of the digital human: real Gaussian artefacts.

    The portrait itself is not read: the digital human that it was drawn from is known.

    Attributes:
        fit: how the optimisation runs; its seed is combined with the head's.
        azimuths: renders on each of three rings that the Gaussians are fitted to.
    """

    fit: FitConfig = field(default_factory=FitConfig)
    azimuths: int = 12

    def __post_init__(self) -> None:
        if self.azimuths < 4:
            raise DataError(f"azimuths: got {self.azimuths}, expected at least 4")

    def views(self, idea: HeadIdea, portrait: Views, cameras: Cameras) -> Views:
        """See `ImageToViews`."""
        return views_of_gaussians(self.gaussians(idea), cameras)

    def gaussians(self, idea: HeadIdea) -> Gaussians:
        """Return the fitted Gaussians, SH degree 0."""
        step = 360 / self.azimuths
        cameras = orbit(
            [step * i for i in range(self.azimuths)] * 3,
            [elevation for elevation in (-20.0, 0.0, 20.0) for _ in range(self.azimuths)],
            size_px=idea.size_px,
        )
        drawn = people.draw(idea.spec, cameras, idea.supersampling)
        over_grey = Views(composite(drawn.rgb, drawn.alpha, GREY), drawn.alpha)
        seeded = replace(self.fit, seed=self.fit.seed + idea.seed)
        try:
            return fit_gaussians(over_grey, cameras, GREY, config=seeded)
        except InvalidInput as error:
            raise BackEndFailed(f"the fit failed: {error}") from error

    def describe(self) -> Mapping[str, Any]:
        """See `ImageToViews`."""
        return {
            "kind": "embedded",
            "optimises": "Gaussians against renders of the procedural digital human",
            "fit": asdict(self.fit),
            "azimuths": self.azimuths,
        }


@dataclass(frozen=True)
class CommandLifting:
    """Runs any external method: a portrait in, Gaussians or views out.

    The program finds the portrait (RGBA PNG) at ``{input}``, and beside it ``cameras.json`` with
    the views that are wanted. It makes the folder ``{output}`` hold either ``head.ply`` (or
    ``.splat``, ``.spz``, ``.safetensors``), or one RGBA PNG for each camera, by its name.

    Attributes:
        program: the command line.
        frame: the world frame of its Gaussians, a key of `any3davatar.core.frames.WORLD_FRAMES`, or
            ``any3davatar``.
    """

    program: Program
    frame: str = "any3davatar"

    def __post_init__(self) -> None:
        if self.frame != "any3davatar" and self.frame not in WORLD_FRAMES:
            raise DataError(
                f"got the frame {self.frame!r}, expected one of {', '.join(sorted(WORLD_FRAMES))}"
            )

    def views(self, idea: HeadIdea, portrait: Views, cameras: Cameras) -> Views:
        """See `ImageToViews`."""
        with tempfile.TemporaryDirectory(prefix="lifting-") as name:
            folder, output = Path(name), Path(name) / "result"
            output.mkdir()
            write_png(folder / "portrait.png", portrait.rgb, portrait.alpha)
            names = [f"{v:03d}" for v in range(len(cameras))]
            write_cameras(folder / "cameras.json", cameras, names)
            self.program.run(
                {
                    "input": str(folder / "portrait.png"),
                    "output": str(output),
                    "prompt": idea.prompt.text,
                    "seed": str(idea.seed),
                }
            )
            try:
                return self._read(output, names, cameras)
            except (FormatError, InvalidInput, OSError) as error:
                raise BackEndFailed(f"the program's result can't be used: {error}") from error

    def _read(self, output: Path, names: list[str], cameras: Cameras) -> Views:
        heads = sorted(output.glob("head.*"))
        if heads:
            gaussians = read_gaussians(heads[0])
            if self.frame != "any3davatar":
                gaussians = WORLD_FRAMES[self.frame].apply_to_gaussians(gaussians)
            return views_of_gaussians(gaussians, cameras)
        views = [_view_of_size(output / f"{name}.png", cameras.width) for name in names]
        return Views(torch.stack([v.rgb for v in views]), torch.stack([v.alpha for v in views]))

    def describe(self) -> Mapping[str, Any]:
        """See `ImageToViews`."""
        return {
            "kind": "command",
            "arguments": described(self.program.arguments),
            "frame": self.frame,
        }


def _view_of_size(path: Path, size_px: int) -> Views:
    rgb, alpha = read_png(path)
    if alpha is None or rgb.shape[1] != rgb.shape[2]:
        raise FormatError(f"{path}: expected a square picture with alpha")
    return resized(Views(rgb, alpha), size_px)
