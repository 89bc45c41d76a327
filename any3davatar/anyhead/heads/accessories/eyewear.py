"""Glasses: rims, bridge, temples that reach the ears, and lenses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.accessories.tuck import Tuck
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.meshes import (
    Array,
    Indices,
    Material,
    Mesh,
    grid_triangles,
    joined,
    solidify,
    surface,
    tube,
)
from any3davatar.anyhead.heads.palette import to_linear
from any3davatar.anyhead.heads.spec import Accessory

FRAME = Material(roughness=0.28, specular=0.5)
CLEAR = Material(roughness=0.04, specular=0.6, opacity=0.10)
DARK = Material(roughness=0.12, specular=0.35)

_RIM_POINTS = 72


def glasses(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Build clear glasses; ``shape`` runs from rectangular to round."""
    frame, lenses = _frame(accessory, anatomy, rim=0.020)
    clear = surface("lenses", *lenses, (0.75, 0.80, 0.85), CLEAR)
    return [frame, clear], None


def sunglasses(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Build dark glasses, tinted a little lighter toward the cheeks."""
    frame, lenses = _frame(accessory, anatomy, rim=0.024)
    height = lenses[0][:, 1]
    share = (height.max() - height) / np.ptp(height)
    tint = np.array([0.006, 0.006, 0.008]) + share[:, None] * np.array([0.035, 0.028, 0.022])
    return [frame, surface("lenses", *lenses, tint, DARK)], None


def _outline(angle: NDArray, shape: float) -> NDArray:
    """Return a lens outline (P, 2) between a rounded rectangle and a circle."""
    power = 2 / (2 + 2.6 * (1 - shape))
    cosine, sine = np.cos(angle), np.sin(angle)
    x = np.sign(cosine) * np.abs(cosine) ** power * (1.12 - 0.10 * shape)
    y = np.sign(sine) * np.abs(sine) ** power * (0.74 + 0.22 * shape)
    return np.stack([x * (1 + 0.06 * (1 - shape) * y), y], -1)


@dataclass(frozen=True)
class _Fit:
    """Where glasses sit on a face, head-frame decimetres.

    Attributes:
        lens_x, lens_y: centre of the left lens; the right one is mirrored.
        front: z of the bridge.
        outline: (P, 2) of a lens around its centre, closed.
    """

    lens_x: float
    lens_y: float
    front: float
    outline: NDArray

    def placed(self, x: NDArray, y: NDArray) -> NDArray:
        """Bend points of the flat front around the face."""
        depth = self.front - 0.10 * x**2 - 0.04 * (y - self.lens_y)
        return np.stack([x, y, depth], -1)


_LENS_SIZE = 0.262
_LENS_DROP = 0.045  # lens centres sit below the pupils


def _fitted(accessory: Accessory, anatomy: Anatomy) -> _Fit:
    left, right = anatomy.eyeball("left"), anatomy.eyeball("right")
    pupil_x = float(left.center[0] - right.center[0]) / 2
    bridge_z = anatomy.near((0.0, 7.25, 1.5))[2]
    angle = np.linspace(0, 2 * np.pi, _RIM_POINTS + 1)
    return _Fit(
        lens_x=max(pupil_x, _LENS_SIZE * 1.12 + 0.035),
        lens_y=float(left.center[1] + right.center[1]) / 2 - _LENS_DROP,
        front=float(max(left.center[2] + left.radius + 0.15, bridge_z + 0.03)),
        outline=_outline(angle, accessory.shape) * _LENS_SIZE,
    )


def _frame(
    accessory: Accessory, anatomy: Anatomy, rim: float
) -> tuple[Mesh, tuple[Array, Indices]]:
    """Return the frame and the points and faces of both lenses."""
    fit = _fitted(accessory, anatomy)
    parts, lenses = [_bridge(fit)], []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        ring = fit.placed(sign * (fit.lens_x + fit.outline[:, 0]), fit.lens_y + fit.outline[:, 1])
        ring[-1] = ring[0]
        parts += [tube(ring, rim, 10), _temple(fit, anatomy.ear(side).astype(float), sign)]
        lenses.append(_lens(fit, sign))
    return surface("frame", *joined(parts), to_linear(accessory.color), FRAME), joined(lenses)


def _bridge(fit: _Fit) -> tuple[Array, Indices]:
    inner = fit.lens_x + fit.outline[:, 0].min()
    x = np.linspace(-inner, inner, 14)
    arch = fit.placed(x, fit.lens_y + 0.075 + 0.05 * (1 - (x / inner) ** 2))
    arch[:, 2] += 0.02
    return tube(arch, 0.017, 8)


def _temple(fit: _Fit, ear: NDArray, sign: float) -> tuple[Array, Indices]:
    """Run from the hinge over the ear and bend down behind it."""
    top = ear[ear[:, 1] > np.quantile(ear[:, 1], 0.88)]
    ear_x = float(np.abs(top[:, 0]).mean())
    hinge_x = fit.lens_x + fit.outline[:, 0].max()
    hinge = fit.placed(np.array([sign * hinge_x]), np.array([fit.lens_y + 0.105]))[0]
    wide = np.array([sign * (max(hinge_x, ear_x) + 0.03), hinge[1], hinge[2] - 0.16])
    over = np.array([sign * ear_x, top[:, 1].max() - 0.01, top[:, 2].mean() + 0.05])
    behind = over + np.array([-0.02 * sign, -0.13, -0.20])
    end = over + np.array([-0.05 * sign, -0.34, -0.27])
    return tube(_smooth([hinge, wide, over, behind, end]), 0.017, 8)


def _lens(fit: _Fit, sign: float) -> tuple[Array, Indices]:
    """Fill an outline with rings around its middle."""
    rings = 7
    shares = np.linspace(1, 0, rings)[:, None]
    x = sign * (fit.lens_x + fit.outline[:-1, 0] * shares)
    y = fit.lens_y + fit.outline[:-1, 1] * shares
    points = fit.placed(x, y)
    points[..., 2] += 0.015 * (1 - shares**2) - 0.004
    faces = grid_triangles(rings, _RIM_POINTS, wrap_columns=True)
    faces = faces[:, ::-1] if sign > 0 else faces
    return solidify(points.reshape(-1, 3), faces, 0.012, np.array([0.0, 0.0, 1.0]))


def _smooth(knots: list[NDArray]) -> NDArray:
    """Return a curve through the knots (monotone cubic in the chord length)."""
    from scipy.interpolate import PchipInterpolator

    points = np.array(knots)
    chord = np.cumsum([0, *np.linalg.norm(np.diff(points, axis=0), axis=1)])
    return PchipInterpolator(chord, points)(np.linspace(0, chord[-1], 40))
