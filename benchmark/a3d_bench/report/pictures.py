"""The pictures of a report: views at display size, and maps of where they differ.

A map goes from black for 0 through red and yellow to white: of the mean absolute difference of the
three channels up to `FULL_SCALE` and above; of FLIP, what a person would see of it, up to 1.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from a3d_bench.metrics.flip import flip_map

DISPLAY_PX = 256
LOSSLESS_UP_TO_PX = 128
FULL_SCALE = 0.5
_PIXEL_LIMIT = 1 << 25

RGB = UInt8[np.ndarray, "_ _ 3"]


def read_over(path: Path, background: tuple[float, float, float]) -> RGB | None:
    """Return a picture over a background, or None where there is none that can be read."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _PIXEL_LIMIT:
                return None
            rgba = np.asarray(opened.convert("RGBA"), dtype=np.float32) / 255
    except (OSError, ValueError, SyntaxError):
        return None
    alpha = rgba[..., 3:]
    over = rgba[..., :3] * alpha + np.asarray(background, np.float32) * (1 - alpha)
    return np.round(over * 255).astype(np.uint8)


def difference_map(prediction: RGB, truth: RGB) -> RGB | None:
    """Return where two pictures differ, or None where their sizes do."""
    if prediction.shape != truth.shape:
        return None
    gap = np.abs(prediction.astype(np.float32) - truth.astype(np.float32)).mean(-1) / 255
    return _heat(np.clip(gap / FULL_SCALE, 0, 1))


def flip_heat(prediction: RGB, truth: RGB) -> RGB | None:
    """Return where a person would see two pictures differ, or None where their sizes do."""
    if prediction.shape != truth.shape:
        return None
    return _heat(flip_map(truth.astype(np.float32) / 255, prediction.astype(np.float32) / 255))


def write_display(picture: RGB, path: Path) -> None:
    """Write a picture as WebP at display size; small ones without loss."""
    image = Image.fromarray(picture)
    lossless = max(image.size) <= LOSSLESS_UP_TO_PX
    image = _shrunk(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "WEBP", lossless=lossless, quality=88, method=2)


def _shrunk(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest <= DISPLAY_PX:
        return image
    width, height = (max(1, round(side * DISPLAY_PX / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _heat(values: Float[np.ndarray, "H W"]) -> RGB:
    """Return black, red, yellow, white for 0 to 1."""
    channels = [np.clip(3 * values - start, 0, 1) for start in (0, 1, 2)]
    return np.round(np.stack(channels, -1) * 255).astype(np.uint8)
