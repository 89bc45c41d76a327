"""Pinhole cameras: extrinsics `world_to_camera`, intrinsics `K`, and an image size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.core.shapes import check_finite, check_shapes

ROTATION_TOLERANCE = (
    1e-3  # largest |R R^T - I|: float32 files with few digits pass, a scale does not
)


def intrinsics_from_fov(
    vertical_fov_deg: float, width: int, height: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "3 3"]:
    """Return `K` of a centred camera with square pixels and this vertical field of view."""
    if not 0 < vertical_fov_deg < 180:
        raise InvalidInput(f"vertical_fov_deg must lie in (0, 180); got {vertical_fov_deg}")
    focal_px = height / 2 / math.tan(math.radians(vertical_fov_deg) / 2)
    return torch.tensor(
        [[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]], dtype=dtype
    )


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of pinhole cameras that share one image size.

    Attributes:
        world_to_camera: (*b, 4, 4) rigid transforms of column vectors into OpenCV camera axes
            (x right, y down, z forward).
        K: (*b, 3, 3) intrinsics in pixels, ``[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]``.
        width: image width in pixels.
        height: image height in pixels.

    Raises:
        InvalidInput: on construction, for wrong shapes, dtypes, devices or sizes; values are
            checked by `validate`, at the borders.
    """

    world_to_camera: Float[Tensor, "*b 4 4"]
    K: Float[Tensor, "*b 3 3"]
    width: int
    height: int

    def __post_init__(self) -> None:
        check_shapes(
            "Cameras",
            {"world_to_camera": (self.world_to_camera, (4, 4)), "K": (self.K, (3, 3))},
        )
        for name, size in (("width", self.width), ("height", self.height)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise InvalidInput(
                    f"Cameras.{name} must be an int of at least 1 pixel; got {size!r}"
                )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading dimensions ``*b``."""
        return tuple(self.world_to_camera.shape[:-2])

    @property
    def centers(self) -> Float[Tensor, "*b 3"]:
        """Camera centres in the world."""
        rotation, translation = self.world_to_camera[..., :3, :3], self.world_to_camera[..., :3, 3]
        return -(rotation.mT @ translation[..., None])[..., 0]

    @property
    def camera_to_world(self) -> Float[Tensor, "*b 4 4"]:
        """Inverse extrinsics: camera axes as columns, then the centre."""
        inverse = torch.zeros_like(self.world_to_camera)
        inverse[..., :3, :3] = self.world_to_camera[..., :3, :3].mT
        inverse[..., :3, 3] = self.centers
        inverse[..., 3, 3] = 1
        return inverse

    def validate(self) -> "Cameras":
        """Return self, or raise `InvalidInput` for values that no pinhole camera has."""
        check_finite("Cameras", {"world_to_camera": self.world_to_camera, "K": self.K})
        rotation = self.world_to_camera[..., :3, :3]
        identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
        error = (rotation @ rotation.mT - identity).abs().amax(dim=(-2, -1))
        if bool((error > ROTATION_TOLERANCE).any()):
            raise InvalidInput(
                "Cameras.world_to_camera must hold rotations; the worst has "
                f"max |R R^T - I| = {float(error.max()):.3g} (at most {ROTATION_TOLERANCE}). "
                "Does the matrix carry a scale? Apply a Similarity to the scene instead."
            )
        if bool((torch.linalg.det(rotation) < 0).any()):
            raise InvalidInput(
                "Cameras.world_to_camera must not mirror; got a matrix with determinant -1. "
                "Was one axis flipped on its own? OpenGL cameras flip y and z together "
                "(any3davatar.core.frames.cameras_from_opengl)."
            )
        last_row = self.world_to_camera.new_tensor([0.0, 0.0, 0.0, 1.0])
        if not torch.equal(self.world_to_camera[..., 3, :], last_row.expand(*self.batch_shape, 4)):
            raise InvalidInput(
                "Cameras.world_to_camera must end in the row (0, 0, 0, 1); got "
                f"{self.world_to_camera[..., 3, :].reshape(-1, 4)[0].tolist()}. Is it transposed?"
            )
        fx, fy = self.K[..., 0, 0], self.K[..., 1, 1]
        if bool(((fx <= 0) | (fy <= 0)).any()):
            raise InvalidInput(
                f"Cameras.K must have positive focal lengths; got fx >= {float(fx.min()):g}, "
                f"fy >= {float(fy.min()):g} pixels"
            )
        rest = torch.stack(
            [self.K[..., 0, 1], self.K[..., 1, 0], self.K[..., 2, 0], self.K[..., 2, 1]], dim=-1
        )
        if bool((rest != 0).any()) or bool((self.K[..., 2, 2] != 1).any()):
            raise InvalidInput(
                "Cameras.K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] (no skew); got "
                f"{self.K.reshape(-1, 3, 3)[0].tolist()} first"
            )
        return self

    def rays(self) -> tuple[Float[Tensor, "*b H W 3"], Float[Tensor, "*b H W 3"]]:
        """Return origins and unit directions, in the world, of the rays through pixel centres."""
        like = {"dtype": self.K.dtype, "device": self.K.device}
        u = torch.arange(self.width, **like) + 0.5
        v = torch.arange(self.height, **like) + 0.5
        fx, fy = self.K[..., 0, 0, None], self.K[..., 1, 1, None]
        cx, cy = self.K[..., 0, 2, None], self.K[..., 1, 2, None]
        x = ((u - cx) / fx)[..., None, :].expand(*self.batch_shape, self.height, self.width)
        y = ((v - cy) / fy)[..., :, None].expand(*self.batch_shape, self.height, self.width)
        in_camera = torch.stack([x, y, torch.ones_like(x)], dim=-1)  # (*b, H, W, 3)
        rotation = self.world_to_camera[..., None, :3, :3]
        directions = torch.nn.functional.normalize(in_camera @ rotation, dim=-1)  # R^T as a row
        return self.centers[..., None, None, :].expand_as(directions), directions

    def plucker(self) -> Float[Tensor, "*b 6 H W"]:
        """Return Plücker coordinates of the pixel rays: moment (o x d), then unit direction d.

        Both are unchanged when the origin slides along its ray (Any3DAvatar, section 3.1).
        """
        origins, directions = self.rays()
        moments = torch.linalg.cross(origins, directions)
        return torch.cat([moments, directions], dim=-1).movedim(-1, -3)

    def project(
        self, points: Float[Tensor, "*b N 3"]
    ) -> tuple[Float[Tensor, "*b N 2"], Float[Tensor, "*b N"]]:
        """Project world points; return pixel positions and camera depths.

        A point behind the camera projects too: mask with ``depth > 0``.
        """
        rotation, translation = self.world_to_camera[..., :3, :3], self.world_to_camera[..., :3, 3]
        in_camera = points @ rotation.mT + translation[..., None, :]
        homogeneous = in_camera @ self.K.mT
        return homogeneous[..., :2] / homogeneous[..., 2:], in_camera[..., 2]

    def resized(self, width: int, height: int) -> "Cameras":
        """Return the cameras of the same pictures resampled to another size."""
        scale = self.K.new_tensor([width / self.width, height / self.height, 1.0])
        return replace(self, K=self.K * scale[:, None], width=width, height=height)

    def cropped(self, left: int, top: int, width: int, height: int) -> "Cameras":
        """Return the cameras of a window of the pictures; it may reach beyond their edges."""
        shift = torch.zeros_like(self.K)
        shift[..., 0, 2], shift[..., 1, 2] = left, top
        return replace(self, K=self.K - shift, width=width, height=height)

    def to(self, target: torch.device | torch.dtype | str) -> "Cameras":
        """Return the cameras on another device or in another floating-point type."""
        return replace(self, world_to_camera=self.world_to_camera.to(target), K=self.K.to(target))

    def reshape(self, *batch_shape: int) -> "Cameras":
        """Return the cameras with other leading dimensions."""
        return replace(
            self,
            world_to_camera=self.world_to_camera.reshape(*batch_shape, 4, 4),
            K=self.K.reshape(*batch_shape, 3, 3),
        )

    def __getitem__(self, index: object) -> "Cameras":
        if not self.batch_shape:
            raise InvalidInput("a single camera cannot be indexed")
        return replace(self, world_to_camera=self.world_to_camera[index], K=self.K[index])  # pyright: ignore[reportArgumentType] torch's index type

    def __len__(self) -> int:
        if not self.batch_shape:
            raise InvalidInput("a single camera has no length")
        return self.batch_shape[0]

    @staticmethod
    def concatenate(parts: Sequence["Cameras"]) -> "Cameras":
        """Join batches of cameras of one image size along the first dimension."""
        sizes = {(part.width, part.height) for part in parts}
        if len(sizes) != 1:
            raise InvalidInput(f"cameras to join must share one image size; got {sorted(sizes)}")
        return replace(
            parts[0],
            world_to_camera=torch.cat([part.world_to_camera for part in parts]),
            K=torch.cat([part.K for part in parts]),
        )
