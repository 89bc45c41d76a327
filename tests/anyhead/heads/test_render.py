import numpy as np
import torch

from any3davatar.anyhead.heads import build_head, relit, render_head
from any3davatar.anyhead.heads.bake import light_directions
from any3davatar.anyhead.heads.kernels import FAR, draw_strands, draw_triangles
from any3davatar.anyhead.heads.lighting import RIGS, lobes
from any3davatar.anyhead.heads.spec import Lighting
from any3davatar.core.rigs import anyhead80, orbit


def projected(points, cameras, view):
    """Pixel coordinates and depth by plain matrix products in double precision."""
    pose = cameras.world_to_camera[view].double().numpy()
    in_camera = points.astype(float) @ pose[:3, :3].T + pose[:3, 3]
    pixels = in_camera @ cameras.K[view].double().numpy().T
    return pixels[:, :2] / pixels[:, 2:], in_camera[:, 2]


def test_triangles_match_a_brute_force_raster():
    rng = np.random.default_rng(0)
    screen = rng.uniform(0, 24, (60, 3)).astype(np.float32)
    triangles = np.arange(60).reshape(-1, 3).astype(np.int32)
    colors = rng.random((60, 3)).astype(np.float32)
    depth, image = np.full((24, 24), FAR, np.float32), np.zeros((24, 24, 3), np.float32)
    draw_triangles(screen, triangles, colors, depth, image, True, 1.0)

    expected, tint = np.full((24, 24), 1e9), np.zeros((24, 24, 3))
    for triangle in triangles:
        a, b, c = screen[triangle].astype(float)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area >= 0:
            continue
        edges = np.array([b[:2] - a[:2], c[:2] - a[:2]]).T
        for j in range(24):
            for i in range(24):
                u, v = np.linalg.solve(edges, np.array([i + 0.5, j + 0.5]) - a[:2])
                if min(u, v, 1 - u - v) >= 0:
                    z = a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2])
                    if z < expected[j, i]:
                        expected[j, i] = z
                        tint[j, i] = np.array([1 - u - v, u, v]) @ colors[triangle]
    covered = expected < 1e8
    assert covered.sum() > 100
    assert np.array_equal(depth < 1e8, covered)
    assert np.allclose(depth[covered], expected[covered], atol=1e-3)  # float32 at depth 24
    assert np.allclose(image[covered], tint[covered], atol=1e-4)


def test_a_thin_strand_is_one_unbroken_line():
    steps = 9
    points = np.stack([np.linspace(3, 17, steps), np.linspace(2, 29, steps), np.ones(steps)], -1)
    depth, image = np.full((32, 32), FAR, np.float32), np.zeros((32, 32, 3), np.float32)
    draw_strands(
        points.astype(np.float32), np.full(steps, 0.01, np.float32),
        np.ones((steps, 3), np.float32), np.zeros(1, np.int32), steps, depth, image, True,
    )  # fmt: skip
    rows = (depth < 1e8).sum(1)
    assert (rows[2:28] == 1).all()
    assert rows.sum() == 27


def test_the_same_camera_gives_the_same_bits_alone_or_in_a_batch(one_earring):
    cameras = orbit([0.0, 70.0, 200.0], [0.0, 10.0, -10.0], size_px=96)
    together, again = render_head(one_earring, cameras), render_head(one_earring, cameras)
    alone = render_head(one_earring, cameras[1:2])
    for field in ("rgb", "alpha", "depth"):
        assert np.array_equal(getattr(together, field), getattr(again, field))
        assert np.array_equal(getattr(together, field)[1:2], getattr(alone, field))


def test_building_twice_gives_the_same_bits(one_earring, template):
    again = build_head(one_earring.spec, template)
    assert np.array_equal(one_earring.surface_colors, again.surface_colors)
    assert np.array_equal(one_earring.surfaces.points, again.surfaces.points)
    for first, second in zip(one_earring.fibres, again.fibres, strict=True):
        assert np.array_equal(first.points, second.points)
    for first, second in zip(one_earring.fibre_colors, again.fibre_colors, strict=True):
        assert np.array_equal(first, second)


def test_values_are_straight_srgb_coverage_and_depth(one_earring):
    views = render_head(one_earring, orbit([0.0], [0.0], size_px=96))
    assert views.rgb.dtype == views.alpha.dtype == views.depth.dtype == np.float32
    assert views.rgb.shape == (1, 3, 96, 96)
    assert views.rgb.min() >= 0
    assert views.rgb.max() <= 1
    assert set(np.unique(views.alpha * 4)) <= {0, 1, 2, 3, 4}  # 2 x 2 samples
    empty = views.alpha[0, 0] == 0
    assert (views.rgb[0][:, empty] == 0).all()
    assert (views.depth[0, 0][empty] == 0).all()
    assert 1.7 < views.depth[0, 0][~empty].min() < views.depth.max() < 3.7  # unit sphere at 2.7
    over = views.over((0.2, 0.4, 0.6))
    assert np.allclose(over[0][:, empty].T, (0.2, 0.4, 0.6))


def test_projected_vertices_fall_inside_the_alpha(one_earring):
    cameras = orbit([0.0, 45.0, 90.0, 180.0], [0.0, 20.0, -20.0, 0.0], size_px=256)
    views = render_head(one_earring, cameras)
    vertices = one_earring.geometry.mesh("skin").positions
    outside = []
    for view in range(4):
        pixels, _ = projected(vertices, cameras, view)
        columns, rows = np.floor(pixels).astype(int).T
        outside.append((views.alpha[view, 0, rows, columns] == 0).mean())
    # a vertex on the silhouette can fall between the samples of its pixel; nothing else may miss
    assert np.mean(outside) < 0.003


def test_depth_is_the_camera_depth_of_the_surface(one_earring):
    cameras = orbit([0.0], [0.0], size_px=256)
    views = render_head(one_earring, cameras)
    tip = one_earring.geometry.landmarks["nose_tip"]
    (pixel,), (depth,) = projected(tip[None], cameras, 0)
    column, row = np.floor(pixel).astype(int)
    assert abs(views.depth[0, 0, row, column] - depth) < 0.01  # the nose is round


def test_left_is_the_subjects_left(one_earring):
    earring = one_earring.geometry.mesh("earring_left")
    assert earring.positions[:, 0].min() > 0  # +x is the subject's left
    cameras = orbit([0.0, 90.0, -90.0], [0.0] * 3, size_px=256)
    pixels, _ = projected(earring.positions, cameras, 0)
    assert pixels[:, 0].min() > 128  # a viewer in front has it on the right of the picture
    views = render_head(one_earring, cameras)

    def visible(view):
        """Share of earring vertices at the rendered depth: 1 means in plain sight."""
        at, depth = projected(earring.positions, cameras, view)
        column, row = np.floor(at).astype(int).T
        return float((np.abs(views.depth[view, 0, row, column] - depth) < 0.02).mean())

    assert visible(1) > 0.5  # azimuth +90 looks at the left ear
    assert visible(2) < 0.02
    landmarks = one_earring.geometry.landmarks
    for part in ("eye", "ear", "mouth_corner"):
        assert landmarks[f"left_{part}"][0] > 0 > landmarks[f"right_{part}"][0]
    assert landmarks["nose_tip"][2] > 0.3  # the face looks along +z
    assert landmarks["left_eye"][1] > landmarks["nose_tip"][1] > landmarks["chin"][1]


def test_nothing_leaves_the_unit_sphere_or_the_frame(big_hair):
    geometry = big_hair.geometry
    for points in [m.positions for m in geometry.meshes] + [s.points for s in geometry.strands]:
        assert np.linalg.norm(points, axis=-1).max() < 1
    picked = torch.arange(0, 80, 9)
    cameras = anyhead80(128)[picked]
    full_view = orbit([0.0, 90.0, 180.0], [0.0, 20.0, -20.0], size_px=192, radius=4.81,
                      vertical_fov_deg=24)  # fmt: skip
    for rig in (cameras, full_view):
        alpha = render_head(big_hair, rig).alpha[:, 0]
        border = np.concatenate([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1)
        assert border.max() == 0


def test_view_dependent_highlights_change_colour_only(one_earring):
    cameras = orbit([30.0], [0.0], size_px=64)
    baked = render_head(one_earring, cameras)
    glossy = render_head(one_earring, cameras, specular="view")
    assert np.array_equal(baked.alpha, glossy.alpha)
    assert np.array_equal(baked.depth, glossy.depth)
    assert np.abs(baked.rgb - glossy.rgb).max() > 0
    assert np.abs(baked.rgb - glossy.rgb).mean() < 0.02


def test_relighting_keeps_the_geometry_and_follows_the_lamp(one_earring, template):
    cameras = orbit([0.0], [0.0], size_px=64)
    from_left = render_head(relit(one_earring, Lighting("window"), template), cameras)
    from_right = render_head(relit(one_earring, Lighting("window", -150.0), template), cameras)
    assert np.array_equal(from_left.depth, from_right.depth)
    half = from_left.rgb[0, 1, :, 32:].sum() - from_left.rgb[0, 1, :, :32].sum()
    other = from_right.rgb[0, 1, :, 32:].sum() - from_right.rgb[0, 1, :, :32].sum()
    assert half > 0 > other  # the window stands at azimuth +75: on the right of a front view


def test_light_arrives_from_all_sides():
    directions = light_directions(2000)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    upper = directions[directions[:, 1] > 0]
    assert np.allclose(upper.mean(0), (0, 0.5, 0), atol=0.01)  # mean of a hemisphere


def test_turning_the_light_turns_its_radiance():
    ahead = np.array([[0.0, 0.0, 1.0]])
    for name in RIGS:
        turned = lobes(Lighting(name, 90.0)).radiance(np.array([[1.0, 0.0, 0.0]]))
        assert np.allclose(turned, lobes(Lighting(name)).radiance(ahead), rtol=1e-4)
