"""A drawing of a capture's cameras, from above and from the left, with their angles.

One look tells whether a frame was converted rightly: in the view from above the face looks down the
page, where the camera at azimuth 0 must stand.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from a3d_bench.types import Capture
from any3davatar.core.rigs import angles_of
from any3davatar.io import atomic_path

if TYPE_CHECKING:
    from PIL import ImageDraw

_PANEL_PX = 560
_HEADER_PX = 64
_MARGIN = 1.22  # room around the farthest camera, as a factor
_INK, _FAINT, _SKIN = (30, 30, 34), (190, 190, 196), (235, 214, 196)
_INPUT, _VIEW = (200, 40, 40), (50, 90, 170)
_LABEL_APART_PX = 34

Point = tuple[float, float, float]
Pixel = tuple[float, float]


def draw_cameras(capture: Capture, path: Path) -> None:
    """Write a PNG: cameras from above (left half) and from the subject's left (right half).

    Labels are azimuth and elevation in degrees; where labels would touch, one stands for them.

    Raises:
        OSError: it can't be written.
    """
    from PIL import Image, ImageDraw

    size = (2 * _PANEL_PX, _PANEL_PX + _HEADER_PX)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    azimuths, elevations = angles_of(capture.cameras.centers)
    reach = float(capture.cameras.centers.norm(dim=-1).max()) * _MARGIN
    input_name = capture.view_names[capture.input_view]
    _text(draw, (12, 8), f"{capture.id}: {len(capture)} cameras, input {input_name} (red)", 16)
    _text(draw, (12, 34), "from above: the face looks down, the subject's left is on the right", 13)
    _text(draw, (_PANEL_PX + 12, 34), "from the subject's left: the face looks left", 13)
    labels = [_whole(azimuth) for azimuth in azimuths], [_whole(angle) for angle in elevations]
    # x right and z down the page seen from above; z left and y up seen from the subject's left.
    looks: tuple[Callable[[Point], Pixel], ...] = (
        lambda p: (p[0], p[2]),
        lambda p: (-p[2], -p[1]),
    )
    for panel, (look, texts) in enumerate(zip(looks, labels, strict=True)):
        _panel(draw, capture, panel * _PANEL_PX, reach, look, texts)
    with atomic_path(path) as temporary:
        image.save(temporary, "PNG")


def _panel(
    draw: "ImageDraw.ImageDraw",
    capture: Capture,
    left: int,
    reach: float,
    look: Callable[[Point], Pixel],
    texts: Iterable[str],
) -> None:
    scale = _PANEL_PX / 2 / reach
    middle = (left + _PANEL_PX / 2, _HEADER_PX + _PANEL_PX / 2)

    def page(point: Point) -> Pixel:
        x, y = look(point)
        return middle[0] + scale * x, middle[1] + scale * y

    draw.ellipse(_circle(middle, scale), fill=_SKIN, outline=_FAINT)
    _arrow(draw, page((0.0, 0.0, 0.0)), page((0.0, 0.0, 1.0)))
    centers = capture.cameras.centers.tolist()
    forward = capture.cameras.world_to_camera[:, 2, :3].tolist()
    taken: list[Pixel] = []
    words = list(texts)

    def color_of(v: int) -> tuple[int, int, int]:
        return _INPUT if v == capture.input_view else _VIEW

    def outer_first(v: int) -> tuple[bool, float]:
        return v != capture.input_view, -math.dist(page(tuple(centers[v])), middle)

    # Labels from the outside in, so that they stand where no other camera is; cameras the other way
    # round, so that the input is drawn over the rest.
    order = sorted(range(len(capture)), key=outer_first)
    for v in reversed(order):
        here = page(tuple(centers[v]))
        ahead = page(tuple(c + reach / 9 * f for c, f in zip(centers[v], forward[v], strict=True)))
        draw.line([here, ahead], fill=color_of(v), width=2)
        draw.ellipse(_circle(here, 4), fill=color_of(v))
    for v in order:
        here = page(tuple(centers[v]))
        away = (here[0] - middle[0], here[1] - middle[1])
        length = math.hypot(*away) or 1.0
        label = (here[0] + 20 * away[0] / length, here[1] + 20 * away[1] / length)
        if all(math.dist(label, other) >= _LABEL_APART_PX for other in taken):
            taken.append(label)
            _text(draw, label, words[v], 13, color=color_of(v), anchor="mm")


def _whole(angle_deg: Tensor) -> str:
    return f"{round(float(angle_deg)) + 0}"


def _circle(middle: Pixel, radius: float) -> tuple[float, float, float, float]:
    return (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius)


def _arrow(draw: "ImageDraw.ImageDraw", start: Pixel, end: Pixel) -> None:
    draw.line([start, end], fill=_INK, width=2)
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    for turn in (2.6, -2.6):
        tip = (end[0] + 10 * math.cos(angle + turn), end[1] + 10 * math.sin(angle + turn))
        draw.line([end, tip], fill=_INK, width=2)


def _text(
    draw: "ImageDraw.ImageDraw",
    at: Pixel,
    text: str,
    size: int,
    *,
    color: tuple[int, int, int] = _INK,
    anchor: str = "la",
) -> None:
    from PIL import ImageFont

    draw.text(at, text[:120], fill=color, font=ImageFont.load_default(size), anchor=anchor)
