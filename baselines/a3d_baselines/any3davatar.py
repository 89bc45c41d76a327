"""Our own method, behind the same door as every other."""

from pathlib import Path

import torch

from a3d_bench.methods.avatars import GaussianAvatar
from a3d_bench.methods.stages import stage
from a3d_bench.types import MethodError, Portrait
from any3davatar.core import Views
from any3davatar.core.images import straight_rgb
from any3davatar.io import Photo
from any3davatar.portraits import (
    FramedPortrait,
    NoFace,
    frame_by_camera,
    frame_by_face,
    stands_in_front,
)
from any3davatar.reconstruct import Reconstructor


class Any3DAvatarMethod:
    """One portrait to a head of Gaussians in N steps.

    Args:
        checkpoint: weights (.safetensors); empty: the `mini` network that comes with the package.
        steps: N of Eqs. 2-3; 1 is the paper's method.
    """

    def __init__(self, checkpoint: str = "", steps: int = 1) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network = Reconstructor.load(Path(checkpoint) if checkpoint else None, device=device)
        self._steps = steps

    def reconstruct(self, portrait: Portrait, *, seed: int) -> GaussianAvatar:
        """Frame the portrait as the network knows portraits, and run it."""
        with stage("preprocess"):
            framed = self._framed(portrait)
        head = self._network.infer(framed, steps=self._steps, seed=seed)
        return GaussianAvatar(
            head.gaussians, {"framed by": framed.how, "alpha": str(framed.record["alpha"])}
        )

    def _framed(self, portrait: Portrait) -> FramedPortrait:
        """Cut by the camera where it is shown and stands in front; find the face otherwise."""
        network = self._network
        rgb, alpha = portrait.rgb, portrait.alpha
        if alpha is not None:
            rgb = straight_rgb(rgb, alpha, portrait.background).clamp(0, 1)
        camera = portrait.camera
        if camera is not None and alpha is not None and stands_in_front(camera, network.camera):
            fov = network.model.config.vertical_fov_deg
            view = Views(rgb, alpha)
            return frame_by_camera(view, camera, network.camera, fov, network.background)
        try:
            return frame_by_face(
                Photo(rgb, alpha, ()), network.faces, network.camera, network.background
            )
        except NoFace as error:
            raise MethodError(str(error)) from error
