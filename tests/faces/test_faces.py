import math

import numpy as np
import pytest
import skimage.data
import torch

from any3davatar.core import InvalidInput
from any3davatar.faces import FaceMesh, five_points, selfie_matte
from any3davatar.faces.patches import Patch, cut
from any3davatar.registry_files import RegistryFileUnavailable
from tests.at_hand import missing

pytestmark = pytest.mark.weights

# The astronaut's pupils, nose tip and mouth corners, read off the picture by eye.
ASTRONAUT = torch.tensor([[204.0, 103], [246, 104], [223, 131], [202, 139], [246, 142]])


@pytest.fixture(scope="module")
def faces() -> FaceMesh:
    try:
        return FaceMesh.load()
    except RegistryFileUnavailable as error:
        missing("the face networks", error)


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(skimage.data.astronaut(), -1, 0) / np.float32(255))


def resized(picture: torch.Tensor, side: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(
        picture[None], (side, side), mode="bilinear", antialias=True
    )[0]


def test_five_points_lie_where_the_eye_sees_them(faces: FaceMesh, astronaut: torch.Tensor) -> None:
    face = faces.detect(astronaut)
    assert face is not None
    assert face.presence > 0.99
    # 6 pixels of a face of 108: a point read by eye is no better.
    assert (five_points(face) - ASTRONAUT).norm(dim=1).max() < 6


@pytest.mark.parametrize("side", [128, 256, 1500])
def test_points_grow_with_the_picture(faces: FaceMesh, astronaut: torch.Tensor, side: int) -> None:
    whole, other = faces.detect(astronaut), faces.detect(resized(astronaut, side))
    assert whole is not None
    assert other is not None
    apart = (other.points * 512 / side - whole.points).norm(dim=1)
    # At 128 pixels the face is 27 wide: a pixel there is 4 here.
    assert apart.median() < 512 / 128


def test_a_turned_face_has_turned_points(faces: FaceMesh, astronaut: torch.Tensor) -> None:
    upright, turned = faces.detect(astronaut), faces.detect(torch.rot90(astronaut, 1, (1, 2)))
    assert upright is not None
    assert turned is not None
    x, y = upright.points.T
    # Counter-clockwise by 90 degrees: (x, y) goes to (y, 512 - x). The face is 108 pixels.
    apart = (turned.points - torch.stack([y, 512 - x], 1)).norm(dim=1)
    assert apart.median() < 3
    assert math.degrees(turned.roll_rad - upright.roll_rad) == pytest.approx(-90, abs=3)


def test_a_mirrored_face_has_the_picture_s_left_eye_first(
    faces: FaceMesh, astronaut: torch.Tensor
) -> None:
    face = faces.detect(astronaut.flip(-1))
    assert face is not None
    mirrored = five_points(face)
    mirrored[:, 0] = 512 - mirrored[:, 0]
    assert (mirrored[[1, 0, 2, 4, 3]] - ASTRONAUT).norm(dim=1).max() < 6
    assert five_points(face)[0, 0] < five_points(face)[1, 0]


def test_three_faces_are_found_as_three(faces: FaceMesh, astronaut: torch.Tensor) -> None:
    group = torch.cat([astronaut, resized(resized(astronaut, 300), 512), astronaut.flip(-1)], -1)
    found = faces.detect_all(group)
    assert len(found) == 3
    centers = sorted(float(face.points[:, 0].mean()) for face in found)
    expected = [225, 512 + 225, 1024 + 512 - 225]
    assert centers == pytest.approx(expected, abs=10)


def test_a_small_face_in_a_large_photograph_is_found(
    faces: FaceMesh, astronaut: torch.Tensor
) -> None:
    photograph = torch.full((3, 1200, 1600), 0.5)
    photograph[:, 700:956, 1200:1456] = resized(astronaut, 256)  # the face is 54 pixels wide
    face = faces.detect(photograph)
    assert face is not None
    center = five_points(face).mean(0)
    assert center.tolist() == pytest.approx([1200 + 112, 700 + 62], abs=8)


def test_no_face_is_found_where_there_is_none(faces: FaceMesh) -> None:
    noise = torch.rand(3, 200, 300, generator=torch.Generator().manual_seed(0))
    cat = torch.from_numpy(np.moveaxis(skimage.data.chelsea(), -1, 0) / np.float32(255))
    for picture in (noise, torch.ones(3, 64, 64), cat):
        assert faces.detect(picture) is None
        assert faces.detect_large(picture) is None
        assert faces.detect_all(picture) == []


def test_a_face_that_fills_the_picture_is_found(faces: FaceMesh, astronaut: torch.Tensor) -> None:
    tight = astronaut[:, 60:180, 165:285]
    face = faces.detect_large(tight)
    assert face is not None
    expected = ASTRONAUT - torch.tensor([165.0, 60.0])
    assert (five_points(face) - expected).norm(dim=1).max() < 6


def test_the_same_picture_gives_the_same_bits(faces: FaceMesh, astronaut: torch.Tensor) -> None:
    small = resized(astronaut, 256)
    one, two = faces.detect(small), faces.detect(small)
    assert one is not None
    assert two is not None
    assert torch.equal(one.points, two.points)


def test_matte_covers_the_person_and_leaves_the_corner(astronaut: torch.Tensor) -> None:
    alpha = selfie_matte(astronaut)
    assert alpha.shape == (1, 512, 512)
    assert float(alpha.min()) >= 0
    assert float(alpha.max()) <= 1
    assert float(alpha[0, 80:150, 195:245].min()) > 0.9  # her face
    assert float(alpha[0, :60, 420:].max()) < 0.1  # the space shuttle's side


@pytest.mark.border
def test_a_picture_of_bytes_is_refused(faces: FaceMesh) -> None:
    with pytest.raises(InvalidInput, match=r"floating-point \(3, H, W\).*uint8"):
        faces.detect(torch.zeros(3, 64, 64, dtype=torch.uint8))


def test_a_patch_samples_a_linear_picture_where_it_says() -> None:
    v, u = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(120) + 0.5, indexing="ij")
    picture = torch.stack([u, v]).float()  # its colour is its position
    patch = Patch(x=60.0, y=40.0, side=40.0, roll_rad=0.4)
    seen = cut(picture, patch, 20)
    ticks = (torch.arange(20) + 0.5) / 20
    rows, columns = torch.meshgrid(ticks, ticks, indexing="ij")
    expected = patch.to_picture(torch.stack([columns, rows], -1)).movedim(-1, 0)
    # Averaging a linear picture changes nothing but at its edges, which the patch does not reach;
    # resampling to whole pixels does, by less than half of one.
    assert torch.allclose(seen, expected, atol=0.5)
