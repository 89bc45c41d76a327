"""True pictures that are read when they are asked for: PNG and JPEG files, frames of videos.

A source's digest stands for everything that decides its pixels: the bytes of its files, the number
of the frame, the colour correction, and where alpha came from.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.captures.color import corrected
from a3d_bench.errors import BenchError
from any3davatar.core import Views
from any3davatar.io import FormatError, read_png, read_video_frame
from any3davatar.io.limits import PIXELS_MAX
from any3davatar.io.opening import read_whole

AlphaFrom = Literal["picture", "mask", "selfie segmentation"]
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
_JPEG_LIMIT_BYTES = 1 << 28
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_WITH_ALPHA = (4, 6)


@dataclass(frozen=True)
class RecordedPicture:
    """An RGBA picture whose digest was recorded when it was made.

    Attributes:
        path: the PNG.
        sha256: its recorded digest; other bytes are refused.
        width: pixels.
        height: pixels.
    """

    path: Path
    sha256: str
    width: int
    height: int

    def read(self) -> Views:
        """Return the picture; see `a3d_bench.types.ViewSource`."""
        if file_sha256(self.path) != self.sha256:
            raise FormatError(
                f"{self.path}: its SHA-256 is not the recorded one; the file was changed after it "
                "was made. Restore it, or build or import the data again"
            )
        rgb, alpha = read_png(self.path)
        if alpha is None:
            raise FormatError(f"{self.path}: got a picture without alpha, expected RGBA")
        return _sized(self.path, Views(rgb, alpha), self.width, self.height)


@dataclass(frozen=True)
class PictureFile:
    """A picture of somebody else's, with its alpha from wherever it is.

    Attributes:
        path: PNG or JPEG.
        alpha_from: the picture itself, `mask`, or a network.
        mask: a picture whose first channel is the foreground, for ``mask``.
        width: pixels.
        height: pixels.
    """

    path: Path
    alpha_from: AlphaFrom
    mask: Path | None
    width: int
    height: int

    @property
    def sha256(self) -> str:
        """Digest of the files and of where alpha comes from."""
        files = [self.path] if self.mask is None else [self.path, self.mask]
        return _digest(self.alpha_from, *(file_sha256(path) for path in files))

    def read(self) -> Views:
        """Return the picture; see `a3d_bench.types.ViewSource`."""
        rgb, own_alpha = read_picture(self.path)
        if self.alpha_from == "picture":
            if own_alpha is None:
                raise FormatError(f"{self.path}: got a picture without alpha, expected RGBA")
            alpha = own_alpha
        elif self.mask is not None:
            alpha = _sized_mask(self.mask, read_picture(self.mask)[0][:1], rgb)
        else:
            alpha = _selfie_matte(rgb)
        return _sized(self.path, Views(rgb, alpha), self.width, self.height)


@dataclass(frozen=True)
class Frame:
    """One frame of a video, or of a folder of numbered pictures.

    Attributes:
        path: the video, or the folder that holds ``00000.png``, ``00001.png``, ...
        index: of the frame, from 0.
    """

    path: Path
    index: int

    @property
    def file(self) -> Path:
        """The file that the pixels are in."""
        return self.path / f"{self.index:05d}.png" if self.path.suffix != ".mp4" else self.path

    def read(self) -> Float[Tensor, "3 H W"]:
        """Return its colours.

        Raises:
            FormatError: damaged, or the video has fewer frames.
            OSError: it can't be opened.
        """
        if self.path.suffix == ".mp4":
            return read_video_frame(self.path, self.index)
        return read_png(self.file)[0]


@dataclass(frozen=True, eq=False)
class CorrectedFrame:
    """A frame of a calibrated camera.

    Attributes:
        frame: its colours as they were stored.
        alpha: a frame that shows its alpha, or None where a network has to find it.
        correction: (3, T) colour correction, or None; see `a3d_bench.captures.color`.
        width: pixels.
        height: pixels.
    """

    frame: Frame
    alpha: Frame | None
    correction: Float[Tensor, "3 T"] | None
    width: int
    height: int

    @property
    def sha256(self) -> str:
        """Digest of the files, the frame, the correction, and where alpha comes from."""
        matrix = None if self.correction is None else self.correction.tolist()
        return _digest(
            file_sha256(self.frame.file),
            self.frame.index,
            "selfie segmentation" if self.alpha is None else file_sha256(self.alpha.file),
            matrix,
        )

    def read(self) -> Views:
        """Return the picture; see `a3d_bench.types.ViewSource`."""
        rgb = self.frame.read()
        if self.correction is not None:
            rgb = corrected(rgb, self.correction)
        if self.alpha is None:
            alpha = _selfie_matte(rgb)
        else:
            alpha = _sized_mask(self.alpha.path, self.alpha.read()[:1], rgb)
        return _sized(self.frame.file, Views(rgb, alpha), self.width, self.height)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal; the file is read once as long as it stays."""
    state = path.stat()
    return _file_sha256(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1 << 16)
def _file_sha256(path: Path, _size: int, _modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_picture(path: Path) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "1 H W"] | None]:
    """Return colour and alpha of a PNG, or the colour of a JPEG; told apart by their bytes.

    A JPEG's orientation tag is not applied: calibrations are of stored pixels.

    Raises:
        FormatError: damaged, of another kind, or too large.
        OSError: it can't be opened.
    """
    if _begins(path, len(_PNG_SIGNATURE)) == _PNG_SIGNATURE:
        return read_png(path)
    from PIL import Image

    content = read_whole(path, _JPEG_LIMIT_BYTES)
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.width * image.height > PIXELS_MAX:
                raise FormatError(f"{path}: got {image.width} x {image.height} pixels: too large")
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path}: no readable PNG or JPEG ({error}); restore the file") from error
    planes = np.moveaxis(pixels, -1, 0).astype(np.float32, order="C") / np.float32(255)
    return torch.from_numpy(planes), None


def has_alpha(path: Path) -> bool:
    """Return whether a file is a PNG with an alpha channel, by its header."""
    header = _begins(path, 26)
    return header[:8] == _PNG_SIGNATURE and len(header) == 26 and header[25] in _PNG_WITH_ALPHA


def checked_inside(root: Path, path: Path) -> Path:
    """Return a file of a data set, or raise `BenchError`: missing, or a link out of its folder."""
    if not path.is_file():
        raise BenchError(f"{path}: the file is missing; restore it")
    if not path.resolve().is_relative_to(root.resolve()):
        raise BenchError(
            f"{path}: is a link that leads out of {root}; expected the file itself. Copy it there"
        )
    return path


def _begins(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _sized(path: Path, views: Views, width: int, height: int) -> Views:
    got_height, got_width = views.rgb.shape[-2:]
    if (got_width, got_height) != (width, height):
        raise FormatError(
            f"{path}: got {got_width} x {got_height} pixels, expected the {width} x {height} that "
            "its camera was calibrated for; restore the picture or correct the camera file"
        )
    return views


def _sized_mask(path: Path, mask: Tensor, rgb: Tensor) -> Tensor:
    if mask.shape[-2:] != rgb.shape[-2:]:
        raise FormatError(
            f"{path}: got a mask of {mask.shape[-1]} x {mask.shape[-2]} pixels, expected the "
            f"picture's {rgb.shape[-1]} x {rgb.shape[-2]}"
        )
    return mask.contiguous()


def _selfie_matte(rgb: Float[Tensor, "3 H W"]) -> Float[Tensor, "1 H W"]:
    from any3davatar.faces import selfie_matte

    return selfie_matte(rgb)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, allow_nan=False).encode()).hexdigest()


def digest_of(parts: Iterable[object]) -> str:
    """Return the SHA-256 of JSON values in order, hexadecimal."""
    return _digest(*parts)
