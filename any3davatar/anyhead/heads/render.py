"""Draw a lit head from any cameras: projection, z-buffer, averaging of samples."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.bake import Fibres, Surfaces
from any3davatar.anyhead.heads.lighting import Lobes
from any3davatar.anyhead.heads.meshes import Array, unit

if TYPE_CHECKING:
    from any3davatar.anyhead.heads.head import HeadModel
    from any3davatar.core import Cameras

Specular = Literal["baked", "view"]
_VIEWER_DISTANCE = 2.7
_THINNEST_PX = 0.55  # strands narrower than this are drawn at this half width, but fewer of them
_FEWEST = 0.12


@dataclass(frozen=True)
class HeadViews:
    """Pictures of one head.

    Attributes:
        rgb: (V, 3, H, W) float32 sRGB in [0, 1], straight (not multiplied by alpha).
        alpha: (V, 1, H, W) coverage in [0, 1].
        depth: (V, 1, H, W) mean camera depth of the covered part, world units; 0 where empty.
    """

    rgb: Array
    alpha: Array
    depth: Array

    def over(self, background: tuple[float, float, float]) -> Array:
        """Return (V, 3, H, W) composited in sRGB over one colour."""
        color = np.array(background, np.float32).reshape(1, 3, 1, 1)
        return self.rgb * self.alpha + color * (1 - self.alpha)


def tone_mapped(radiance: NDArray) -> Array:
    """Map linear radiance to sRGB in [0, 1]: a soft shoulder (extended Reinhard), then encode."""
    light = np.maximum(radiance, 0.0)
    light = light * (1 + light / 9) / (1 + 0.45 * light)
    encoded = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-8) ** (1 / 2.4) - 0.055
    )
    return np.clip(encoded, 0, 1).astype(np.float32)


def surface_radiance(surfaces: Surfaces, lamps: Lobes, viewers: Array) -> Array:
    """Return (N, 3) radiance toward one viewer (1, 3) or one per point (N, 3)."""
    from any3davatar.anyhead.heads.kernels import shade_surface

    out = np.empty_like(surfaces.points)
    shade_surface(
        surfaces.points, surfaces.normals, surfaces.albedo, surfaces.irradiance,
        surfaces.lobe_seen, surfaces.roughness, surfaces.specular, surfaces.metal, viewers,
        lamps.directions, lamps.colors, lamps.widths, lamps.sky, lamps.ground, out,
    )  # fmt: skip
    return out


def fibre_radiance(fibres: Fibres, lamps: Lobes, viewers: Array) -> Array:
    """Return (N * K, 3) radiance of strands; see ``surface_radiance``."""
    from any3davatar.anyhead.heads.kernels import shade_strands

    out = np.empty_like(fibres.points)
    shade_strands(
        fibres.points, fibres.tangents, fibres.albedo, fibres.irradiance, fibres.lobe_seen,
        fibres.gloss, viewers, lamps.directions, lamps.colors, lamps.widths, out,
    )  # fmt: skip
    return out


def usual_viewers(points: Array) -> Array:
    """Return for each point the camera of a level orbit that looks at it most directly.

    Highlights seen from there are baked into the colours, which then do not change with the
    view: what a Gaussian of SH degree 0 can represent.
    """
    flat = points * np.array([1, 0, 1], np.float32)
    flat = flat + np.array([0, 0, 1e-3], np.float32)
    return (unit(flat) * _VIEWER_DISTANCE).astype(np.float32)


def render_head(
    model: "HeadModel",
    cameras: "Cameras",
    *,
    supersampling: int = 2,
    specular: Specular = "baked",
) -> HeadViews:
    """Render a head from V cameras.

    A view depends on its own camera only, so rendering views together or one by one gives the
    same bits.

    Args:
        model: the head.
        cameras: ``world_to_camera`` (V, 4, 4) OpenCV and ``K`` (V, 3, 3) in pixels of a
            ``width`` x ``height`` image.
        supersampling: samples per pixel and axis.
        specular: ``"baked"`` highlights that stay put, or ``"view"`` dependent ones.
    """
    poses = np.asarray(cameras.world_to_camera, np.float32).reshape(-1, 4, 4)
    intrinsics = np.asarray(cameras.K, np.float32).reshape(-1, 3, 3)
    height, width, views = cameras.height, cameras.width, len(poses)
    rgb = np.zeros((views, 3, height, width), np.float32)
    alpha = np.zeros((views, 1, height, width), np.float32)
    depth = np.zeros((views, 1, height, width), np.float32)
    for v in range(views):
        _render_view(
            model, poses[v], intrinsics[v], supersampling, specular,
            rgb[v], alpha[v, 0], depth[v, 0],
        )  # fmt: skip
    return HeadViews(rgb, alpha, depth)


def _render_view(
    model: "HeadModel",
    world_to_camera: Array,
    intrinsics: Array,
    factor: int,
    specular: Specular,
    rgb: Array,
    alpha: Array,
    depth: Array,
) -> None:
    from any3davatar.anyhead.heads.kernels import (
        FAR,
        draw_strands,
        draw_triangles,
        project,
        resolve,
    )

    rotation = np.ascontiguousarray(world_to_camera[:3, :3])
    translation = np.ascontiguousarray(world_to_camera[:3, 3])
    fx, fy, cx, cy = (
        np.float32(intrinsics[i, j] * factor) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))
    )
    viewer = (-rotation.T @ translation)[None].astype(np.float32)
    samples = (alpha.shape[0] * factor, alpha.shape[1] * factor)
    zbuffer = np.full(samples, FAR, np.float32)
    image = np.empty((*samples, 3), np.float32)

    def on_screen(points: Array) -> Array:
        screen = np.empty_like(points)
        project(points, rotation, translation, fx, fy, cx, cy, screen)
        return screen

    surfaces = model.surfaces
    colors = model.surface_colors
    if specular == "view":
        colors = tone_mapped(surface_radiance(surfaces, model.lamps, viewer))
    screen = on_screen(surfaces.points)
    draw_triangles(screen, surfaces.triangles, colors, zbuffer, image, True, 1.0)
    for fibres, baked in zip(model.fibres, model.fibre_colors, strict=True):
        strand_colors = baked
        if specular == "view":
            strand_colors = tone_mapped(fibre_radiance(fibres, model.lamps, viewer))
        strand_screen = on_screen(fibres.points)
        half_widths, order = _level_of_detail(fibres, strand_screen, fx)
        draw_strands(
            strand_screen, half_widths, strand_colors, order, fibres.steps, zbuffer, image, True
        )
    for triangles, opacity in surfaces.sheets:
        draw_triangles(screen, triangles, colors, zbuffer, image, True, opacity)
    resolve(image, zbuffer, factor, rgb, alpha, depth)


def _level_of_detail(
    fibres: Fibres, screen: Array, focal_px: np.float32
) -> tuple[Array, NDArray[np.int32]]:
    """Choose strand widths and which strands to draw, nearest first.

    A strand cannot be thinner than a sample. Where it should be, the share of strands is
    lowered instead, so that lashes and stray hairs cover what they should at any resolution.
    """
    half_widths = fibres.radius * focal_px / screen[:, 2]
    typical = float(np.median(half_widths))
    share = float(np.clip(typical / _THINNEST_PX, _FEWEST, 1.0))
    kept = max(1, round(fibres.count * share))
    chosen = np.linspace(0, fibres.count - 1, kept).astype(np.int32)
    middle = screen.reshape(fibres.count, fibres.steps, 3)[chosen, fibres.steps // 2, 2]
    return half_widths.astype(np.float32), chosen[np.argsort(middle, kind="stable")]
