"""Eyeballs: a sphere with a corneal bulge, painted by the angle from its optical axis."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads import palette
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.meshes import Material, Mesh, sphere, surface
from any3davatar.anyhead.heads.noise import ValueNoise
from any3davatar.anyhead.heads.spec import HeadSpec

WET = Material(roughness=0.06, specular=0.5)
_GLINT = np.array((-0.13, 0.06, np.sqrt(1 - 0.13**2 - 0.06**2)))
_YAW_RAD, _PITCH_RAD = 0.42, 0.36  # of a look unit at weight 1


def eye_meshes(spec: HeadSpec, anatomy: Anatomy) -> list[Mesh]:
    """Build both eyeballs, turned by the expression's look units."""
    points, triangles, polar, around = sphere(64, 80)
    bulge = np.clip((0.56 - polar) / 0.56, 0, 1) ** 1.2
    shape = points * (1 + 0.075 * bulge * (2 - bulge))[:, None]
    albedo = _painted(spec, points, polar, around)
    meshes = []
    for side in ("left", "right"):
        ball = anatomy.eyeball(side)
        turned = shape @ _gaze(anatomy.units, side).T * ball.radius + ball.center
        meshes.append(surface(f"{side}_eye", turned, triangles, albedo, WET))
    return meshes


def _gaze(units: dict[str, float], side: str) -> NDArray:
    suffix = side.capitalize()
    outward = units.get(f"eyeLookOut{suffix}", 0.0) - units.get(f"eyeLookIn{suffix}", 0.0)
    down = units.get(f"eyeLookDown{suffix}", 0.0) - units.get(f"eyeLookUp{suffix}", 0.0)
    yaw = _YAW_RAD * outward * (1 if side == "left" else -1)
    pitch = _PITCH_RAD * down
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    return about_y @ about_x


def _painted(spec: HeadSpec, points: NDArray, polar: NDArray, around: NDArray) -> NDArray:
    noise = ValueNoise(spec.seed, "iris")
    iris_radius = 0.43 + 0.09 * spec.eyes.iris_size
    pupil_radius = 0.40 * iris_radius
    rho = np.where(polar < 1.5, np.sin(polar), 2.0)  # distance from the optical axis

    white = np.array([0.76, 0.72, 0.69]) * (1 - 0.22 * np.clip((polar - 0.5) / 1.2, 0, 1))[:, None]
    veins = np.clip(noise(points, 9) + noise(points, 23), 0, 1) * np.clip(polar - 0.65, 0, 1)
    white = white * (1 - 0.9 * veins[:, None] * np.array([0.08, 0.55, 0.55]))

    spokes = np.stack([np.cos(around) * 3, np.sin(around) * 3, rho * 1.2], -1)
    fibres = 1 + 1.1 * noise(spokes, 3.1) + 0.8 * noise(spokes, 7.3)
    ring = np.interp(rho / iris_radius, (0.35, 0.55, 0.8, 1.0), (1.45, 1.15, 0.95, 0.6))
    iris = np.array(palette.IRIS[spec.eyes.color]) * (fibres * ring)[:, None]
    warm = np.exp(-(((rho - pupil_radius) / 0.07) ** 2))[:, None]
    iris = iris * (1 + warm * np.array([0.5, 0.15, -0.2]))

    def inside(radius: float, softness: float) -> NDArray:
        return np.clip((radius - rho) / softness + 0.5, 0, 1)[:, None]

    color = white + (np.clip(iris, 0.004, 1) - white) * inside(iris_radius, 0.05)
    limbus = np.exp(-(((rho - iris_radius + 0.015) / 0.04) ** 2))[:, None]
    color = color * (1 - 0.6 * limbus)
    color = color + (0.003 - color) * inside(pupil_radius, 0.03)
    # The lid hides the cornea where a lamp above would mirror itself; eyes without a glint
    # look blind, so a small window is painted where photographers place it.
    window = np.exp(-((((points - _GLINT) / 0.055) ** 2).sum(-1) ** 2))[:, None]
    return color + (1.0 - color) * 0.85 * window
