"""Seeded scenes for tests and benchmarks of the rasterizers."""

import math
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

CAMERA_RADIUS = 2.7
DIFFERENTIABLE = ("means", "quats", "scales", "opacities", "colors", "sh", "background")


@dataclass(frozen=True)
class RasterScene:
    """The tensor arguments of `rasterize`, by name."""

    means: Float[Tensor, "B N 3"]
    quats: Float[Tensor, "B N 4"]
    scales: Float[Tensor, "B N 3"]
    opacities: Float[Tensor, "B N"]
    colors: Float[Tensor, "B N D"] | None
    sh: Float[Tensor, "B N K 3"] | None
    world_to_camera: Float[Tensor, "B V 4 4"]
    K: Float[Tensor, "B V 3 3"]
    background: Float[Tensor, "B V D"]

    def arguments(self) -> tuple[Tensor | None, ...]:
        """Return the tensors in the order of `rasterize`."""
        return (
            self.means, self.quats, self.scales, self.opacities, self.colors, self.sh,
            self.world_to_camera, self.K, self.background,
        )  # fmt: skip

    def to(self, kind: torch.dtype | str) -> "RasterScene":
        """Return the scene in another type or on another device."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{n: t if t is None else t.to(kind) for n, t in tensors.items()})

    def requiring_grad(self) -> "RasterScene":
        """Return detached copies of all that is differentiable, as leaves."""

        def leaf(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.detach().clone().requires_grad_()

        return replace(self, **{name: leaf(getattr(self, name)) for name in DIFFERENTIABLE})


def orbit_cameras(
    heads: int, views: int, width: int, height: int, fov_deg: float
) -> tuple[Float[Tensor, "B V 4 4"], Float[Tensor, "B V 3 3"]]:
    """Return cameras on a circle around the origin, a little above it, looking at it."""
    azimuth = torch.arange(heads * views) * (2 * math.pi / max(heads * views, 1)) + 0.3
    elevation = torch.full_like(azimuth, math.radians(10))
    center = CAMERA_RADIUS * torch.stack(
        [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], dim=-1
    )
    forward = -center / CAMERA_RADIUS
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=-2)  # (B V, 3, 3)
    world_to_camera = torch.eye(4).repeat(heads * views, 1, 1)
    world_to_camera[:, :3, :3] = rotation
    world_to_camera[:, :3, 3] = -(rotation @ center[:, :, None])[:, :, 0]
    focal = 0.5 * height / math.tan(math.radians(fov_deg) / 2)
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return (
        world_to_camera.reshape(heads, views, 4, 4),
        K.repeat(heads, views, 1, 1),
    )


def _appearance(
    heads: int, n: int, channels: int, sh_coefficients: int, generator: torch.Generator
) -> tuple[Tensor | None, Tensor | None]:
    if sh_coefficients:
        return None, torch.randn(heads, n, sh_coefficients, 3, generator=generator) * 0.4
    return torch.rand(heads, n, channels, generator=generator), None


def head_scene(
    n: int,
    *,
    width: int,
    height: int | None = None,
    heads: int = 1,
    views: int = 1,
    channels: int = 3,
    sh_coefficients: int = 0,
    fov_deg: float = 35.0,
    seed: int = 0,
) -> RasterScene:
    """Return what a dense-prediction network gives: a closed shell of surfels, in random order.

    The shell is a noisy ellipsoid of the size of a head in the unit sphere. Surfels lie in it,
    a quarter as thick as wide, and overlap their neighbours; most are nearly opaque, some are not.
    """
    height = height or width
    generator = torch.Generator().manual_seed(seed)
    semi_axes = torch.tensor([0.6, 0.8, 0.7])
    unit = torch.nn.functional.normalize(torch.randn(heads, n, 3, generator=generator), dim=-1)
    bumps = 1 + 0.04 * torch.sin(9 * unit[..., :1]) * torch.cos(7 * unit[..., 1:2])
    jitter = 1 + 0.01 * torch.randn(heads, n, 1, generator=generator)
    normal = torch.nn.functional.normalize(unit / semi_axes, dim=-1)
    # The shortest rotation of +z to the normal, after a random turn about +z.
    tilt = torch.stack(
        [1 + normal[..., 2], -normal[..., 1], normal[..., 0], torch.zeros(heads, n)], dim=-1
    )
    turn = torch.rand(heads, n, generator=generator) * math.pi
    w, x, y, _ = tilt.unbind(-1)
    c, s = turn.cos(), turn.sin()
    quats = torch.stack([w * c, x * c + y * s, y * c - x * s, w * s], dim=-1) + 1e-3
    spacing = math.sqrt(4 * math.pi * 0.49 / max(n, 1))
    stretch = torch.exp(0.3 * torch.randn(heads, n, 3, generator=generator))
    scales = spacing * torch.tensor([0.9, 0.7, 0.2]) * stretch
    colors, sh = _appearance(heads, n, channels, sh_coefficients, generator)
    world_to_camera, K = orbit_cameras(heads, views, width, height, fov_deg)
    return RasterScene(
        means=unit * semi_axes * bumps * jitter,
        quats=quats,
        scales=scales,
        opacities=torch.sigmoid(2 + 2 * torch.randn(heads, n, generator=generator)),
        colors=colors,
        sh=sh,
        world_to_camera=world_to_camera,
        K=K,
        background=torch.rand(heads, views, 3 if sh is not None else channels, generator=generator),
    )


def cloud_scene(
    n: int,
    *,
    width: int,
    height: int | None = None,
    heads: int = 1,
    views: int = 1,
    channels: int = 3,
    sh_coefficients: int = 0,
    fov_deg: float = 50.0,
    seed: int = 0,
) -> RasterScene:
    """Return Gaussians of all shapes, sizes and opacities, anywhere in the unit ball."""
    height = height or width
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(heads, n, 3, generator=generator), dim=-1)
    radius = torch.rand(heads, n, 1, generator=generator) ** (1 / 3)
    size = 0.5 * max(n, 1) ** (-1 / 3)
    colors, sh = _appearance(heads, n, channels, sh_coefficients, generator)
    world_to_camera, K = orbit_cameras(heads, views, width, height, fov_deg)
    return RasterScene(
        means=direction * radius,
        quats=torch.randn(heads, n, 4, generator=generator),
        scales=size * torch.exp(0.7 * torch.randn(heads, n, 3, generator=generator)),
        opacities=torch.rand(heads, n, generator=generator),
        colors=colors,
        sh=sh,
        world_to_camera=world_to_camera,
        K=K,
        background=torch.rand(heads, views, 3 if sh is not None else channels, generator=generator),
    )
