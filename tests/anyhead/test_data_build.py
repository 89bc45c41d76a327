import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from any3davatar.anyhead import layout
from any3davatar.anyhead.build import build
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.manifest import read_manifest
from any3davatar.anyhead.readers import AnyHead
from any3davatar.anyhead.verify import verify
from tests.anyhead.spheres import SphereHeads, contents

REPOSITORY = Path(__file__).parents[2]


def subset(root: Path) -> Path:
    return root / layout.DIGITAL_HUMAN


def start(root: Path, heads: int, workers: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.anyhead.spheres", str(root), str(heads), str(workers)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    build(tmp_path / "whole", SphereHeads(), range(12))
    lot = random.Random(5)
    for _ in range(2):
        process = start(tmp_path / "killed", 12, workers=1)
        time.sleep(lot.uniform(0.02, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for head in layout.heads_in(subset(tmp_path / "killed")):
            assert (head / layout.HEAD_RECORD).is_file()  # never a half-written head
    build(tmp_path / "killed", SphereHeads(), range(12))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_every_moment_between_head_and_manifest_is_survived(tmp_path: Path) -> None:
    build(tmp_path / "whole", SphereHeads(), range(3))
    manifest = (subset(tmp_path / "whole") / layout.MANIFEST).read_bytes()
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    build(tmp_path / "one", SphereHeads(), range(1))
    # As if the process had died after moving two heads into place and before noting them.
    shutil.copy(
        subset(tmp_path / "one") / layout.MANIFEST, subset(tmp_path / "stopped") / layout.MANIFEST
    )
    report = build(tmp_path / "stopped", SphereHeads(), range(3))
    assert report.built == ()
    assert (subset(tmp_path / "stopped") / layout.MANIFEST).read_bytes() == manifest


def test_two_processes_make_the_bytes_of_one(tmp_path: Path) -> None:
    build(tmp_path / "one", SphereHeads(rejects=(2,)), range(5))
    report = build(tmp_path / "two", SphereHeads(rejects=(2,)), range(5), workers=2)
    assert report.rejected == {"dh-0000002": "it is too round"}
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.slow
def test_workers_of_a_killed_build_end_and_leave_nothing_wrong(tmp_path: Path) -> None:
    build(tmp_path / "whole", SphereHeads(), range(40))
    process = start(tmp_path / "killed", 40, workers=2)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("dh-")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    build(tmp_path / "killed", SphereHeads(), range(40), workers=2)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_full_disk_stops_the_build_and_lists_no_half_head(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path;"
        "from tests.anyhead.spheres import SphereHeads;"
        "from any3davatar.anyhead.build import build;"
        "build(Path(sys.argv[1]), SphereHeads(), range(1));"
        # A file of more than 3000 bytes now fails like on a full disk: records are larger.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000));"
        "build(Path(sys.argv[1]), SphereHeads(), range(2))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "full")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert list(read_manifest(subset(tmp_path / "full")).heads) == ["dh-0000000"]
    assert [head.name for head in layout.heads_in(subset(tmp_path / "full"))] == ["dh-0000000"]
    build(tmp_path / "full", SphereHeads(), range(2))
    assert verify(tmp_path / "full") == []


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="/file"):
        build(tmp_path / "file", SphereHeads(), range(1))


def test_rejected_heads_are_recorded_and_not_tried_again_unless_asked(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(rejects=(0,)), range(2))
    manifest = read_manifest(subset(tmp_path))
    assert manifest.rejected["dh-0000000"].reason == "it is too round"
    assert manifest.rejected["dh-0000000"].scores == {"roundness": 1.0}
    assert list(manifest.heads) == ["dh-0000001"]
    again = build(tmp_path, SphereHeads(rejects=(0,)), range(2), retry_rejected=True)
    assert again.found == ("dh-0000001",)
    assert again.rejected == {"dh-0000000": "it is too round"}
    assert [head.head_id for head in AnyHead(tmp_path).heads] == ["dh-0000001"]


def test_another_recipe_is_refused_by_its_first_difference(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), range(1))
    with pytest.raises(DataError, match=r"was built with size_px = 24, and now 32 is asked for"):
        build(tmp_path, SphereHeads(size_px=32), range(1))


def test_a_data_set_grows(tmp_path: Path) -> None:
    build(tmp_path / "grown", SphereHeads(), range(2))
    report = build(tmp_path / "grown", SphereHeads(), range(4))
    assert report.found == ("dh-0000000", "dh-0000001")
    build(tmp_path / "whole", SphereHeads(), range(4))
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


def test_two_builds_in_one_folder_are_refused(tmp_path: Path) -> None:
    def meddle(_: str) -> None:
        with pytest.raises(DataError, match="another build is running in this folder"):
            build(tmp_path, SphereHeads(), range(2))
        with pytest.raises(DataError, match="another build is running in this folder"):
            build(tmp_path, SphereHeads(subset=layout.ACCESSORY_RICH), range(2))

    build(tmp_path, SphereHeads(), range(1), on_head=meddle)
    assert not (tmp_path / layout.ACCESSORY_RICH).exists()  # it would be a damaged subset


def test_heads_without_a_manifest_are_refused(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), range(1))
    (subset(tmp_path) / layout.MANIFEST).unlink()
    with pytest.raises(DataError, match=r"holds heads but no MANIFEST\.json"):
        build(tmp_path, SphereHeads(), range(1))


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    build(tmp_path, SphereHeads(), range(1))
    record = subset(tmp_path) / "dh-0000000" / layout.HEAD_RECORD
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DataError, match=r"HEAD\.json was changed after the build"):
        build(tmp_path, SphereHeads(), range(1))


def test_requests_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got 2 seeds, 1 of them different"):
        build(tmp_path, SphereHeads(), [1, 1])
    with pytest.raises(DataError, match="workers: got 0, expected at least 1"):
        build(tmp_path, SphereHeads(), [1], workers=0)
