"""Gaussians from many calibrated views of one head, by optimisation through the renderer.

This is 3D Gaussian Splatting's optimisation (Kerbl et al., 2023) for a closed surface with known
silhouettes: the start is the visual hull, so no densification is needed, and the number of
Gaussians is fixed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from any3davatar.core import Cameras, Gaussians, InvalidInput, Views
from any3davatar.core.sh import rgb_to_sh0
from any3davatar.render import render

HULL_MARGIN = 0.5  # a point is outside where its alpha is below this
OPACITY_START = 0.7


@dataclass(frozen=True)
class FitConfig:
    """How a fit runs.

    Attributes:
        n_gaussians: how many Gaussians the head gets.
        steps: optimisation steps.
        views_per_step: views drawn, without repetition, for each step.
        hull_resolution: cells along each side of the cube that the hull is carved from.
        hull_half_extent: half the side of that cube, world units: shoulders reach beyond the unit
            sphere that holds the head.
        learning_rate_means: world units a step at the start; falls to a hundredth by the end.
        learning_rate_log_scales: of the logarithm of the standard deviations.
        learning_rate_quats: of the unnormalised quaternions.
        learning_rate_logit_opacities: of the logits of the opacities.
        learning_rate_colors: of the degree-0 coefficients.
        alpha_weight: weight of the L1 difference of alpha beside that of colour.
        seed: of the sampling of start points and of the views of each step.
    """

    n_gaussians: int = 20_000
    steps: int = 300
    views_per_step: int = 2
    hull_resolution: int = 96
    hull_half_extent: float = 1.3
    learning_rate_means: float = 2e-3
    learning_rate_log_scales: float = 2e-2
    learning_rate_quats: float = 1e-2
    learning_rate_logit_opacities: float = 5e-2
    learning_rate_colors: float = 2e-2
    alpha_weight: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_gaussians", "steps", "views_per_step", "hull_resolution"):
            if getattr(self, name) < 1:
                raise InvalidInput(
                    f"FitConfig.{name} must be at least 1; got {getattr(self, name)}"
                )


def _inside(points: Float[Tensor, "P 3"], alpha: Tensor, cameras: Cameras) -> Bool[Tensor, "P"]:
    """Tell which points every view that frames them sees as covered."""
    pixels, depth = cameras.project(points.expand(len(cameras), -1, -1))
    size = pixels.new_tensor([cameras.width, cameras.height])
    framed = ((pixels >= 0) & (pixels < size)).all(-1) & (depth > 0)  # (V, P)
    grid = (2 * pixels / size - 1)[:, None]  # (V, 1, P, 2)
    seen = torch.nn.functional.grid_sample(alpha, grid, align_corners=False)[:, 0, 0]
    return ((seen > HULL_MARGIN) | ~framed).all(0) & framed.any(0)


def visual_hull(
    alpha: Float[Tensor, "V 1 H W"], cameras: Cameras, resolution: int, half_extent: float
) -> tuple[Float[Tensor, "S 3"], Float[Tensor, "S 3"]]:
    """Carve a cube by silhouettes; return surface points and outward unit normals.

    Raises:
        InvalidInput: nothing remains: the cameras, the alpha or the frame do not belong together.
    """
    ticks = (torch.arange(resolution, device=alpha.device) + 0.5) * 2 / resolution - 1
    ticks = half_extent * ticks
    grid = torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), dim=-1)
    slabs = [_inside(slab.reshape(-1, 3), alpha, cameras) for slab in grid]
    solid = torch.stack(slabs).reshape(1, 1, *grid.shape[:3]).float()
    if not bool(solid.any()):
        raise InvalidInput(
            "no point near the origin is covered in every view: do the cameras belong to these "
            "pictures, and is the head in our frame (origin at its centre, inside the unit sphere)?"
        )
    smooth = torch.nn.functional.avg_pool3d(solid, 3, stride=1, padding=1)
    surface = (solid > 0) & (smooth < 1 - 1e-6)
    padded = torch.nn.functional.pad(smooth, (1,) * 6)[0, 0]
    slope = torch.stack(
        [
            padded[2:, 1:-1, 1:-1] - padded[:-2, 1:-1, 1:-1],
            padded[1:-1, 2:, 1:-1] - padded[1:-1, :-2, 1:-1],
            padded[1:-1, 1:-1, 2:] - padded[1:-1, 1:-1, :-2],
        ],
        dim=-1,
    )
    normals = torch.nn.functional.normalize(-slope[surface[0, 0]], dim=-1)
    return grid[surface[0, 0]], normals


def _facing_colors(
    points: Float[Tensor, "P 3"], normals: Float[Tensor, "P 3"], views: Views, cameras: Cameras
) -> Float[Tensor, "P 3"]:
    """Average each point's colour over the views that its normal faces."""
    pixels, _ = cameras.project(points.expand(len(cameras), -1, -1))
    size = pixels.new_tensor([cameras.width, cameras.height])
    grid = (2 * pixels / size - 1)[:, None]
    colors = torch.nn.functional.grid_sample(
        views.rgb, grid, align_corners=False, padding_mode="border"
    )[:, :, 0]  # (V, 3, P)
    toward = torch.nn.functional.normalize(cameras.centers[:, None] - points, dim=-1)
    facing = (toward * normals).sum(-1).clamp_min(0) ** 4 + 1e-6  # (V, P)
    return ((colors * facing[:, None]).sum(0) / facing.sum(0)).T


def hull_start(
    views: Views, cameras: Cameras, config: FitConfig, generator: torch.Generator
) -> Gaussians:
    """Return round Gaussians spread over the visual hull, in the colours seen there."""
    surface, surface_normals = visual_hull(
        views.alpha, cameras, config.hull_resolution, config.hull_half_extent
    )
    picked = torch.randint(len(surface), (config.n_gaussians,), generator=generator)
    cell = 2 * config.hull_half_extent / config.hull_resolution
    jitter = torch.rand(config.n_gaussians, 3, generator=generator).to(surface) - 0.5
    points, normals = surface[picked] + cell * jitter, surface_normals[picked]
    # Each Gaussian's share of the surface, a cell's face for each surface cell.
    spacing = cell * math.sqrt(len(surface) / config.n_gaussians)
    rgb = _facing_colors(points, normals, views, cameras)
    quats = torch.randn(config.n_gaussians, 4, generator=generator).to(points)
    return Gaussians(
        means=points,
        quats=torch.nn.functional.normalize(quats, dim=-1),
        scales=torch.full_like(points, 0.7 * spacing),
        opacities=torch.full_like(points[:, 0], OPACITY_START),
        sh=rgb_to_sh0(rgb),
    )


def fit_gaussians(
    views: Views,
    cameras: Cameras,
    background: Float[Tensor, "3"],
    config: FitConfig | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Gaussians:
    """Optimise Gaussians of one colour each until they render to `views`.

    Args:
        views: (V, ...) pictures over `background`, with alpha; V of at least 2.
        cameras: (V,) their cameras, in our frame.
        background: the colour that the pictures lie over.
        config: how the fit runs.
        on_step: called after each step with the number of steps done and the loss.

    Returns:
        The fitted Gaussians, SH degree 0.

    Raises:
        InvalidInput: views and cameras do not belong together, or the fit diverged, which the next
            render refuses.
    """
    config = config or FitConfig()
    if views.batch_shape != cameras.batch_shape or len(cameras.batch_shape) != 1:
        raise InvalidInput(
            f"views and cameras must both be (V,); got {views.batch_shape} and "
            f"{cameras.batch_shape}"
        )
    size = tuple(views.rgb.shape[-2:])
    if size != (cameras.height, cameras.width):
        raise InvalidInput(
            f"views are {size[1]} x {size[0]} pixels but the cameras are {cameras.width} x "
            f"{cameras.height}"
        )
    generator = torch.Generator().manual_seed(config.seed)
    start = hull_start(views, cameras, config, generator)
    means = start.means.clone().requires_grad_()
    quats = start.quats.clone().requires_grad_()
    log_scales = start.scales.log().requires_grad_()
    logit_opacities = start.opacities.logit().requires_grad_()
    sh = start.sh.clone().requires_grad_()

    def gaussians() -> Gaussians:
        return Gaussians(
            means=means,
            quats=torch.nn.functional.normalize(quats, dim=-1),
            scales=log_scales.exp(),
            opacities=logit_opacities.sigmoid(),
            sh=sh,
        )

    optimizer = torch.optim.Adam(
        [
            {"params": [means], "lr": config.learning_rate_means},
            {"params": [log_scales], "lr": config.learning_rate_log_scales},
            {"params": [quats], "lr": config.learning_rate_quats},
            {"params": [logit_opacities], "lr": config.learning_rate_logit_opacities},
            {"params": [sh], "lr": config.learning_rate_colors},
        ],
        eps=1e-15,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.01 ** (k / config.steps))
    for step in range(config.steps):
        chosen = torch.randperm(len(cameras), generator=generator)[: config.views_per_step]
        rendered = render(gaussians(), cameras[chosen], background)
        color = (rendered.rgb - views.rgb[chosen]).abs().mean()
        alpha = (rendered.alpha - views.alpha[chosen]).abs().mean()
        loss = color + config.alpha_weight * alpha
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    return gaussians().detach()
