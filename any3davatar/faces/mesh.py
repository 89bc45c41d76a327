"""Facial landmarks: the 468 points of MediaPipe's FaceMesh, found in photographs of any size.

The detector proposes, the mesh network disposes: its presence score says whether a face is there
(the detector also fires on the backs of heads). The mesh is looked at again in a square that its
own points give, upright and of the size the network was trained on, so that the points do not
depend on the detector's box.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import InvalidInput
from any3davatar.faces.detector import FaceDetector, overlap
from any3davatar.faces.networks import FACE_MESH, Network
from any3davatar.faces.patches import Patch, cut

N_POINTS = 468
INPUT_PX = 192
PRESENCE_MIN = 0.5
REFINEMENTS = 2
POINTS_MARGIN = 1.5  # side of the square that the network wants, over the extent of its points
SAME_FACE_OVERLAP = 0.3
TILE_MIN_PX = 64  # enlarging less than this shows the detector faces in noise
# Points of the mesh, by what they mark; "left" and "right" are the picture's.
LEFT_EYE = (33, 133, 159, 145)
RIGHT_EYE = (263, 362, 386, 374)
NOSE_TIP = 1
LEFT_MOUTH_CORNER = 61
RIGHT_MOUTH_CORNER = 291


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture.

    Attributes:
        points: (468, 2) pixels, x to the right and y downward.
        depth_px: (468,) the network's guess of depth, in pixels, smaller is nearer; its zero is
            near the middle of the face.
        presence: in [0, 1], the network's belief that it saw a face; above 0.5.
    """

    points: Float[Tensor, "468 2"]
    depth_px: Float[Tensor, "468"]
    presence: float

    @property
    def extent_px(self) -> float:
        """The longer side of the box around the points."""
        return float((self.points.amax(0) - self.points.amin(0)).max())

    @property
    def roll_rad(self) -> float:
        """How far the line through the eyes is turned, clockwise as seen."""
        left, right = five_points(self)[:2].tolist()
        return math.atan2(right[1] - left[1], right[0] - left[0])


def five_points(face: Face) -> Float[Tensor, "5 2"]:
    """Return eyes (the picture's left one first), nose tip, mouth corners: ArcFace's order."""
    points = face.points
    return torch.stack(
        [
            points[list(LEFT_EYE)].mean(0),
            points[list(RIGHT_EYE)].mean(0),
            points[NOSE_TIP],
            points[LEFT_MOUTH_CORNER],
            points[RIGHT_MOUTH_CORNER],
        ]
    )


class FaceMesh:
    """Finds faces and their landmarks; holds two networks, not to be shared between threads."""

    def __init__(self, detector: FaceDetector, network: Network) -> None:
        self._detector = detector
        self._network = network

    @staticmethod
    def load() -> "FaceMesh":
        """Return the finder, fetching its networks where they were never fetched.

        Raises:
            RegistryFileUnavailable: they are not in the cache and can't be fetched.
        """
        return FaceMesh(FaceDetector(), Network(FACE_MESH))

    def detect(self, rgb: Float[Tensor, "3 H W"]) -> Face | None:
        """Return the largest face of a picture, or None where there is none.

        Looks at the whole picture first, then closer, so that "none" takes many times longer.

        Args:
            rgb: sRGB in [0, 1].
        """
        picture = _checked(rgb)
        for windows in _scales(*picture.shape[1:]):
            if faces := self._faces_within(picture, windows):
                return faces[0]
        return None

    def detect_large(self, rgb: Float[Tensor, "3 H W"]) -> Face | None:
        """Return the largest face that fills a good part of a picture, or None; never slow.

        For renders and crops, where a face that is seen at all is about a tenth of the picture's
        width or more.

        Args:
            rgb: sRGB in [0, 1].
        """
        picture = _checked(rgb)
        faces = self._faces_within(picture, next(_scales(*picture.shape[1:])))
        return faces[0] if faces else None

    def detect_all(self, rgb: Float[Tensor, "3 H W"]) -> list[Face]:
        """Return every face of a picture, the largest first.

        Args:
            rgb: sRGB in [0, 1].
        """
        picture = _checked(rgb)
        faces: list[Face] = []
        for windows in _scales(*picture.shape[1:]):
            faces += self._faces_within(picture, windows)
        return _distinct(faces)

    def look(self, rgb: Float[Tensor, "3 H W"], patch: Patch) -> Face | None:
        """Return the face in a square that is known to hold one, or None where none is seen."""
        face = self._seen(rgb, patch)
        for _ in range(REFINEMENTS):
            if face is None:
                return None
            face = self._seen(rgb, patch_of(face))
        return face

    def _faces_within(self, rgb: Tensor, windows: list[Patch]) -> list[Face]:
        candidates = [c for window in windows for c in self._detector.candidates(rgb, window)]
        candidates.sort(key=lambda c: -c[0])
        faces: list[Face] = []
        for _, patch in candidates:
            if all(overlap(patch, patch_of(face)) <= SAME_FACE_OVERLAP for face in faces):
                face = self.look(rgb, patch)
                if face is not None:
                    faces.append(face)
        return _distinct(faces)

    def _seen(self, rgb: Tensor, patch: Patch) -> Face | None:
        points, logit = self._network(cut(rgb, patch, INPUT_PX).movedim(0, -1).numpy())
        presence = 1 / (1 + math.exp(-max(-80.0, min(80.0, float(logit.reshape(-1)[0])))))
        if presence <= PRESENCE_MIN:
            return None
        in_patch = torch.from_numpy(points.reshape(N_POINTS, 3).astype(np.float32)) / INPUT_PX
        return Face(patch.to_picture(in_patch[:, :2]), patch.side * in_patch[:, 2], presence)


def patch_of(face: Face) -> Patch:
    """Return the upright square around a face that the mesh network wants."""
    roll = face.roll_rad
    c, s = math.cos(roll), math.sin(roll)
    turned = face.points @ face.points.new_tensor([[c, -s], [s, c]])  # into the face's own axes
    low, high = turned.amin(0), turned.amax(0)
    middle = (low + high) / 2 @ face.points.new_tensor([[c, s], [-s, c]])
    side = POINTS_MARGIN * float((high - low).max())
    return Patch(float(middle[0]), float(middle[1]), side, roll)


def _checked(rgb: Tensor) -> Tensor:
    if rgb.ndim != 3 or rgb.shape[0] != 3 or not rgb.is_floating_point():
        raise InvalidInput(
            f"a picture must be floating-point (3, H, W) sRGB in [0, 1]; got {rgb.dtype} "
            f"{tuple(rgb.shape)}"
        )
    return rgb.detach().cpu().float()


def _distinct(faces: list[Face]) -> list[Face]:
    """Drop faces that were found twice; the largest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.presence):
        if all(overlap(patch_of(face), patch_of(o)) <= SAME_FACE_OVERLAP for o in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -face.extent_px)


def _scales(height: int, width: int) -> Iterator[list[Patch]]:
    """Yield the squares to look at: all of the picture, with a margin, then two finer tilings."""
    longer = max(height, width)
    yield [Patch(width / 2, height / 2, share * longer) for share in (1.0, 1.6)]
    for side in (longer / 2, longer / 4):
        if side < TILE_MIN_PX:
            return
        yield [Patch(x, y, side) for y in _centers(height, side) for x in _centers(width, side)]


def _centers(length: int, side: float) -> list[float]:
    """Return where tiles lie along one axis: half overlapping, covering it all."""
    if length <= side:
        return [length / 2]
    steps = math.ceil((length - side) / (side / 2))
    return [side / 2 + i * (length - side) / steps for i in range(steps + 1)]
