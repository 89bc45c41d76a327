"""Photographs as people have them: JPEG, PNG, WebP, TIFF, GIF or BMP, of any mode and size.

Upright by EXIF, sRGB by the embedded profile, 8 bits, straight alpha where the file has any. What
had to be decided on the way is said in words, so that a record can repeat it.
"""

import io
import os
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.io.errors import FormatError
from any3davatar.io.opening import read_whole

FILE_LIMIT_BYTES = 1 << 29
PIXELS_MAX = 178_000_000  # Pillow refuses more, as a likely decompression bomb
SIDE_MIN_PX = 16
SIDE_KEPT_PX = 2048  # no face crop of ours needs more; a 100-megapixel file would take 1.2 GB
_EXIF_ORIENTATION = 0x0112
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph.

    Attributes:
        rgb: (3, H, W) sRGB in [0, 1], upright.
        alpha: (1, H, W) straight, or None where the file has none or it is opaque everywhere.
        notes: what was decided while reading, in words.
    """

    rgb: Float[Tensor, "3 H W"]
    alpha: Float[Tensor, "1 H W"] | None
    notes: tuple[str, ...]


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """Read a photograph.

    Its longest side is reduced to 2048 pixels. Of an animation, the first picture is taken.

    Raises:
        FormatError: not a picture of these formats, truncated, damaged, too large or too small.
        OSError: the file can't be opened.
    """
    from PIL import Image, UnidentifiedImageError

    content = read_whole(path, FILE_LIMIT_BYTES)
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            # Between 89 and 178 megapixels Pillow warns; what it warns of is measured right here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_size(path, image.size)
                if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                    notes.append(f"the first of {getattr(image, 'n_frames', 1)} pictures")
                orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
                profile = image.info.get("icc_profile")
                if max(image.size) > SIDE_KEPT_PX:
                    notes.append(f"reduced from {image.size[0]} x {image.size[1]} pixels")
                image.draft("RGB", (SIDE_KEPT_PX, SIDE_KEPT_PX))  # a JPEG, by 2, 4 or 8
                channels = _channels(_eight_bits(image, notes), profile, notes)
    except FormatError:
        raise
    except UnidentifiedImageError as error:  # whose text names a place in memory
        raise FormatError(
            f"{path}: not a picture of a format that is read; expected a {', '.join(FORMATS)} "
            "file. Save it as one of them"
        ) from error
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        raise FormatError(
            f"{path}: not a readable picture ({type(error).__name__}: {error}); expected a whole "
            f"{', '.join(FORMATS)} file. Save it again from an image viewer"
        ) from error
    channels = _upright(channels, orientation, notes)
    pixels = torch.from_numpy(np.array(channels)).permute(2, 0, 1).float().div_(255)
    rgb, alpha = pixels[:3].contiguous(), pixels[3:]
    if not len(alpha) or bool((alpha == 1).all()):
        return Photo(rgb, None, tuple(notes))
    return Photo(rgb, alpha.contiguous(), tuple(notes))


def _check_size(path: str | os.PathLike[str], size: tuple[int, int]) -> None:
    width, height = size
    if width * height > PIXELS_MAX:
        raise FormatError(
            f"{path}: got {width} x {height} pixels, expected at most {PIXELS_MAX / 1e6:.0f} "
            "megapixels; make it smaller first"
        )
    if min(width, height) < SIDE_MIN_PX:
        raise FormatError(
            f"{path}: got {width} x {height} pixels, expected at least {SIDE_MIN_PX} on each side; "
            "no face can be made out in it"
        )


def _eight_bits(image, notes: list[str]):
    """Return the picture with at most 8 bits a channel, and not larger than what is kept."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        notes.append(f"{image.mode} reduced to 8 bits")
        image_8 = Image.fromarray(np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8))
        image_8.info.update(image.info)
    else:
        image_8 = image
        image_8.load()
    if max(image_8.size) > SIDE_KEPT_PX:
        if image_8.mode == "P":
            image_8 = image_8.convert("RGBA" if "transparency" in image_8.info else "RGB")
        image_8 = image_8.copy()
        image_8.thumbnail((SIDE_KEPT_PX, SIDE_KEPT_PX), reducing_gap=3.0)
    return image_8


def _channels(image, profile: bytes | None, notes: list[str]) -> np.ndarray:
    """Return (H, W, 3 or 4) bytes in sRGB."""
    has_alpha = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    alpha = image.convert("RGBA").getchannel("A") if has_alpha else None
    color = image
    if image.mode == "P":
        color = image.convert("RGB")
    elif image.mode in ("LA", "La", "1"):
        color = image.convert("L")
    elif image.mode in ("RGBA", "RGBa", "PA"):
        color = image.convert("RGBA").convert("RGB")
    if profile:
        color = _to_srgb(color, profile, notes)
    if color.mode != "RGB":
        notes.append(f"{color.mode} converted to RGB")
        color = color.convert("RGB")
    pixels = np.asarray(color)
    return pixels if alpha is None else np.dstack([pixels, np.asarray(alpha)])


def _upright(pixels: np.ndarray, orientation: int, notes: list[str]) -> np.ndarray:
    """Undo the camera's orientation: EXIF tag 274, values 2 to 8."""
    if orientation not in range(2, 9):
        return pixels
    notes.append("turned upright by EXIF")
    if orientation >= 5:  # rows and columns are exchanged
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _to_srgb(color, profile: bytes, notes: list[str]):
    from PIL import ImageCms

    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(embedded).strip()
        converted = ImageCms.profileToProfile(
            color, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError) as error:
        notes.append(f"its colour profile can't be used ({error}): taken as sRGB")
        return color
    if "srgb" not in name.lower():
        notes.append(f"converted from {name}")
    return converted if converted is not None else color
