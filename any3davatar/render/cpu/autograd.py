"""The CPU backend: a differentiable call around the kernel."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from any3davatar.core.errors import InvalidInput
from any3davatar.render.arguments import check_cameras, check_layout, non_finite
from any3davatar.render.cpu.binding import Frame, Pictures, Scene, draw, pull_back
from any3davatar.render.cpu.build import selected_build
from any3davatar.render.settings import DEPTH_ALPHA_MIN, Rasterized, RasterSettings

_DIFFERENTIABLE = Scene._fields[:7]  # all but the cameras


class _Rasterize(torch.autograd.Function):
    """`draw`, remembering what `pull_back` needs."""

    @staticmethod
    def forward(
        ctx: Any, frame: Frame, with_depth: bool, *tensors: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        scene = Scene(*tensors)  # pyright: ignore[reportArgumentType]
        pictures, ctx.tape = draw(scene, frame, with_depth=with_depth, with_tape=True)
        ctx.frame = frame
        ctx.save_for_backward(*tensors, *pictures)
        ctx.set_materialize_grads(False)
        return pictures.channels, pictures.alpha, pictures.depth_sum

    @staticmethod
    @once_differentiable  # makes ctx positional in pyright's eyes
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        channels, alpha, depth_sum = grad_outputs
        saved = ctx.saved_tensors
        scene, pictures = Scene(*saved[:-3]), Pictures(*saved[-3:])
        picture_gradients = Pictures(
            channels=_dense(channels, pictures.channels),
            alpha=_dense(alpha, pictures.alpha),
            depth_sum=None if depth_sum is None else depth_sum.contiguous(),
        )
        wanted = dict(zip(_DIFFERENTIABLE, ctx.needs_input_grad[2:], strict=False))
        gradients = pull_back(scene, ctx.frame, pictures, ctx.tape, picture_gradients, wanted)
        return None, None, *(gradients[name] for name in _DIFFERENTIABLE), None, None


def _dense(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient.contiguous()


def rasterize(
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
    """Rasterize on the CPU; arguments and result as `any3davatar.render.reference.rasterize`.

    Gradients flow to everything but the cameras, once: there is no second derivative. Results and
    gradients are equal bit for bit from run to run and for any number of threads, of which
    `torch.get_num_threads` are used. Calls may run at the same time, and after a fork.

    Memory beyond inputs and results is linear in Gaussians and in pairs of a tile (32 x 32 pixels)
    and a Gaussian that touches it. Forward: 32 bytes for each Gaussian of each view and 8 for each
    pair, at most 24 more for each pair in flight; backward: 4 for each Gaussian of each view and
    28 + 4 D for each pair that met an unfinished pixel.

    Raises:
        InvalidInput: the arguments break the shared rules, or are not float32 on the CPU.
        KernelUnavailable: there is no compiled kernel and none can be made.
        MemoryError: there is not enough memory.
    """
    check_layout(
        means, quats, scales, opacities, colors, sh, world_to_camera, K, background, width, height
    )
    if means.dtype != torch.float32 or means.device.type != "cpu":
        raise InvalidInput(
            f"the cpu backend takes float32 tensors on the CPU; got {means.dtype} on {means.device}"
        )
    check_cameras(world_to_camera, K)
    finite = torch.isfinite(background)
    if not bool(finite.all()):
        raise non_finite("background", tuple(int(i) for i in (~finite).nonzero()[0]))
    scene = Scene(
        means=means.contiguous(),
        quats=quats.contiguous(),
        scales=scales.contiguous(),
        opacities=opacities.contiguous(),
        colors=None if colors is None else colors.contiguous(),
        sh=None if sh is None else sh.contiguous(),
        background=background.contiguous(),
        world_to_camera=world_to_camera[..., :3, :].contiguous(),
        intrinsics=torch.stack([K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]], dim=-1),
    )
    frame = Frame(width, height, settings, selected_build())
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in scene):
        pictures = Pictures(*_Rasterize.apply(frame, with_depth, *scene))  # pyright: ignore
    else:
        pictures, _ = draw(scene, frame, with_depth=with_depth, with_tape=False)
    depth = None
    if pictures.depth_sum is not None:
        depth = pictures.depth_sum / pictures.alpha.clamp_min(DEPTH_ALPHA_MIN)
    return Rasterized(pictures.channels, pictures.alpha, depth)
