"""From a data set's world to the canonical one, by its cameras.

No camera file says where the head is, but all cameras look at it: its centre is the point nearest
to all optical axes. What is up and where the face looks comes from a named frame, or from how the
cameras stand. Each map comes with a sentence that says how it was found, for the report.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.errors import BenchError
from any3davatar.core import Cameras, Similarity
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.core.rigs import RADIUS, VERTICAL_FOV_DEG

OUR_FRAME = "any3davatar"
UNITS_PER_METRE = 1 / 0.24  # the digital humans' scale: hair and bust end inside the unit sphere
# What a camera of our default rig sees of the plane through the head's centre, from its middle on.
_SEEN_RADIUS = RADIUS * math.sin(math.radians(VERTICAL_FOV_DEG) / 2)
_SURROUNDED_GAP_DEG = 150.0
_METRIC_DISTANCE = (0.3, 4.0)  # cameras nearer or farther than this are not in metres


@dataclass(frozen=True, eq=False)
class Placed:
    """How a capture's world becomes the canonical one.

    Attributes:
        to_canonical: the map.
        how: one sentence.
    """

    to_canonical: Similarity
    how: str


def frontal_view(cameras: Cameras) -> int:
    """Return the index of the camera nearest to straight in front; of equal ones, the first."""
    nearness = torch.nn.functional.normalize(cameras.centers.double(), dim=-1)[:, 2]
    return int((nearness >= nearness.max() - 1e-6).nonzero()[0])


def looked_at(cameras: Cameras) -> Float[Tensor, "3"]:
    """Return the point nearest to all optical axes, by least squares; float64.

    Raises:
        BenchError: the axes are parallel, or there is only one.
    """
    centers, axes = cameras.centers.double(), cameras.world_to_camera[:, 2, :3].double()
    across = torch.eye(3).double() - axes[:, :, None] * axes[:, None, :]  # off an axis
    normal = across.sum(0)
    if float(torch.linalg.eigvalsh(normal)[0]) < 1e-4 * len(cameras):
        raise BenchError(
            f"the optical axes of {len(cameras)} cameras are parallel, so they tell no point that "
            "all look at; expected cameras around a head"
        )
    return torch.linalg.solve(normal, (across @ centers[:, :, None]).sum(0))[:, 0]


def placed_by_frame(cameras: Cameras, frame: str, *, stated: bool) -> Placed:
    """Return the map from a named frame: its axes; centre and scale from the cameras.

    Args:
        cameras: (V,) in the data set's world.
        frame: a key of `any3davatar.core.frames.WORLD_FRAMES`; our own is taken as it is.
        stated: whether somebody named the frame, or it was guessed from the kind of file.
    """
    if frame not in WORLD_FRAMES:
        raise BenchError(f"got the frame {frame[:80]!r}, expected one of {', '.join(WORLD_FRAMES)}")
    origin = "as given" if stated else "guessed from the kind of the file"
    if frame == OUR_FRAME:
        return Placed(Similarity.identity(), f"frame {frame}, {origin}: taken as it is")
    placed = _placed(cameras, WORLD_FRAMES[frame].rotation.double())
    return Placed(placed, f"frame {frame}, {origin}; {_CENTERED}")


def placed_by_cameras(cameras: Cameras) -> Placed:
    """Return the map as the cameras suggest it: up is their mean up, the front is guessed.

    Cameras that leave a gap of 150 degrees or more stand before the face, and the middle of their
    arc is the front. Cameras all round tell nothing: the first one is taken for the front.
    """
    up, center = _mean_up(cameras), looked_at(cameras)
    toward = cameras.centers.double() - center
    level = toward - (toward @ up)[:, None] * up
    face, how = _guessed_front(level, up)
    placed = _placed(cameras, _axes(face, up))
    return Placed(placed, f"frame guessed: up is the cameras' mean up, {how}; {_CENTERED}")


def placed_in_metres(cameras: Cameras) -> Placed:
    """Return the map of a metric capture whose cameras stand evenly before the face.

    Raises:
        BenchError: the distances are not those of cameras around a head, in metres.
    """
    up, center = _mean_up(cameras), looked_at(cameras)
    toward = cameras.centers.double() - center
    distance = float(toward.norm(dim=-1).median())
    if not _METRIC_DISTANCE[0] <= distance <= _METRIC_DISTANCE[1]:
        raise BenchError(
            f"the cameras stand {distance:.3g} from the point they look at, expected "
            f"{_METRIC_DISTANCE[0]} to {_METRIC_DISTANCE[1]} metres; is the calibration in another "
            "unit?"
        )
    directions = torch.nn.functional.normalize(toward, dim=-1).mean(0)
    rotation = _axes(directions - (directions @ up) * up, up)
    moved = -UNITS_PER_METRE * rotation @ center
    placed = Similarity(UNITS_PER_METRE, rotation.float(), moved.float())
    return Placed(
        placed,
        "up is the cameras' mean up, the front their mean direction; the centre is the point "
        "nearest to all optical axes; 0.24 m are one unit",
    )


_CENTERED = (
    "the centre is the point nearest to all optical axes, the scale makes the pictures show as "
    "much of the unit sphere as our own rig's"
)


def _placed(cameras: Cameras, rotation: Float[Tensor, "3 3"]) -> Similarity:
    center = looked_at(cameras)
    distances = (cameras.centers.double() - center).norm(dim=-1)
    half_sides = torch.stack(
        [
            cameras.width / 2 / cameras.K[:, 0, 0].double(),
            cameras.height / 2 / cameras.K[:, 1, 1].double(),
        ]
    ).amin(0)
    seen = distances * torch.sin(torch.atan(half_sides))
    scale = _SEEN_RADIUS / float(seen.median())
    return Similarity(scale, rotation.float(), (-scale * rotation @ center).float())


def _mean_up(cameras: Cameras) -> Float[Tensor, "3"]:
    mean = -cameras.world_to_camera[:, 1, :3].double().mean(0)
    if float(mean.norm()) < 0.1:
        raise BenchError(
            "the cameras' up directions cancel each other, so nobody can tell what is up; name the "
            f"world's frame with --frame: one of {', '.join(WORLD_FRAMES)}"
        )
    return torch.nn.functional.normalize(mean, dim=0)


def _guessed_front(
    level: Float[Tensor, "V 3"], up: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "3"], str]:
    """Return the guessed face direction, and the words for it."""
    first = level[0]
    side = torch.linalg.cross(up, first)
    angles = torch.rad2deg(torch.atan2(level @ side, level @ first))
    ordered = torch.sort(angles % 360).values
    gaps = torch.diff(ordered, append=ordered[:1] + 360)
    widest = int(gaps.argmax())
    if float(gaps[widest]) < _SURROUNDED_GAP_DEG:
        return first, "and the first camera is taken for the front (--frame settles it)"
    arc_begins = ordered[(widest + 1) % len(ordered)]
    middle = torch.deg2rad(arc_begins + (360 - gaps[widest]) / 2)
    face = torch.cos(middle) * first + torch.sin(middle) * side
    return face, "and the middle of the cameras' arc is taken for the front (--frame settles it)"


def _axes(face: Float[Tensor, "3"], up: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Return the rotation that turns `up` to +y and `face`, which is across it, to +z."""
    if float(face.norm()) < 1e-6:
        raise BenchError(
            "the cameras stand straight above or below the head, so nobody can tell where the face "
            "looks; name the world's frame with --frame"
        )
    z = torch.nn.functional.normalize(face, dim=0)
    return torch.stack([torch.linalg.cross(up, z), up, z])
