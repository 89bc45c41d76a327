"""One portrait to a head, in three lines.

>>> reconstruct = Reconstructor.load()               # doctest: +SKIP
>>> head = reconstruct(read_photo("portrait.jpg"))   # doctest: +SKIP
>>> write_gaussians("head.ply", head.gaussians)      # doctest: +SKIP
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from any3davatar.core import Cameras, Gaussians, InvalidInput, Views
from any3davatar.faces import FaceMesh
from any3davatar.io import Photo
from any3davatar.model.avatar import Any3DAvatar
from any3davatar.model.checkpoint import load_weights
from any3davatar.model.embed import network_input
from any3davatar.portraits import FramedPortrait, frame_by_camera, frame_by_face, front_camera
from any3davatar.sampling import multi_step

SHIPPED = Path(__file__).parent / "assets" / "mini.safetensors"
BACKGROUND = (1.0, 1.0, 1.0)  # what all presets are trained over


@dataclass(frozen=True, eq=False)
class Head:
    """What came of a portrait.

    Attributes:
        gaussians: (N,) in the canonical world.
        portrait: what the network saw.
        seconds: by stage: ``frame`` and ``infer``.
    """

    gaussians: Gaussians
    portrait: FramedPortrait
    seconds: dict[str, float] = field(default_factory=dict)


class Reconstructor:
    """A network that is loaded once and reconstructs any number of portraits.

    Attributes:
        model: the network.
        background: (3,) laid behind portraits.
        camera: the front camera that portraits are framed for.
    """

    def __init__(self, model: Any3DAvatar) -> None:
        self.model = model.eval()
        self.background = torch.tensor(BACKGROUND)
        config = model.config
        self.camera = front_camera(config.size_px, config.vertical_fov_deg, config.radius)
        self._faces: FaceMesh | None = None

    @classmethod
    def load(
        cls, checkpoint: str | os.PathLike[str] | None = None, *, device: str = "cpu"
    ) -> "Reconstructor":
        """Load a file of weights, by default the `mini` network that comes with the package.

        Raises:
            CheckpointError: the file is damaged, or of another network than it says.
            OSError: there is none.
        """
        path = SHIPPED if checkpoint is None else checkpoint
        return cls(load_weights(path).to(device))

    @property
    def faces(self) -> FaceMesh:
        """The network that finds faces, loaded when it is first needed."""
        if self._faces is None:
            self._faces = FaceMesh.load()
        return self._faces

    def __call__(self, photo: Photo, *, steps: int = 1, seed: int = 0) -> Head:
        """Reconstruct the largest face of a photograph.

        Args:
            photo: see `any3davatar.io.read_photo`.
            steps: N of Eqs. 2-3; 1 is the paper's method.
            seed: of the noise.

        Raises:
            NoFace: none is found.
        """
        start = time.perf_counter()
        portrait = frame_by_face(photo, self.faces, self.camera, self.background)
        return self.infer(
            portrait, steps=steps, seed=seed, frame_seconds=time.perf_counter() - start
        )

    def from_view(self, views: Views, camera: Cameras, *, steps: int = 1, seed: int = 0) -> Head:
        """Reconstruct a view whose camera is the canonical front camera, of any field of view.

        Args:
            views: one view, straight colour and alpha.
            camera: its camera, without leading dimensions.
            steps: as in `__call__`.
            seed: as in `__call__`.

        Raises:
            InvalidInput: the camera stands elsewhere.
        """
        start = time.perf_counter()
        fov = self.model.config.vertical_fov_deg
        portrait = frame_by_camera(views, camera, self.camera, fov, self.background)
        return self.infer(
            portrait, steps=steps, seed=seed, frame_seconds=time.perf_counter() - start
        )

    def infer(
        self, portrait: FramedPortrait, *, steps: int, seed: int, frame_seconds: float = 0.0
    ) -> Head:
        """Run the network on a framed portrait."""
        if steps < 1:
            raise InvalidInput(f"steps must be at least 1; got {steps}")
        device = next(self.model.parameters()).device
        start = time.perf_counter()
        gaussians = multi_step(
            self.model,
            network_input(portrait.views, self.model.config)[None].to(device),
            portrait.camera.plucker()[None].to(device),
            steps=steps,
            background=self.background.to(device),
            generator=torch.Generator().manual_seed(seed),
        )
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = {"frame": frame_seconds, "infer": time.perf_counter() - start}
        return Head(gaussians[0], portrait, seconds)
