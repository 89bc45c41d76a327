"""Where in a photograph there may be faces: MediaPipe's full-range detector, a first guess only.

It fires on ears and on the backs of heads too: whoever uses it must look again
(`any3davatar.faces.mesh` does).
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.faces.networks import FACE_DETECTOR, Network
from any3davatar.faces.patches import Patch, cut

INPUT_PX = 192
CELLS = 48  # a candidate a cell of 4 x 4 input pixels (face_detection_full_range.pbtxt)
SCORE_MIN = 0.5  # low: the mesh decides
OVERLAP_MAX = 0.3
MESH_MARGIN = 1.5  # the mesh network wants the detector's box enlarged by this


class FaceDetector:
    """Finds candidate squares around faces; not to be shared between threads."""

    def __init__(self) -> None:
        self._network = Network(FACE_DETECTOR)

    def candidates(self, rgb: Float[Tensor, "3 H W"], within: Patch) -> list[tuple[float, Patch]]:
        """Return (score, square for the mesh network), best first, in pixels of the picture."""
        picture = cut(rgb, within, INPUT_PX, padding="zeros").movedim(0, -1).numpy()
        raw, logits = self._network(picture * 2 - 1)
        scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80)))
        found: list[tuple[float, Patch]] = []
        for index in np.argsort(-scores, kind="stable"):
            if scores[index] < SCORE_MIN:
                break
            patch = _decoded(raw[0, index], int(index), within)
            if all(overlap(patch, other) <= OVERLAP_MAX for _, other in found):
                found.append((float(scores[index]), patch))
        return found


def overlap(a: Patch, b: Patch) -> float:
    """Return intersection over union of two squares, as if they were upright."""
    x = min(a.x + a.side / 2, b.x + b.side / 2) - max(a.x - a.side / 2, b.x - b.side / 2)
    y = min(a.y + a.side / 2, b.y + b.side / 2) - max(a.y - a.side / 2, b.y - b.side / 2)
    both = max(x, 0) * max(y, 0)
    return both / (a.side**2 + b.side**2 - both)


def _decoded(raw: np.ndarray, index: int, within: Patch) -> Patch:
    """Turn one raw box (centre, size, then six points; the first two are the eyes) to a square."""
    cell = torch.tensor([(index % CELLS + 0.5) / CELLS, (index // CELLS + 0.5) / CELLS])
    points = torch.from_numpy(raw.astype(np.float32)).reshape(8, 2) / INPUT_PX
    center, eyes = within.to_picture(cell + points[0]), within.to_picture(cell + points[2:4])
    dx, dy = (eyes[1] - eyes[0]).tolist()
    side = MESH_MARGIN * within.side * float(points[1].max())
    return Patch(float(center[0]), float(center[1]), side, math.atan2(dy, dx))
