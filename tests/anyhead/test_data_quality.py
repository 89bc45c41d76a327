from collections.abc import Callable

import pytest
import torch

from any3davatar.anyhead.errors import Rejected
from any3davatar.anyhead.quality import (
    EditLimits,
    HeadLimits,
    check_edit,
    check_head,
    edit_scores,
    head_scores,
    silhouette_excess,
)
from any3davatar.anyhead.rigs import make_rig
from any3davatar.core import Views
from tests.anyhead.spheres import HAT, Sphere, draw, head_of

RIG = make_rig("accessory16", 64, 0)
CAMERAS = RIG.cameras
BEFORE = draw(head_of(1), CAMERAS)
GLASSES: Sphere = ((0.0, 0.15, 0.33), 0.14, (0.05, 0.05, 0.05))


def dressed(*worn: Sphere) -> Views:
    return draw([*head_of(1), *worn], CAMERAS)


def replaced(views: Views, v: int, other: Views) -> Views:
    rgb, alpha = views.rgb.clone(), views.alpha.clone()
    rgb[v], alpha[v] = other.rgb[v], other.alpha[v]
    return Views(rgb, alpha)


def without_depth(views: Views) -> Views:
    return Views(views.rgb, views.alpha)


def test_silhouettes_of_one_thing_agree() -> None:
    # Alpha is 0 or 1 at 64 pixels here, so the outline is coarse: half the limit for an edit.
    assert float(silhouette_excess(dressed(HAT).alpha, CAMERAS).max()) < 0.01


@pytest.mark.parametrize("v", [0, 2, 5, 9])
def test_a_mirrored_view_contradicts_the_others(v: int) -> None:
    alpha = BEFORE.alpha.clone()
    alpha[v] = alpha[v].flip(-1)
    assert float(silhouette_excess(alpha, CAMERAS).max()) > 0.03


def test_exchanged_views_contradict_the_others() -> None:
    alpha = BEFORE.alpha[[1, 0, *range(2, 16)]]
    assert float(silhouette_excess(alpha, CAMERAS)[:2].max()) > 0.03


@pytest.mark.parametrize("worn", [HAT, GLASSES])
@pytest.mark.parametrize("known", [True, False])
def test_a_consistent_edit_passes_with_and_without_known_geometry(
    worn: Sphere, known: bool
) -> None:
    after = dressed(worn) if known else without_depth(dressed(worn))
    scores = edit_scores(BEFORE, after, CAMERAS)
    check_edit(scores, EditLimits())
    assert scores["kept_min"] > 0.5
    assert scores["consistent_min"] > 0.8


def nothing(after: Views) -> Views:
    return BEFORE


def missing_in_front(after: Views) -> Views:
    return replaced(after, 0, BEFORE)


def someone_else(after: Views) -> Views:
    return Views(1 - after.rgb, after.alpha)


def half_gone(after: Views) -> Views:
    alpha = after.alpha.clone()
    alpha[3, :, :, :32] = 0
    return Views(after.rgb, alpha)


def mirrored(after: Views) -> Views:
    return replaced(after, 4, Views(after.rgb.flip(-1), after.alpha.flip(-1)))


def elsewhere_in_one_view(after: Views) -> Views:
    low: Sphere = ((0.0, -0.3, 0.3), 0.14, (0.05, 0.05, 0.05))
    return replaced(after, 0, dressed(low))


@pytest.mark.parametrize(
    ("worn", "spoil", "text"),
    [
        (HAT, nothing, "the edit changed nothing"),
        (HAT, missing_in_front, "the accessory is missing or somewhere else in a view"),
        (HAT, someone_else, "a view shows someone else"),
        (HAT, half_gone, "a view lost part of the head"),
        (HAT, mirrored, "the silhouettes contradict each other"),
        (GLASSES, elsewhere_in_one_view, "the accessory is missing or somewhere else in a view"),
    ],
)
def test_spoilt_edits_are_rejected_with_the_reason(
    worn: Sphere, spoil: Callable[[Views], Views], text: str
) -> None:
    scores = edit_scores(BEFORE, without_depth(spoil(dressed(worn))), CAMERAS)
    with pytest.raises(Rejected, match=text) as caught:
        check_edit(scores, EditLimits())
    assert caught.value.scores == scores


def test_a_head_like_its_portrait_passes_and_others_do_not() -> None:
    scores = head_scores(BEFORE, CAMERAS, BEFORE[0], 0)
    check_head(scores, HeadLimits())
    assert scores["portrait_agreement"] == 1.0
    stranger = Views(1 - BEFORE.rgb[0], BEFORE.alpha[0])
    with pytest.raises(Rejected, match="the head does not look like its portrait"):
        check_head(head_scores(BEFORE, CAMERAS, stranger, 0), HeadLimits())
    empty = Views(BEFORE.rgb, BEFORE.alpha * (torch.arange(16) != 3)[:, None, None, None])
    with pytest.raises(Rejected, match="a view is almost empty"):
        check_head(head_scores(empty, CAMERAS, BEFORE[0], 0), HeadLimits())
