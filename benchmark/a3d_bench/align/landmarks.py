"""Landmarks of many views, and where they lie in space."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from a3d_bench.align.plane import cauchy_weights
from any3davatar.core import Cameras, Similarity
from any3davatar.core.similarity import fit_similarity
from any3davatar.faces import FaceMesh

ROBUST_ITERATIONS = 12


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The 468 points of FaceMesh in each of V views.

    Attributes:
        points: (V, 468, 2) pixels; 0 where no face was seen.
        seen: (V,) whether one was.
    """

    points: Float[Tensor, "V 468 2"]
    seen: Bool[Tensor, "V"]

    def subset(self, views: list[int]) -> "Landmarks":
        """Return the landmarks of some views."""
        return Landmarks(self.points[views], self.seen[views])


def landmarks_of(pictures: list[Tensor | None], faces: FaceMesh) -> Landmarks:
    """Look for a face in each picture ((3, H, W) over its background; None: no picture)."""
    points = torch.zeros(len(pictures), 468, 2)
    seen = torch.zeros(len(pictures), dtype=torch.bool)
    for view, picture in enumerate(pictures):
        face = None if picture is None else faces.detect_large(picture)
        if face is not None:
            points[view], seen[view] = face.points, True
    return Landmarks(points, seen)


@dataclass(frozen=True, eq=False)
class Triangulated:
    """Landmarks in space.

    Attributes:
        points: (468, 3) world.
        spread: (468,) weighted distance of each from the rays it was made of, world units.
        residual_px: median distance of its projections from what was seen.
    """

    points: Float[Tensor, "468 3"]
    spread: Float[Tensor, "468"]
    residual_px: float


def triangulate(landmarks: Landmarks, cameras: Cameras) -> Triangulated:
    """Return the points nearest to the rays through the landmarks of the views that have them.

    Each view's rays are weighted anew, a point at a time, by how far they pass: the network's
    guess of a point that a view does not see (the far cheek of a profile) is put aside.
    """
    views = landmarks.seen.nonzero()[:, 0].tolist()
    chosen = cameras[views].to(torch.float64)
    pixels = landmarks.points[views].double()
    origins, directions = _rays(chosen, pixels)  # (V, 1, 3), (V, 468, 3)
    across = torch.eye(3, dtype=torch.float64) - directions[..., :, None] * directions[..., None, :]
    weights = torch.ones(pixels.shape[:2], dtype=torch.float64)
    points = torch.zeros(468, 3, dtype=torch.float64)
    away = torch.zeros_like(weights)
    for _ in range(ROBUST_ITERATIONS):
        normal = (weights[..., None, None] * across).sum(0)
        right = (weights[..., None] * (across @ origins[..., None])[..., 0]).sum(0)
        points = torch.linalg.solve(normal, right)
        away = (across @ (points - origins)[..., None])[..., 0].norm(dim=-1)  # (V, 468)
        weights = cauchy_weights(away)
    projected, _ = chosen.project(points.expand(len(views), -1, -1))
    residual = float((projected - pixels).norm(dim=-1).median())
    spread = ((weights * away.square()).sum(0) / weights.sum(0)).sqrt()
    return Triangulated(points, spread, residual)


def _rays(cameras: Cameras, pixels: Tensor) -> tuple[Tensor, Tensor]:
    K, rotation = cameras.K, cameras.world_to_camera[..., :3, :3]
    focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1)[:, None]
    flat = (pixels - K[:, None, :2, 2]) / focal
    directions = torch.cat([flat, torch.ones_like(flat[..., :1])], -1) @ rotation
    return cameras.centers[:, None], torch.nn.functional.normalize(directions, dim=-1)


def fit_landmarks(source: Triangulated, target: Triangulated) -> tuple[Similarity, float]:
    """Return the similarity from source to target points, and the median distance left.

    Umeyama's closed form on the points that agree best: half of them, chosen anew a few times.

    Raises:
        InvalidInput: only a mirror image fits.
    """
    chosen = torch.arange(468)
    residual = torch.zeros(468)
    fitted = Similarity.identity()
    for _ in range(ROBUST_ITERATIONS):
        fitted, _ = fit_similarity(source.points[chosen], target.points[chosen])
        residual = (fitted.apply(source.points) - target.points).norm(dim=-1)
        chosen = residual.argsort(stable=True)[: len(residual) * 2 // 3]
    return fitted, float(residual.median())


def correct(
    similarity: Similarity,
    rendered: Landmarks,
    truth: Landmarks,
    truth_points: Float[Tensor, "468 3"],
    cameras: Cameras,
) -> tuple[Similarity, float]:
    """Improve a similarity by what is still apart in the pictures; return it and that distance.

    Where the same camera sees prediction and truth from nearly the same side, the network errs
    alike in both: what differs between the two pictures is what the similarity left. One
    Gauss-Newton step with Cauchy weights, in rotation, logarithm of scale, and translation.

    Args:
        similarity: prediction to truth, so far.
        rendered: landmarks of the prediction under it.
        truth: landmarks of the truth.
        truth_points: where they lie in space.
        cameras: (V,) of both.
    """
    both = rendered.seen & truth.seen
    views = both.nonzero()[:, 0].tolist()
    chosen = cameras[views].to(torch.float64)
    apart = (truth.points[views] - rendered.points[views]).double()  # (V, 468, 2)
    slopes = _slopes(chosen, truth_points)  # (V, 468, 2, 7)
    rows, goal = slopes.reshape(-1, 7), apart.reshape(-1)
    step = torch.zeros(7, dtype=torch.float64)
    weights = torch.ones(apart.shape[:2], dtype=torch.float64)
    for _ in range(ROBUST_ITERATIONS):
        doubled = weights[..., None].expand_as(apart).reshape(-1, 1)
        step = torch.linalg.solve(rows.T @ (doubled * rows), rows.T @ (doubled[:, 0] * goal))
        left = (apart - (slopes @ step)).norm(dim=-1)
        weights = cauchy_weights(left)
    change = Similarity(float(step[3].exp()), torch.linalg.matrix_exp(_cross(step[:3])), step[4:])
    start = Similarity(
        similarity.scale, similarity.rotation.double(), similarity.translation.double()
    )
    return change.after(start), float(apart.norm(dim=-1).median())


def _slopes(cameras: Cameras, points: Tensor) -> Tensor:
    """Return how pixels move with rotation about the origin, log scale and translation."""
    rotation = cameras.world_to_camera[:, None, :3, :3]
    in_camera = points @ cameras.world_to_camera[:, :3, :3].mT
    in_camera = in_camera + cameras.world_to_camera[:, None, :3, 3]
    x, y, z = in_camera.unbind(-1)
    fx, fy = cameras.K[:, None, 0, 0], cameras.K[:, None, 1, 1]
    zero = torch.zeros_like(x)
    by_camera = torch.stack(
        [
            torch.stack([fx / z, zero, -fx * x / z**2], -1),
            torch.stack([zero, fy / z, -fy * y / z**2], -1),
        ],
        -2,
    )  # (V, 468, 2, 3)
    by_world = by_camera @ rotation
    axes = torch.eye(3, dtype=points.dtype)
    by_turn = torch.linalg.cross(axes[None].expand(468, 3, 3), points[:, None].expand(468, 3, 3))
    moves = torch.cat([by_turn.mT, points[..., None], axes.expand(468, 3, 3)], -1)  # (468, 3, 7)
    return by_world @ moves


def _cross(vector: Tensor) -> Tensor:
    x, y, z = vector.tolist()
    return torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
