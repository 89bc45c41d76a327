"""When a similarity that was found is not applied, and a subject keeps the views that it had.

A similarity can be wrong: landmarks of a blurred face guess, and the last refinement by pictures
follows a blurred outline instead of the face. To apply it anyway would lower a method's score for
what the alignment did; to choose by the score would be a score of the choice. So what decides is
where things lie, never how alike pictures look:

1. Placed as well as can be, the prediction's landmarks in space must lie within `RESIDUAL_MAX` of
   the truth's. Otherwise they are of no one head (a plane, pictures that contradict each other) and
   give no similarity.
2. In the views that show a face in truth, in the prediction, and in the moved prediction, landmarks
   must come nearer to the truth's: to `NEARER` of their distance at most. A smaller gain is less
   than the landmarks' own uncertainty: looking twice at one face differs by about as much.
3. Where no view shows all three, silhouettes must overlap the truth's by more than before.

Silhouettes do not decide where landmarks do: a bald head that is too large covers a haircut better
than it does in its right size.
"""

from collections.abc import Mapping
from statistics import mean, median

from jaxtyping import Float
from torch import Tensor

from a3d_bench.align.diagnosis import covered
from a3d_bench.align.landmarks import Landmarks

RESIDUAL_MAX = 0.05  # unit sphere; faces of two people differ by 0.01 to 0.02, a plane by 0.08
NEARER = 0.9


def refusal(apart: tuple[float, float] | None, overlap_before: float, overlap_after: float) -> str:
    """Say why a similarity is not applied, or return an empty string.

    Args:
        apart: distances of landmarks before and after, as of `apart_px`.
        overlap_before: of silhouettes, as of `overlap`, of the method's own views.
        overlap_after: of the moved ones.
    """
    if apart is not None:
        before, after = apart
        if after <= NEARER * before:
            return ""
        return (
            f"moved, its landmarks would lie {after:.1f} px from the truth's, as it is "
            f"{before:.1f} px; less than {1 - NEARER:.0%} nearer is no alignment"
        )
    if overlap_after > overlap_before:
        return ""
    return (
        f"moved, its silhouettes would overlap the truth's by {overlap_after:.1%}, as it is by "
        f"{overlap_before:.1%}; there is no face to go by"
    )


def apart_px(raw: Landmarks, moved: Landmarks, truth: Landmarks) -> tuple[float, float] | None:
    """Return how far landmarks are from the truth's, before and after.

    Medians over points, then over the views where all three show a face; None where none does.
    """
    views = (raw.seen & moved.seen & truth.seen).nonzero()[:, 0].tolist()
    if not views:
        return None
    before, after = (
        median((of.points[v] - truth.points[v]).norm(dim=1).median().item() for v in views)
        for of in (raw, moved)
    )
    return before, after


def overlap(
    pictures: Mapping[int, Float[Tensor, "3 H W"]],
    alpha: Mapping[int, Float[Tensor, "1 H W"]],
    background: Float[Tensor, "3"],
) -> float:
    """Return the mean over views of intersection over union of silhouettes.

    Pictures have no alpha: what is not the background counts as the head.
    """
    shares: list[float] = []
    for v, picture in pictures.items():
        shown, wanted = covered(picture, background), alpha[v][0] > 0.5
        either = int((shown | wanted).sum())
        shares.append(int((shown & wanted).sum()) / either if either else 1.0)
    return mean(shares)
