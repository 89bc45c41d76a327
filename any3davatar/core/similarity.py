"""Similarity transforms: one scale, one rotation, one translation, and what they do to a scene."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.cameras import ROTATION_TOLERANCE, Cameras
from any3davatar.core.errors import InvalidInput
from any3davatar.core.gaussians import Gaussians
from any3davatar.core.rotations import matrix_to_quaternion, multiply_quaternions
from any3davatar.core.sh import degree_of, sh_rotation


@dataclass(frozen=True, eq=False)
class Similarity:
    """The map ``p -> scale * rotation @ p + translation`` of world points (column vectors).

    Attributes:
        scale: positive number, without unit.
        rotation: (3, 3), determinant +1: a mirror is refused, it would swap left and right.
        translation: (3,), in units of the target frame.
    """

    scale: float
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    def __post_init__(self) -> None:
        if not (0 < self.scale < float("inf")):
            raise InvalidInput(f"Similarity.scale must be positive and finite; got {self.scale}")
        if tuple(self.rotation.shape) != (3, 3) or tuple(self.translation.shape) != (3,):
            raise InvalidInput(
                "Similarity needs rotation (3, 3) and translation (3,); got "
                f"{tuple(self.rotation.shape)} and {tuple(self.translation.shape)}"
            )
        identity = torch.eye(3, dtype=self.rotation.dtype, device=self.rotation.device)
        error = float((self.rotation @ self.rotation.T - identity).abs().max())
        if not error <= ROTATION_TOLERANCE:
            raise InvalidInput(
                f"Similarity.rotation is not a rotation: max |R R^T - I| = {error:.3g}"
            )
        if float(torch.linalg.det(self.rotation)) < 0:
            raise InvalidInput(
                "Similarity.rotation mirrors (determinant -1): left and right would swap"
            )

    @staticmethod
    def identity() -> "Similarity":
        """Return the map that changes nothing."""
        return Similarity(1.0, torch.eye(3), torch.zeros(3))

    def inverse(self) -> "Similarity":
        """Return the map back."""
        back = self.rotation.T
        return Similarity(1 / self.scale, back, -(back @ self.translation) / self.scale)

    def after(self, first: "Similarity") -> "Similarity":
        """Return the map that applies `first`, then self."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )

    def apply(self, points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Move points."""
        rotation, translation = self.rotation.to(points), self.translation.to(points)
        return self.scale * points @ rotation.T + translation

    def apply_to_cameras(self, cameras: Cameras) -> Cameras:
        """Move cameras with the scene: the moved cameras see the moved scene as before.

        Camera axes keep unit length, so depths are multiplied by the scale.
        """
        turned = cameras.world_to_camera[..., :3, :3] @ self.rotation.to(cameras.K).T
        moved = cameras.world_to_camera.clone()
        moved[..., :3, :3] = turned
        moved[..., :3, 3] = -(turned @ self.apply(cameras.centers)[..., None])[..., 0]
        return replace(cameras, world_to_camera=moved)

    def apply_to_gaussians(self, gaussians: Gaussians) -> Gaussians:
        """Move, turn and scale Gaussians, their view-dependent colours included."""
        rotation = self.rotation.to(gaussians.means)
        turn = matrix_to_quaternion(rotation)
        harmonics = sh_rotation(degree_of(gaussians.sh.shape[-2]), rotation)
        return Gaussians(
            means=self.apply(gaussians.means),
            quats=multiply_quaternions(turn, gaussians.quats),
            scales=self.scale * gaussians.scales,
            opacities=gaussians.opacities,
            sh=harmonics @ gaussians.sh,
        )


def fit_similarity(
    source: Float[Tensor, "N 3"], target: Float[Tensor, "N 3"]
) -> tuple[Similarity, float]:
    """Return the similarity that takes `source` nearest to `target`, and the RMS residual left.

    Least squares in closed form, without a mirror (Umeyama, 1991).

    Raises:
        InvalidInput: shapes differ, fewer than three points, non-finite points, or points on one
            line, which leave the rotation open.
    """
    if source.shape != target.shape or source.ndim != 2 or source.shape[-1] != 3:
        raise InvalidInput(
            f"points must be (N, 3) and agree; got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    if len(source) < 3:
        raise InvalidInput(f"a similarity needs at least 3 pairs of points; got {len(source)}")
    if not bool(torch.isfinite(source).all() and torch.isfinite(target).all()):
        raise InvalidInput("points to fit must be finite")
    a, b = source.double(), target.double()
    a_mean, b_mean = a.mean(0), b.mean(0)
    a_centered, b_centered = a - a_mean, b - b_mean
    for name, points in (("source", a_centered), ("target", b_centered)):
        spread = torch.linalg.svdvals(points)
        if float(spread[1]) <= 1e-9 * max(float(spread[0]), 1e-300):
            raise InvalidInput(f"{name} points lie on one line: the rotation is not determined")
    u, s, vt = torch.linalg.svd(b_centered.T @ a_centered / len(a))
    handedness = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64, device=a.device)
    handedness[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    rotation = u @ torch.diag(handedness) @ vt
    scale = float((s * handedness).sum() / a_centered.square().sum(-1).mean())
    if scale <= 0:
        raise InvalidInput(
            "no similarity without a mirror fits: target looks like a mirror image of source"
        )
    fitted = Similarity(scale, rotation, b_mean - scale * rotation @ a_mean)
    residual = float((fitted.apply(a) - b).square().sum(-1).mean().sqrt())
    as_source = Similarity(
        scale, fitted.rotation.to(source.dtype), fitted.translation.to(source.dtype)
    )
    return as_source, residual
