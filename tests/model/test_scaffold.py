from dataclasses import replace

import pytest
import torch

from any3davatar.core import InvalidInput
from any3davatar.core.rigs import canonical_four
from any3davatar.core.rotations import quaternion_to_matrix
from any3davatar.model import Any3DAvatar
from any3davatar.model.scaffold import Scaffold
from tests.model.tiny import EXTRAS, PAPER, hull, seeded


def test_points_on_the_scaffold_project_to_their_pixels() -> None:
    scaffold = Scaffold(PAPER, None)
    z = 2.7 + torch.rand(1, 4, 16, 16, 1, generator=seeded()) - 0.5
    points = scaffold.to_world(torch.cat([scaffold.slopes.movedim(0, -1) * z, z], dim=-1))
    pixels, depth = canonical_four(16).project(points[0].flatten(1, 2))
    centers = torch.stack(
        torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="xy"), dim=-1
    )
    # float32 at coordinates of 16: a few ulp of 1e-6
    torch.testing.assert_close(pixels, centers.flatten(0, 1).expand(4, -1, -1), atol=2e-5, rtol=0)
    torch.testing.assert_close(depth, z[0].flatten(1), atol=1e-5, rtol=0)


def test_quaternions_turn_camera_axes_into_the_world() -> None:
    scaffold = Scaffold(PAPER, None)
    rotations = quaternion_to_matrix(scaffold.quats)
    expected = canonical_four(16).camera_to_world[:, :3, :3]
    torch.testing.assert_close(rotations, expected, atol=1e-6, rtol=0)  # float32, entries of 1


def test_rays_of_the_mirrored_rig_are_the_mirrored_rays() -> None:
    """Mirroring x swaps left and right; a moment is a cross product, so it takes the other sign."""
    rays = Scaffold(PAPER, None).rays
    sign = torch.tensor([1.0, -1, -1, -1, 1, 1])[:, None, None]
    mirrored = rays[[0, 2, 1, 3]].flip(-1) * sign
    torch.testing.assert_close(mirrored, rays, atol=1e-6, rtol=0)  # float32, entries below 1.5


def test_state_carries_the_canonical_rays_of_each_view() -> None:
    images = torch.rand(2, 4, 3, 16, 16, generator=seeded())
    state = Scaffold(PAPER, None).with_rays(images)
    assert torch.equal(state[:, :, :3], images)
    assert torch.equal(state[1, :, 3:], canonical_four(16).plucker())


def test_hull_and_switch_must_agree() -> None:
    with pytest.raises(InvalidInput, match="hull_start needs the mean head of the training set"):
        Any3DAvatar(EXTRAS)
    with pytest.raises(InvalidInput, match="a hull was given but hull_start is off"):
        Any3DAvatar(PAPER, hull=hull(PAPER))


@pytest.mark.border
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": torch.full((4, 16, 16), 1.9)}, r"Hull.depth must lie in \(1.95, 3.45\)"),
        ({"depth": torch.full((4, 16, 16), float("nan"))}, r"Hull.depth must lie in .* got \[nan"),
        ({"depth": torch.full((4, 8, 8), 2.7)}, r"Hull.depth must have shape \(4, 16, 16\); got"),
        (
            {"opacity": torch.full((4, 16, 16), 1.1)},
            r"Hull.opacity must lie in \[0, 1\]; got \[1.1",
        ),
        ({"rgb": torch.full((4, 3, 16, 16), -0.5)}, r"Hull.rgb must lie in \[0, 1\]; got \[-0.5"),
        ({"rgb": torch.zeros(4, 16, 16, 3)}, r"Hull.rgb must have shape \(4, 3, 16, 16\); got"),
    ],
)
def test_hull_is_refused(changes: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Scaffold(EXTRAS, replace(hull(EXTRAS), **changes))


def test_only_a_hull_is_stored_in_the_weights() -> None:
    assert set(Scaffold(PAPER, None).state_dict()) == set()
    stored = Scaffold(EXTRAS, hull(EXTRAS)).state_dict()
    start = {"start_depth", "start_opacity", "start_color"}
    assert set(stored) == start | {"reading", "reading_bias", "ways", "frequencies", "phases"}
    config = replace(EXTRAS, hull_ways=0, hull_waves=0)
    assert set(Scaffold(config, hull(config)).state_dict()) == start
