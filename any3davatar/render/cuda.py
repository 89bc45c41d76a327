"""The CUDA backend: gsplat 1.5, behind the call that all backends share."""

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.core.sh import degree_of
from any3davatar.render.arguments import check_arguments
from any3davatar.render.settings import Rasterized, RasterSettings


def is_available() -> bool:
    """Tell whether a CUDA device is there; gsplat itself is never probed without one.

    On a machine with a CUDA toolkit and no GPU, gsplat's first use fails while it looks for the
    device's architecture.
    """
    return torch.cuda.is_available()


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
    """Rasterize on a GPU; arguments and result as `any3davatar.render.reference.rasterize`.

    Raises:
        InvalidInput: the arguments break the shared rules, or are not float32 on a CUDA device.
    """
    check_arguments(
        means, quats, scales, opacities, colors, sh, world_to_camera, K, background, width, height
    )
    if not means.is_cuda or means.dtype != torch.float32:
        raise InvalidInput(
            f"the cuda backend takes float32 tensors on a CUDA device; got {means.dtype} on "
            f"{means.device}"
        )
    from gsplat import rasterization

    color_argument = colors if colors is not None else sh
    assert color_argument is not None
    rendered, alpha, _ = rasterization(
        means=means,
        quats=quats,
        scales=scales,
        opacities=opacities,
        colors=color_argument,
        viewmats=world_to_camera,
        Ks=K,
        width=width,
        height=height,
        near_plane=settings.near,
        far_plane=settings.far,
        radius_clip=settings.radius_clip_px,
        eps2d=settings.dilation_px2,
        sh_degree=None if sh is None else degree_of(sh.shape[2]),
        packed=False,
        backgrounds=background,
        render_mode="RGB+ED" if with_depth else "RGB",
        rasterize_mode="classic",
    )  # (B, V, H, W, D [+ 1]), (B, V, H, W, 1)
    d = background.shape[-1]
    picture = rendered.movedim(-1, -3)
    return Rasterized(
        channels=picture[:, :, :d],
        alpha=alpha.movedim(-1, -3),
        depth=picture[:, :, d:] if with_depth else None,
    )
