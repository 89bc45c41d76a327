"""One head's body: neutral and posed surfaces, landmarks, and the distance to its skin.

*Head frame* (decimetre): the base mesh's axes with the origin at the head's centre. Hair, hats and
everything else that must not move with a smile is built on the neutral body; skin, teeth, brows,
lashes and beard follow the posed one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.detail import FULL, Detail
from any3davatar.anyhead.heads.expression import express, unit_weights
from any3davatar.anyhead.heads.fields import DirectionMap, DistanceField
from any3davatar.anyhead.heads.identity import neutral_base
from any3davatar.anyhead.heads.meshes import Array, Indices, vertex_normals
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.heads.template import LEFT_EYE, RIGHT_EYE, Template

DM_PER_UNIT = 2.4  # the bust sphere and the tallest hat end inside the unit sphere
_CENTER_BELOW_EYES_DM = 0.15
_CENTER_Z_DM = 0.35
_CLEARANCE = 0.985  # of the unit sphere, for anything that grows out of the body


class Eyeball(NamedTuple):
    """A sphere fitted to the base mesh's eye helper."""

    center: NDArray
    radius: float


class Roots(NamedTuple):
    """Places on the body's triangles: corner vertices (n, 3) and their shares (n, 3)."""

    corners: Indices
    shares: NDArray[np.float64]

    def at(self, values: NDArray) -> NDArray:
        """Interpolate a per-vertex quantity (N, ...) at the roots."""
        shares = self.shares.reshape(*self.shares.shape, *(1,) * (values.ndim - 1))
        return (values[self.corners] * shares).sum(1)


class Body(NamedTuple):
    """Vertex positions and normals of the bust in one pose."""

    positions: Array
    normals: Array


@dataclass(frozen=True)
class Anatomy:
    """The deformed template of one spec.

    Attributes:
        template: what was deformed.
        chart: (N, 3) body of the undeformed template, in which regions are drawn.
        center: (3,) the head frame's origin in the base mesh's frame.
        base, posed_base: (19158, 3) base vertices in the head frame, neutral and with expression.
        neutral, posed: bodies in the head frame.
        units: face unit weights of the expression.
        detail: how finely hair grows on it.
    """

    template: Template
    chart: Array
    center: NDArray
    base: Array
    posed_base: Array
    neutral: Body
    posed: Body
    units: dict[str, float]
    detail: Detail

    def eyeball(self, side: str, *, posed: bool = False) -> Eyeball:
        """Fit the left or right eyeball."""
        base = self.posed_base if posed else self.base
        points = base[LEFT_EYE if side == "left" else RIGHT_EYE].astype(float)
        extent = np.ptp(points, axis=0)
        return Eyeball((points.min(0) + points.max(0)) / 2, float(extent[:2].mean() / 2))

    @cached_property
    def skull_center(self) -> NDArray:
        """(3,) a point inside the skull from which the scalp is star-shaped."""
        scalp = self.neutral.positions[self.chart[:, 1] > 7.55]
        return np.array([0.0, 0.35, (scalp[:, 2].min() + scalp[:, 2].max()) / 2])

    @cached_property
    def skull(self) -> DirectionMap:
        """Radius of the head without ears, seen from ``skull_center``."""
        solid = (
            (self.template.masks["in_mouth"] < 0.5)
            & (self.template.masks["eye_cavity"] < 0.5)
            & (self.template.masks["ears"] < 0.05)
        )
        offsets = self.neutral.positions[solid] - self.skull_center
        return DirectionMap.around(offsets[offsets[:, 1] > -1.7])

    @cached_property
    def skin_distance(self) -> DistanceField:
        """Signed distance to the neutral body."""
        solid = (self.template.masks["in_mouth"] < 0.5) & (self.template.masks["eye_cavity"] < 0.5)
        return DistanceField.around(
            self.neutral.positions[solid], self.neutral.normals[solid], self.detail.field_step_dm
        )

    def ear(self, side: str) -> Array:
        """Return the neutral body vertices of one ear."""
        sign = 1.0 if side == "left" else -1.0
        mask = (self.template.masks["ears"] > 0.5) & (self.chart[:, 0] * sign > 0)
        return self.neutral.positions[mask]

    def near(self, point: tuple[float, float, float], *, posed: bool = False) -> NDArray:
        """Return the body position of the vertex whose chart position is nearest to ``point``."""
        index = int(((self.chart - np.array(point)) ** 2).sum(1).argmin())
        return (self.posed if posed else self.neutral).positions[index].astype(float)


def build_anatomy(
    spec: HeadSpec,
    template: Template,
    exaggeration: tuple[tuple[str, float], ...] = (),
    detail: Detail = FULL,
) -> Anatomy:
    """Deform the template to a spec's identity and expression.

    Args:
        spec: whose head.
        template: what to deform.
        exaggeration: extra (target, weight) pairs of a stylised look.
        detail: see ``Anatomy``.
    """
    base = neutral_base(spec, template, exaggeration)
    eye_line = (base[LEFT_EYE][:, 1].mean() + base[RIGHT_EYE][:, 1].mean()) / 2
    center = np.array([0.0, eye_line - _CENTER_BELOW_EYES_DM, _CENTER_Z_DM], np.float32)
    posed_base = express(base, spec.expression, template)

    def body(vertices: Array) -> Body:
        positions = template.refined(vertices) - center
        return Body(positions, vertex_normals(positions, template.triangles))

    return Anatomy(
        template=template,
        chart=template.body,
        center=center,
        base=base - center,
        posed_base=posed_base - center,
        neutral=body(base),
        posed=body(posed_base),
        units=unit_weights(spec.expression),
        detail=detail,
    )


_LANDMARKS = {
    "nose_tip": (0.0, 6.93, 1.70),
    "nose_bridge": (0.0, 7.30, 1.45),
    "chin": (0.0, 6.20, 1.50),
    "left_mouth_corner": (0.25, 6.64, 1.40),
    "right_mouth_corner": (-0.25, 6.64, 1.40),
    "upper_lip": (0.0, 6.69, 1.60),
    "lower_lip": (0.0, 6.55, 1.60),
}


def landmarks(anatomy: Anatomy) -> dict[str, NDArray]:
    """Return points (3,) of the posed face in the head frame.

    Sides are the subject's. Eyes are the pupils' places in a forward gaze, ears the ears' centres.
    """
    points = {name: anatomy.near(place, posed=True) for name, place in _LANDMARKS.items()}
    for side in ("left", "right"):
        ball = anatomy.eyeball(side)
        points[f"{side}_eye"] = ball.center + np.array([0.0, 0.0, ball.radius])
        points[f"{side}_ear"] = anatomy.ear(side).mean(0)
    return points


def to_world(points_dm: NDArray) -> Array:
    """Convert head-frame decimetres to world units, kept inside the unit sphere."""
    points = np.asarray(points_dm, np.float32) / np.float32(DM_PER_UNIT)
    radius = np.linalg.norm(points, axis=-1, keepdims=True)
    return np.ascontiguousarray(
        points * np.minimum(1.0, _CLEARANCE / np.maximum(radius, 1e-6)), np.float32
    )


def scatter(anatomy: Anatomy, density: NDArray, count: int, rng: np.random.Generator) -> Roots:
    """Draw ``count`` places on the neutral body with probability density ``density`` per area."""
    triangles, positions = anatomy.template.triangles, anatomy.neutral.positions
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[triangles].mean(1)
    chosen = np.searchsorted(np.cumsum(areas), rng.random(count) * areas.sum())
    u, v = rng.random((2, count))
    root = np.sqrt(u)
    shares = np.stack([1 - root, root * (1 - v), root * v], 1)
    return Roots(triangles[np.minimum(chosen, len(triangles) - 1)], shares)


def on_skull(directions: NDArray, anatomy: Anatomy, clearance: NDArray | float) -> NDArray:
    """Return head-frame points at a distance from the earless skull, in unit directions."""
    radius = anatomy.skull(directions) + clearance
    return anatomy.skull_center + directions * radius[..., None]
