import json
import math
from pathlib import Path

import pytest
import torch

from a3d_bench.captures import capture_digest, open_captures, read_folder
from a3d_bench.captures.canonical import looked_at, placed_by_cameras, placed_by_frame
from a3d_bench.errors import BenchError
from a3d_bench.protocol import Protocol, load_protocol
from any3davatar.anyhead import layout
from any3davatar.anyhead.ready import EvaluationHeads, ready_root, store_splits
from any3davatar.anyhead.splits import SplitRule
from any3davatar.anyhead.subsets.digital_human import Drawing
from any3davatar.core import Similarity
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.core.rigs import angles_of, orbit, turntable
from any3davatar.io import read_png, write_cameras
from tests.bench.capture_folders import disc, write_anyhead, write_transforms

FACELIFT = Path(__file__).parents[3] / "shared" / "data" / "facelift_sample"
ANY_DATA = load_protocol("nersemble").data


def smoke(*overrides: str) -> Protocol:
    return load_protocol("smoke", overrides)


def elsewhere(seed: int = 0) -> Similarity:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))).Q
    return Similarity(3.0, turn * torch.linalg.det(turn), torch.tensor([5.0, -2.0, 1.0]))


def test_all_three_anyhead_subsets_are_read_with_their_strata(tmp_path: Path) -> None:
    write_anyhead(tmp_path, {"dh-1": ["neutral", "smile"]})
    write_anyhead(tmp_path, {"dh-1": ["glasses-black"]}, subset=layout.ACCESSORY_RICH)
    write_anyhead(tmp_path, {"ai-7": [None]}, subset=layout.AI_GENERATED)
    found = read_folder(tmp_path, ANY_DATA)
    assert not found.problems
    assert {capture.id.split("/", 1)[1]: dict(capture.strata) for capture in found.captures} == {
        "ai-7": {
            "subset": "ai-generated",
            "accessory": "none",
            "stylised": "yes",
            "expression": "a broad smile",
        },
        "dh-1/glasses-black": {
            "subset": "accessory-rich",
            "accessory": "glasses",
            "stylised": "no",
            "expression": "a broad smile",
        },
        "dh-1/neutral": {
            "subset": "digital-human",
            "accessory": "none",
            "stylised": "no",
            "expression": "neutral",
        },
        "dh-1/smile": {
            "subset": "digital-human",
            "accessory": "none",
            "stylised": "no",
            "expression": "smile",
        },
    }
    # The folder of one subset stands for its data set.
    assert len(read_folder(tmp_path / layout.AI_GENERATED, ANY_DATA).captures) == 4


def test_a_subset_without_our_records_is_read_by_its_folders(tmp_path: Path) -> None:
    write_anyhead(tmp_path, {"dh-1": ["neutral", "smile"], "dh-2": ["smile"]})
    write_anyhead(tmp_path, {"ai-7": [None]}, subset=layout.AI_GENERATED)
    for subset in layout.subsets_in(tmp_path):
        (tmp_path / subset / layout.MANIFEST).unlink()
        for head in layout.heads_in(tmp_path / subset):
            (head / layout.HEAD_RECORD).unlink()
    # As in the paper's layout: no cameras for AI-generated heads.
    (tmp_path / layout.AI_GENERATED / "ai-7" / layout.CAMERA_PARAMETERS).unlink()
    found = read_folder(tmp_path, ANY_DATA)
    names = [
        f"{layout.DIGITAL_HUMAN}/{name}" for name in ("dh-1/neutral", "dh-1/smile", "dh-2/smile")
    ]
    assert [capture.id for capture in found.captures] == names
    assert found.captures[1].strata == {"subset": "digital-human", "expression": "smile"}
    assert "CAMERA_PARAMETERS.json: the file is missing" in found.problems[0].reason


def test_one_bad_subject_never_stops_a_set(tmp_path: Path) -> None:
    heads: dict[str, list[str | None]] = {f"dh-{n}": ["neutral"] for n in range(4)}
    write_anyhead(tmp_path, heads)
    subset = tmp_path / layout.DIGITAL_HUMAN
    (subset / "dh-0" / "HEAD.json").write_text("{")
    (subset / "dh-1" / "neutral" / "003.png").unlink()
    (subset / "dh-2" / "neutral" / "CAMERA_PARAMETERS.json").write_text("[]")
    opened = open_captures(smoke("data.subjects=[]"), tmp_path)
    assert [capture.subject for capture in opened.captures] == ["dh-3"]
    reasons = {problem.subject.split("/")[1]: problem.reason for problem in opened.problems}
    assert "HEAD.json" in reasons["dh-0"]
    assert "003.png" in reasons["dh-1"]
    assert "missing" in reasons["dh-1"]
    assert "CAMERA_PARAMETERS.json" in reasons["dh-2"]
    assert opened.partial is not None
    assert opened.partial.startswith("1 of 2 subjects")


def test_a_picture_that_is_a_link_out_of_the_data_set_is_a_problem(tmp_path: Path) -> None:
    write_anyhead(tmp_path / "data", {"dh-0": ["neutral"], "dh-1": ["neutral"]})
    secret = tmp_path / "secret.png"
    picture = tmp_path / "data" / layout.DIGITAL_HUMAN / "dh-0" / "neutral" / "000.png"
    picture.rename(secret)
    picture.symlink_to(secret)
    found = read_folder(tmp_path / "data", ANY_DATA)
    assert [capture.subject for capture in found.captures] == ["dh-1"]
    assert "leads out of" in found.problems[0].reason


def test_a_changed_picture_is_refused_when_it_is_read(tmp_path: Path) -> None:
    write_anyhead(tmp_path, {"dh-0": ["neutral"]})
    capture = read_folder(tmp_path, ANY_DATA).captures[0]
    path = tmp_path / layout.DIGITAL_HUMAN / "dh-0" / "neutral" / "002.png"
    path.write_bytes(path.read_bytes()[:-1])
    capture.views[1].read()
    with pytest.raises(ValueError, match=r"002\.png: its SHA-256 is not the recorded one"):
        capture.views[2].read()


def test_smoke_takes_the_input_and_then_the_views_farthest_from_all_before(tmp_path: Path) -> None:
    write_anyhead(tmp_path, {"dh-0000000": ["neutral"]}, rig="anyhead80", size_px=16)
    capture = open_captures(smoke(), tmp_path).captures[0]
    azimuths, elevations = angles_of(capture.cameras.centers)
    assert len(capture) == 8
    assert capture.input_view == 0
    # Straight in front, straight behind, then the two sides.
    pairs = list(zip(azimuths.round().tolist(), elevations.round().tolist(), strict=True))
    assert [abs(a) for a, _ in pairs[:2]] == [0, 180]
    assert {abs(a) for a, _ in pairs[2:4]} == {90}
    assert len(set(capture.view_names)) == 8


@pytest.mark.parametrize(("limit", "words"), [(None, None), (1, "1 of 2 subjects")])
def test_without_data_smoke_opens_anyhead_mini_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, words: str | None
) -> None:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path))
    root = ready_root("anyhead-mini", 140)
    recipe = dict(EvaluationHeads(Drawing(140)).describe())
    heads: dict[str, list[str | None]] = {f"dh-000000{n}": ["neutral"] for n in range(2)}
    write_anyhead(root, heads, rig="anyhead80", size_px=140, recipe=recipe)
    store_splits(root, SplitRule(validation=0.0, test=1.0))
    opened = open_captures(smoke(), None, limit=limit)
    assert "no --data was given: anyhead-mini" in opened.recognised
    assert len(opened.captures) == (limit or 2)
    assert (opened.partial or "").startswith(words or "")
    assert (opened.partial is None) == (words is None)


def test_a_protocol_whose_data_cannot_be_built_asks_for_it() -> None:
    with pytest.raises(BenchError, match=r"NeRSemble V2, which can't be built here.*--data"):
        open_captures(load_protocol("nersemble"), None)


def test_a_folder_of_no_known_kind_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("")
    with pytest.raises(BenchError, match=r"(?s)AnyHead.*NeRSemble.*transforms\.json.*holiday\.txt"):
        read_folder(tmp_path, ANY_DATA)
    with pytest.raises(BenchError, match="no such folder"):
        read_folder(tmp_path / "nothing", ANY_DATA)


def test_the_optical_axes_meet_where_all_cameras_look() -> None:
    world = elsewhere()
    cameras = world.apply_to_cameras(turntable(7, size_px=32, elevation_deg=15.0))
    # float32 cameras at a distance of 8 units: a few units in the last place
    torch.testing.assert_close(looked_at(cameras), world.translation.double(), rtol=0, atol=1e-5)
    with pytest.raises(BenchError, match="parallel"):
        looked_at(cameras[:1])


@pytest.mark.parametrize("frame", [name for name in WORLD_FRAMES if name != "any3davatar"])
def test_a_named_frame_gives_the_canonical_cameras_back(frame: str) -> None:
    truth = turntable(8, size_px=64, elevation_deg=10.0)
    away = Similarity(0.4, torch.eye(3), torch.tensor([1.0, 2.0, 3.0])).after(
        WORLD_FRAMES[frame].inverse()
    )
    placed = placed_by_frame(away.apply_to_cameras(truth), frame, stated=True)
    again = placed.to_canonical.apply_to_cameras(away.apply_to_cameras(truth))
    torch.testing.assert_close(again.centers, truth.centers, rtol=0, atol=1e-4)  # float32, scaled
    assert "as given" in placed.how


def test_cameras_before_a_face_show_its_front_and_cameras_all_round_do_not() -> None:
    # Two rows, so that the cameras' mean up is up.
    half = orbit([-60.0, 20.0, 60.0] * 2, [10.0] * 3 + [-10.0] * 3, size_px=64)
    world = elsewhere(1)
    placed = placed_by_cameras(world.apply_to_cameras(half))
    again = placed.to_canonical.apply_to_cameras(world.apply_to_cameras(half))
    torch.testing.assert_close(again.centers, half.centers, rtol=0, atol=1e-4)  # float32, moved
    assert "middle of the cameras' arc" in placed.how
    round_ = turntable(9, size_px=64)
    placed = placed_by_cameras(world.apply_to_cameras(round_))
    again = placed.to_canonical.apply_to_cameras(world.apply_to_cameras(round_))
    torch.testing.assert_close(again.centers, round_.centers, rtol=0, atol=1e-4)
    assert "the first camera is taken for the front" in placed.how


@pytest.mark.parametrize(
    ("with_alpha", "with_masks", "words"),
    [
        (True, True, "the pictures' own"),
        (False, True, "the masks of the camera file"),
        (False, False, "matte: selfie segmentation"),
    ],
)
def test_transforms_are_read_with_the_best_alpha_there_is(
    tmp_path: Path, with_alpha: bool, with_masks: bool, words: str
) -> None:
    cameras = turntable(5, size_px=32)
    write_transforms(tmp_path / "head", cameras, with_alpha=with_alpha, with_masks=with_masks)
    opened = open_captures(smoke(), tmp_path / "head")
    capture = opened.captures[0]
    assert capture.notes["alpha"] == words
    assert "guessed" in capture.notes["frame"]
    if words.startswith("matte"):
        return
    expected = disc(32, int(capture.view_names[1].rpartition("/")[2]) / 5)
    view = capture.views[1].read()
    # 8 bits: half a level
    torch.testing.assert_close(view.alpha, expected[1], rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(view.rgb, expected[0], rtol=0, atol=0.5 / 255 + 1e-6)


def test_a_set_of_folders_with_camera_files_is_read_whole(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_transforms(tmp_path / name, turntable(4, size_px=16), with_alpha=True)
    (tmp_path / "c" / "images" / "2.png").unlink()
    found = read_folder(tmp_path, ANY_DATA)
    assert [capture.id for capture in found.captures] == ["a", "b"]
    assert [problem.subject for problem in found.problems] == ["c"]
    assert "2.png" in found.problems[0].reason


@pytest.mark.parametrize(
    "file_path", ["../secret.png", "/etc/passwd", "images/../../secret.png", "C:\\secret.png"]
)
def test_a_camera_file_that_names_a_path_outside_is_refused(tmp_path: Path, file_path: str) -> None:
    write_transforms(tmp_path / "head", turntable(4, size_px=16), with_alpha=True)
    path = tmp_path / "head" / "transforms.json"
    content = json.loads(path.read_text())
    content["frames"][2]["file_path"] = file_path
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match="inside the file's own"):
        open_captures(smoke(), tmp_path / "head")


def test_a_picture_of_another_size_or_a_damaged_one_names_its_file(tmp_path: Path) -> None:
    write_transforms(tmp_path / "head", turntable(4, size_px=16), with_alpha=True)
    write_transforms(tmp_path / "large", turntable(4, size_px=20), with_alpha=True)
    images = tmp_path / "head" / "images"
    (tmp_path / "large" / "images" / "1.png").replace(images / "1.png")
    (images / "2.png").write_bytes((images / "2.png").read_bytes()[:60])
    views = read_folder(tmp_path / "head", ANY_DATA).captures[0].views
    with pytest.raises(ValueError, match=r"1\.png: got 20 x 20 pixels, expected the 16 x 16"):
        views[1].read()
    with pytest.raises(ValueError, match=r"2\.png"):
        views[2].read()


def test_the_digest_sees_pictures_cameras_and_nothing_else(tmp_path: Path) -> None:
    cameras = turntable(4, size_px=16)
    for name in ("one", "two"):
        write_transforms(tmp_path / name / "head", cameras, with_alpha=True)
    one = open_captures(smoke(), tmp_path / "one" / "head")
    two = open_captures(smoke(), tmp_path / "two" / "head")
    assert one.digest == two.digest
    moved = orbit([0.0, 90.0, 180.0, -90.0], [1.0, 0.0, 0.0, 0.0], size_px=16)
    write_transforms(tmp_path / "three" / "head", moved, with_alpha=True)
    three = open_captures(smoke(), tmp_path / "three" / "head")
    assert three.digest != one.digest
    picture = tmp_path / "two" / "head" / "images" / "0.png"
    before = capture_digest(two.captures[0])
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert capture_digest(two.captures[0]) != before


def test_our_own_camera_file_is_taken_as_it_is(tmp_path: Path) -> None:
    cameras = orbit([0.0, 30.0], [0.0, 5.0], size_px=16)
    write_transforms(tmp_path, cameras, with_alpha=True)
    write_cameras(tmp_path / "cameras.json", cameras, ["a", "b"], ["images/0.png", "images/1.png"])
    capture = read_folder(tmp_path, ANY_DATA).captures[0]
    torch.testing.assert_close(
        capture.cameras.world_to_camera,
        cameras.world_to_camera,
        rtol=0,
        atol=1e-6,  # float32
    )
    assert capture.view_names == ("a", "b")
    with pytest.raises(BenchError, match=r"got the frame 'flam', expected one of any3davatar"):
        open_captures(smoke(), tmp_path, frame="flam")


def test_facelifts_sample_runs_under_anyhead_and_is_labelled_as_other_data() -> None:
    if not FACELIFT.is_dir():
        pytest.skip("the third-party sample is not on this machine")
    opened = open_captures(load_protocol("anyhead"), FACELIFT)
    capture = opened.captures[0]
    assert opened.partial is not None
    for words in ("not the protocol's own data", "1 of 16 subjects", "32 of 80 views"):
        assert words in opened.partial
    azimuths, elevations = angles_of(capture.cameras.centers)
    assert abs(float(azimuths[capture.input_view])) < 0.1
    # The sample's cameras stand at 20 degrees, 2.7 units from the head.
    assert float((elevations - 20).abs().max()) < 0.01
    assert float((capture.cameras.centers.norm(dim=-1) - 2.7).abs().max()) < 1e-4
    assert math.isclose(capture.to_canonical.scale, 1.0, abs_tol=1e-6)
    assert "guessed from the kind of the file" in capture.notes["frame"]
    rgb, _ = read_png(FACELIFT / "images" / f"{capture.view_names[capture.input_view]}.png")
    assert torch.equal(capture.views[capture.input_view].read().rgb, rgb)
