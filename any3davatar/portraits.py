"""From a photograph to the picture that the network was trained on: face found, cropped, matted.

The network knows heads as its front camera sees them. A photograph is turned, scaled and shifted
so that its face lies where faces lie there (`TEMPLATE`), and laid over white by its alpha, or by a
matte where it has none. Where a camera is known (a benchmark's), the camera says the same exactly.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import Cameras, InvalidInput, Views
from any3davatar.core.framing import framed
from any3davatar.core.images import composite
from any3davatar.core.rigs import canonical_four
from any3davatar.faces import FaceMesh, five_points, selfie_matte
from any3davatar.io import Photo

# Where a frontal camera at the canonical distance sees the five points (subject's right eye, left
# eye, nose tip, right and left mouth corner, as the picture shows them left to right): x / z and
# y / z of the camera, so for every field of view. Means over 64 neutral training heads by
# docs/face_template.py, made symmetric; standard deviations are 0.005 across and 0.011 down.
TEMPLATE = (
    (-0.0547, -0.0262),
    (0.0547, -0.0262),
    (0.0, 0.0494),
    (-0.0429, 0.0917),
    (0.0429, 0.0917),
)
MATTE_SIDE_PX = 512  # the matte network sees 256; twice that keeps its edge for the reduction
POSE_TOLERANCE = 0.02  # world units, and entries of the rotation
FACE_MIN_PX = 12.0  # between the eyes; below, a face has fewer pixels than a stamp


class NoFace(InvalidInput):
    """No face was found in a picture, or none that is large enough."""


@dataclass(frozen=True, eq=False)
class FramedPortrait:
    """A portrait as the network takes it.

    Attributes:
        views: (3, S, S) over the background, and (1, S, S) alpha.
        camera: the front camera that it is taken to be seen by.
        how: ``"face"`` or ``"camera"``.
        record: the placement in numbers and words: what a report repeats.
    """

    views: Views
    camera: Cameras
    how: str
    record: dict[str, Any]


def front_camera(size_px: int, vertical_fov_deg: float, radius: float) -> Cameras:
    """Return the network's front camera, without leading dimensions."""
    return canonical_four(size_px, vertical_fov_deg=vertical_fov_deg, radius=radius)[0]


def frame_by_face(
    photo: Photo,
    faces: FaceMesh,
    camera: Cameras,
    background: Float[Tensor, "3"],
) -> FramedPortrait:
    """Place the largest face of a photograph where the network expects it.

    Args:
        photo: any photograph.
        faces: the network that finds faces.
        camera: the network's front camera.
        background: laid behind the head.

    Raises:
        NoFace: none is found, or its eyes are nearer than 12 pixels.
    """
    found = faces.detect_all(photo.rgb)
    if not found:
        height, width = photo.rgb.shape[1:]
        raise NoFace(
            f"no face found in {width} x {height} pixels; expected a face seen from the front, "
            "not covered, at least 40 pixels wide. Crop the picture nearer to the head"
        )
    points = [five_points(face) for face in found]
    eyes_px = [float((p[1] - p[0]).norm()) for p in points]
    largest = max(range(len(found)), key=eyes_px.__getitem__)
    if eyes_px[largest] < FACE_MIN_PX:
        raise NoFace(
            f"the largest face is too small: its eyes are {eyes_px[largest]:.0f} pixels apart, "
            f"expected at least {FACE_MIN_PX:.0f}; use a larger picture"
        )
    notes = list(photo.notes)
    if len(found) > 1:
        notes.append(f"{len(found)} faces found: the largest is taken")
    focal = torch.stack([camera.K[0, 0], camera.K[1, 1]])
    wanted = torch.tensor(TEMPLATE) * focal + camera.K[:2, 2]  # pixels of the network's picture
    to_photo, residual_px = _similarity(wanted, points[largest].to(wanted))
    views, matted = _cut(photo, to_photo, camera.width, background)
    scale = float(torch.linalg.det(to_photo[:, :2]).sqrt())
    turn = math.degrees(math.atan2(float(to_photo[1, 0]), float(to_photo[0, 0])))
    return FramedPortrait(
        views,
        camera,
        "face",
        {
            "faces": len(found),
            "eyes_px": round(eyes_px[largest], 2),
            "photo_px_per_pixel": round(scale, 4),
            "turned_deg": round(turn, 2),
            "residual_px": round(residual_px, 3),
            "alpha": matted,
            "notes": notes,
        },
    )


def frame_by_camera(
    views: Views,
    camera: Cameras,
    network_camera: Cameras,
    vertical_fov_deg: float,
    background: Float[Tensor, "3"],
) -> FramedPortrait:
    """Cut a view of a known camera to the network's field of view.

    Args:
        views: one view, straight colour and alpha.
        camera: its camera.
        network_camera: the network's front camera.
        vertical_fov_deg: the network's field of view.
        background: laid behind the head.

    Raises:
        InvalidInput: the camera stands elsewhere than the network's front camera.
    """
    if not stands_in_front(camera, network_camera):
        raise InvalidInput(
            "the portrait's camera is not the network's front camera (their matrices differ by "
            f"more than {POSE_TOLERANCE}); frame it by its face"
        )
    picture, _ = framed(
        views,
        camera,
        background,
        size_px=network_camera.width,
        vertical_fov_deg=vertical_fov_deg,
    )
    return FramedPortrait(picture, network_camera, "camera", {"alpha": "given", "notes": []})


def stands_in_front(camera: Cameras, network_camera: Cameras) -> bool:
    """Tell whether a camera stands where the network's front camera does, whatever its lens."""
    there, here = camera.world_to_camera, network_camera.world_to_camera.to(camera.K)
    return float((there - here).abs().max()) <= POSE_TOLERANCE


def _similarity(
    source: Float[Tensor, "P 2"], target: Float[Tensor, "P 2"]
) -> tuple[Float[Tensor, "2 3"], float]:
    """Return the least-squares similarity of the plane from source to target, and its residual.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns"
    (1991), in two dimensions, where it is linear: rotation and scale are a complex number.
    """
    a, b = source.double(), target.double()
    a0, b0 = a.mean(0), b.mean(0)
    za, zb = (
        torch.view_as_complex((a - a0).contiguous()),
        torch.view_as_complex((b - b0).contiguous()),
    )
    factor = (za.conj() * zb).sum() / (za.conj() * za).sum()
    c, s = float(factor.real), float(factor.imag)
    linear = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    shift = b0 - linear @ a0
    residual = (a @ linear.T + shift - b).norm(dim=1).square().mean().sqrt()
    return torch.cat([linear, shift[:, None]], dim=1), float(residual)


def _cut(
    photo: Photo, to_photo: Float[Tensor, "2 3"], size_px: int, background: Float[Tensor, "3"]
) -> tuple[Views, str]:
    """Sample the photograph under the network's picture; pixels beyond its edge are background."""
    factor = max(1, math.ceil(MATTE_SIDE_PX / size_px))
    side = size_px * factor
    per_pixel = float(torch.linalg.det(to_photo[:, :2]).sqrt()) / factor
    inner = max(1, math.ceil(per_pixel))  # samples a pixel and axis, so that none is skipped
    planes = [photo.rgb, torch.ones_like(photo.rgb[:1])]
    if photo.alpha is not None:
        planes[1] = photo.alpha
    large = _sampled(torch.cat(planes), to_photo, size_px, side * inner)
    if inner > 1:
        large = F.avg_pool2d(large[None], inner)[0]
    inside = large[3:].clamp(1e-6, 1)
    rgb = large[:3] / inside  # samples beyond the edge are zero in colour and alpha alike
    if photo.alpha is None:
        alpha = selfie_matte(composite(rgb, large[3:].clamp(0, 1), background)) * large[3:]
        how = "matted (selfie segmentation)"
    else:
        alpha, how = large[3:], "given"
    over = composite(rgb.clamp(0, 1), alpha.clamp(0, 1), background)
    small = F.interpolate(torch.cat([over, alpha])[None], (size_px, size_px), mode="area")[0]
    return Views(small[:3].contiguous(), small[3:].clamp(0, 1).contiguous()), how


def _sampled(
    planes: Float[Tensor, "D H W"], to_photo: Float[Tensor, "2 3"], size_px: int, side: int
) -> Float[Tensor, "D S S"]:
    """Sample premultiplied planes bilinearly at the centres of a side x side grid."""
    height, width = planes.shape[1:]
    at = (torch.arange(side, dtype=torch.float64) + 0.5) * size_px / side
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)  # (S, S, 2) as x, y
    in_photo = grid @ to_photo[:, :2].T + to_photo[:, 2]
    normalised = in_photo / torch.tensor([width, height], dtype=torch.float64) * 2 - 1
    colors = torch.cat([planes[:3] * planes[3:], planes[3:]])
    return F.grid_sample(
        colors[None], normalised.float()[None], mode="bilinear", align_corners=False
    )[0]
