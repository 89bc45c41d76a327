"""The pictures of a protocol: what methods are given, what they must draw, and the truth.

True pictures are cut and resampled once, to 8-bit RGBA with straight alpha at the protocol's size,
and kept in the user's cache under the digest of everything that decides them. Whoever scores, and
whoever is shown the input, sees these 8 bits and never the original.
"""

import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import torch

from a3d_bench.errors import BenchError
from a3d_bench.protocol import Picture, Protocol
from a3d_bench.types import Capture, Portrait
from any3davatar.cache import cache_root
from any3davatar.core import Cameras, InvalidInput, Views
from any3davatar.core.framing import framed, framed_camera
from any3davatar.core.images import composite, straight_rgb
from any3davatar.core.rigs import VERTICAL_FOV_DEG
from any3davatar.io import FormatError, atomic_path, read_png, write_png

_RECIPE = 1  # counted up when the preparation of pictures changes: old files in caches then rest
_WHOLE_FOV_DEG = 179.0  # wider than any picture: the largest square


def protocol_cameras(capture: Capture, picture: Picture) -> Cameras:
    """Return the (V,) cameras of the protocol's pictures, in the canonical world."""
    return Cameras.concatenate(
        [_camera(capture.cameras[v], picture).reshape(1) for v in range(len(capture))]
    )


def truth_view(capture: Capture, index: int, picture: Picture) -> Views:
    """Return a true picture as the protocol wants it: straight colour and alpha, in 255ths.

    Args:
        capture: whose view.
        index: of the view.
        picture: size, window, background.

    Raises:
        BenchError: the picture is damaged, missing, or of another size than its camera; the message
            names capture, view and file.
    """
    path = _cached(capture, index, picture)
    return _read_prepared(path)


def write_truth(capture: Capture, index: int, picture: Picture, path: Path) -> None:
    """Put a prepared true picture in place, as a hard link into the cache where that works.

    Args:
        capture: whose view.
        index: of the view.
        picture: size, window, background.
        path: where; its folder is made.

    Raises:
        BenchError: as in `truth_view`.
        OSError: it can't be written.
    """
    prepared = _cached(capture, index, picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.unlink()
        try:
            os.link(prepared, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(prepared, temporary)


def portrait_of(capture: Capture, protocol: Protocol) -> Portrait:
    """Return what methods are given: the input view as the protocol shows it.

    Raises:
        BenchError: as in `truth_view`.
    """
    picture = protocol.picture
    view = truth_view(capture, capture.input_view, picture)
    background = torch.tensor(picture.background)
    rgb = composite(view.rgb, view.alpha, background)
    return Portrait(
        id=capture.id,
        # To 8 bits again, so that methods in this process and behind a file see the same.
        rgb=(rgb * 255).round() / 255,
        alpha=view.alpha if protocol.input.shows_alpha else None,
        background=background,
        camera=_camera(capture.cameras[capture.input_view], picture)
        if protocol.input.shows_camera
        else None,
    )


def source_size_px(picture: Picture) -> int:
    """Return how large our own rig's pictures must be, so that the window has the wanted size."""
    if picture.vertical_fov_deg is None or picture.vertical_fov_deg >= VERTICAL_FOV_DEG:
        return picture.size_px
    narrower = math.tan(math.radians(VERTICAL_FOV_DEG) / 2) / math.tan(
        math.radians(picture.vertical_fov_deg) / 2
    )
    # Even, so that the principal point lies between pixels; the window is then even too.
    return 2 * round(picture.size_px * narrower / 2)


def _camera(camera: Cameras, picture: Picture) -> Cameras:
    fov = picture.vertical_fov_deg or _WHOLE_FOV_DEG
    return framed_camera(camera, size_px=picture.size_px, vertical_fov_deg=fov)


def _cached(capture: Capture, index: int, picture: Picture) -> Path:
    """Return the prepared picture in the cache, made if it is not there."""
    try:
        path = cache_root() / "truth" / f"{_key(capture, index, picture)}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            prepared = _prepared(capture, index, picture)
            write_png(path, prepared.rgb, prepared.alpha)
        return path
    except (FormatError, InvalidInput, OSError) as error:
        raise BenchError(
            f"{capture.id}, view {index} ({capture.view_names[index]}): {error}"
        ) from error


def _key(capture: Capture, index: int, picture: Picture) -> str:
    """Return the digest of everything that decides a prepared picture's pixels."""
    cameras = capture.cameras
    parts = {
        "recipe": _RECIPE,
        "source": capture.views[index].sha256,
        "K": cameras.K[index].tolist(),
        "size": [cameras.width, cameras.height],
        "picture": picture.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _prepared(capture: Capture, index: int, picture: Picture) -> Views:
    background = torch.tensor(picture.background)
    view, _ = framed(
        capture.views[index].read(),
        capture.cameras[index],
        background,
        size_px=picture.size_px,
        vertical_fov_deg=picture.vertical_fov_deg or _WHOLE_FOV_DEG,
    )
    return Views(straight_rgb(view.rgb, view.alpha, background).clamp(0, 1), view.alpha)


def _read_prepared(path: Path) -> Views:
    rgb, alpha = read_png(path)
    if alpha is None:
        raise BenchError(f"{path}: got a picture without alpha; delete it, and it is made again")
    return Views(rgb, alpha)
