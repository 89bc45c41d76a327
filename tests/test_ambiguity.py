"""`benchmarks.ambiguity`: twins share what a portrait shows, and scores are told apart by angle."""

from dataclasses import replace

import numpy as np
import torch

from any3davatar.anyhead.rigs import make_rig
from any3davatar.core.rigs import orbit
from benchmarks.ambiguity import (
    CONFIG,
    HIDDEN_SHAPES,
    RECIPE,
    TIED_BEHIND,
    VIEWS,
    by_angle,
    person_of,
    twin_of,
    views_of,
)


def test_a_twin_differs_in_what_a_portrait_hides_and_in_nothing_else() -> None:
    person = person_of(3)
    twin = twin_of(person, np.random.default_rng(0))
    ours, theirs = dict(person.identity.shape), dict(twin.identity.shape)
    assert {name for name in ours | theirs if ours.get(name) != theirs.get(name)} <= {
        *HIDDEN_SHAPES
    }
    assert ours["head_back"] != theirs["head_back"]
    again = replace(
        twin, seed=person.seed, identity=replace(twin.identity, shape=person.identity.shape)
    )
    assert person.hair.style not in TIED_BEHIND
    assert again == person


def test_hair_that_is_tied_behind_may_be_tied_otherwise() -> None:
    person = person_of(3)
    tied = replace(person, hair=replace(person.hair, style="bun"))
    rng = np.random.default_rng(0)
    twins = [twin_of(tied, rng) for _ in range(20)]
    assert {twin.hair.style for twin in twins} == set(TIED_BEHIND)
    assert len({twin.hair.length for twin in twins}) > 10
    assert all(replace(t.hair, style="bun", length=tied.hair.length) == tied.hair for t in twins)


def test_views_are_the_portrait_and_others_at_the_distances_of_training() -> None:
    rig = make_rig(RECIPE.rig, RECIPE.drawing.size_px, 5)
    at = views_of(rig, 5)
    assert at[0] == rig.input_view
    assert len(set(at)) == 1 + VIEWS
    assert all(rig.cameras.centers[at[1:]].norm(dim=-1) >= CONFIG.target_distance_min)
    assert at == views_of(rig, 5) != views_of(rig, 6)


def test_scores_are_told_apart_by_angle() -> None:
    cameras = orbit([0.0, 10.0, -90.0, 180.0], [0.0] * 4, size_px=8)
    means = by_angle(torch.tensor([30.0, 20.0, 10.0, 12.0]), cameras)
    assert means == {"portrait": 30.0, "others": 14.0, "side": 10.0}
    assert by_angle(torch.tensor([30.0, 20.0]), cameras[:2]) == {"portrait": 30.0, "others": 20.0}
