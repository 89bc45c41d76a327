"""Make the pictures of the README and of conventions.md: ``python docs/figures.py``.

Needs the development extras (matplotlib) and the head assets, which pip fetches once.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from any3davatar.anyhead.people import draw, person
from any3davatar.core import Cameras
from any3davatar.core.images import composite
from any3davatar.core.rigs import CANONICAL_AZIMUTHS_DEG, RADIUS, direction, orbit

HERE = Path(__file__).parent
PERSON = 3
INK = "#222222"
AXIS_COLORS = {"x": "#d33682", "y": "#2a9d3a", "z": "#2563c9"}


def pixels(camera: Cameras, points: list[list[float]]) -> np.ndarray:
    """Project points by a single camera."""
    return camera.project(torch.tensor(points)[None])[0][0].numpy()


def arrow(
    axes: Axes,
    ends: np.ndarray,
    color: str,
    text: str,
    beyond_px: float = 20,
    shift_px: tuple[float, float] = (0, 0),
) -> None:
    """Draw an arrow with its name beyond the tip, shifted where that place is taken."""
    start, end = ends
    style = {"arrowstyle": "-|>", "color": color, "lw": 2.2, "mutation_scale": 16}
    axes.annotate("", end, start, arrowprops=style)
    place = end + beyond_px * (end - start) / (np.linalg.norm(end - start) + 1e-9) + shift_px
    axes.text(
        float(place[0]),
        float(place[1]),
        text,
        color=color,
        ha="center",
        va="center",
        fontsize=10,
        weight="bold",
    )


def world_and_camera(axes: Axes) -> None:
    """Draw the head, the world's axes, and a front camera with its own axes."""
    viewer = orbit([38.0], [22.0], size_px=640, radius=6.2, vertical_fov_deg=34.0)
    drawn = draw(person(PERSON), viewer, 2)
    picture = composite(drawn.rgb, drawn.alpha, torch.ones(3))[0]
    axes.imshow(picture.permute(1, 2, 0).numpy())
    origin = [0.0, 0.0, 0.0]
    names = {"x": "+x  subject's left", "y": "+y  up", "z": "+z  face"}
    for i, (name, text) in enumerate(names.items()):
        tip = [0.0, 0.0, 0.0]
        tip[i] = 0.95 if name == "z" else 1.15
        shift = (-12, -22) if name == "z" else (30, 0) if name == "x" else (0, 0)
        arrow(axes, pixels(viewer, [origin, tip]), AXIS_COLORS[name], text, shift_px=shift)

    front = orbit([0.0], [0.0], size_px=64, radius=2.3, vertical_fov_deg=44.0)
    to_world = front.camera_to_world[0]
    center = to_world[:3, 3]

    def world(x: float, y: float, z: float) -> list[float]:
        return (to_world[:3, :3] @ torch.tensor([x, y, z]) + center).tolist()

    half = 0.26
    corners = [world(sx * half, sy * half, 0.62) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    apex, *frame = pixels(viewer, [center.tolist(), *corners])
    for a, b in zip(frame, [*frame[1:], frame[0]], strict=True):
        axes.plot(*zip(a, b, strict=True), color=INK, lw=1.3)
    for corner in frame:
        axes.plot(*zip(apex, corner, strict=True), color=INK, lw=0.9)
    for (x, y, z), name, text in (
        ((0.5, 0, 0), "x", "x right"),
        ((0, 0.5, 0), "y", "y down"),
        ((0, 0, 0.45), "z", "z forward"),
    ):
        ends = pixels(viewer, [center.tolist(), world(x, y, z)])
        shift = (-46, -26) if name == "z" else (0, 0)
        arrow(axes, ends, AXIS_COLORS[name], text, shift_px=shift)
    axes.set_title("World axes, and the axes of a camera in front (OpenCV)", color=INK)
    axes.set_xlim(0, 640)
    axes.set_ylim(640, 0)
    axes.axis("off")


def azimuths(axes: Axes) -> None:
    """Draw the head from above, with the cameras of one ring around it."""
    above = orbit([0.0], [89.0], size_px=640, radius=9.0, vertical_fov_deg=44.0)
    drawn = draw(person(PERSON), above, 2)
    axes.imshow(composite(drawn.rgb, drawn.alpha, torch.ones(3))[0].permute(1, 2, 0).numpy())
    names = {angle: name for name, angle in CANONICAL_AZIMUTHS_DEG.items()}
    ring = pixels(above, [(RADIUS * direction(a, 0)).float().tolist() for a in range(0, 361, 3)])
    axes.plot(*ring.T, color="#bbbbbb", lw=1, zorder=0)
    for angle in range(-135, 181, 45):
        place = (RADIUS * direction(angle, 0)).float()
        spot, toward = pixels(above, [place.tolist(), (0.8 * place).tolist()])
        canonical = float(angle) in names
        color = AXIS_COLORS["z"] if canonical else "#999999"
        axes.annotate("", toward, spot, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.6})
        label = f"{angle:+d}°" if angle not in (0, 180) else f"{angle}°"
        if canonical:
            label += f"\n{names[float(angle)]}"
        outward = spot + 0.17 * (spot - 320)
        axes.text(
            float(outward[0]),
            float(outward[1]),
            label,
            ha="center",
            va="center",
            color=color,
            fontsize=10,
        )
    axes.set_title("Azimuth, seen from above: positive toward the subject's left", color=INK)
    axes.set_xlim(0, 640)
    axes.set_ylim(640, 0)
    axes.axis("off")


def main() -> None:
    """Write docs/conventions.png."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6.6), dpi=100)
    world_and_camera(left)
    azimuths(right)
    figure.tight_layout(pad=1.2, rect=(0, 0, 1, 0.97))
    figure.savefig(HERE / "conventions.png")


if __name__ == "__main__":
    main()
