from pathlib import Path

import pytest
import torch

from any3davatar.anyhead.camera_parameters import (
    differs_from_rig,
    read_camera_parameters,
    write_camera_parameters,
)
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.rigs import RIGS, fixed_circular, make_rig, random_cameras
from any3davatar.core.rigs import angles_of
from any3davatar.io import FormatError


@pytest.mark.parametrize("name", sorted(RIGS))
def test_every_rig_is_valid_sees_the_front_and_is_the_same_again(name: str) -> None:
    rig = make_rig(name, 32, 5)
    rig.cameras.validate()
    assert len(rig) == len(rig.cameras)
    azimuth, elevation = angles_of(rig.cameras.centers[rig.input_view])
    assert float(azimuth) == pytest.approx(0, abs=1e-4)
    assert float(elevation) == pytest.approx(0, abs=1e-4)
    again = make_rig(name, 32, 5)
    assert torch.equal(again.cameras.world_to_camera, rig.cameras.world_to_camera)


def test_digital80_is_40_fixed_and_40_random_cameras() -> None:
    kinds = make_rig("digital80", 32, 0).kinds
    assert kinds == ("fixed",) * 40 + ("random",) * 40


def test_digital40_is_three_rings_of_digital80_and_16_cameras_that_keep_their_distance() -> None:
    half, whole = make_rig("digital40", 32, 4), make_rig("digital80", 32, 4)
    assert half.kinds == ("fixed",) * 24 + ("random",) * 16
    assert torch.equal(half.cameras[:24].world_to_camera, whole.cameras[8:32].world_to_camera)
    distance = half.cameras[24:].centers.norm(dim=-1)
    assert bool(((distance >= 2.0) & (distance <= 3.2)).all())


def test_fixed_cameras_stand_on_a_sphere_from_minus_20_to_20_degrees() -> None:
    cameras = fixed_circular(32)
    azimuths, elevations = angles_of(cameras.centers)
    torch.testing.assert_close(cameras.centers.norm(dim=-1), torch.full((40,), 2.7))
    assert set(elevations.round().int().tolist()) == {-20, -10, 0, 10, 20}
    # Rings take turns, so that 16 directions are seen; -180 and 180 are one.
    assert len({round(float(a) * 2) % 720 for a in azimuths}) == 16


def test_random_cameras_always_look_at_the_head_from_outside_and_differ_by_seed() -> None:
    cameras = random_cameras(400, 64, seed=1)
    centers = cameras.centers
    assert bool((centers.norm(dim=-1) > 1).all())
    # The head's core, a sphere of 0.15 around its middle, is never wholly out of the picture, and
    # the optical axis passes through the ellipsoid that all heads contain.
    forward = cameras.world_to_camera[:, 2, :3]
    to_middle = torch.tensor([0.0, 0.05, 0.02]) - centers
    along = (to_middle * forward).sum(-1, keepdim=True)
    nearest = to_middle - along * forward
    assert bool((along > 0).all())
    assert float(nearest.norm(dim=-1).max()) < 0.25  # the ellipsoid's largest radius
    azimuths, elevations = angles_of(centers)
    assert float(azimuths.min()) < -150
    assert float(azimuths.max()) > 150
    assert float(elevations.max()) > 40
    assert float(elevations.min()) < -20
    other = random_cameras(400, 64, seed=2)
    assert not torch.allclose(other.world_to_camera, cameras.world_to_camera)


def test_random_cameras_of_a_seed_do_not_depend_on_the_picture_size() -> None:
    small, large = random_cameras(5, 64, seed=3), random_cameras(5, 128, seed=3)
    torch.testing.assert_close(small.resized(128, 128).K, large.K)
    assert torch.equal(small.world_to_camera, large.world_to_camera)


def test_camera_parameters_round_trip_bit_for_bit(tmp_path: Path) -> None:
    rig = make_rig("digital80", 64, 9)
    write_camera_parameters(tmp_path / "c.json", rig)
    read = read_camera_parameters(tmp_path / "c.json")
    assert torch.equal(read.cameras.world_to_camera, rig.cameras.world_to_camera)
    assert torch.equal(read.cameras.K, rig.cameras.K)
    assert (read.name, read.seed, read.kinds, read.input_view) == ("digital80", 9, rig.kinds, 16)
    assert differs_from_rig(read, rig) is None


def test_a_camera_of_another_rig_is_told(tmp_path: Path) -> None:
    rig, other = make_rig("digital6", 64, 9), make_rig("digital6", 64, 10)
    assert differs_from_rig(rig, other) == "world_to_camera of view 004 is not the rig's"
    assert differs_from_rig(rig, make_rig("canonical4", 64, 0)) == "6 views, expected 4"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"kind": "fixed"', '"kind": "moving"', "expected fixed or random"),
        ('"input_view": "000"', '"input_view": "999"', "which is no frame"),
        ('"name": "000"', '"name": "zero"', "expected 000, 001"),
        ('"version": 1', '"version": 3', "a newer release may have written it"),
    ],
)
def test_damaged_camera_files_are_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    path = tmp_path / "c.json"
    write_camera_parameters(path, make_rig("canonical4", 16, 0))
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(FormatError, match=text):
        read_camera_parameters(path)


def test_an_unknown_rig_is_refused() -> None:
    with pytest.raises(DataError, match="expected one of digital80, digital40, anyhead80"):
        make_rig("sphere", 16, 0)
