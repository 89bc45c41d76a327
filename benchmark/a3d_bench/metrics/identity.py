"""CSIM: whether two faces are the same person's, as the cosine of two embeddings.

Two networks, two metrics: their values live on different scales and never stand in one column.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.metrics.spec import check_golden, golden_pictures
from any3davatar.faces import FaceMesh, Patch, five_points
from any3davatar.faces.patches import cut
from any3davatar.registry_files import fetched

CROP_PX = 112
# Where ArcFace wants eyes, nose tip and mouth corners in its crop (insightface, face_align.py).
ARCFACE_POINTS = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
MOBILEFACENET_GOLDEN = 0.7585  # between `golden_pictures`, repeated to 112 pixels


class MobileFaceNetCsim:
    """CSIM by MobileFaceNet, of faces that FaceMesh finds and aligns.

    Args:
        mesh: finds faces.
        model: the TFLite file.
    """

    def __init__(self, mesh: FaceMesh, model: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._mesh = mesh
        self._network: Any = Interpreter(model_path=str(model), num_threads=1)
        self._network.allocate_tensors()
        self._input: int = self._network.get_input_details()[0]["index"]
        self._output: int = self._network.get_output_details()[0]["index"]

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> Float[Tensor, "D"] | None:
        """Return the embedding of the largest face, of length 1, or None where there is none."""
        face = self._mesh.detect_large(rgb)
        if face is None:
            return None
        return self.embedding(cut(rgb, arcface_patch(five_points(face)), CROP_PX))

    def embedding(self, crop: Float[Tensor, "3 112 112"]) -> Float[Tensor, "D"]:
        """Return the embedding of a crop and of its mirror image, summed, of length 1."""
        # The file's batch is two: the crop and its mirror image fill it.
        both = torch.stack([crop, crop.flip(-1)]).movedim(1, -1)
        self._network.set_tensor(self._input, ((both * 255 - 127.5) / 128).numpy())
        self._network.invoke()
        total = torch.from_numpy(self._network.get_tensor(self._output)).double().sum(0)
        return total / total.norm()

    def compare(self, truth: Tensor, prediction: Tensor) -> float:
        """Return the cosine."""
        return float(truth @ prediction)


def load_mobilefacenet() -> MobileFaceNetCsim:
    """Return the metric after its golden value was found.

    Raises:
        BenchError: it was not.
    """
    from a3d_bench.weights import MOBILEFACENET

    metric = MobileFaceNetCsim(FaceMesh.load(), fetched(MOBILEFACENET))
    crops = [picture.repeat(1, 2, 2)[:, :CROP_PX, :CROP_PX] for picture in golden_pictures()]
    found = metric.compare(*map(metric.embedding, crops))
    check_golden("csim[mobilefacenet]", found, MOBILEFACENET_GOLDEN, 1e-3)
    return metric


def arcface_patch(points: Float[Tensor, "5 2"]) -> Patch:
    """Return the square of a picture that ArcFace's template covers, for a face's five points.

    The similarity from template to picture with the least squared error: with points as complex
    numbers, turn and scale are ``sum(conj(p) q) / sum(|p|^2)`` about the means (Umeyama, 1991).
    """
    template = np.array(ARCFACE_POINTS) @ np.array([1, 1j])
    picture = points.double().numpy() @ np.array([1, 1j])
    p, q = template - template.mean(), picture - picture.mean()
    turn = np.vdot(p, q) / np.vdot(p, p).real
    middle = picture.mean() + turn * (CROP_PX / 2 * (1 + 1j) - template.mean())
    angle = math.atan2(turn.imag, turn.real)
    return Patch(float(middle.real), float(middle.imag), CROP_PX * float(abs(turn)), angle)


class BuffaloCsim:
    """CSIM by insightface's buffalo_l: detection at 640 x 640, ArcFace ResNet-50.

    Args:
        folder: holds ``det_10g.onnx`` and ``w600k_r50.onnx``.
    """

    def __init__(self, folder: Path) -> None:
        from insightface.app import FaceAnalysis  # pyright: ignore[reportMissingImports]

        self._faces: Any = FaceAnalysis(
            name=str(folder), allowed_modules=["detection", "recognition"]
        )
        self._faces.prepare(ctx_id=-1, det_size=(640, 640))

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> Float[Tensor, "D"] | None:
        """Return the embedding of the largest face, of length 1, or None where there is none."""
        bgr = (rgb.flip(0).movedim(0, -1) * 255).round().to(torch.uint8).numpy()
        found = self._faces.get(np.ascontiguousarray(bgr))
        if not found:
            return None
        largest = max(found, key=lambda face: float(np.prod(face.bbox[2:] - face.bbox[:2])))
        return torch.from_numpy(largest.normed_embedding).double()

    def compare(self, truth: Tensor, prediction: Tensor) -> float:
        """Return the cosine."""
        return float(truth @ prediction)
