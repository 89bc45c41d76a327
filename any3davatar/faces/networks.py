"""The networks of MediaPipe that look at faces: small TFLite files inside one published wheel.

They are Apache-2.0 (github.com/google-ai-edge/mediapipe, 0.10.21); the wheel is fetched through the
user's own package index, once, and is never installed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from any3davatar.registry_files import RegistryFile, fetched

_WHEEL = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
_WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"

# Only files are taken out of the wheel, so any Python on any machine may ask for this one.
_ANY_MACHINE = (
    "--only-binary=:all:",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux_2_28_x86_64",
)


def _in_wheel(member: str, sha256: str) -> RegistryFile:
    return RegistryFile(
        requirement="mediapipe==0.10.21",
        archive=_WHEEL,
        archive_sha256=_WHEEL_SHA256,
        member=f"mediapipe/modules/{member}",
        member_sha256=sha256,
        pip_options=_ANY_MACHINE,
    )


FACE_DETECTOR = _in_wheel(
    "face_detection/face_detection_full_range_sparse.tflite",
    "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
)
FACE_MESH = _in_wheel(
    "face_landmark/face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
)
SELFIE_SEGMENTATION = _in_wheel(
    "selfie_segmentation/selfie_segmentation.tflite",
    "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
)
FACE_NETWORKS = (FACE_DETECTOR, FACE_MESH, SELFIE_SEGMENTATION)


class Network:
    """A TFLite network with one picture as input; not to be shared between threads."""

    def __init__(self, file: RegistryFile) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=str(fetched(file)), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._outputs: list[int] = [o["index"] for o in self._interpreter.get_output_details()]

    def __call__(self, picture: np.ndarray) -> Sequence[np.ndarray]:
        """Return the outputs, in the file's order, for one (H, W, 3) picture."""
        self._interpreter.set_tensor(self._input, picture[None].astype(np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
