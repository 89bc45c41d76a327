"""Methods whose score is known in advance: they tell what a score is worth, and break on purpose.

`Oracle` is the ceiling, `Billboard` and `MeanHead` are the floors that a method has to clear,
`NearestHead` tells how far retrieval gets, `Faulty` fails in every way that a run must survive.
"""

import os
import time
from importlib.resources import as_file, files
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from a3d_bench.errors import BenchError
from a3d_bench.methods.avatars import GaussianAvatar, PlaneAvatar
from a3d_bench.types import Avatar, MethodError, Portrait
from any3davatar.core import Cameras, Gaussians, Views
from any3davatar.core.images import composite, straight_rgb
from any3davatar.fitting import FitConfig, fit_gaussians
from any3davatar.io import read_spz

DATA_VARIABLE = "A3D_NEAREST_HEAD_DATA"
_ORACLE_GAUSSIANS_PER_PIXEL = 2  # of one view; a head has a back too
_ORACLE_COUNTS = (8_000, 60_000)
_ORACLE_HULL_MARGIN = 1.2  # of what the cameras frame: Gaussians outside would be wasted
_SIGNATURE_PX = 32
_FAULT_CYCLE = 16  # heads of anyhead-mini: one of each failure


class Oracle:
    """Gaussians fitted to the truth: the most that Gaussians of one colour each can score here.

    Args:
        steps: of the fit.
    """

    def __init__(self, steps: int = 300) -> None:
        self._steps = steps

    def reconstruct_from_truth(
        self, portrait: Portrait, truth: Views, cameras: Cameras, *, seed: int
    ) -> GaussianAvatar:
        """Fit the true views, which lie over the portrait's background."""
        low, high = _ORACLE_COUNTS
        count = _ORACLE_GAUSSIANS_PER_PIXEL * cameras.width * cameras.height
        framed = cameras.centers.norm(dim=-1) * cameras.width / (2 * cameras.K[:, 0, 0])
        config = FitConfig(
            n_gaussians=min(max(count, low), high),
            steps=self._steps,
            hull_resolution=64,
            hull_half_extent=min(_ORACLE_HULL_MARGIN * float(framed.max()), 1.3),
            seed=seed,
        )
        return GaussianAvatar(fit_gaussians(truth, cameras, portrait.background, config))


class MeanHead:
    """The mean of training heads, whoever is asked for: what is gained without a look."""

    def __init__(self) -> None:
        with as_file(files("a3d_baselines") / "assets" / "mean_head.spz") as path:
            self._avatar = GaussianAvatar(read_spz(path))

    def reconstruct(self, portrait: Portrait, *, seed: int) -> GaussianAvatar:
        """Return the mean head."""
        return self._avatar


class Billboard:
    """The portrait on a plane that faces its camera: a method without any shape."""

    def reconstruct(self, portrait: Portrait, *, seed: int) -> PlaneAvatar:
        """Return the plane; without alpha the whole rectangle stands there."""
        if portrait.alpha is None:
            return PlaneAvatar(portrait.rgb, torch.ones_like(portrait.rgb[:1]), portrait.camera)
        colour = straight_rgb(portrait.rgb, portrait.alpha, portrait.background)
        return PlaneAvatar(colour.clamp(0, 1), portrait.alpha, portrait.camera)


class NearestHead:
    """The training head whose front view is nearest to the portrait: what retrieval scores.

    Args:
        data: folder of a data set with a split ``train``; the environment variable
            ``A3D_NEAREST_HEAD_DATA`` where it is empty.
        heads: how many of them to look at, the first ones.
    """

    def __init__(self, data: str = "", heads: int = 1000) -> None:
        from any3davatar.anyhead.readers import AnyHead

        folder = data or os.environ.get(DATA_VARIABLE, "")
        if not folder:
            raise BenchError(
                f"nearest-head needs training heads: set {DATA_VARIABLE} to a folder of heads "
                "(`any3davatar data build anyhead-train` makes one)"
            )
        if not Path(folder).is_dir():
            raise BenchError(f"{DATA_VARIABLE}={folder}: there is no such folder")
        captures = list(AnyHead(Path(folder), split="train"))[:heads]
        if not captures:
            raise BenchError(f"{DATA_VARIABLE}={folder}: it holds no training heads")
        self._captures = captures
        fronts = [capture.pictures[capture.input_view].read() for capture in captures]
        self._signatures = torch.stack([_signature(one.rgb, one.alpha) for one in fronts])

    def reconstruct(self, portrait: Portrait, *, seed: int) -> GaussianAvatar:
        """Return Gaussians fitted to the nearest head's own views."""
        alpha = portrait.alpha
        if alpha is None:
            far = (portrait.rgb - portrait.background[:, None, None]).abs().amax(0, keepdim=True)
            alpha = (far > 0.05).float()
        straight = straight_rgb(portrait.rgb, alpha, portrait.background)
        wanted = _signature(straight.clamp(0, 1), alpha)
        index = int((self._signatures - wanted).abs().mean(dim=(1, 2, 3)).argmin())
        capture = self._captures[index]
        views = capture.views()
        over = Views(composite(views.rgb, views.alpha, portrait.background), views.alpha)
        config = FitConfig(n_gaussians=10_000, steps=200, seed=seed)
        return GaussianAvatar(fit_gaussians(over, capture.cameras, portrait.background, config))


def _signature(straight: Float[Tensor, "3 H W"], alpha: Float[Tensor, "1 H W"]) -> Tensor:
    """Return the head's own box, small: so that framing does not decide who is near."""
    covered = alpha[0] > 0.5
    if not bool(covered.any()):
        raise MethodError("the portrait shows nothing: its alpha is empty")
    rows, columns = covered.any(1).nonzero()[:, 0], covered.any(0).nonzero()[:, 0]
    box = (
        slice(None),
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )
    stacked = torch.cat([straight * alpha, alpha])[box]
    size = (_SIGNATURE_PX, _SIGNATURE_PX)
    return F.interpolate(stacked[None], size, mode="area")[0]


class Faulty:
    """The mean head, with every failure that a run has to survive and name.

    By the number in its subject's name, modulo 16: 1 raises, 2 hangs, 3 ends its process; all
    others are drawn with some views mirrored.

    Args:
        hang_seconds: how long a hang lasts; longer than the time limit of the run.
    """

    def __init__(self, hang_seconds: float = 3600.0) -> None:
        self._mean = MeanHead()
        self._hang_seconds = hang_seconds

    def reconstruct(self, portrait: Portrait, *, seed: int) -> Avatar:
        """Fail, or return a head that is wrong in some views."""
        fault = _last_number(portrait.id) % _FAULT_CYCLE
        if fault == 1:
            raise MethodError("no face found in the portrait (on purpose)")
        if fault == 2:
            time.sleep(self._hang_seconds)
        if fault == 3:
            os._exit(3)
        return _Mirroring(self._mean.reconstruct(portrait, seed=seed).gaussians)


class _Mirroring:
    """Mirrors the views of cameras whose azimuth, in whole tens of degrees, divides by three."""

    def __init__(self, gaussians: Gaussians) -> None:
        self._avatar = GaussianAvatar(gaussians)

    def render(self, cameras: Cameras, background: Float[Tensor, "3"]) -> Views:
        from any3davatar.core.rigs import angles_of

        views = self._avatar.render(cameras, background)
        tens = (angles_of(cameras.centers)[0] / 10).round().long()
        flipped = (tens % 3 == 0)[:, None, None, None]
        return Views(
            torch.where(flipped, views.rgb.flip(-1), views.rgb),
            torch.where(flipped, views.alpha.flip(-1), views.alpha),
        )


def _last_number(text: str) -> int:
    """Return the number of the last part of an id that has one: 0000001 of ``x/dh-0000001/smile``.

    Expression names have none, so this is the subject's.
    """
    import re

    numbers = re.findall(r"\d+", text)
    return int(numbers[-1]) if numbers else 0
