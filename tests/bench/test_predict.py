"""Predictions: whole or not there, done once, and safe from what a method leaves."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from a3d_bench.methods import RegisteredMethod, open_method
from a3d_bench.methods.conformance import probe_head
from a3d_bench.names import slug
from a3d_bench.pictures import protocol_cameras
from a3d_bench.predict import finished, predict, predict_all
from a3d_bench.store import RunFolder
from a3d_bench.types import Prediction
from any3davatar.core import Gaussians
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.io import read_ply, read_png, write_ply, write_png
from any3davatar.render import render
from tests.bench.method_examples import (
    SIZE_PX,
    head_named,
    method_of,
    own_cache,
    rules,
    write_adapter,
)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_cache(tmp_path_factory.mktemp("cache")):
        yield


def folder_of(run: RunFolder, method: str, name: str) -> Path:
    return run.capture_folder("predictions", method, slug(f"probe/{name}"))


def external(folder: Path, output: str = "views", **card: object) -> RegisteredMethod:
    runner = {"kind": "external", "folder": str(folder)}
    return method_of(folder, output=output, runner=runner, **card)


def run_once(run: RunFolder, method: RegisteredMethod, name: str = "head") -> Prediction:
    with open_method(method) as opened:
        return predict(run, opened, head_named(name), rules())


def test_a_run_goes_on_past_failures_and_is_not_done_twice(tmp_path: Path) -> None:
    run, protocol = RunFolder(tmp_path / "run"), rules()
    captures = [head_named(name) for name in ("fine", "raise", "also-fine")]
    method = write_adapter(tmp_path / "method")
    with open_method(method) as opened:
        first = predict_all(run, opened, captures, protocol)
        assert [one.status for one in first] == ["ok", "method_error", "ok"]
        assert first[1].reason == "no face was found"
        before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()}
        assert predict_all(run, opened, captures, protocol) == first
        assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()} == before
        assert sorted(first[0].files) == [
            "gaussians.ply", "views/000.png", "views/001.png", "views/002.png", "views/003.png",
        ]  # fmt: skip
        left = {path.name for path in folder_of(run, "moody", "fine").iterdir()}
        assert left == {"views", "gaussians.ply", "prediction.json", "log.txt"}

        # What is damaged, or was made under other rules, is done again.
        view = folder_of(run, "moody", "fine") / "views" / "002.png"
        view.write_bytes(view.read_bytes()[:-1])
        assert finished(run, opened, captures[0], protocol) is None
        assert predict(run, opened, captures[0], protocol).files == first[0].files
        assert finished(run, opened, captures[0], rules(seed="1")) is None

    write_adapter(tmp_path / "method", (tmp_path / "method/adapter.py").read_text() + "\n# new\n")
    with open_method(method) as opened:
        assert finished(run, opened, captures[0], protocol) is None


def test_kill_9_costs_the_capture_in_hand_only(tmp_path: Path) -> None:
    write_adapter(tmp_path / "method")
    program = (
        "import os, sys, threading\n"
        "from pathlib import Path\n"
        "from a3d_bench.methods import adapter_methods, open_method\n"
        "from a3d_bench.predict import predict\n"
        "from a3d_bench.store import RunFolder\n"
        "from tests.bench.method_examples import head_named, rules\n"
        "(method,) = adapter_methods(Path(sys.argv[2])).values()\n"
        "with open_method(method) as opened:\n"
        "    run = RunFolder(Path(sys.argv[1]))\n"
        "    predict(run, opened, head_named('fine'), rules())\n"
        "    threading.Timer(1.0, os.kill, (os.getpid(), 9)).start()\n"
        "    predict(run, opened, head_named('hang'), rules())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run"), str(tmp_path / "method/adapter.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = RunFolder(tmp_path / "run")
    fine = run.prediction("moody", slug("probe/fine"))
    assert fine is not None
    assert fine.status == "ok"
    assert run.prediction("moody", slug("probe/hang")) is None
    # The next run clears what was left of it.
    left = list(folder_of(run, "moody", "hang").glob("job-*"))
    assert left
    method = external(tmp_path, id="moody")
    run_once(run, method, "hang")
    assert not list(folder_of(run, "moody", "hang").glob("job-*"))


def picture(value: float, size: int = SIZE_PX) -> torch.Tensor:
    return torch.full((3, size, size), value)


def test_given_views_are_taken_over_as_the_protocol_wants_them(tmp_path: Path) -> None:
    given = tmp_path / "given" / slug("probe/head")
    given.mkdir(parents=True)
    write_png(given / "000.png", picture(0.5), torch.full((1, SIZE_PX, SIZE_PX), 0.5))
    write_png(given / "001.png", picture(0.25), bits=16)
    write_png(given / "002.png", picture(0.25, SIZE_PX // 2))
    (given / "003.png").write_bytes(b"no picture")
    run = RunFolder(tmp_path / "run")
    prediction = run_once(run, external(tmp_path / "given"))
    assert (prediction.status, prediction.timed_by) == ("ok", "nobody")
    assert len(prediction.files) == 4
    views = folder_of(run, "made", "head") / "views"
    rgb, alpha = read_png(views / "000.png")
    assert alpha is None
    # Half over white, to within 8 bits.
    assert float((rgb - 0.75).abs().max()) <= 1 / 255
    assert float((read_png(views / "001.png")[0] - 0.25).abs().max()) <= 1 / 255
    # What scoring must name stays what it is.
    assert read_png(views / "002.png")[0].shape[-1] == SIZE_PX // 2
    assert (views / "003.png").read_bytes() == b"no picture"


@pytest.mark.parametrize(
    "place", ["{c}/views/{v}.png", "{c}/{n}.png", "{s}/{v}.png", "{c}_{v}.png", "{c}/{v}.jpg"]
)
def test_the_usual_places_of_views_are_found(tmp_path: Path, place: str) -> None:
    capture = head_named("head")
    for index, name in enumerate(capture.view_names):
        path = tmp_path / "given" / place.format(
            c=slug(capture.id), s="head", v=f"{index:03d}", n=slug(name)
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jpg":
            from PIL import Image

            Image.new("RGB", (SIZE_PX, SIZE_PX), (128, 0, 0)).save(path)
        else:
            write_png(path, picture(0.1 * index))
    prediction = run_once(RunFolder(tmp_path / "run"), external(tmp_path / "given"))
    assert len(prediction.files) == 4


def test_changed_outputs_are_taken_again(tmp_path: Path) -> None:
    given = tmp_path / "given" / slug("probe/head")
    given.mkdir(parents=True)
    write_png(given / "000.png", picture(0.5))
    run, method = RunFolder(tmp_path / "run"), external(tmp_path / "given")
    first = run_once(run, method)
    assert run_once(run, method) == first
    write_png(given / "000.png", picture(0.25))
    assert run_once(run, method).files != first.files


def test_nothing_at_all_is_missing_with_the_place_that_was_looked_at(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    prediction = run_once(RunFolder(tmp_path / "run"), external(tmp_path / "given"))
    assert (prediction.status, dict(prediction.files)) == ("missing", {})
    assert "{capture}/views/{view}" in prediction.reason
    assert slug("probe/head") in prediction.reason


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "secret.png", picture(0.5))
    given = tmp_path / "given" / slug("probe/head")
    given.mkdir(parents=True)
    (given / "000.png").symlink_to(tmp_path / "secret.png")
    prediction = run_once(RunFolder(tmp_path / "run"), external(tmp_path / "given"))
    assert prediction.status == "missing"
    assert "leaves the output folder" in prediction.reason


@pytest.mark.parametrize("name", ["../../up", "<script>alert(1)</script>", "a/../../b", "x" * 300])
def test_no_name_leaves_the_run(tmp_path: Path, name: str) -> None:
    given = tmp_path / "given" / slug(f"probe/{name}")
    given.mkdir(parents=True)
    write_png(given / "000.png", picture(0.5))
    run = RunFolder(tmp_path / "a" / "run")
    prediction = run_once(run, external(tmp_path / "given"), name)
    assert prediction.status == "ok"
    assert {path.name for path in tmp_path.iterdir()} == {"given", "a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"run"}
    stored = run.prediction("made", slug(f"probe/{name}"))
    assert stored == prediction


def turned(gaussians: Gaussians, frame: str) -> Gaussians:
    return WORLD_FRAMES[frame].inverse().apply_to_gaussians(gaussians)


@pytest.mark.parametrize("frame", ["any3davatar", "facelift", "arc2avatar", "id-sculpt"])
def test_gaussians_of_another_world_are_turned_into_ours(tmp_path: Path, frame: str) -> None:
    given = tmp_path / "given" / slug("probe/head")
    given.mkdir(parents=True)
    write_ply(given / "point_cloud.ply", turned(probe_head(), frame))
    method = external(tmp_path / "given", "gaussians", world={"frame": frame})
    run = RunFolder(tmp_path / "run")
    prediction = run_once(run, method)
    assert prediction.seconds.frames == 4
    folder = folder_of(run, "made", "head")
    moved = read_ply(folder / "gaussians.ply").means
    assert torch.allclose(moved, probe_head().means, atol=1e-6)  # a turn by right angles
    cameras = protocol_cameras(head_named("head"), rules().picture)
    wanted = render(probe_head(), cameras, torch.ones(3)).rgb.clamp(0, 1)
    for view in range(4):
        shown = read_png(folder / "views" / f"{view:03d}.png")[0]
        # Eight bits, and float32 in the file's logits: a wrong turn moves the face.
        assert float((shown - wanted[view]).abs().max()) < 2 / 255


def test_a_damaged_ply_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    given = tmp_path / "given" / slug("probe/head")
    given.mkdir(parents=True)
    (given / "gaussians.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 9")
    prediction = run_once(RunFolder(tmp_path / "run"), external(tmp_path / "given", "gaussians"))
    assert prediction.status == "missing"
    assert prediction.reason.startswith("gaussians.ply: ")


def test_a_commands_gaussians_are_rendered_and_an_empty_file_is_not(tmp_path: Path) -> None:
    write_ply(tmp_path / "head.ply", probe_head())
    for body, status in (
        (f"shutil.copy({str(tmp_path / 'head.ply')!r}, sys.argv[1] + '/x.ply')", "ok"),
        ("open(sys.argv[1] + '/x.ply', 'w')", "method_error"),
        ("print('nothing')", "method_error"),
    ):
        runner = {
            "kind": "command",
            "argv": [sys.executable, "-c", f"import shutil, sys; {body}", "{out}"],
            "result": "x.ply",
        }
        method = method_of(tmp_path, output="gaussians", runner=runner)
        prediction = run_once(RunFolder(tmp_path / "run"), method)
        assert prediction.status == status, prediction.reason
    stored = folder_of(RunFolder(tmp_path / "run"), "made", "head") / "prediction.json"
    assert json.loads(stored.read_text())["reason"].startswith(
        "the output of probe/head is missing"
    )
