import json
from pathlib import Path

import pytest
import torch

from any3davatar.anyhead import layout
from any3davatar.anyhead.build import build
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.manifest import read_manifest
from any3davatar.anyhead.pictures import read_view
from any3davatar.anyhead.readers import AnyHead
from any3davatar.anyhead.records import read_record
from any3davatar.anyhead.review import Review, Verdict, read_review, write_review
from any3davatar.anyhead.rigs import make_rig
from any3davatar.io import FormatError, read_cameras, write_png
from tests.anyhead.spheres import HAT, SphereHeads, draw, head_of


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "a\\b", "/etc", "a\0b", "-a", ".a", "a.b", "ä", "a" * 65]
)
def test_no_name_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 1 to 64 letters, digits"):
        layout.group_folder(tmp_path, layout.DIGITAL_HUMAN, "dh-0000000", name)
    with pytest.raises(DataError, match="expected 1 to 64 letters, digits"):
        layout.head_folder(tmp_path, layout.DIGITAL_HUMAN, name)


def test_folders_are_those_of_appendix_c2(tmp_path: Path) -> None:
    assert layout.group_folder(tmp_path, layout.DIGITAL_HUMAN, "dh-1", "smile") == (
        tmp_path / "Digital_Human_Heads_Dataset" / "dh-1" / "smile"
    )
    assert layout.group_folder(tmp_path, layout.ACCESSORY_RICH, "dh-1", "crown") == (
        tmp_path / "Accessory_Rich_Heads_Dataset" / "dh-1" / "crown"
    )
    assert layout.group_folder(tmp_path, layout.AI_GENERATED, "ai-1", None) == (
        tmp_path / "AI_Generated_Heads_Dataset" / "ai-1"
    )
    with pytest.raises(DataError, match="expected one of AI_Generated_Heads_Dataset"):
        layout.head_folder(tmp_path, "Other", "dh-1")


@pytest.mark.parametrize("member", ["heads", "rejected"])
def test_a_manifest_that_names_a_path_is_refused(tmp_path: Path, member: str) -> None:
    build(tmp_path, SphereHeads(), range(1))
    path = tmp_path / layout.DIGITAL_HUMAN / layout.MANIFEST
    content = json.loads(path.read_text())
    content[member] = {"../../x": "0" * 64 if member == "heads" else {"reason": "r", "scores": {}}}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="expected 1 to 64 letters, digits"):
        read_manifest(path.parent)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"head_id": "dh-0000000"', '"head_id": "dh-0000001"', "the name of the folder"),
        ('"version": 1', '"version": 2', "a newer release may have written it"),
        ('"id": "bare"', '"id": "../bare"', "expected 1 to 64 letters"),
        ('"000.png"', '"../000.png"', "expected 1 to 64 letters"),
        ('"stylised": false', '"stylised": 0', "expected true or false"),
        ('"groups": [', '"groups": [[', "not readable as JSON"),
    ],
)
def test_damaged_records_are_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    build(tmp_path, SphereHeads(), range(1))
    folder = tmp_path / layout.DIGITAL_HUMAN / "dh-0000000"
    content = (folder / layout.HEAD_RECORD).read_text()
    assert old in content
    (folder / layout.HEAD_RECORD).write_text(content.replace(old, new))
    with pytest.raises((FormatError, DataError), match=text):
        read_record(folder)


def test_pictures_and_cameras_come_back_as_they_were_drawn(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), [7])
    bare, hat = AnyHead(tmp_path)
    rig = make_rig("digital6", 24, 7)
    assert torch.equal(bare.cameras.world_to_camera, rig.cameras.world_to_camera)
    assert torch.equal(bare.cameras.K, rig.cameras.K)
    expected = draw([*head_of(7), HAT], rig.cameras)
    got = hat.views()
    assert torch.equal(got.alpha, expected.alpha)
    # Half a step of 8 bits.
    torch.testing.assert_close(got.rgb, expected.rgb, atol=0.5 / 255 + 1e-6, rtol=0)
    assert hat.accessories == ("hat",)
    assert hat.subject == "dh-0000007"
    assert hat.id == "Digital_Human_Heads_Dataset/dh-0000007/hat"


def test_camera_parameters_are_a_cameras_json(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), [3])
    folder = tmp_path / layout.DIGITAL_HUMAN / "dh-0000003" / "bare"
    file = read_cameras(folder / layout.CAMERA_PARAMETERS)
    assert file.names == ("000", "001", "002", "003", "004", "005")
    assert all(path is not None and path.is_file() for path in file.image_paths)
    assert torch.equal(file.cameras.K, make_rig("digital6", 24, 3).cameras.K)


def test_readers_open_a_picture_only_when_it_is_asked_for(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), range(2))
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    capture = AnyHead(tmp_path)[0]
    with pytest.raises(FormatError):
        capture.pictures[0].read()


def test_a_picture_that_was_changed_is_told_when_read_verified(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), range(1))
    picture = AnyHead(tmp_path)[0].pictures[1]
    view = picture.read_verified()
    write_png(picture.path, view.rgb.flip(-1), view.alpha.flip(-1))
    with pytest.raises(FormatError, match="its SHA-256 is not the recorded one"):
        picture.read_verified()


def test_a_picture_without_alpha_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "000.png", torch.zeros(3, 4, 4))
    with pytest.raises(FormatError, match="a picture without alpha, expected RGBA"):
        read_view(tmp_path / "000.png")


def test_groups_that_a_person_rejected_are_left_out(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), range(1))
    folder = tmp_path / layout.DIGITAL_HUMAN
    group = f"{layout.DIGITAL_HUMAN}/dh-0000000/hat"
    review = Review({group: Verdict("reject", "it floats", {"kept_min": 0.5})})
    write_review(folder, review)
    assert read_review(folder) == review
    assert [capture.id[-4:] for capture in AnyHead(tmp_path)] == ["bare"]
    assert len(AnyHead(tmp_path, with_rejected=True)) == 2
    path = folder / layout.REVIEW
    path.write_text(path.read_text().replace('"reject"', '"perhaps"'))
    with pytest.raises(FormatError, match="one of undecided, accept, reject"):
        AnyHead(tmp_path)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the root of an AnyHead data set"):
        AnyHead(tmp_path)
