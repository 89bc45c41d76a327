import pytest
import torch

from any3davatar.core import InvalidInput, intrinsics_from_fov
from any3davatar.core.rigs import (
    RIGS,
    accessory16,
    angles_of,
    anyhead80,
    canonical_four,
    look_at,
    orbit,
    turntable,
)


@pytest.mark.parametrize("name", sorted(RIGS))
def test_every_rig_is_valid_and_sees_the_centre_in_the_middle(name: str) -> None:
    cameras = RIGS[name](64, radius=2.0, vertical_fov_deg=30.0).validate()
    pixels, depth = cameras.project(torch.zeros(len(cameras), 1, 3))
    torch.testing.assert_close(pixels, torch.full_like(pixels, 32.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(depth, torch.full_like(depth, 2.0))


def test_the_front_camera_shows_left_at_the_right_and_up_at_the_top() -> None:
    front = orbit([0], [0], size_px=100)
    left_ear = torch.tensor([[[0.5, 0.0, 0.0]]])
    crown = torch.tensor([[[0.0, 0.5, 0.0]]])
    nose = torch.tensor([[[0.0, 0.0, 0.5]]])
    assert front.project(left_ear)[0][0, 0, 0] > 60
    assert front.project(crown)[0][0, 0, 1] < 40
    assert front.project(nose)[1][0, 0] == pytest.approx(2.2)


def test_canonical_views_stand_where_their_names_say() -> None:
    front, left, right, back = canonical_four(8).centers
    expected = torch.tensor([[0, 0, 2.7], [2.7, 0, 0], [-2.7, 0, 0], [0, 0, -2.7]])
    torch.testing.assert_close(torch.stack([front, left, right, back]), expected)


def test_angles_of_inverts_orbit() -> None:
    azimuths = [0.0, 30.0, 179.0, -90.0]
    elevations = [-20.0, 0.0, 45.0, 80.0]
    got_azimuths, got_elevations = angles_of(orbit(azimuths, elevations, size_px=4).centers)
    torch.testing.assert_close(got_azimuths, torch.tensor(azimuths), atol=1e-3, rtol=0)
    torch.testing.assert_close(got_elevations, torch.tensor(elevations), atol=1e-3, rtol=0)


def test_anyhead80_index_is_16_rows_of_elevation_by_azimuth() -> None:
    azimuths, elevations = angles_of(anyhead80(4).centers)
    index = 16 * 3 + 5  # elevation +10, azimuth 112.5
    assert float(azimuths[index]) == pytest.approx(112.5, abs=1e-3)
    assert float(elevations[index]) == pytest.approx(10.0, abs=1e-3)
    assert len(azimuths) == 80


def test_accessory16_has_the_papers_counts_per_elevation() -> None:
    _, elevations = angles_of(accessory16(4).centers)
    rounded = elevations.round().int().tolist()
    assert {e: rounded.count(e) for e in set(rounded)} == {0: 8, -10: 4, 10: 4}


def test_a_turntable_is_even_and_starts_at_the_front() -> None:
    azimuths, _ = angles_of(turntable(8, size_px=4).centers)
    expected = torch.tensor([0.0, 45, 90, 135, 180, -135, -90, -45])
    torch.testing.assert_close(azimuths, expected, atol=1e-3, rtol=0)


def test_impossible_rigs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="must pair up; got 2 and 1"):
        orbit([0, 1], [0], size_px=4)
    with pytest.raises(InvalidInput, match=r"elevations must lie in \(-90, 90\)"):
        orbit([0], [90], size_px=4)
    with pytest.raises(InvalidInput, match="radius must be positive; got 0"):
        orbit([0], [0], size_px=4, radius=0)
    K, up = intrinsics_from_fov(50, 4, 4), torch.tensor([0.0, 1.0, 0.0])
    with pytest.raises(InvalidInput, match="stands on its target"):
        look_at(torch.zeros(1, 3), torch.zeros(3), up, K, 4, 4)
    with pytest.raises(InvalidInput, match="looks along `up`"):
        look_at(torch.tensor([[0.0, 2.0, 0.0]]), torch.zeros(3), up, K, 4, 4)
