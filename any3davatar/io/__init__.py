"""File formats: the only place that knows about log-scales, logits and 8-bit numbers.

* Gaussians: `read_gaussians` and `write_gaussians` go by the suffix (.ply .splat .spz
  .safetensors); `read_ply` takes what only a method's author knows (`ColorRule`), and
  `gaussian_file_info` describes a file.
* Pictures: `read_png` and `write_png`, 8 and 16 bits; `read_photo`, for whatever people
  have. Videos: `write_mp4`, `read_video_frames`, `read_video_frame`.
* Cameras: `read_cameras` and `write_cameras` for our ``cameras.json``, `read_opencv_cameras` and
  `read_transforms` for other people's, `read_camera_file` for whichever it is.
* `atomic_path`: how every writer here puts its file in place, whole or not at all.

Readers raise `FormatError` for every file that they can't take, and `OSError` for a path that can't
be opened; they judge sizes before they allocate, and never wait for a pipe. Writers raise
`any3davatar.core.InvalidInput` for values that no file should hold. Nothing here turns a world into
another: see `any3davatar.core.frames`. Codecs are imported when they are first used.
"""

from any3davatar.io.atomic import atomic_path
from any3davatar.io.cameras import (
    CameraFile,
    read_camera_file,
    read_cameras,
    read_opencv_cameras,
    read_transforms,
    write_cameras,
)
from any3davatar.io.errors import FormatError
from any3davatar.io.gaussian_files import (
    GAUSSIAN_FORMATS,
    GaussianFileInfo,
    gaussian_file_info,
    read_gaussians,
    write_gaussians,
)
from any3davatar.io.photo import Photo, read_photo
from any3davatar.io.ply import ColorRule, read_ply, write_ply
from any3davatar.io.png import read_png, write_png
from any3davatar.io.rows import BadRows
from any3davatar.io.safetensors_file import read_gaussian_tensors, write_gaussian_tensors
from any3davatar.io.splat import read_splat, write_splat
from any3davatar.io.spz import read_spz, write_spz
from any3davatar.io.video import read_video_frame, read_video_frames, write_mp4

__all__ = [
    "GAUSSIAN_FORMATS",
    "BadRows",
    "CameraFile",
    "ColorRule",
    "FormatError",
    "GaussianFileInfo",
    "Photo",
    "atomic_path",
    "gaussian_file_info",
    "read_camera_file",
    "read_cameras",
    "read_gaussian_tensors",
    "read_gaussians",
    "read_opencv_cameras",
    "read_photo",
    "read_ply",
    "read_png",
    "read_splat",
    "read_spz",
    "read_transforms",
    "read_video_frame",
    "read_video_frames",
    "write_cameras",
    "write_gaussian_tensors",
    "write_gaussians",
    "write_mp4",
    "write_ply",
    "write_png",
    "write_splat",
    "write_spz",
]
