"""Other people's conventions, converted at the border, each by its name.

Two different things differ between code bases, and they are kept apart here: the axes of the
*camera* (OpenCV, OpenGL/Blender, PyTorch3D) and the axes of the *world* (which way the face looks,
what is up). The functions ``cameras_from_*`` settle the first; `world_from_axes` and
`WORLD_FRAMES` the second.

======================  =======================================  ==========================
camera convention       axes                                     stored as
======================  =======================================  ==========================
OpenCV, COLMAP, ours    x right, y down, z forward               world to camera
OpenGL, Blender, NeRF   x right, y up, z backward                camera to world
EG3D, PanoHead label    x right, y down, z forward               camera to world + K / size
PyTorch3D               x left, y up, z forward, row vectors     R, T with ``x R + T``
======================  =======================================  ==========================

A ``transforms.json`` holds OpenGL poses; `any3davatar.io.read_transforms` reads it.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.cameras import Cameras
from any3davatar.core.errors import InvalidInput
from any3davatar.core.similarity import Similarity

_AXES = {
    "+x": (1.0, 0.0, 0.0), "-x": (-1.0, 0.0, 0.0),
    "+y": (0.0, 1.0, 0.0), "-y": (0.0, -1.0, 0.0),
    "+z": (0.0, 0.0, 1.0), "-z": (0.0, 0.0, -1.0),
}  # fmt: skip


def world_from_axes(*, face: str, up: str) -> Similarity:
    """Return the rotation into our world from a right-handed world with these axes.

    Args:
        face: the axis that the face looks along, such as ``"-y"``.
        up: the axis that points up, such as ``"+z"``.

    Raises:
        InvalidInput: an unknown axis name, or both on one line.
    """
    for name, axis in (("face", face), ("up", up)):
        if axis not in _AXES:
            raise InvalidInput(f"{name} must be one of {', '.join(_AXES)}; got {axis!r}")
    if face[1] == up[1]:
        raise InvalidInput(f"face and up must lie on different axes; got {face} and {up}")
    z, y = torch.tensor(_AXES[face]), torch.tensor(_AXES[up])
    return Similarity(1.0, torch.stack([torch.linalg.cross(y, z), y, z]), torch.zeros(3))


# Which way heads look in the files of known methods (rotation only; scale and centre differ by
# method and by subject). Read from each method's public code; see docs/conventions.md.
WORLD_FRAMES: Mapping[str, Similarity] = {
    "any3davatar": world_from_axes(face="+z", up="+y"),
    "panohead": world_from_axes(face="+z", up="+y"),
    "flame": world_from_axes(face="+z", up="+y"),
    "facelift": world_from_axes(face="-y", up="+z"),
    "arc2avatar": world_from_axes(face="+y", up="+z"),
    "id-sculpt": world_from_axes(face="+x", up="+z"),
}


def _check_matrices(name: str, matrices: Tensor, trailing: tuple[int, ...]) -> None:
    if tuple(matrices.shape[matrices.ndim - len(trailing) :]) != trailing:
        raise InvalidInput(f"{name} must be (*b, {trailing}); got {tuple(matrices.shape)}")


def _rigid_inverse(transforms: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Invert rotation-and-translation matrices without losing the rotation's orthonormality."""
    inverse = torch.zeros_like(transforms)
    rotation = transforms[..., :3, :3].mT
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -(rotation @ transforms[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1
    return inverse


def cameras_from_opencv(
    world_to_camera: Float[Tensor, "*b 4 4"], K: Float[Tensor, "*b 3 3"], width: int, height: int
) -> Cameras:
    """Build validated cameras from OpenCV / COLMAP extrinsics and pixel intrinsics."""
    return Cameras(world_to_camera, K, width, height).validate()


def cameras_from_opengl(
    camera_to_world: Float[Tensor, "*b 4 4"], K: Float[Tensor, "*b 3 3"], width: int, height: int
) -> Cameras:
    """Build cameras from OpenGL, Blender or NeRF poses: camera to world, y up, looking along -z.

    The pixel intrinsics have their origin at the top left, as everywhere here.
    """
    _check_matrices("camera_to_world", camera_to_world, (4, 4))
    flip = camera_to_world.new_tensor([1.0, -1.0, -1.0, 1.0])
    return Cameras(_rigid_inverse(camera_to_world * flip), K, width, height).validate()


def cameras_from_blender(
    matrix_world: Float[Tensor, "*b 4 4"], horizontal_fov_rad: float, width: int, height: int
) -> Cameras:
    """Build cameras from Blender objects: ``matrix_world`` and the camera's ``angle_x``.

    Blender's camera axes are OpenGL's; pixels are square and the principal point is the centre.
    """
    if not 0 < horizontal_fov_rad < math.pi:
        raise InvalidInput(f"horizontal_fov_rad must lie in (0, pi); got {horizontal_fov_rad}")
    focal_px = width / 2 / math.tan(horizontal_fov_rad / 2)
    K = matrix_world.new_tensor([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    return cameras_from_opengl(
        matrix_world, K.expand(*matrix_world.shape[:-2], 3, 3), width, height
    )


def cameras_from_eg3d_labels(labels: Float[Tensor, "*b 25"], width: int, height: int) -> Cameras:
    """Build cameras from the 25 numbers of EG3D, PanoHead and SphereHead.

    The first 16 are camera to world, row by row, with OpenCV camera axes; the last 9 are
    intrinsics in units of the image size (focal length 4.2647 for a field of view of 13.37
    degrees).
    """
    _check_matrices("labels", labels, (25,))
    camera_to_world = labels[..., :16].unflatten(-1, (4, 4))
    size = labels.new_tensor([[width], [height], [1.0]])
    K = labels[..., 16:].unflatten(-1, (3, 3)) * size
    return Cameras(_rigid_inverse(camera_to_world), K, width, height).validate()


def cameras_from_pytorch3d(
    R: Float[Tensor, "*b 3 3"],
    T: Float[Tensor, "*b 3"],
    focal_ndc: Float[Tensor, "*b 2"],
    principal_ndc: Float[Tensor, "*b 2"],
    width: int,
    height: int,
) -> Cameras:
    """Build cameras from PyTorch3D's R, T (row vectors, ``x_camera = x_world R + T``).

    PyTorch3D's camera looks along +z with x to the *left* and y up. Its normalised coordinates
    span [-1, 1] over the shorter image side, so focal lengths and principal points are in units
    of half of that side, and a positive principal point moves the image left and up.
    """
    _check_matrices("R", R, (3, 3))
    flip = R.new_tensor([-1.0, -1.0, 1.0])
    extrinsics = R.new_zeros(*R.shape[:-2], 4, 4)
    extrinsics[..., :3, :3] = flip[:, None] * R.mT
    extrinsics[..., :3, 3] = flip * T
    extrinsics[..., 3, 3] = 1
    half_side = min(width, height) / 2
    K = torch.zeros_like(R)
    K[..., 0, 0], K[..., 1, 1] = (half_side * focal_ndc).unbind(-1)
    K[..., 0, 2] = width / 2 - half_side * principal_ndc[..., 0]
    K[..., 1, 2] = height / 2 - half_side * principal_ndc[..., 1]
    K[..., 2, 2] = 1
    return Cameras(extrinsics, K, width, height).validate()
