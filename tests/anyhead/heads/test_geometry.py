import numpy as np
import pytest

from any3davatar.anyhead.heads import HeadSpec, build_geometry, names
from any3davatar.anyhead.heads.accessories import build_accessories
from any3davatar.anyhead.heads.anatomy import build_anatomy
from any3davatar.anyhead.heads.clothes import build_clothes
from any3davatar.anyhead.heads.detail import DRAFT
from any3davatar.anyhead.heads.hair.shape import curled, cut_where, shortened
from any3davatar.anyhead.heads.meshes import (
    boundary_edges,
    clip,
    grid_triangles,
    solidify,
    sphere,
    tube,
)
from any3davatar.anyhead.heads.spec import Accessory, Beard, Clothes, Expression, Hair, Identity
from any3davatar.anyhead.heads.subdivision import catmull_clark

CUBE = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1, 1) for z in (-1, 1)])
CUBE_QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def signed_volume(points, triangles):
    a, b, c = (points[triangles[:, k]].astype(float) for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def open_edges(points, triangles):
    """Boundary edges after welding points that coincide (poles and seams)."""
    _, welded = np.unique(points.round(5), axis=0, return_inverse=True)
    faces = welded.ravel()[triangles]
    a, b, c = faces.T
    return boundary_edges(faces[(a != b) & (b != c) & (c != a)])


def area(points, triangles):
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_catmull_clark_of_a_cube():
    step = catmull_clark(8, CUBE_QUADS, np.zeros((6, 4, 2), np.float32))
    points = step.matrix @ CUBE
    # by hand from the 1978 rules: corners go to (Q + 2 R) / 3 with Q = 1/3 and R = 2/3
    assert np.allclose(np.abs(points[:8]), 5 / 9)
    assert np.allclose(np.sort(np.abs(points[8:20]), 1), [0, 3 / 4, 3 / 4])
    assert np.allclose(np.sort(np.abs(points[20:]), 1), [0, 0, 1])
    assert len(step.quads) == 24


def test_catmull_clark_keeps_planes_and_outlines():
    grid = np.stack([*np.meshgrid(np.arange(5.0), np.arange(4.0)), np.zeros((4, 5))], -1)
    ids = np.arange(20).reshape(4, 5)
    quads = np.stack([ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]], -1).reshape(-1, 4)
    step = catmull_clark(20, quads, np.zeros((len(quads), 4, 2), np.float32))
    points = step.matrix @ grid.reshape(-1, 3)
    assert np.allclose(step.matrix.sum(1), 1)
    assert np.allclose(points[:, 2], 0)
    assert points[:, :2].min() >= 0
    assert np.allclose(points[:, :2].max(0), (3.75, 2.75), atol=0.26)  # corners round off


@pytest.mark.parametrize(
    ("points", "triangles"),
    [
        sphere(12, 16)[:2],
        tube(np.stack([np.zeros(9), np.linspace(0, 1, 9), np.zeros(9)], -1), 0.2),
        tube(np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 33)), np.sin(t), 0 * t], -1).round(9),
             0.2),
        solidify(np.stack([*np.meshgrid(np.arange(3.0), np.arange(3.0)), np.zeros((3, 3))], -1)
                 .reshape(-1, 3), grid_triangles(3, 3), 0.1),
    ],
    ids=["sphere", "tube", "ring", "sheet"],
)  # fmt: skip
def test_builders_return_closed_surfaces_facing_outward(points, triangles):
    assert len(open_edges(points, triangles)) == 0
    assert signed_volume(points, triangles) > 0


def test_clip_splits_a_surface_without_loss():
    points, triangles, _, _ = sphere(20, 30)
    field = points[:, 0] + 0.3 * points[:, 1] - 0.2
    kept, rest = clip(triangles, field), clip(triangles, -field)
    whole = area(points, triangles)
    parts = area(kept.matrix @ points, kept.triangles) + area(rest.matrix @ points, rest.triangles)
    assert parts == pytest.approx(whole, rel=1e-5)  # float32 corners
    assert (kept.matrix @ field).min() > -1e-6


def test_shortened_strands_end_at_their_share():
    strands = np.cumsum(np.ones((2, 11, 3)), 1)
    half = shortened(strands, np.array([0.5, 1.0]))
    assert np.allclose(half[0, -1], 6)
    assert np.allclose(half[1], strands[1])


def test_cut_strands_stop_at_the_blade():
    rng = np.random.default_rng(0)
    strands = np.cumsum(rng.normal(0, 0.1, (50, 30, 3)) - [0, 0.1, 0], 1)
    cut = cut_where(strands, -1.5 - strands[..., 1])
    assert cut[:, 1:, 1].min() > -1.5 - 0.05  # resampling cuts corners of a wavy strand


def test_curls_keep_their_radius():
    straight = np.zeros((4, 60, 3))
    straight[..., 1] = -np.linspace(0, 2, 60)
    ones = np.ones(4)
    curls = curled(straight, 0.07, 5 * ones, 0 * ones, ones)
    off_axis = np.hypot(curls[:, 15:, 0], curls[:, 15:, 2])
    assert np.allclose(off_axis, 0.07, atol=1e-6)


@pytest.mark.parametrize("kind", names.ACCESSORIES)
def test_accessories_are_closed_and_face_outward(kind, template):
    spec = HeadSpec(1, accessories=(Accessory(kind),))
    for mesh in build_accessories(spec, build_anatomy(spec, template)).meshes:
        assert len(open_edges(mesh.positions, mesh.triangles)) == 0, mesh.name
        assert signed_volume(mesh.positions, mesh.triangles) > 0, mesh.name


@pytest.mark.parametrize("style", names.CLOTHES_STYLES)
def test_clothes_cover_the_bust_but_not_the_chin(style, template):
    spec = HeadSpec(1, clothes=Clothes(style))
    anatomy = build_anatomy(spec, template)
    for mesh in build_clothes(spec, anatomy):
        assert mesh.positions[:, 1].max() < anatomy.near((0, 6.2, 1.5))[1] + 0.1, mesh.name


def moved(template, first, second):
    """Chart vertices whose neutral-frame skin differs between two specs, and the distance."""
    a, b = (build_anatomy(spec, template) for spec in (first, second))
    return a, b, np.linalg.norm(a.posed.positions - b.posed.positions, axis=1)


def test_jaw_open_opens_the_mouth(template):
    neutral = build_anatomy(HeadSpec(1), template)
    opened = build_anatomy(HeadSpec(1, expression=Expression(units=(("jawOpen", 1.0),))), template)

    def gap(anatomy):
        upper, lower = ((0, y, 1.6) for y in (6.69, 6.55))
        return anatomy.near(upper, posed=True)[1] - anatomy.near(lower, posed=True)[1]

    assert gap(opened) > gap(neutral) + 0.2  # decimetres
    lower_teeth = template.parts["lower-teeth"].vertices
    drop = neutral.posed_base[lower_teeth, 1] - opened.posed_base[lower_teeth, 1]
    assert drop.min() > 0.05


def test_blink_closes_the_named_eye_only(template):
    awake = build_anatomy(HeadSpec(1), template)
    wink = build_anatomy(
        HeadSpec(1, expression=Expression(units=(("eyeBlinkLeft", 1.0),))), template
    )
    motion = awake.posed.positions - wink.posed.positions
    upper_lid = (np.abs(template.body[:, 1] - 7.36) < 0.04) & (template.body[:, 2] > 1.1)
    near_eye = np.abs(np.abs(template.body[:, 0]) - 0.31) < 0.08
    left = upper_lid & near_eye & (template.body[:, 0] > 0)
    right = upper_lid & near_eye & (template.body[:, 0] < 0)
    assert motion[left, 1].max() > 0.08
    assert np.abs(motion[right]).max() < 0.02  # the unit pulls a little across the nose


def test_an_expression_moves_the_face_and_leaves_the_skull(template):
    _, _, distance = moved(template, HeadSpec(1), HeadSpec(1, expression=Expression("laugh")))
    skull = template.body[:, 1] > 8.1
    assert distance[skull].max() == 0
    assert distance.max() > 0.15  # decimetres


def test_expression_and_accessory_keep_the_person(template):
    plain = HeadSpec(5, hair=Hair("short"))
    laughing = HeadSpec(5, hair=Hair("short"), expression=Expression("laugh"))
    dressed = HeadSpec(5, hair=Hair("short"), accessories=(Accessory("earrings"),))
    base, moved_face, worn = (build_geometry(s, template) for s in (plain, laughing, dressed))
    hair = {name: g.strands[0] for name, g in (("a", base), ("b", moved_face), ("c", worn))}
    assert np.array_equal(hair["a"].points, hair["b"].points)
    assert np.array_equal(hair["a"].albedo, hair["b"].albedo)
    assert np.array_equal(hair["a"].points, hair["c"].points)
    assert np.array_equal(base.mesh("skin").positions, worn.mesh("skin").positions)
    assert np.array_equal(base.mesh("skin").albedo, moved_face.mesh("skin").albedo)


def test_identity_controls_are_local_and_symmetric(template):
    def base(value):
        spec = HeadSpec(1, Identity(shape=(("nose_width", value),)))
        return build_anatomy(spec, template)

    plain, wide = base(0.0), base(1.0)
    change = wide.neutral.positions - plain.neutral.positions
    nose = np.linalg.norm(template.body - (0, 6.95, 1.5), axis=1) < 0.25
    assert np.abs(change[nose, 0]).max() > 0.02
    assert np.abs(change[template.body[:, 2] < 0.5]).max() == 0  # ears, neck and skull stay
    outward = change[:, 0] * np.sign(template.body[:, 0])
    assert outward[nose].min() > -2e-3  # wider on both sides


def test_hats_press_hair_to_the_skull(template):
    def highest(accessories):
        spec = HeadSpec(2, hair=Hair("afro"), accessories=accessories)
        return build_geometry(spec, template).strands[0].points[..., 1].max()

    assert highest((Accessory("beanie"),)) < highest(()) - 0.15  # world units


def test_unknown_part_is_named(template):
    with pytest.raises(KeyError, match="no mesh 'nose'; this head has"):
        build_geometry(HeadSpec(1, hair=Hair("bald")), template).mesh("nose")


@pytest.mark.parametrize("style", ["short", "bun"])  # grown, and gathered
def test_a_draft_has_fewer_hairs_that_are_as_wide_together(style, template):
    spec = HeadSpec(1, hair=Hair(style), beard=Beard("full"))
    full = {group.name: group for group in build_geometry(spec, template).strands}
    draft = {group.name: group for group in build_geometry(spec, template, DRAFT).strands}
    for name in ("hair", "beard"):
        count, fewer = len(full[name].points), len(draft[name].points)
        assert fewer == round(count * DRAFT.hairs)
        assert np.allclose(draft[name].radius * fewer, full[name].radius * count, rtol=1e-3)
    assert np.array_equal(draft["brows"].points, full["brows"].points)
