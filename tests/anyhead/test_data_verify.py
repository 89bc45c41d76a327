import json
import shutil
from pathlib import Path

import pytest

from any3davatar.anyhead import layout, ready
from any3davatar.anyhead.build import build
from any3davatar.anyhead.camera_parameters import write_camera_parameters
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.manifest import read_manifest, write_manifest
from any3davatar.anyhead.pictures import read_view
from any3davatar.anyhead.readers import AnyHead
from any3davatar.anyhead.records import hashes_of, read_record, sha256_of, write_record
from any3davatar.anyhead.rigs import Rig, make_rig
from any3davatar.anyhead.splits import SplitRule, assigned, read_splits
from any3davatar.anyhead.stats import statistics
from any3davatar.anyhead.verify import Thoroughness, verify
from any3davatar.io import write_png
from tests.anyhead.spheres import SphereHeads

QUICK = Thoroughness(silhouettes=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    build(root, SphereHeads(size_px=64, rig="turntable8"), range(3))
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "root")


def head(root: Path, number: int = 1) -> Path:
    return root / layout.DIGITAL_HUMAN / f"dh-{number:07d}"


def found(root: Path, thoroughness: Thoroughness | None = None) -> list[str]:
    return [str(problem) for problem in verify(root, thoroughness)]


def sign_again(folder: Path) -> None:
    """Make records and manifest agree with files that were tampered with."""
    from dataclasses import replace

    record = read_record(folder)
    groups = tuple(
        replace(group, files=hashes_of(folder / str(group.id))) for group in record.groups
    )
    write_record(folder, replace(record, groups=groups))
    manifest = read_manifest(folder.parent)
    write_manifest(
        folder.parent, manifest.with_head(folder.name, sha256_of(folder / layout.HEAD_RECORD))
    )


def test_a_sound_set_has_no_problem(root: Path) -> None:
    ready.store_splits(root, SplitRule())
    assert found(root) == []


def test_a_missing_view_is_found(root: Path) -> None:
    (head(root) / "bare" / "003.png").unlink()
    assert found(root, QUICK) == [
        "Digital_Human_Heads_Dataset/dh-0000001/bare/003.png: is missing; delete the head's folder "
        "and build again"
    ]


def test_a_flipped_file_is_found_and_named_so(root: Path) -> None:
    path = head(root) / "bare" / "002.png"
    view = read_view(path)
    write_png(path, view.rgb.flip(-1), view.alpha.flip(-1))
    assert found(root, QUICK) == [
        "Digital_Human_Heads_Dataset/dh-0000001/bare/002.png: was mirrored; delete the head's "
        "folder and build again"
    ]


def test_a_flipped_view_is_found_though_its_digest_was_made_to_fit(root: Path) -> None:
    path = head(root) / "bare" / "000.png"
    view = read_view(path)
    write_png(path, view.rgb.flip(-1), view.alpha.flip(-1))
    sign_again(head(root))
    assert found(root, QUICK) == []
    (problem,) = found(root)
    assert problem.startswith("Digital_Human_Heads_Dataset/dh-0000001/bare/0")
    assert "its silhouette contradicts the other views" in problem


def test_a_wrong_camera_is_found(root: Path) -> None:
    path = head(root) / "hat" / layout.CAMERA_PARAMETERS
    content = json.loads(path.read_text())
    content["frames"][1]["K"][0][0] *= 1.5
    path.write_text(json.dumps(content))
    first, second = found(root, QUICK)
    assert "CAMERA_PARAMETERS.json: is not the file that was built" in first
    assert "CAMERA_PARAMETERS.json: K of view 001 is not the rig's" in second


def test_exchanged_cameras_are_found_by_the_pictures_too(root: Path) -> None:
    rig = make_rig("turntable8", 64, 0)
    exchanged = Rig(rig.name, rig.seed, rig.cameras[[0, 2, 1, 3, 4, 5, 6, 7]], rig.kinds)
    write_camera_parameters(head(root) / "bare" / layout.CAMERA_PARAMETERS, exchanged)
    sign_again(head(root))
    problems = found(root)
    assert any("is not the rig's" in problem for problem in problems)
    assert any("silhouette contradicts" in problem for problem in problems)


def test_a_duplicate_identity_is_found_under_another_id(root: Path) -> None:
    shutil.copytree(head(root, 1), head(root, 5))
    record = head(root, 5) / layout.HEAD_RECORD
    record.write_text(record.read_text().replace("dh-0000001", "dh-0000005"))
    sign_again(head(root, 5))
    assert found(root, QUICK) == [
        "dh-0000005: is the same person as dh-0000001; delete one of them and build another seed"
    ]


def test_a_lookalike_is_found_though_no_byte_is_the_same(root: Path) -> None:
    build(root.parent / "other", SphereHeads(size_px=72, rig="turntable8"), [1])
    other = head(root.parent / "other", 1)
    shutil.copytree(other, head(root, 5))
    record = head(root, 5) / layout.HEAD_RECORD
    record.write_text(record.read_text().replace("dh-0000001", "dh-0000005"))
    sign_again(head(root, 5))
    assert any("is the same person as dh-0000001" in problem for problem in found(root, QUICK))


def test_files_and_folders_that_do_not_belong_are_found(root: Path) -> None:
    (head(root) / "bare" / "999.png").write_bytes(b"")
    (head(root) / "smile").mkdir()
    (root / layout.DIGITAL_HUMAN / "dh-9999999").mkdir()
    shutil.rmtree(head(root, 2))
    problems = "\n".join(found(root, QUICK))
    assert "dh-0000001/bare/999.png: is in no record" in problems
    assert "dh-0000001/smile: is in no record" in problems
    assert "dh-9999999: the folder is not in MANIFEST.json" in problems
    assert "dh-0000002: the head's folder is missing" in problems


def test_damaged_files_are_problems_and_stop_nothing(root: Path) -> None:
    (head(root, 0) / layout.HEAD_RECORD).write_text("{")
    (head(root, 1) / "bare" / layout.CAMERA_PARAMETERS).write_text("[]")
    (head(root, 2) / "bare" / "000.png").write_bytes(b"PNG?")
    problems = found(root)
    assert any(
        "dh-0000000: " in problem and "not readable as JSON" in problem for problem in problems
    )
    assert any("dh-0000001/bare" in p and "expected an object" in p for p in problems)
    assert any("dh-0000002/bare/000.png: is not the file" in problem for problem in problems)


def test_a_tampered_split_is_found(root: Path) -> None:
    ready.store_splits(root, SplitRule(validation=0.0, test=1.0))
    path = root / layout.SPLITS
    path.write_text(path.read_text().replace('"dh-0000001": "test"', '"dh-0000001": "train"'))
    assert found(root, QUICK) == [
        "SPLITS.json: dh-0000001 is in train, its rule says otherwise; split again"
    ]


def test_splits_are_by_subject_stable_and_of_about_the_asked_size() -> None:
    rule = SplitRule(validation=0.1, test=0.2)
    subjects = [f"dh-{i:07d}" for i in range(2000)]
    few, many = assigned(rule, subjects[:500]), assigned(rule, subjects)
    assert all(many.subjects[s] == split for s, split in few.subjects.items())
    # Five standard deviations of a binomial of 2000.
    assert many.counts["test"] == pytest.approx(400, abs=90)
    assert many.counts["validation"] == pytest.approx(200, abs=68)
    with pytest.raises(DataError, match="add up to at most 1"):
        SplitRule(validation=0.6, test=0.6)


def test_readers_keep_to_a_split(root: Path) -> None:
    ready.store_splits(root, SplitRule(validation=0.5, test=0.0))
    subjects = read_splits(root).subjects
    train = {capture.subject for capture in AnyHead(root, split="train")}
    validation = {capture.subject for capture in AnyHead(root, split="validation")}
    assert train == {subject for subject, split in subjects.items() if split == "train"}
    assert train | validation == set(subjects)
    assert not train & validation


def test_statistics_are_those_of_table_6(root: Path) -> None:
    found = statistics(root)
    assert found.table_row == {
        "ID Number": "3",
        "Accessory": "✓",
        "Full Head": "✓",
        "Camera View": "8",
        "Stylized Head": "✗",
        "Detailed View": "✗",
    }
    assert (found.groups, found.pictures, found.sizes_px) == (6, 48, {64: 6})
    assert found.accessory_kinds == {"hat": 3}


def test_close_cameras_count_as_detailed_views_and_a_half_circle_is_no_full_head(
    tmp_path: Path,
) -> None:
    build(tmp_path / "close", SphereHeads(rig="digital80"), range(1))
    assert statistics(tmp_path / "close").detailed_view
    assert statistics(tmp_path / "close").camera_views == 80
