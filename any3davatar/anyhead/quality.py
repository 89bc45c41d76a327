"""Cross-view checks: do these pictures show one thing, and did an edit add only what it should?

No network judges here. Silhouettes must agree with each other as seen through the cameras, and what
an edit changed in one view must be changed where the same surface shows in the others, which the
depth of the unedited render tells. Scores are shares in [0, 1]; 1 is perfect unless a name says
``excess``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from any3davatar.anyhead.errors import Rejected
from any3davatar.core import Cameras, Views
from any3davatar.core.images import composite

GREY = torch.full((3,), 0.5)  # edits may be white or black; few are this
CHANGED = 0.10  # colour difference, largest channel, that counts as an edit
PERHAPS_CHANGED = 0.04  # enough where another view saw an edit: black rims before black hair
COVERED = 0.5
_CHECK_SIZE_PX = 96  # views are compared at about this size
_RAY_SAMPLES = 48
_RAYS_MAX = 500  # a view; enough to see a hundredth
_SURFACE_TOLERANCE = 0.04  # world units between two depths of one surface
_ACCESSORY_HEIGHT = 0.08  # world units that a worn thing stands off the surface under it
# A few pixels, of an earring say, prove little: scores start from this many at this agreement.
_PRIOR_PIXELS = 60
_PRIOR_AGREEMENT = 0.8


@dataclass(frozen=True)
class EditLimits:
    """What an accepted edit reaches; see `edit_scores`.

    Attributes:
        kept: least `kept_min`.
        covered: least `covered_min`.
        consistent: least `consistent_min`.
        changed: least `changed_mean`.
        silhouette_excess: most `silhouette_excess_max`.
    """

    kept: float = 0.35  # a scarf and a hat leave 0.65, a shift of the head 0.3
    covered: float = 0.70  # hair under a hat costs 0.1
    consistent: float = 0.5
    changed: float = 2e-5  # earrings change 1e-4
    silhouette_excess: float = 0.02  # clean renders: below 0.001; a mirrored view: 0.06 and more


def silhouette_excess(alpha: Float[Tensor, "V 1 H W"], cameras: Cameras) -> Float[Tensor, "V"]:
    """Return for each view the share of its covered pixels that no point explains.

    A pixel is explained if its ray meets a point of the unit sphere that every other view which
    frames it sees covered. Silhouettes of one rigid thing give 0, up to the resolution; a mirrored
    picture or a wrong camera gives more, there and in its neighbours.
    """
    alpha, cameras = _at_check_size(alpha, cameras)
    return torch.stack([_excess_of(v, alpha, cameras) for v in range(len(alpha))])


def _excess_of(v: int, alpha: Tensor, cameras: Cameras) -> Tensor:
    origins, directions = cameras[v].rays()
    covered = (alpha[v, 0] > 0.8).flatten().nonzero()[:, 0]
    if not len(covered):
        return torch.zeros(())
    chosen = covered[:: max(1, len(covered) // _RAYS_MAX)]
    origin, direction = origins.reshape(-1, 3)[chosen], directions.reshape(-1, 3)[chosen]
    middle = -(origin * direction).sum(-1, keepdim=True)
    steps = torch.linspace(-1, 1, _RAY_SAMPLES)
    points = origin[:, None] + (middle + steps)[..., None] * direction[:, None]  # (R, S, 3)
    others = [u for u in range(len(alpha)) if u != v]
    seen, framed = _sampled(points.reshape(-1, 3), alpha[others], cameras[others])
    solid = ((seen > 0.2) | ~framed).all(0).reshape(len(chosen), _RAY_SAMPLES)
    return 1 - solid.any(-1).float().mean()


def _sampled(
    points: Float[Tensor, "P 3"], maps: Float[Tensor, "V 1 H W"], cameras: Cameras
) -> tuple[Float[Tensor, "V P"], Bool[Tensor, "V P"]]:
    """Sample maps where points project; also tell whether a view frames the point."""
    pixels, depth = cameras.project(points.expand(len(cameras), -1, -1))
    size = pixels.new_tensor([cameras.width, cameras.height])
    framed = ((pixels >= 0) & (pixels < size)).all(-1) & (depth > 0)
    grid = (2 * pixels / size - 1)[:, None]
    return torch.nn.functional.grid_sample(maps, grid, align_corners=False)[:, 0, 0], framed


def _at_check_size(
    maps: Float[Tensor, "V C H W"], cameras: Cameras
) -> tuple[Float[Tensor, "V C h w"], Cameras]:
    """Average maps down to about the size of the checks, never up."""
    factor = max(1, round(cameras.width / _CHECK_SIZE_PX))
    while cameras.width % factor or cameras.height % factor:
        factor -= 1
    smaller = torch.nn.functional.avg_pool2d(maps, factor) if factor > 1 else maps
    return smaller, cameras.resized(cameras.width // factor, cameras.height // factor)


def visible_change(before: Views, after: Views) -> Float[Tensor, "V H W"]:
    """Return how much an edit changed what is seen, over grey, noise of single pixels averaged."""
    difference = composite(after.rgb, after.alpha, GREY) - composite(before.rgb, before.alpha, GREY)
    smooth = torch.nn.functional.avg_pool2d(
        difference, 3, stride=1, padding=1, count_include_pad=False
    )
    return smooth.abs().amax(1)


def reprojection_agreement(
    change: Float[Tensor, "V H W"],
    depth: Float[Tensor, "V 1 H W"],
    cameras: Cameras,
    slack: float,
) -> Float[Tensor, "V"]:
    """Return for each view how much of what others saw change is changed in it; NaN: none seen.

    Changed pixels go to the world by their depth, and to every view that sees the same surface
    there.

    Args:
        change: how much the edit changed what is seen (`visible_change`).
        depth: camera depth of the edited thing where it is known, else of the unedited one.
        cameras: (V,) cameras.
        slack: how far, in world units, the edited surface may lie from `depth`; a change counts
            within the parallax of this.
    """
    reach_px = max(1, round(slack * float(cameras.K[0, 0, 0]) / _distance(cameras)))
    changed = change > CHANGED
    near = torch.nn.functional.max_pool2d(
        (change > PERHAPS_CHANGED)[:, None].float(), 2 * reach_px + 1, stride=1, padding=reach_px
    )
    agreed, seen = torch.zeros(len(changed)), torch.zeros(len(changed))
    for v in range(len(changed)):
        points = _surface_points(changed[v] & (depth[v, 0] > 0), depth[v, 0], cameras[v])
        surface, framed = _sampled(points, depth, cameras)
        _, own_depth = cameras.project(points.expand(len(cameras), -1, -1))
        visible = framed & ((surface - own_depth).abs() < _SURFACE_TOLERANCE)
        hit, _ = _sampled(points, near, cameras)
        visible[v] = False
        agreed += ((hit > 0.5) & visible).sum(-1)
        seen += visible.sum(-1)
    agreement = (agreed + _PRIOR_AGREEMENT * _PRIOR_PIXELS) / (seen + _PRIOR_PIXELS)
    return torch.where(seen > 0, agreement, torch.nan)


def _distance(cameras: Cameras) -> float:
    return float(cameras.centers.norm(dim=-1).mean())


def _surface_points(mask: Bool[Tensor, "H W"], depth: Tensor, camera: Cameras) -> Tensor:
    origins, directions = camera.rays()
    forward = camera.world_to_camera[2, :3]
    origin, direction = origins[mask], directions[mask]  # (P, 3)
    return origin + direction * (depth[mask] / (direction @ forward))[:, None]


def edit_scores(before: Views, after: Views, cameras: Cameras) -> dict[str, float]:
    """Score an edit of V views of which the unedited depth is known, and perhaps the edited too.

    Returns:
        ``kept_min``: identity; share of the head's pixels that look as before, worst view.
        ``covered_min``: geometry; share of the head's pixels that still are covered, worst view.
        ``silhouette_excess_max``: geometry; how far the edited silhouettes contradict each other.
        ``consistent_min``: accessory; what the others saw change is changed here, worst view; 0
        where nothing that changed can be compared.
        ``changed_mean``: share of all pixels that changed at all, mean of the views.
    """
    assert before.depth is not None
    change = visible_change(before, after)
    changed = change > CHANGED
    head = before.alpha[:, 0] > COVERED
    kept = (head & ~changed).sum((1, 2)) / head.sum((1, 2)).clamp_min(1)
    still = (head & (after.alpha[:, 0] > COVERED)).sum((1, 2)) / head.sum((1, 2)).clamp_min(1)
    agreement = (
        reprojection_agreement(change, before.depth, cameras, _ACCESSORY_HEIGHT)
        if after.depth is None
        else reprojection_agreement(change, after.depth, cameras, _SURFACE_TOLERANCE)
    )
    known = agreement[~agreement.isnan()]
    return {
        "kept_min": _rounded(kept.min()),
        "covered_min": _rounded(still.min()),
        "silhouette_excess_max": _rounded(silhouette_excess(after.alpha, cameras).max()),
        "consistent_min": _rounded(known.min()) if len(known) else 0.0,
        "changed_mean": _rounded(changed.float().mean()),
    }


def _rounded(value: Tensor) -> float:
    return round(float(value), 4)


def check_edit(scores: Mapping[str, float], limits: EditLimits) -> None:
    """Raise `Rejected`, saying what is wrong, for an edit whose scores miss the limits."""
    checks = (
        ("changed_mean", scores["changed_mean"] < limits.changed, "the edit changed nothing"),
        ("kept_min", scores["kept_min"] < limits.kept, "a view shows someone else"),
        ("covered_min", scores["covered_min"] < limits.covered, "a view lost part of the head"),
        (
            "silhouette_excess_max",
            scores["silhouette_excess_max"] > limits.silhouette_excess,
            "the silhouettes contradict each other",
        ),
        (
            "consistent_min",
            scores["consistent_min"] < limits.consistent,
            "the accessory is missing or somewhere else in a view",
        ),
    )
    failed = [f"{words} ({name} {scores[name]:g})" for name, bad, words in checks if bad]
    if failed:
        raise Rejected("; ".join(failed), scores)


@dataclass(frozen=True)
class HeadLimits:
    """What an accepted generated head reaches; see `head_scores`.

    Attributes:
        silhouette_excess: most `silhouette_excess_max`.
        coverage: least `coverage_min`.
        portrait: least `portrait_agreement`.
    """

    silhouette_excess: float = 0.06
    coverage: float = 0.02
    portrait: float = 0.80


def head_scores(views: Views, cameras: Cameras, portrait: Views, front: int) -> dict[str, float]:
    """Score rendered views of a head that was lifted from a portrait.

    Returns:
        ``silhouette_excess_max``: view consistency; how far the silhouettes contradict each other.
        ``coverage_min``: realism; covered share of the emptiest view.
        ``portrait_agreement``: identity; 1 minus the mean colour difference between the front view
        and the portrait, over grey, where either is covered.
    """
    mine, theirs = views[front], portrait
    covered = (mine.alpha > COVERED) | (theirs.alpha > COVERED)
    difference = (
        (composite(mine.rgb, mine.alpha, GREY) - composite(theirs.rgb, theirs.alpha, GREY))
        .abs()
        .mean(0, keepdim=True)
    )
    few = torch.linspace(0, len(cameras) - 1, min(16, len(cameras))).round().long()
    return {
        "silhouette_excess_max": _rounded(silhouette_excess(views.alpha[few], cameras[few]).max()),
        "coverage_min": _rounded((views.alpha > COVERED).float().mean((1, 2, 3)).min()),
        "portrait_agreement": _rounded(1 - difference[covered].mean()) if covered.any() else 0.0,
    }


def check_head(scores: Mapping[str, float], limits: HeadLimits) -> None:
    """Raise `Rejected`, saying what is wrong, for a head whose scores miss the limits."""
    checks = (
        (
            "silhouette_excess_max",
            scores["silhouette_excess_max"] > limits.silhouette_excess,
            "the silhouettes contradict each other",
        ),
        ("coverage_min", scores["coverage_min"] < limits.coverage, "a view is almost empty"),
        (
            "portrait_agreement",
            scores["portrait_agreement"] < limits.portrait,
            "the head does not look like its portrait",
        ),
    )
    failed = [f"{words} ({name} {scores[name]:g})" for name, bad, words in checks if bad]
    if failed:
        raise Rejected("; ".join(failed), scores)
