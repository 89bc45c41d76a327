"""Rendering: `render(gaussians, cameras, background) -> Views`, by one of three backends.

A backend is a module with ``rasterize(...)`` as `any3davatar.render.reference.rasterize` documents
it: `reference` (plain torch: the definition), `cpu` (a C++ kernel), `cuda` (gsplat).
"""

import logging
import math
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.cameras import Cameras
from any3davatar.core.errors import InvalidInput
from any3davatar.core.gaussians import Gaussians
from any3davatar.core.images import Views
from any3davatar.render import cpu, cuda, reference
from any3davatar.render.settings import Rasterized, RasterSettings

__all__ = ["Backend", "RasterSettings", "choose_backend", "render", "render_channels"]

logger = logging.getLogger(__name__)


@runtime_checkable
class Backend(Protocol):
    """A module (or object) that rasterizes; see `any3davatar.render.reference.rasterize`."""

    def rasterize(
        self,
        means: Float[Tensor, "B N 3"],
        quats: Float[Tensor, "B N 4"],
        scales: Float[Tensor, "B N 3"],
        opacities: Float[Tensor, "B N"],
        colors: Float[Tensor, "B N D"] | None,
        sh: Float[Tensor, "B N K 3"] | None,
        world_to_camera: Float[Tensor, "B V 4 4"],
        K: Float[Tensor, "B V 3 3"],
        background: Float[Tensor, "B V D"],
        *,
        width: int,
        height: int,
        settings: RasterSettings,
        with_depth: bool,
    ) -> Rasterized:
        """Rasterize B sets of Gaussians, each seen by its own V cameras."""
        ...


@lru_cache(maxsize=1)
def _cpu_or_reference() -> Backend:
    """Choose between kernel and reference once, so that a missing compiler is told once."""
    try:
        cpu.load()
    except cpu.KernelUnavailable as error:
        logger.warning(
            "the C++ rasterizer cannot be built here, so the reference renders, about 100 times "
            "slower. Install g++ or set CXX. %s",
            error,
        )
        return reference
    return cpu


def choose_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Return the fastest backend for tensors of this kind.

    float32 on a GPU goes to gsplat, float32 on a CPU to the C++ kernel; where no compiler is
    found the reference renders instead and a warning says so once. Every other type goes to the
    reference, the only backend that has it.
    """
    if dtype != torch.float32:
        return reference
    if device.type == "cuda":
        return cuda
    return _cpu_or_reference() if device.type == "cpu" else reference


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[Tensor, "3"],
    *,
    settings: RasterSettings | None = None,
    backend: Backend | None = None,
) -> Views:
    """Render sets of Gaussians from V cameras each.

    Args:
        gaussians: leading dimensions ``*b`` (none for a single head).
        cameras: leading dimensions ``(*c, V)``; ``*c`` broadcasts against ``*b``, so one rig of
            shape (V,) serves every head.
        background: colour behind the heads, sRGB-encoded, in [0, 1].
        settings: near and far planes and low-pass filter; the classic ones by default.
        backend: a backend to use instead of the one that `choose_backend` picks.

    Returns:
        Views of shape ``(*b, V, ...)``: rgb over the background, alpha, and expected depth (z of
        the camera, world units; 0 where alpha is 0). Colours above 1 are not clipped. Gradients
        flow to all tensors of the Gaussians and to the background, not to the cameras.

    Raises:
        InvalidInput: shapes, dtypes or devices do not fit, or a value is not finite.
    """
    if tuple(background.shape) != (3,):
        raise InvalidInput(f"background must be one RGB colour (3,); got {tuple(background.shape)}")
    rasterized, batch = _rasterize(gaussians, None, cameras, background, settings, backend, True)
    assert rasterized.depth is not None
    return Views(
        rgb=rasterized.channels.reshape(*batch, *rasterized.channels.shape[2:]),
        alpha=rasterized.alpha.reshape(*batch, *rasterized.alpha.shape[2:]),
        depth=rasterized.depth.reshape(*batch, *rasterized.depth.shape[2:]),
    )


def render_channels(
    gaussians: Gaussians,
    channels: Float[Tensor, "*b N D"],
    cameras: Cameras,
    background: Float[Tensor, "D"],
    *,
    settings: RasterSettings | None = None,
    backend: Backend | None = None,
) -> Float[Tensor, "*bv D H W"]:
    """Render any D channels in place of colour: features, labels, normals, positions.

    Arguments, broadcasting and errors are those of `render`; `channels` go with the means.
    """
    if tuple(channels.shape[:-1]) != tuple(gaussians.means.shape[:-1]):
        raise InvalidInput(
            f"channels must be (*b, N, D) with the means' (*b, N) = "
            f"{tuple(gaussians.means.shape[:-1])}; got {tuple(channels.shape)}"
        )
    if tuple(background.shape) != (channels.shape[-1],):
        raise InvalidInput(
            f"background must have one value for each of the {channels.shape[-1]} channels; got "
            f"shape {tuple(background.shape)}"
        )
    rasterized, batch = _rasterize(
        gaussians, channels, cameras, background, settings, backend, False
    )
    return rasterized.channels.reshape(*batch, *rasterized.channels.shape[2:])


def _rasterize(
    gaussians: Gaussians,
    channels: Tensor | None,
    cameras: Cameras,
    background: Tensor,
    settings: RasterSettings | None,
    backend: Backend | None,
    with_depth: bool,
) -> tuple[Rasterized, tuple[int, ...]]:
    """Flatten leading dimensions to (B, V), rasterize, and return those dimensions too."""
    if not cameras.batch_shape:
        raise InvalidInput("cameras must have a view dimension (..., V); use cameras.reshape(1)")
    v = cameras.batch_shape[-1]
    try:
        batch = tuple(torch.broadcast_shapes(gaussians.batch_shape, cameras.batch_shape[:-1]))
    except RuntimeError as error:
        raise InvalidInput(
            f"cameras {cameras.batch_shape} do not broadcast against Gaussians "
            f"{gaussians.batch_shape}: their leading dimensions before V must fit"
        ) from error
    if background.device != gaussians.means.device:
        raise InvalidInput(
            f"background is on {background.device} but the Gaussians are on "
            f"{gaussians.means.device}"
        )

    def flat(tensor: Tensor, trailing: int) -> Tensor:
        ending = tensor.shape[tensor.ndim - trailing :]
        return tensor.expand(*batch, *ending).reshape(math.prod(batch), *ending)

    chosen = backend or choose_backend(gaussians.means.device, gaussians.means.dtype)
    rasterized = chosen.rasterize(
        flat(gaussians.means, 2),
        flat(gaussians.quats, 2),
        flat(gaussians.scales, 2),
        flat(gaussians.opacities, 1),
        None if channels is None else flat(channels, 2),
        flat(gaussians.sh, 3) if channels is None else None,
        flat(cameras.world_to_camera, 3),
        flat(cameras.K, 3),
        background.to(gaussians.means.dtype).expand(math.prod(batch), v, -1),
        width=cameras.width,
        height=cameras.height,
        settings=settings or RasterSettings(),
        with_depth=with_depth,
    )
    return rasterized, (*batch, v)
