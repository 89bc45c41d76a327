"""Camera files: our ``cameras.json``, FaceLift's ``opencv_cameras.json``, and ``transforms.json``.

Ours is one object::

    {"format": "any3davatar.cameras", "version": 1, "width": 512, "height": 512,
     "frames": [{"name": "front", "image": "images/front.png",
                 "world_to_camera": [[...4], [...4], [...4], [...4]],
                 "K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}, ...]}

OpenCV axes (x right, y down, z forward), pixels with the centre of the first at (0.5, 0.5), a name
a frame, the image optional and relative to the file. All cameras of a file share one image size.
Worlds are the file's own; `any3davatar.core.frames` turns them.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from any3davatar.core import Cameras, InvalidInput
from any3davatar.core.frames import cameras_from_opencv, cameras_from_opengl
from any3davatar.io.atomic import atomic_path
from any3davatar.io.errors import FormatError
from any3davatar.io.json_file import JsonObject, read_json_object

VERSION = 1
_FORMAT = "any3davatar.cameras"
_PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL")
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


@dataclass(frozen=True, eq=False)
class CameraFile:
    """The cameras of a capture, and where its pictures are.

    Attributes:
        cameras: (V,) cameras, float32, in the world of the file.
        names: one a camera, in file order, all different.
        image_paths: the pictures, inside the folder of the camera file; None where the file names
            none. Whether they exist is not checked.
        mask_paths: the same for foreground masks.
    """

    cameras: Cameras
    names: tuple[str, ...]
    image_paths: tuple[Path | None, ...]
    mask_paths: tuple[Path | None, ...]


def write_cameras(
    path: str | os.PathLike[str],
    cameras: Cameras,
    names: Sequence[str],
    image_paths: Sequence[str] | None = None,
) -> None:
    """Write our ``cameras.json``; float32 cameras come back bit for bit.

    Args:
        path: the file.
        cameras: (V,) cameras.
        names: V different names.
        image_paths: V paths of pictures, relative to the folder of the file, with ``/``.

    Raises:
        InvalidInput: invalid cameras, or counts and names that do not fit.
        FormatError: an image path that leaves the folder.
        OSError: the file can't be written.
    """
    cameras.validate()
    if len(cameras.batch_shape) != 1 or not len(cameras):
        raise InvalidInput(f"a file holds cameras (V,), V >= 1; got {cameras.batch_shape}")
    images = [None] * len(cameras) if image_paths is None else list(image_paths)
    if not len(cameras) == len(names) == len(images) == len(set(names)) or not all(names):
        raise InvalidInput(
            f"{len(cameras)} cameras need as many different, non-empty names (and images, if any); "
            f"got {len(set(names))} different names and {len(images)} images"
        )
    for image in images:
        if image is not None:
            _inside(path, image)
    frames = [
        {"name": name, "world_to_camera": world_to_camera, "K": K}
        | ({} if image is None else {"image": image})
        for name, image, world_to_camera, K in zip(
            names, images, cameras.world_to_camera.tolist(), cameras.K.tolist(), strict=True
        )
    ]
    content = {
        "format": _FORMAT,
        "version": VERSION,
        "width": cameras.width,
        "height": cameras.height,
        "frames": frames,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_cameras(path: str | os.PathLike[str]) -> CameraFile:
    """Read our ``cameras.json``.

    Raises:
        FormatError: damaged, of another kind or version, or cameras that no pinhole camera is.
        OSError: the file can't be opened.
    """
    return cameras_of(read_json_object(path))


def cameras_of(top: JsonObject) -> CameraFile:
    """Return the cameras of a file of ours that has been parsed; other members are left alone.

    Raises:
        FormatError: as `read_cameras`.
    """
    path = top.path
    if top.values.get("format") != _FORMAT:
        top.refuse("format", f"{_FORMAT!r} (other kinds have readers of their own)")
    if top.values.get("version") != VERSION:
        top.refuse("version", f"{VERSION}; a newer release may have written it")
    frames = top.objects("frames")
    cameras = _cameras(
        path,
        [frame.matrix("world_to_camera", 4, 4) for frame in frames],
        [frame.matrix("K", 3, 3) for frame in frames],
        (top.pixels("width"), top.pixels("height")),
    )
    return _camera_file(
        path,
        cameras,
        [frame.text("name") for frame in frames],
        [_path_of(frame, "image") for frame in frames],
    )


def read_opencv_cameras(path: str | os.PathLike[str]) -> CameraFile:
    """Read FaceLift's ``opencv_cameras.json``: ``w h fx fy cx cy`` and ``w2c`` a frame.

    The names are those of the pictures, without folder and suffix.

    Raises:
        FormatError: damaged, of another kind, several image sizes, or invalid cameras.
        OSError: the file can't be opened.
    """
    frames = read_json_object(path).objects("frames")
    sizes = [(frame.pixels("w"), frame.pixels("h")) for frame in frames]
    cameras = _cameras(
        path,
        [frame.matrix("w2c", 4, 4) for frame in frames],
        [_intrinsics(*(frame.number(key) for key in ("fx", "fy", "cx", "cy"))) for frame in frames],
        _one_size(path, sizes),
    )
    images = [frame.text("file_path") for frame in frames]
    return _camera_file(
        path,
        cameras,
        [PurePosixPath(image).stem for image in images],
        [_inside(path, image) for image in images],
    )


def read_transforms(
    path: str | os.PathLike[str], *, image_size: tuple[int, int] | None = None
) -> CameraFile:
    """Read a ``transforms.json`` of NeRF, Blender, nerfstudio or VHAP.

    Poses are OpenGL camera to world. Intrinsics, a frame or for all: ``fl_x``, ``fl_y``, ``cx``,
    ``cy`` in pixels, or ``camera_angle_x``; ``fl_y`` defaults to ``fl_x``, the principal point to
    the centre. ``applied_transform``, which nerfstudio notes for whoever wants COLMAP's world back,
    is left alone: the poses are in the file's world as they stand. Names are the paths of the
    pictures without suffix (a path without one is a PNG: Blender's habit).

    Args:
        path: the file.
        image_size: (width, height) in pixels, for files that state none (Blender's).

    Raises:
        FormatError: damaged, of another kind, several image sizes or none, a lens that is no
            pinhole, or invalid cameras.
        OSError: the file can't be opened.
    """
    top = read_json_object(path)
    frames = [
        JsonObject(path, frame.place, {**top.values, **frame.values})
        for frame in top.objects("frames")
    ]
    for frame in frames:
        _check_pinhole(frame)
    stated = [
        (frame.pixels("w"), frame.pixels("h"))
        for frame in frames
        if "w" in frame.values or "h" in frame.values or image_size is None
    ]
    size = _one_size(path, stated + ([image_size] if image_size is not None else []))
    images = [frame.text("file_path") for frame in frames]
    images = [image if PurePosixPath(image).suffix else f"{image}.png" for image in images]
    return _camera_file(
        path,
        _cameras_from_poses(path, frames, size),
        [str(PurePosixPath(image).with_suffix("")) for image in images],
        [_inside(path, image) for image in images],
        [_path_of(frame, "mask_path") or _path_of(frame, "fg_mask_path") for frame in frames],
    )


def read_camera_file(
    path: str | os.PathLike[str], *, image_size: tuple[int, int] | None = None
) -> CameraFile:
    """Read a camera file of any kind known here; the kind is told by its keys, not by its name.

    Args:
        path: ours, FaceLift's or a ``transforms.json``.
        image_size: as in `read_transforms`; the other kinds state their size.

    Raises:
        FormatError: of no known kind, or refused by the reader of its kind.
        OSError: the file can't be opened.
    """
    top = read_json_object(path)
    if "format" in top.values:
        return read_cameras(path)
    first = top.objects("frames")[0]
    if "w2c" in first.values:
        return read_opencv_cameras(path)
    if "transform_matrix" in first.values:
        return read_transforms(path, image_size=image_size)
    raise FormatError(
        f"{path}: got frames with the keys {', '.join(sorted(first.values))}, expected one of "
        "world_to_camera (ours, with 'format'), w2c (FaceLift) or transform_matrix "
        "(transforms.json); convert the cameras to one of these"
    )


def _cameras_from_poses(
    path: str | os.PathLike[str], frames: list[JsonObject], size: tuple[int, int]
) -> Cameras:
    poses = torch.tensor(
        [frame.matrix("transform_matrix", 4, 4) for frame in frames], dtype=torch.float64
    )
    K = torch.tensor(
        [_transforms_intrinsics(frame, *size) for frame in frames], dtype=torch.float64
    )
    last_row = poses.new_tensor([0.0, 0.0, 0.0, 1.0])
    if not torch.equal(poses[:, 3], last_row.expand(len(poses), 4)):
        raise FormatError(
            f"{path}: transform_matrix must end in the row 0, 0, 0, 1; is it transposed?"
        )
    try:
        cameras = cameras_from_opengl(poses, K, *size)
        return cameras.to(torch.float32).validate()
    except InvalidInput as error:
        raise FormatError(f"{path}: {error}") from error


def _transforms_intrinsics(frame: JsonObject, width: int, height: int) -> list[list[float]]:
    if "fl_x" in frame.values:
        fx = frame.number("fl_x")
    else:
        angle = frame.number("camera_angle_x")
        if not 0 < angle < math.pi:
            frame.refuse("camera_angle_x", "an angle in (0, pi), in radians")
        fx = width / 2 / math.tan(angle / 2)
    fy = frame.number("fl_y") if "fl_y" in frame.values else fx
    cx = frame.number("cx") if "cx" in frame.values else width / 2
    cy = frame.number("cy") if "cy" in frame.values else height / 2
    return _intrinsics(fx, fy, cx, cy)


def _check_pinhole(frame: JsonObject) -> None:
    model = frame.values.get("camera_model", _PINHOLE_MODELS[0])
    if model not in _PINHOLE_MODELS:
        frame.refuse("camera_model", f"one of {', '.join(_PINHOLE_MODELS)}; undistort the pictures")
    for key in _DISTORTION:
        if key in frame.values and frame.number(key) != 0:
            frame.refuse(key, "0: a lens without distortion; undistort the pictures")


def _intrinsics(fx: float, fy: float, cx: float, cy: float) -> list[list[float]]:
    return [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]


def _cameras(
    path: str | os.PathLike[str],
    world_to_camera: list[list[list[float]]],
    K: list[list[list[float]]],
    size: tuple[int, int],
) -> Cameras:
    try:
        return cameras_from_opencv(
            torch.tensor(world_to_camera, dtype=torch.float32),
            torch.tensor(K, dtype=torch.float32),
            *size,
        )
    except InvalidInput as error:
        raise FormatError(f"{path}: {error}") from error


def _one_size(path: str | os.PathLike[str], sizes: list[tuple[int, int]]) -> tuple[int, int]:
    if len(set(sizes)) != 1:
        different = ", ".join(f"{width} x {height}" for width, height in sorted(set(sizes))[:4])
        raise FormatError(
            f"{path}: got pictures of different sizes ({different}), expected one size; resize the "
            "pictures and their intrinsics, or split the file"
        )
    return sizes[0]


def _camera_file(
    path: str | os.PathLike[str],
    cameras: Cameras,
    names: list[str],
    image_paths: list[Path | None],
    mask_paths: list[Path | None] | None = None,
) -> CameraFile:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"{path}: two frames are named {repeated!r}, expected different names")
    masks = tuple(mask_paths) if mask_paths is not None else (None,) * len(names)
    return CameraFile(cameras, tuple(names), tuple(image_paths), masks)


def _path_of(frame: JsonObject, key: str) -> Path | None:
    return _inside(frame.path, frame.text(key)) if key in frame.values else None


def _inside(path: str | os.PathLike[str], relative: str) -> Path:
    """Return a path that a file names, or refuse one that leads out of the file's folder."""
    parts = PurePosixPath(relative)
    if (
        parts.is_absolute()
        or ".." in parts.parts
        or not parts.parts
        or set("\\:\0") & set(relative)
    ):
        raise FormatError(
            f"{path}: got the picture path {relative[:80]!r}, expected one inside the file's own "
            "folder: relative, with '/', without '..'. Move the pictures or the file"
        )
    return Path(path).parent / parts
