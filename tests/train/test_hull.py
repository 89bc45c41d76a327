"""The mean head lies where the heads are, and a network that starts at it looks like them."""

from dataclasses import replace

import torch

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.core.cameras import Cameras
from any3davatar.core.rigs import canonical_four, orbit
from any3davatar.model import Any3DAvatar
from any3davatar.render import render
from any3davatar.train.hull import evenly, mean_hull, nested_hull
from tests.train.tiny_run import BEANS, CONFIG, bean

Beans = tuple[GroupEntry, ...]
WHITE = torch.ones(3)
MODEL = CONFIG.model
CANONICAL = canonical_four(
    MODEL.size_px, radius=MODEL.radius, vertical_fov_deg=MODEL.vertical_fov_deg
)


def test_the_hull_of_one_head_follows_its_surface_from_outside(beans: Beans) -> None:
    hull = mean_hull(beans[:1], CONFIG)
    truth = render(bean(0), CANONICAL, WHITE)
    assert truth.depth is not None
    inside = (hull.opacity > 0.98) & (truth.alpha[:, 0] > 0.98)
    distance = (truth.depth[:, 0] - hull.depth)[inside]
    # A hull of eight silhouettes lies outside the surface. The steps of depth are 0.012, pixels
    # 0.07, and the rendered depth lies one scale (0.03) behind the surface's front.
    assert float(distance.median()) > -0.05
    assert float(distance.abs().median()) < 0.1
    # Rays that miss the hull of eight silhouettes are a thin rim of half-covered pixels.
    assert float((hull.opacity - truth.alpha[:, 0]).abs().mean()) < 0.06


def test_rays_that_meet_no_head_are_nearly_transparent(beans: Beans) -> None:
    hull = mean_hull(beans, CONFIG)
    beside = hull.depth == MODEL.radius
    assert bool(beside.any())
    assert float(hull.opacity[beside].max()) < 0.021
    assert float(hull.opacity.max()) > 0.95


def balls_seen(cameras: Cameras, radii: dict[float, float]) -> torch.Tensor:
    """Return mean silhouettes of balls about the origin, by radius and share of the heads."""
    origins, directions = cameras.rays()
    past = torch.linalg.cross(origins, directions.expand_as(origins)).norm(dim=-1)
    seen = [share * (past < radius).float() for radius, share in radii.items()]
    return torch.stack(seen).sum(0)[:, None]


def test_beside_most_heads_a_ray_starts_on_the_surface_of_the_wider_ones() -> None:
    """A quarter of the heads is wider: their surface, not a wall through the centre."""
    cameras = orbit(
        [15.0 * step for step in range(24)],
        [20.0 * (step % 3 - 1) for step in range(24)],
        size_px=64,
    )
    wide, usual = 0.6, 0.4
    alpha = balls_seen(cameras, {usual: 0.75, wide: 0.25})
    depth, share = nested_hull(alpha, cameras, CONFIG)
    origins, directions = CANONICAL.rays()
    nearest = -(origins * directions).sum(-1)  # along the ray, to the point next to the origin
    past = torch.linalg.cross(origins, directions).norm(dim=-1)
    forward = (directions * CANONICAL.world_to_camera[:, None, None, 2, :3]).sum(-1)

    def surface(radius: float) -> torch.Tensor:
        return (nearest - (radius**2 - past**2).clamp_min(0).sqrt()) * forward

    inner, beside = past < 0.8 * usual, (past > 1.1 * usual) & (past < 0.9 * wide)
    assert bool((share[inner] > 0.99).all())
    assert bool(((share[beside] > 0.2) & (share[beside] < 0.3)).all())
    # A pixel of the silhouettes is 0.04 wide, and their edges are sharp to a pixel; a hull of 24
    # silhouettes lies outside a ball here and there.
    for where, radius in ((inner, usual), (beside, wide)):
        outside = (surface(radius) - depth)[where]
        assert abs(float(outside.median())) < 0.08
        assert float(outside.abs().max()) < 0.3
    clear = past > 1.2 * wide
    assert bool(clear.any())
    assert bool((share[clear] == 0).all())
    assert bool((depth[clear] == MODEL.radius).all())


def test_the_mean_is_over_all_heads_and_the_same_each_time(beans: Beans) -> None:
    hull = mean_hull(beans, CONFIG)
    parts = [mean_hull(beans[i : i + 1], CONFIG) for i in range(BEANS)]
    inside = hull.opacity > 0.95  # where all four are covered
    mean = torch.stack([part.opacity for part in parts]).mean(0)
    assert int(inside.sum()) > 50
    assert torch.allclose(hull.opacity[inside], mean[inside], atol=1e-6)  # float32 means of four
    again = mean_hull(beans, CONFIG)
    assert torch.equal(hull.depth, again.depth)
    assert torch.equal(hull.rgb, again.rgb)


def test_fewer_groups_are_spread_over_the_set(beans: Beans) -> None:
    two = mean_hull(beans, replace(CONFIG, hull_groups=2))
    spread = mean_hull((beans[0], beans[2]), CONFIG)
    assert torch.equal(two.opacity, spread.opacity)


def test_a_network_starts_with_the_mean_heads_looks_from_every_side(beans: Beans) -> None:
    hull = mean_hull(beans, CONFIG)
    views = [render(bean(i), CANONICAL, WHITE) for i in range(BEANS)]
    portraits = torch.stack([torch.cat([view.rgb[0], view.alpha[0]]) for view in views])
    truth = torch.stack([view.rgb for view in views])
    covered = torch.stack([view.alpha for view in views]).expand_as(truth) > 0.98

    def distance(model: Any3DAvatar) -> float:
        rays = model.canonical.plucker()[:1].expand(BEANS, -1, -1, -1)
        state = model.start_state(BEANS, torch.Generator().manual_seed(0))
        with torch.no_grad():
            gaussians = model(portraits, rays, state, torch.zeros(BEANS)).gaussians
            drawn = render(gaussians, CANONICAL, WHITE).rgb
        return float((drawn - truth)[covered].square().mean())

    with_hull = distance(Any3DAvatar(MODEL, hull=hull))
    without = distance(Any3DAvatar(replace(MODEL, hull_start=False, hull_ways=0, hull_waves=0)))
    assert with_hull < 0.5 * without


def test_a_few_are_spread_over_all_of_them() -> None:
    assert evenly(range(76), 12) == [0, 6, 12, 19, 25, 31, 38, 44, 50, 57, 63, 69]
    assert evenly(range(3), 12) == [0, 1, 2]
    assert evenly([], 12) == []
