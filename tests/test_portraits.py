"""A photograph of any size, turn and place comes out as the network expects heads."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data

from any3davatar.core import InvalidInput, Views
from any3davatar.core.rigs import orbit
from any3davatar.faces import FaceMesh, five_points
from any3davatar.io import Photo
from any3davatar.portraits import TEMPLATE, NoFace, frame_by_camera, frame_by_face, front_camera

WHITE = torch.ones(3)


def astronaut() -> np.ndarray:
    return data.astronaut()[:300, 90:390]


def photo_of(pixels: np.ndarray) -> Photo:
    return Photo(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, None, ())


@pytest.fixture(scope="module")
def faces() -> FaceMesh:
    return FaceMesh.load()


@pytest.mark.weights
def test_the_face_lands_on_the_template(faces: FaceMesh) -> None:
    camera = front_camera(256, 24.0, 2.7)
    portrait = frame_by_face(photo_of(astronaut()), faces, camera, WHITE)
    face = faces.detect(portrait.views.rgb)
    assert face is not None
    wanted = torch.tensor(TEMPLATE) * camera.K[0, 0] + camera.K[:2, 2]
    off = (five_points(face).float() - wanted).norm(dim=1)
    # A similarity cannot bring another person's five points onto the template; the eyes are 66
    # pixels apart here, and hers are off by an eighth of that
    assert float(off.mean()) < 9
    assert float((five_points(face).float() - wanted).mean(0).norm()) < 2
    assert portrait.views.alpha.shape == (1, 256, 256)
    assert 0.4 < float(portrait.views.alpha.mean()) < 0.9  # she fills more than half of the frame
    assert float(portrait.views.alpha[0, 2, 2]) < 0.2  # and not the corner


@pytest.mark.weights
@pytest.mark.parametrize(("turn_deg", "scale"), [(0, 2.5), (18, 1.0), (-25, 1.4)])
def test_turning_and_scaling_the_photograph_changes_little(
    faces: FaceMesh, turn_deg: int, scale: float
) -> None:
    camera = front_camera(64, 24.0, 2.7)
    image = Image.fromarray(astronaut())
    size = (round(300 * scale), round(300 * scale))
    moved = image.resize(size, Image.Resampling.BICUBIC).rotate(
        turn_deg, Image.Resampling.BICUBIC, expand=True, fillcolor=(90, 90, 90)
    )
    straight = frame_by_face(photo_of(np.asarray(image)), faces, camera, WHITE)
    turned = frame_by_face(photo_of(np.asarray(moved)), faces, camera, WHITE)
    assert turned.record["turned_deg"] == pytest.approx(
        straight.record["turned_deg"] - turn_deg, abs=2.5
    )
    inner = slice(16, 56)  # the corners of a turned picture show its fill
    error = (straight.views.rgb - turned.views.rgb)[:, inner, inner].square().mean()
    assert float(error) < 10**-2.2  # 22 dB: landmarks move by a pixel of 64 at most


@pytest.mark.weights
def test_of_three_faces_the_largest_is_taken_and_said(faces: FaceMesh) -> None:
    face = Image.fromarray(astronaut())
    canvas = Image.new("RGB", (900, 400), (200, 200, 200))
    for x, size in ((10, 180), (220, 320), (600, 240)):
        canvas.paste(face.resize((size, size)), (x, 30))
    portrait = frame_by_face(
        photo_of(np.asarray(canvas)), faces, front_camera(64, 24.0, 2.7), WHITE
    )
    assert portrait.record["faces"] == 3
    assert portrait.record["notes"] == ["3 faces found: the largest is taken"]
    alone = faces.detect(photo_of(np.asarray(face.resize((320, 320)))).rgb)
    assert alone is not None
    eyes = five_points(alone)[:2]
    assert portrait.record["eyes_px"] == pytest.approx(float((eyes[1] - eyes[0]).norm()), rel=0.03)


@pytest.mark.weights
def test_beyond_the_edge_of_the_photograph_is_background(faces: FaceMesh) -> None:
    tight = astronaut()[40:180, 75:200]  # from the brow to the chin
    portrait = frame_by_face(photo_of(tight), faces, front_camera(64, 24.0, 2.7), WHITE)
    assert float(portrait.views.alpha[0, 0].max()) == 0
    assert bool((portrait.views.rgb[:, 0] == 1).all())


@pytest.mark.weights
def test_a_given_alpha_is_kept(faces: FaceMesh) -> None:
    photo = photo_of(astronaut())
    half = torch.full_like(photo.rgb[:1], 0.5)
    portrait = frame_by_face(
        Photo(photo.rgb, half, ("a note",)), faces, front_camera(64, 24.0, 2.7), WHITE
    )
    assert portrait.record["alpha"] == "given"
    assert portrait.record["notes"] == ["a note"]
    assert float(portrait.views.alpha[0, 32, 32]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.weights
@pytest.mark.border
def test_a_picture_without_a_face_is_refused_with_a_reason(faces: FaceMesh) -> None:
    camera = front_camera(64, 24.0, 2.7)
    for pixels in (data.coffee(), np.full((200, 300, 3), 128, np.uint8)):
        with pytest.raises(NoFace, match=r"no face found in \d+ x \d+ pixels; expected a face"):
            frame_by_face(photo_of(pixels), faces, camera, WHITE)
    small = np.asarray(Image.fromarray(astronaut()).resize((60, 60)))
    with pytest.raises(NoFace, match=r"too small|no face found"):
        frame_by_face(photo_of(small), faces, camera, WHITE)


@pytest.mark.border
def test_a_known_camera_cuts_the_same_window() -> None:
    wide = orbit([0.0], [0.0], size_px=256)[0]
    network = front_camera(64, 24.0, 2.7)
    checker = torch.zeros(3, 256, 256)
    checker[:, 100:156, 100:156] = 1
    view = Views(checker, torch.ones(1, 256, 256))
    portrait = frame_by_camera(view, wide, network, 24.0, WHITE)
    side = 256 * float(network.K[1, 1]) ** -1 * 32 / (128 / float(wide.K[1, 1]))  # window, pixels
    cut = round((256 - side) / 2)
    window = checker[:, cut : 256 - cut, cut : 256 - cut]
    expected = F.interpolate(window[None], (64, 64), mode="bilinear", antialias=True)[0]
    # The window is rounded to whole pixels, so edges may fall a pixel of 117 apart.
    assert float((portrait.views.rgb - expected).abs().mean()) < 0.03
    side_view = orbit([30.0], [0.0], size_px=256)[0]
    with pytest.raises(InvalidInput, match="not the network's front camera"):
        frame_by_camera(view, side_view, network, 24.0, WHITE)
