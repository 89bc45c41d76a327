"""Captures of a folder with a camera file.

Kinds: ``transforms.json`` (nerfstudio, VHAP, Blender), ``opencv_cameras.json`` (FaceLift), and our
``cameras.json``. A folder is one head at one moment; a folder of such folders is a set. Alpha is
the pictures' own, else the masks that the file names, else a network's, in that order and for a
capture as a whole.
"""

from collections.abc import Sequence
from pathlib import Path

from a3d_bench.captures.canonical import (
    OUR_FRAME,
    Placed,
    frontal_view,
    placed_by_cameras,
    placed_by_frame,
)
from a3d_bench.captures.found import Found, Problem
from a3d_bench.captures.sources import AlphaFrom, PictureFile, checked_inside, has_alpha
from a3d_bench.errors import BenchError
from a3d_bench.types import Capture
from any3davatar.core import InvalidInput
from any3davatar.io import CameraFile, FormatError, read_camera_file
from any3davatar.io.json_file import read_json_object

CAMERA_FILES = ("cameras.json", "opencv_cameras.json", "transforms.json")
_FRAME_OF_KIND = {"w2c": "facelift", "world_to_camera": OUR_FRAME}


def camera_file_in(folder: Path) -> Path | None:
    """Return the camera file of a folder, or None."""
    return next((folder / name for name in CAMERA_FILES if (folder / name).is_file()), None)


def read_camera_folders(files: Sequence[Path], root: Path, frame: str | None) -> Found:
    """Read captures, one a camera file.

    Args:
        files: camera files, in `root` or in folders directly in it.
        root: the data set's folder; its name is the data set's.
        frame: a key of `any3davatar.core.frames.WORLD_FRAMES`; None to guess, which is noted.
    """
    captures: list[Capture] = []
    problems: list[Problem] = []
    for file in files:
        name = file.parent.resolve().name
        try:
            captures.append(
                camera_capture(
                    file, id=name, subject=name, dataset=root.resolve().name, frame=frame
                )
            )
        except (BenchError, FormatError, InvalidInput, OSError) as error:
            problems.append(Problem(name, str(error)))
    views = sum(len(capture) for capture in captures)
    return Found(
        "cameras",
        f"{len(captures)} capture(s) with {files[0].name} in {root}: {views} views",
        tuple(sorted(captures, key=lambda capture: capture.id)),
        tuple(problems),
    )


def camera_capture(
    file: Path, *, id: str, subject: str, dataset: str, frame: str | None
) -> Capture:
    """Read the capture of one camera file.

    Args:
        file: the camera file, beside or above its pictures.
        id: of the capture.
        subject: whose head it is.
        dataset: where it comes from.
        frame: as in `read_camera_folders`.

    Raises:
        BenchError: a picture is missing or leads out of the folder, or the frame is unknown.
        FormatError: the camera file is damaged.
        OSError: it can't be opened.
    """
    read = read_camera_file(file)
    pictures = _pictures(file, read)
    alpha_from = _alpha_from(pictures, read)
    placed = _placed(file, read, frame)
    cameras = placed.to_canonical.apply_to_cameras(read.cameras)
    return Capture(
        id=id,
        subject=subject,
        dataset=dataset,
        input_view=frontal_view(cameras),
        cameras=cameras,
        views=tuple(
            PictureFile(
                picture,
                alpha_from,
                mask if alpha_from == "mask" else None,
                cameras.width,
                cameras.height,
            )
            for picture, mask in zip(pictures, read.mask_paths, strict=True)
        ),
        view_names=read.names,
        to_canonical=placed.to_canonical,
        notes={"frame": placed.how, "alpha": _WORDS[alpha_from]},
    )


_WORDS: dict[AlphaFrom, str] = {
    "picture": "the pictures' own",
    "mask": "the masks of the camera file",
    "selfie segmentation": "matte: selfie segmentation",
}


def _pictures(file: Path, read: CameraFile) -> list[Path]:
    pictures = []
    for name, path in zip(read.names, read.image_paths, strict=True):
        if path is None:
            raise BenchError(f"{file}: the frame {name!r} names no picture; add its path")
        pictures.append(checked_inside(file.parent, path))
    for mask in read.mask_paths:
        if mask is not None:
            checked_inside(file.parent, mask)
    return pictures


def _alpha_from(pictures: Sequence[Path], read: CameraFile) -> AlphaFrom:
    if all(has_alpha(picture) for picture in pictures):
        return "picture"
    return "mask" if all(mask is not None for mask in read.mask_paths) else "selfie segmentation"


def _placed(file: Path, read: CameraFile, frame: str | None) -> Placed:
    if frame is not None:
        return placed_by_frame(read.cameras, frame, stated=True)
    keys = read_json_object(file).objects("frames")[0].values
    for key, usual in _FRAME_OF_KIND.items():
        if key in keys:
            return placed_by_frame(read.cameras, usual, stated=False)
    return placed_by_cameras(read.cameras)
