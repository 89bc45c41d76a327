"""The definition itself: against a pixel-by-pixel loop, against gsplat, and against differences."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from any3davatar.core import InvalidInput
from any3davatar.core.rigs import orbit
from any3davatar.render import reference
from any3davatar.render.settings import (
    ALPHA_MAX,
    ALPHA_MIN,
    TRANSMITTANCE_MIN,
    Rasterized,
    RasterSettings,
)


class Scene(NamedTuple):
    """Arguments of `rasterize` for one head, in order."""

    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    colors: torch.Tensor | None
    sh: torch.Tensor | None
    world_to_camera: torch.Tensor
    K: torch.Tensor
    background: torch.Tensor


def cloud(
    n: int,
    *,
    dtype: torch.dtype = torch.float64,
    sh_coefficients: int = 4,
    size_px: int = 24,
    views: int = 2,
    seed: int = 0,
) -> Scene:
    """A random cloud of rather large Gaussians, some behind the camera or out of the picture."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    cameras = orbit([0, 77][:views], [10, -15][:views], size_px=size_px).cropped(1, 2, size_px, 20)
    means = 0.4 * normal(1, n, 3)
    means[:, : n // 10] *= 8
    scene = Scene(
        means=means,
        quats=normal(1, n, 4),
        scales=0.02 + 0.15 * uniform(1, n, 3) ** 2,
        opacities=uniform(1, n),
        colors=None,
        sh=0.5 * normal(1, n, sh_coefficients, 3),
        world_to_camera=cameras.world_to_camera[None],
        K=cameras.K[None],
        background=uniform(1, views, 3),
    )
    return scene._replace(
        **{name: t.to(dtype) for name, t in scene._asdict().items() if t is not None}
    )


def rasterize(scene: Scene, size_px: int = 24, **settings: float) -> Rasterized:
    return reference.rasterize(
        *scene, width=size_px, height=20, settings=RasterSettings(**settings), with_depth=True
    )


def loop(scene: Scene, view: int, width: int, height: int) -> np.ndarray:
    """Render (5, H, W): rgb, alpha, depth; one Gaussian and one pixel at a time, in numpy."""
    assert scene.sh is not None
    means, quats, scales = (t[0].numpy() for t in scene[:3])
    opacities, sh = scene.opacities[0].numpy(), scene.sh[0].numpy()
    w2c, K = scene.world_to_camera[0, view].numpy(), scene.K[0, view].numpy()
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    eye = -w2c[:3, :3].T @ w2c[:3, 3]
    splats = []
    for i in range(len(means)):
        x, y, z = w2c[:3, :3] @ means[i] + w2c[:3, 3]
        if not 0.01 <= z <= 1e10:
            continue
        qw, *qv = quats[i] / np.linalg.norm(quats[i])
        cross = np.array([[0, -qv[2], qv[1]], [qv[2], 0, -qv[0]], [-qv[1], qv[0], 0]])
        rotation = np.eye(3) + 2 * qw * cross + 2 * cross @ cross
        covariance = rotation @ np.diag(scales[i] ** 2) @ rotation.T
        sx = np.clip(x / z, -(cx + 0.15 * width) / fx, (width - cx + 0.15 * width) / fx)
        sy = np.clip(y / z, -(cy + 0.15 * height) / fy, (height - cy + 0.15 * height) / fy)
        J = np.array([[fx / z, 0, -fx * sx / z], [0, fy / z, -fy * sy / z]])
        to_image = J @ w2c[:3, :3]
        inverse = np.linalg.inv(to_image @ covariance @ to_image.T + 0.3 * np.eye(2))
        d = (means[i] - eye) / np.linalg.norm(means[i] - eye)
        c0, c1 = 0.28209479177387814, 0.4886025119029199  # Condon-Shortley signs, as in 3DGS
        basis = [c0, -c1 * d[1], c1 * d[2], -c1 * d[0]]
        rgb = np.maximum(sum(b * c for b, c in zip(basis, sh[i], strict=True)) + 0.5, 0)
        splats.append((z, np.array([fx * x / z + cx, fy * y / z + cy]), inverse, opacities[i], rgb))
    splats.sort(key=lambda splat: splat[0])
    picture = np.zeros((5, height, width))
    for v in range(height):
        for u in range(width):
            total, left = np.zeros(4), 1.0
            for z, centre, inverse, opacity, rgb in splats:
                d = centre - (u + 0.5, v + 0.5)
                alpha = min(ALPHA_MAX, opacity * math.exp(-0.5 * d @ inverse @ d))
                if alpha < ALPHA_MIN:
                    continue
                if left * (1 - alpha) <= TRANSMITTANCE_MIN:
                    break
                total += alpha * left * np.append(rgb, z)
                left *= 1 - alpha
            picture[:3, v, u] = total[:3] + left * scene.background[0, view].numpy()
            picture[3, v, u] = 1 - left
            picture[4, v, u] = total[3] / max(1 - left, 1e-10)
    return picture


@pytest.mark.parametrize("view", [0, 1])
def test_equals_a_loop_over_pixels_and_gaussians(view: int) -> None:
    scene = cloud(120)
    out = rasterize(scene)
    assert out.depth is not None
    got = torch.cat([out.channels, out.alpha, out.depth], dim=2)[0, view]
    expected = torch.from_numpy(loop(scene, view, 24, 20))
    # The same float64 arithmetic in another order; no pixel may differ by a skipped splat.
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


def test_opaque_pixels_stop_before_transmittance_falls_below_its_floor() -> None:
    scene = cloud(300)._replace(opacities=torch.full((1, 300), 1.0, dtype=torch.float64))
    out = rasterize(scene)
    left = 1 - out.alpha
    assert float(left.min()) > TRANSMITTANCE_MIN - 1e-12
    assert float(left.min()) < 10 * TRANSMITTANCE_MIN  # the scene is dense enough to stop


def test_projection_equals_gsplats_torch_functions() -> None:
    from gsplat.cuda import _torch_impl as gsplat

    scene = cloud(200)
    covariances, _ = gsplat._quat_scale_to_covar_preci(scene.quats, scene.scales)
    assert covariances is not None
    spreads = reference.spread(scene.quats[0], scene.scales[0])
    torch.testing.assert_close(spreads @ spreads.mT, covariances[0], atol=1e-14, rtol=0)
    _, xy_px, depths, conics, _ = gsplat._fully_fused_projection(
        scene.means, covariances, scene.world_to_camera, scene.K, 24, 20
    )
    for view in range(2):
        splats = reference.project(
            scene.means[0], spreads, scene.opacities[0],
            scene.world_to_camera[0, view], scene.K[0, view], 24, 20, RasterSettings(),
        )  # fmt: skip
        assert len(splats.index) > 100
        for ours, theirs in (
            (splats.xy_px, xy_px),
            (splats.depth, depths),
            (splats.conic, conics),
        ):
            torch.testing.assert_close(ours, theirs[0, view, splats.index], atol=1e-9, rtol=1e-9)


def test_visible_gaussians_are_those_that_gsplat_keeps() -> None:
    # gsplat's torch functions use a fixed extent of 3.33 sigma; at opacity 1 ours is 3.329, so the
    # whole-pixel radii, and with them the culling, agree but for rare roundings.
    from gsplat.cuda import _torch_impl as gsplat

    scene = cloud(400)._replace(opacities=torch.ones(1, 400, dtype=torch.float64))
    covariances, _ = gsplat._quat_scale_to_covar_preci(scene.quats, scene.scales)
    assert covariances is not None
    radii, *_ = gsplat._fully_fused_projection(
        scene.means, covariances, scene.world_to_camera, scene.K, 24, 20
    )
    spreads = reference.spread(scene.quats[0], scene.scales[0])
    index, radius_px = reference.visible(
        scene.means[0], spreads, scene.opacities[0],
        scene.world_to_camera[0, 0], scene.K[0, 0], 24, 20, RasterSettings(),
    )  # fmt: skip
    kept = (radii[0, 0] > 0).all(-1)
    assert 100 < int(kept.sum()) < 400
    assert torch.equal(index.sort().values, kept.nonzero()[:, 0])
    assert float((radius_px - radii[0, 0, index]).abs().max()) <= 1


def test_colours_equal_gsplats_spherical_harmonics() -> None:
    from gsplat.cuda._torch_impl import _spherical_harmonics

    from any3davatar.core.sh import sh_to_rgb

    g = torch.Generator().manual_seed(2)
    directions = torch.randn(50, 3, generator=g, dtype=torch.float64)
    sh = torch.randn(50, 16, 3, generator=g, dtype=torch.float64)
    theirs = (_spherical_harmonics(3, directions, sh) + 0.5).clamp_min(0)
    unit = torch.nn.functional.normalize(directions, dim=-1)
    torch.testing.assert_close(sh_to_rgb(sh, unit), theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("n", "sh_coefficients", "every_element"), [(2, 1, True), (8, 4, False), (8, 16, False)]
)
def test_gradients_equal_finite_differences(
    n: int, sh_coefficients: int, every_element: bool
) -> None:
    # A few soft Gaussians: far from every threshold, so the picture is smooth in all of them.
    # Larger scenes are checked along random directions in place of every element.
    scene = cloud(n, sh_coefficients=sh_coefficients, size_px=8, views=1, seed=3)
    inputs = {
        "means": 0.3 * scene.means,
        "quats": scene.quats,
        "scales": scene.scales + 0.3,
        "opacities": 0.2 + 0.3 * scene.opacities,
        "sh": 0.2 * scene.sh if scene.sh is not None else None,
        "background": scene.background,
    }
    leaves = [t.requires_grad_() for t in inputs.values() if t is not None]

    generator = torch.Generator().manual_seed(sh_coefficients)
    mix = torch.randn(5, 6, 8, generator=generator, dtype=torch.float64)

    def mixed_pixels(*tensors: torch.Tensor) -> torch.Tensor:
        moved = scene._replace(**dict(zip(inputs, tensors, strict=True)))
        out = reference.rasterize(
            *moved, width=8, height=6, settings=RasterSettings(), with_depth=True
        )
        assert out.depth is not None
        return (torch.cat([out.channels, out.alpha, out.depth], dim=2)[0, 0] * mix).sum()

    assert torch.autograd.gradcheck(
        mixed_pixels, leaves, eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=not every_element
    )


def test_overflowing_footprints_leave_other_gradients_finite() -> None:
    scene = cloud(20, dtype=torch.float32)
    scales, means = scene.scales.clone(), scene.means.clone()
    scales[0, 0] = 1e30
    means[0, 1] = torch.tensor([1e30, 0, 0])
    scales.requires_grad_()
    out = rasterize(scene._replace(means=means, scales=scales))
    out.channels.sum().backward()
    assert bool(torch.isfinite(out.channels).all())
    assert scales.grad is not None
    assert bool(torch.isfinite(scales.grad).all())
    assert float(scales.grad[0, 2:].abs().sum()) > 0


def test_tile_size_does_not_change_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = cloud(150)
    before = rasterize(scene).channels
    monkeypatch.setattr(reference, "TILE_PX", 7)
    torch.testing.assert_close(rasterize(scene).channels, before, atol=1e-13, rtol=0)


def test_near_far_and_radius_clip_cull() -> None:
    scene = cloud(60)
    assert float(rasterize(scene, near=100.0).alpha.max()) == 0
    assert float(rasterize(scene, far=0.02).alpha.max()) == 0
    assert float(rasterize(scene, radius_clip_px=1e6).alpha.max()) == 0
    assert float(rasterize(scene).alpha.max()) > 0.5


def test_more_dilation_covers_more() -> None:
    scene = cloud(60)
    wide, narrow = rasterize(scene, dilation_px2=3.0), rasterize(scene, dilation_px2=0.0)
    assert float(wide.alpha.sum()) > float(narrow.alpha.sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quats": torch.zeros(1, 6, 4)}, r"quats\[0, 0\] is all zero"),
        ({"means": torch.full((1, 6, 3), math.nan)}, r"means\[0, 0, 0\] is not finite"),
        ({"scales": torch.full((1, 6, 3), math.inf)}, r"scales\[0, 0, 0\] is not finite"),
        ({"opacities": torch.rand(1, 5)}, r"opacities must have shape \(1, 6\); got \(1, 5\)"),
        ({"background": torch.rand(1, 2, 4)}, r"background must have shape \(1, 2, 3\)"),
        ({"sh": torch.rand(1, 6, 5, 3)}, "must number 1, 4, 9 or 16; got 5"),
        ({"sh": None}, "exactly one of colors and sh"),
        ({"means": torch.rand(6, 3)}, r"means must be \(B, N, 3\)"),
        ({"K": torch.zeros(1, 2, 3, 3)}, "positive focal lengths"),
        ({"K": torch.ones(1, 2, 3, 3)}, "no skew"),
        ({"world_to_camera": torch.full((1, 2, 4, 4), math.nan)}, "world_to_camera must be finite"),
        ({"scales": torch.rand(1, 6, 3).double()}, r"scales is torch\.float64"),
    ],
)
@pytest.mark.border
def test_bad_arguments_are_named(change: dict[str, torch.Tensor | None], message: str) -> None:
    scene = cloud(6, dtype=torch.float32)._replace(**change)
    with pytest.raises(InvalidInput, match=message):
        rasterize(scene)


def test_camera_gradients_are_refused_rather_than_silently_absent() -> None:
    scene = cloud(6)
    moving = scene._replace(world_to_camera=scene.world_to_camera.requires_grad_())
    with pytest.raises(InvalidInput, match="no gradient flows to cameras"):
        rasterize(moving)


@pytest.mark.parametrize(
    "settings",
    [{"near": 0.0}, {"near": 2.0, "far": 1.0}, {"dilation_px2": -1.0}, {"radius_clip_px": -1.0}],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        RasterSettings(**settings)
