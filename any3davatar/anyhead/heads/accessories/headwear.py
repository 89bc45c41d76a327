"""Hat, cap, beanie, crown and headband, fitted to the skull."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.accessories.tuck import Tuck, around, under
from any3davatar.anyhead.heads.anatomy import Anatomy, on_skull
from any3davatar.anyhead.heads.fields import direction
from any3davatar.anyhead.heads.meshes import (
    Array,
    Indices,
    Material,
    Mesh,
    grid_triangles,
    joined,
    solidify,
    sphere,
    surface,
    tube,
    unit,
)
from any3davatar.anyhead.heads.palette import to_linear
from any3davatar.anyhead.heads.spec import Accessory

FELT = Material(roughness=0.85, specular=0.15)
COTTON = Material(roughness=0.92, specular=0.08)
WOOL = Material(roughness=1.0, specular=0.04)
SATIN = Material(roughness=0.5, specular=0.4)
METAL = Material(roughness=0.24, specular=0.5, metal=True)
PLASTIC = Material(roughness=0.35, specular=0.5)
GEM = Material(roughness=0.06, specular=0.9)

_AROUND = 160
Line = Callable[[NDArray], NDArray]


def _line(front_deg: float, side_deg: float, back_deg: float) -> Line:
    """Return the elevation of an edge around the head, given at face, ears and nape."""
    knots = np.radians([0.0, 90.0, 180.0])
    values = np.radians([front_deg, side_deg, back_deg])

    def elevation(azimuth: NDArray) -> NDArray:
        # cosine blending keeps the edge smooth at the knots
        place = np.abs(azimuth)
        first = 0.5 - 0.5 * np.cos(2 * np.minimum(place, knots[1]))
        second = 0.5 - 0.5 * np.cos(2 * np.maximum(place - knots[1], 0))
        return values[0] + (values[1] - values[0]) * first + (values[2] - values[1]) * second

    return elevation


def _azimuths() -> NDArray:
    return np.linspace(-np.pi, np.pi, _AROUND, endpoint=False)


def _dome(
    anatomy: Anatomy, line: Line, clearance: Callable[[NDArray, NDArray], NDArray], rows: int
) -> tuple[Array, Indices, NDArray, NDArray]:
    """Return a cover from the edge (share 0) to the crown (1): points, faces, azimuth, share."""
    share, azimuth = np.meshgrid(np.linspace(0, 1, rows), _azimuths(), indexing="ij")
    low = line(azimuth)
    elevation = low + (np.pi / 2 - low) * share
    points = on_skull(direction(azimuth, elevation), anatomy, clearance(azimuth, share))
    triangles = grid_triangles(rows, _AROUND, wrap_columns=True)[:, ::-1]
    return points.reshape(-1, 3).astype(np.float32), triangles, azimuth.ravel(), share.ravel()


def beanie(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Knitted cap with ribs and a turned-up cuff; ``shape`` is how far it slouches."""
    line, slouch = _line(20, 2, -22), accessory.shape
    ribs = 54

    def clearance(azimuth: NDArray, share: NDArray) -> NDArray:
        cuff = 0.055 * np.clip((0.24 - share) / 0.02, 0, 1) * np.clip(share / 0.02, 0.3, 1)
        slack = (0.05 + 0.22 * slouch) * np.clip((share - 0.35) * 1.6, 0, 1)
        toward_back = np.clip(-np.cos(azimuth), -0.3, 1) * np.clip((1 - share) * 3, 0, 1)
        slack = slack * (0.6 + 0.4 * toward_back)
        knit = 0.012 * np.abs(np.sin(azimuth * ribs / 2)) * np.clip((0.97 - share) * 8, 0, 1)
        return 0.085 + cuff + slack + knit

    points, triangles, azimuth, share = _dome(anatomy, line, clearance, 56)
    points, triangles = solidify(points, triangles, 0.04)
    valley = 0.72 + 0.36 * np.abs(np.sin(azimuth * ribs / 2))
    stitches = 1 + 0.10 * np.sin(share * 190)
    seam = 1 - 0.45 * np.exp(-(((share - 0.245) / 0.012) ** 2))
    shade = np.tile(valley * stitches * seam, 2)[:, None]
    color = to_linear(accessory.color) * shade
    return [surface("beanie", points, triangles, color, WOOL)], under(line, anatomy, 0.04)


def cap(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Six-panel baseball cap with a curved visor; ``shape`` raises the crown."""
    line = _line(27, 12, -4)
    height = 0.06 + 0.14 * accessory.shape

    def clearance(azimuth: NDArray, share: NDArray) -> NDArray:
        seams = 0.014 * np.exp(-((np.sin(3 * azimuth) / 0.10) ** 2)) * np.clip(1 - share, 0, 1)
        crown = height * np.sin(np.pi * np.clip(share, 0, 1)) * (0.75 + 0.25 * np.cos(azimuth))
        return 0.075 + crown + seams

    points, triangles, azimuth, share = _dome(anatomy, line, clearance, 40)
    edge = points[:_AROUND].astype(float)
    shell, faces = solidify(points, triangles, 0.03)
    stitched = 1 - 0.25 * np.exp(-(((np.abs(np.sin(3 * azimuth)) - 0.12) / 0.05) ** 2))
    color = to_linear(accessory.color)
    button = sphere(14, 20)
    top = points[share > 0.999].mean(0)
    visor, visor_faces = _visor(edge)
    return [
        surface("cap", shell, faces, color * np.tile(stitched, 2)[:, None], COTTON),
        surface("visor", visor, visor_faces, color * 0.85, COTTON),
        surface("button", button[0] * (0.07, 0.035, 0.07) + top, button[1], color, COTTON),
    ], under(line, anatomy, 0.035)


def _visor(edge: NDArray) -> tuple[Array, Indices]:
    azimuth = _azimuths()
    span = np.radians(66)
    front = np.abs(azimuth) < span
    root, place = edge[front], azimuth[front] / span
    rows = np.linspace(0, 1, 14)[:, None]
    reach = 0.80 * np.sqrt(np.clip(1 - place**2, 0, 1)) ** 1.1
    forward = root[None, :, 2] + rows * reach + 0.01
    side = root[None, :, 0] * (1 + 0.04 * rows)
    droop = -0.22 * rows * reach - 0.26 * rows**0.7 * place**2 * np.sqrt(
        np.clip(1 - place**2, 0, 1)
    )
    up = root[None, :, 1] + 0.02 + droop
    grid = np.stack([side, up, forward], -1)
    faces = grid_triangles(*grid.shape[:2])
    return solidify(grid.reshape(-1, 3), faces, 0.03)


_CROWN_HEIGHT = 1.02


def hat(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Fedora with a creased crown, ribbon and snapped brim; ``shape`` widens the brim."""
    line = _line(30, 17, 8)
    azimuth = _azimuths()
    ring = on_skull(direction(azimuth, line(azimuth)), anatomy, 0.075)
    axis = np.array([0.0, 0.0, ring[:, 2].mean()])
    shell = _pinched(np.concatenate([_hat_side(ring, axis), _hat_top(ring, axis)]), ring, axis)
    faces = grid_triangles(len(shell), _AROUND, wrap_columns=True)[:, ::-1]
    color, ribbon = to_linear(accessory.color), to_linear(accessory.accent)
    return [
        surface("hat", *solidify(shell.reshape(-1, 3), faces, 0.03), color, FELT),
        surface("ribbon", *_ribbon(shell[:6], 0.018), ribbon * 0.5, SATIN),
        surface("brim", *_brim(ring, axis, 0.42 + 0.36 * accessory.shape), color, FELT),
    ], under(line, anatomy, 0.04)


def _hat_side(ring: NDArray, axis: NDArray) -> NDArray:
    """Return rows (26, P, 3) that rise from the ring with a slight waist."""
    flat = (ring - axis) * np.array([1, 0, 1])
    share = np.linspace(0, 1, 26)[:, None, None]
    waist = 1 + 0.035 * np.sin(np.pi * share) - 0.11 * share**2
    height = ring[None, :, 1:2] + share * _CROWN_HEIGHT
    return axis + flat * waist + height * np.array([0, 1, 0])


def _hat_top(ring: NDArray, axis: NDArray) -> NDArray:
    """Return rows (21, P, 3) that close the crown, creased from front to back."""
    rim = _hat_side(ring, axis)[-1]
    shrink = np.linspace(1, 0, 22)[1:, None]
    top = axis + (rim - axis) * shrink[..., None]
    level = rim[:, 1].mean() + (rim[:, 1] - rim[:, 1].mean()) * shrink
    rounding = 0.08 * np.clip(1 - (1 - shrink) / 0.25, 0, 1)
    crease = 0.26 * np.exp(-((top[..., 0] / 0.20) ** 2)) * np.clip((1 - shrink) * 3, 0, 1)
    crease = crease * np.clip(0.75 + 0.6 * (top[..., 2] - axis[2]), 0.2, 1.2)
    top[..., 1] = level + rounding - crease
    return top


def _pinched(shell: NDArray, ring: NDArray, axis: NDArray) -> NDArray:
    """Press in the two dents at the front of the crown."""
    depth = shell[..., 2] - axis[2]
    angle = np.arctan2(shell[..., 0], depth)
    rise = np.clip((shell[..., 1] - ring[:, 1]) / _CROWN_HEIGHT - 0.35, 0, 0.5) * 2
    pinch = 0.16 * np.exp(-(((np.abs(angle) - 0.62) / 0.30) ** 2)) * rise * (depth > 0)
    pressed = shell.copy()
    pressed[..., 0] *= 1 - pinch
    pressed[..., 2] = axis[2] + depth * (1 - 0.6 * pinch)
    return pressed


def _ribbon(rows: NDArray, lift: float) -> tuple[Array, Indices]:
    """Wrap a ribbon around rows (R, P, 3) of a closed surface."""
    center = rows.reshape(-1, 3).mean(0)
    outward = unit((rows - center) * np.array([1, 0, 1]))
    raised = rows + outward * lift
    faces = grid_triangles(len(rows), rows.shape[1], wrap_columns=True)[:, ::-1]
    return solidify(raised.reshape(-1, 3), faces, lift * 0.9)


def _brim(ring: NDArray, axis: NDArray, width: float) -> tuple[Array, Indices]:
    outward = unit((ring - axis) * np.array([1, 0, 1]))
    share = np.linspace(0, 1, 18)[:, None, None]
    sideways, front = np.abs(outward[:, 0]), outward[:, 2]
    curl = (0.20 * sideways**2 + 0.07 * np.clip(-front, 0, 1) - 0.10 * np.clip(front, 0, 1))[None]
    rows = ring[None] + outward[None] * share * width
    rows = rows - outward[None] * 0.03
    rows[..., 1] += (curl * share[..., 0] ** 2 * (width / 0.6)) - 0.01
    faces = grid_triangles(*rows.shape[:2], wrap_columns=True)
    return solidify(rows.reshape(-1, 3), faces, 0.028)


def crown(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Golden crown with points, pearls and gems; ``shape`` raises the points."""
    line = _line(37, 33, 29)
    azimuth = _azimuths()
    ring = on_skull(direction(azimuth, line(azimuth)), anatomy, 0.11)
    ring[:, 1] = ring[:, 1].mean() + 0.10 * np.cos(azimuth)
    points_count = 10
    wave = np.abs(((azimuth / (2 * np.pi) * points_count) % 1) * 2 - 1) ** 1.15
    height = 0.20 + (0.18 + 0.22 * accessory.shape) * wave
    outward = unit((ring - ring.mean(0)) * np.array([1, 0, 1]))
    share = np.linspace(0, 1, 12)[:, None, None]
    rows = ring[None] + share * (height[:, None] * np.array([0, 1.0, 0]) + outward * 0.10)
    faces = grid_triangles(len(rows), _AROUND, wrap_columns=True)[:, ::-1]
    gold = to_linear(accessory.accent)
    bands = [
        tube(np.concatenate([r, r[:1]]), 0.026, 10)
        for r in (rows[0] + outward * 0.005, rows[5] * 0.35 + rows[0] * 0.65 + outward * 0.01)
    ]
    ball, ball_faces, _, _ = sphere(14, 18)
    step = _AROUND // points_count
    tips = [(ball * 0.045 + rows[-1, k], ball_faces) for k in range(0, _AROUND, step)]
    gems = [
        (ball * (0.055, 0.06, 0.055) + rows[2, k] + outward[k] * 0.02, ball_faces)
        for k in range(step // 2, _AROUND, step)
    ]
    return [
        surface("crown", *solidify(rows.reshape(-1, 3), faces, 0.03), gold, METAL),
        surface("crown_bands", *joined(bands), gold, METAL),
        surface("pearls", *joined(tips), (0.80, 0.76, 0.70), PLASTIC),
        surface("gems", *joined(gems), to_linear(accessory.color), GEM),
    ], around(line, anatomy, 0.08, 0.06)


def headband(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Soft band over forehead and back of the head; ``shape`` widens it."""
    line = _line(42, 28, -6)
    half = np.radians(4 + 6 * accessory.shape)
    share, azimuth = np.meshgrid(np.linspace(-1, 1, 12), _azimuths(), indexing="ij")
    ways = direction(azimuth, line(azimuth) + half * share)
    swell = 0.07 + 0.035 * np.sqrt(np.clip(1 - share**2, 0, 1)) + 0.006 * np.sin(azimuth * 23)
    rows = on_skull(ways, anatomy, swell)
    faces = grid_triangles(*share.shape, wrap_columns=True)[:, ::-1]
    band = solidify(rows.reshape(-1, 3), faces, 0.03)
    color = to_linear(accessory.color)
    return [surface("headband", *band, color, COTTON)], around(line, anatomy, 0.055, float(half))
