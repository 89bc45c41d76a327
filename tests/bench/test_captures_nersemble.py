import json
from pathlib import Path

import pytest
import torch

from a3d_bench.captures import open_captures
from a3d_bench.captures.color import TERMS, corrected, expanded
from a3d_bench.errors import BenchError
from a3d_bench.pictures import protocol_cameras
from a3d_bench.protocol import Protocol, load_protocol
from any3davatar.core import InvalidInput
from any3davatar.core.rigs import angles_of
from any3davatar.io import FormatError, write_png
from tests.bench.capture_folders import (
    NERSEMBLE_RIG,
    NERSEMBLE_SIZE,
    nersemble_cameras,
    nersemble_world,
    write_nersemble,
)

SEQUENCES = ("EMO-1-shout+laugh", "EMO-2-surprise+fear")


def protocol(*overrides: str) -> Protocol:
    return load_protocol("nersemble", ["data.frame=1", *overrides])


def test_participants_are_read_as_the_protocol_names_them(tmp_path: Path) -> None:
    # Participants 0 and 1 of the protocol show its sequences 0 and 1; the third has another one.
    write_nersemble(tmp_path, "017", SEQUENCES[0])
    write_nersemble(tmp_path, "028", SEQUENCES[1], one_matrix=False)
    write_nersemble(tmp_path, "039", "HAIR", serials=("222200037",))
    opened = open_captures(protocol(), tmp_path)
    assert [capture.id for capture in opened.captures] == [
        f"017/{SEQUENCES[0]}/00001",
        f"028/{SEQUENCES[1]}/00001",
    ]
    assert opened.partial == "2 of 43 participants"
    assert len(opened.problems) == 41
    missing = {problem.subject: problem.reason for problem in opened.problems}
    assert "EMO-3-angry+sad" in missing["039"]
    assert "not there" in missing["050"]
    for capture in opened.captures:
        assert capture.view_names == tuple(NERSEMBLE_RIG)
        assert capture.view_names[capture.input_view] == "222200037"
        assert capture.notes["color correction"] == "color_calibration.json"
        assert capture.notes["alpha"] == "alpha_maps"
        assert capture.strata["sequence"] in SEQUENCES
    one, two = opened.captures
    torch.testing.assert_close(one.cameras.K, two.cameras.K)


def test_the_cameras_come_into_the_canonical_world(tmp_path: Path) -> None:
    write_nersemble(tmp_path, "017", SEQUENCES[0])
    capture = open_captures(protocol(), tmp_path).captures[0]
    azimuths, elevations = angles_of(capture.cameras.centers)
    for v, serial in enumerate(capture.view_names):
        yaw, elevation, distance = NERSEMBLE_RIG[serial]
        # The rig's mean direction is 0.8 degrees beside the head's front, and 1.5 below it.
        assert abs(float(azimuths[v]) - yaw) < 2
        assert abs(float(elevations[v]) - elevation) < 2
        # 0.24 m a unit; the cameras look at the head's centre exactly.
        assert abs(float(capture.cameras.centers[v].norm()) - distance / 0.24) < 1e-3
    # A point of the head is where the calibration puts it: here 4 cm beside the centre.
    truth = nersemble_cameras().to(torch.float32).resized(*NERSEMBLE_SIZE)
    in_file = nersemble_world().apply(torch.tensor([[0.0, 0.04, 0.0]]))
    ours = capture.cameras.project(capture.to_canonical.apply(in_file).expand(16, 1, 3))[0]
    theirs = truth.project(torch.tensor([[0.0, 0.04, 0.0]]).expand(16, 1, 3))[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-2)  # float32 at 5 units, in pixels


def test_frames_are_taken_by_their_number_and_corrected(tmp_path: Path) -> None:
    darker = torch.tensor([[0.5, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0.1]])
    write_nersemble(tmp_path, "017", SEQUENCES[0], correction=darker)
    for frame, level in ((0, 0.25), (2, 0.75)):
        rule = load_protocol("nersemble", [f"data.frame={frame}", "data.color_correction=false"])
        plain = open_captures(rule, tmp_path).captures[0]
        view = plain.views[3].read()
        # H.264 in YUV with 8 bits: two levels
        assert float((view.rgb - level).abs().max()) <= 2.5 / 255
        assert float(view.alpha.min()) > 0.98
        assert plain.notes["color correction"] == "none"
        rule = load_protocol("nersemble", [f"data.frame={frame}"])
        changed = open_captures(rule, tmp_path).captures[0]
        expected = corrected(view.rgb, darker)
        torch.testing.assert_close(changed.views[3].read().rgb, expected)
        assert changed.views[3].sha256 != plain.views[3].sha256


def test_a_frame_that_the_video_does_not_have_names_the_video(tmp_path: Path) -> None:
    write_nersemble(tmp_path, "017", SEQUENCES[0], serials=("222200037",))
    capture = open_captures(load_protocol("nersemble"), tmp_path).captures[0]
    with pytest.raises(FormatError, match=r"cam_222200037\.mp4: the video has 3 frames; frame 120"):
        capture.views[0].read()


def test_missing_cameras_are_told_and_missing_alpha_is_matted(tmp_path: Path) -> None:
    serials = ("222200044", "222200037", "222200036")
    write_nersemble(tmp_path, "017", SEQUENCES[0], serials=serials, with_alpha=False)
    opened = open_captures(protocol(), tmp_path)
    capture = opened.captures[0]
    assert capture.view_names == ("222200044", "222200036", "222200037")
    assert opened.partial == "1 of 43 participants; 3 of 16 views a capture"
    assert capture.notes["alpha"] == "matte: selfie segmentation"


def test_a_participants_folder_stands_for_a_set_of_one(tmp_path: Path) -> None:
    write_nersemble(tmp_path, "028", SEQUENCES[1], serials=("222200037", "222200036"))
    capture = open_captures(protocol(), tmp_path / "028").captures[0]
    assert capture.id == f"028/{SEQUENCES[1]}/00001"


def test_single_frames_may_be_pictures(tmp_path: Path) -> None:
    write_nersemble(tmp_path, "017", SEQUENCES[0], serials=("222200036", "222200037"))
    sequence = tmp_path / "017" / "sequences" / SEQUENCES[0]
    width, height = NERSEMBLE_SIZE
    for serial in ("222200036", "222200037"):
        (sequence / "images" / f"cam_{serial}.mp4").unlink()
        folder = sequence / "images" / f"cam_{serial}"
        folder.mkdir()
        write_png(folder / "00001.png", torch.full((3, height, width), 0.5))
    view = open_captures(protocol(), tmp_path).captures[0].views[0].read()
    torch.testing.assert_close(view.rgb, torch.full_like(view.rgb, 128 / 255), rtol=0, atol=1e-5)


def test_the_window_is_a_square_of_the_protocols_size(tmp_path: Path) -> None:
    write_nersemble(tmp_path, "017", SEQUENCES[0], serials=("222200036", "222200037"))
    rule = protocol("picture.size_px=32")
    cameras = protocol_cameras(open_captures(rule, tmp_path).captures[0], rule.picture)
    assert (cameras.width, cameras.height) == (32, 32)
    # The whole width of the picture, and as much of its height.
    scale = 32 / NERSEMBLE_SIZE[0]
    full = nersemble_cameras().K[0, 0, 0] * NERSEMBLE_SIZE[0] / 2200
    assert abs(float(cameras.K[0, 0, 0]) - scale * float(full)) < 1e-2
    assert abs(float(cameras.K[0, 0, 2]) - 16) < 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("world_2_cam"), "world_2_cam: got nothing"),
        (lambda c: c["world_2_cam"].update({"../x": c["world_2_cam"]["222200037"]}), "digits"),
        (lambda c: c["world_2_cam"].update({"222200037": [[1]]}), "4 rows of 4"),
        (lambda c: c.update(intrinsics=[[9, 0, 3000], [0, 9, 9], [0, 0, 1]]), "principal point"),
        (lambda c: _scaled(c, 1000.0), "another unit"),
        (lambda c: _upside_down(c), "upper row"),
    ],
)
def test_a_wrong_calibration_is_a_problem_in_words(tmp_path: Path, change, message: str) -> None:
    write_nersemble(tmp_path, "017", SEQUENCES[0], serials=("222200037",))
    path = tmp_path / "017" / "calibration" / "camera_params.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=message):
        open_captures(protocol(), tmp_path)


def _scaled(content: dict, factor: float) -> None:
    for pose in content["world_2_cam"].values():
        for row in pose[:3]:
            row[3] *= factor


def _upside_down(content: dict) -> None:
    """Turn all pictures by half a turn: x and y of the cameras change their sign."""
    for pose in content["world_2_cam"].values():
        pose[:2] = [[-value for value in row] for row in pose[:2]]


def test_colors_need_their_calibration(tmp_path: Path) -> None:
    write_nersemble(tmp_path, "017", SEQUENCES[0], serials=("222200037",))
    path = tmp_path / "017" / "calibration" / "color_calibration.json"
    path.write_text(json.dumps({"222200037": [[1.0] * 6] * 3}))
    with pytest.raises(BenchError, match=r"222200037: got .* expected 3 rows of 3, 4, 5, 7"):
        open_captures(protocol(), tmp_path)
    path.unlink()
    with pytest.raises(BenchError, match=r"(?s)color_calibration\.json.*color_correction=false"):
        open_captures(protocol(), tmp_path)


def test_a_protocol_without_sequences_does_not_guess_them(tmp_path: Path) -> None:
    write_nersemble(tmp_path, "017", SEQUENCES[0], serials=("222200037",))
    with pytest.raises(BenchError, match="names none of its sequences"):
        open_captures(load_protocol("smoke"), tmp_path)


def _picture(*color: float) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.float64)[:, None, None]


def test_polynomials_are_those_of_the_colour_package() -> None:
    # The examples in the documentation of colour-science, `matrix_augmented_Cheung2004`.
    r, g, b = 0.17224810, 0.09170660, 0.06416938
    five = expanded(_picture(r, g, b), 5).flatten()
    torch.testing.assert_close(
        five,
        torch.tensor([0.1722481, 0.0917066, 0.0641693, 0.0010136, 1.0]).double(),
        rtol=0,
        atol=1e-7,  # digits of the documentation
    )
    assert sorted(TERMS) == [3, 4, 5, 7, 8, 10, 11, 14, 16, 17, 19, 20, 22, 35]
    # fmt: off
    expected = [
        r, g, b, r*g, r*b, g*b, r*r, g*g, b*b, r*g*b, r*r*g, g*g*b, b*b*r, r*r*b, g*g*r, b*b*g,
        r**3, g**3, b**3, r*r*g*b, r*g*g*b, r*g*b*b,
    ]
    # fmt: on
    torch.testing.assert_close(
        expanded(_picture(r, g, b), 22).flatten(), torch.tensor(expected).double()
    )
    with pytest.raises(InvalidInput, match="a correction of 6 terms"):
        expanded(_picture(r, g, b), 6)


@pytest.mark.parametrize("terms", sorted(TERMS))
def test_the_identity_of_every_polynomial_changes_no_color(terms: int) -> None:
    picture = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(terms))
    matrix = torch.zeros(3, terms)
    matrix[:, :3] = torch.eye(3)
    torch.testing.assert_close(corrected(picture, matrix), picture, rtol=0, atol=2e-6)  # float32


def test_the_correction_is_made_in_linear_light() -> None:
    # Half the light of mid grey, by the curve of IEC 61966-2-1: 0.5 -> 0.2140 -> 0.1070 -> 0.3608.
    half = corrected(_picture(0.5, 0.5, 0.5), 0.5 * torch.eye(3))
    torch.testing.assert_close(half, torch.full_like(half, 0.3608), rtol=0, atol=1e-4)
    assert float(corrected(_picture(0.9, 0.9, 0.9), 9 * torch.eye(3)).max()) == 1
    assert float(corrected(_picture(0.9, 0.9, 0.9), -torch.eye(3)).min()) == 0
