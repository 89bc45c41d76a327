"""Runners: whatever a method does costs one subject, and is named."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from a3d_bench.errors import BenchError
from a3d_bench.methods import Limits, MethodRun, Outcome, open_method
from a3d_bench.methods.job import Job, read_job, write_job
from a3d_bench.methods.worker import load_class
from a3d_bench.pictures import portrait_of, protocol_cameras
from any3davatar.io import read_png
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


def make_job(folder: Path, name: str) -> Job:
    capture, protocol = head_named(name), rules()
    return write_job(
        folder / "job",
        capture=capture,
        portrait=portrait_of(capture, protocol),
        cameras=protocol_cameras(capture, protocol.picture),
        background=protocol.picture.background,
        seed=3,
        truth=None,
    )


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MethodRun]:
    method = write_adapter(tmp_path_factory.mktemp("moody"))
    limits = Limits(seconds=3, memory_bytes=1 << 30, log_bytes=10_000)
    with open_method(method, limits) as run:
        run.prepare()
        yield run


def ask(run: MethodRun, folder: Path, mood: str) -> Outcome:
    return run.reconstruct(make_job(folder, mood), folder / "log.txt")


def test_a_job_says_the_same_when_it_is_read(tmp_path: Path) -> None:
    job = make_job(tmp_path, "a/<b>\u202e")
    again = read_job(job.path)
    assert again == job
    assert again.portrait().rgb.equal(job.portrait().rgb)
    assert again.cameras().K.equal(job.cameras().K)
    assert [path.name for path in (job.folder / "in").iterdir()] == ["portrait.png"]


def test_a_python_method_leaves_views_seconds_and_memory(moody: MethodRun, tmp_path: Path) -> None:
    outcome = ask(moody, tmp_path, "fine")
    assert (outcome.status, outcome.timed_by) == ("ok", "harness")
    assert outcome.seconds.load is not None
    assert outcome.seconds.infer is not None
    assert outcome.seconds.frames == 4
    # A process that has torch loaded takes more than 100 MB and less than its limit.
    assert 1e8 < (outcome.peak_rss_bytes or 0) < 1 << 30
    assert outcome.device.startswith(("cpu: ", "cuda: "))
    for index in range(4):
        rgb, alpha = read_png(outcome.source / "views" / f"{index:03d}.png")
        assert (tuple(rgb.shape), alpha) == ((3, SIZE_PX, SIZE_PX), None)
    assert "asked for probe/fine" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("mood", "status", "told"),
    [
        ("raise", "method_error", "no face was found"),
        ("bug", "method_error", "KeyError: 'missing key'"),
        ("small", "method_error", "expected (1, 3, 32, 32)"),
        ("nothing", "method_error", "expected something with render()"),
    ],
)
def test_what_a_method_raises_is_the_reason(
    moody: MethodRun, tmp_path: Path, mood: str, status: str, told: str
) -> None:
    outcome = ask(moody, tmp_path, mood)
    assert outcome.status == status
    assert told in outcome.reason


def test_views_that_are_not_finite_are_left_out_and_named(moody: MethodRun, tmp_path: Path) -> None:
    outcome = ask(moody, tmp_path, "nan")
    assert outcome.details["not_finite_views"] == "0,1,2,3"
    assert list((outcome.source / "views").iterdir()) == []


def test_a_log_is_cut_at_its_limit(moody: MethodRun, tmp_path: Path) -> None:
    assert ask(moody, tmp_path, "chatty").status == "ok"
    log = (tmp_path / "log.txt").read_text()
    assert len(log) <= 10_000
    assert "[cut by a3d-bench at 10000 bytes]" in log


@pytest.mark.parametrize(
    ("mood", "status", "told"),
    [
        ("hang", "timeout", "time limit of 3 s"),
        ("die", "method_error", "exit code 7"),
        ("memory", "oom", "memory limit of 1 GiB"),
        ("out-of-memory", "oom", "asked for too much"),
    ],
)
def test_a_process_that_is_lost_is_replaced(
    moody: MethodRun, tmp_path: Path, mood: str, status: str, told: str
) -> None:
    outcome = ask(moody, tmp_path, mood)
    assert outcome.status == status
    assert told in outcome.reason
    (tmp_path / "next").mkdir()
    assert ask(moody, tmp_path / "next", "fine").status == "ok"


def test_a_method_that_can_not_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "adapter.py").write_text("class One:\n    pass\n")
    method = method_of(tmp_path, runner={"kind": "python", "entry": "adapter.py:One"})
    with open_method(method) as run, pytest.raises(BenchError, match="no method reconstruct"):
        run.prepare()
    assert load_class("adapter.py:One", tmp_path).__name__ == "One"
    with pytest.raises(BenchError, match="has no class Two"):
        load_class("adapter.py:Two", tmp_path)
    with pytest.raises(BenchError, match="can't be imported: ModuleNotFoundError"):
        load_class("no_such_module_at_all:X", None)


def command(folder: Path, program: str, limits: Limits | None = None, **runner: object) -> Outcome:
    """Run a Python program as a command."""
    (folder / "program.py").write_text(program)
    values = {
        "kind": "command",
        "argv": [sys.executable, str(folder / "program.py"), "{job}", "{out}", "{seed}"],
        "result": "{view}.png",
        **runner,
    }
    with open_method(method_of(folder, runner=values), limits or Limits(seconds=20)) as run:
        run.prepare()
        return run.reconstruct(make_job(folder, "head"), folder / "log.txt")


def test_a_command_gets_its_job_and_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A3D_SECRET", "1")
    monkeypatch.setenv("A3D_WANTED", "2")
    outcome = command(
        tmp_path,
        "import os, sys, pathlib\n"
        "print(sys.argv[3], os.environ.get('A3D_SECRET'), os.environ.get('A3D_WANTED'))\n"
        "print(sys.stdin.read() == '', pathlib.Path.cwd() == pathlib.Path(sys.argv[1]).parent)\n",
        pass_environment=["A3D_WANTED"],
    )
    assert (outcome.status, outcome.timed_by) == ("ok", "process")
    assert outcome.seconds.infer is not None
    assert (tmp_path / "log.txt").read_text() == "3 None 2\nTrue True\n"


def test_a_commands_report_is_taken_but_not_trusted(tmp_path: Path) -> None:
    outcome = command(
        tmp_path,
        "import sys, json, pathlib\n"
        "pathlib.Path(sys.argv[2], 'result.json').write_text(json.dumps({'seconds': {'infer': 0.5,"
        " 'preprocess': 'soon', 'render': float(1e300), 'load': -1}, 'peak_gpu_bytes': 5,"
        " 'details': {'version': '1.2'}}))\n",
    )
    assert (outcome.timed_by, outcome.seconds.infer) == ("method", 0.5)
    assert (outcome.seconds.preprocess, outcome.seconds.render) == (None, None)
    assert (outcome.peak_gpu_bytes, outcome.details["version"]) == (5, "1.2")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import sys; print('the weights are missing'); sys.exit(4)", "exit code 4.*weights"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        (
            "import sys, pathlib; pathlib.Path(sys.argv[2], 'result.json').write_text("
            '\'{"error": "no face\\\\n<script>"}\')',
            "no face <script>",
        ),
        (
            "import sys, pathlib; pathlib.Path(sys.argv[2], 'result.json').write_text('[1]')",
            "expected an object",
        ),
    ],
)
def test_a_command_that_fails_is_told_with_its_last_words(
    tmp_path: Path, program: str, told: str
) -> None:
    import re

    outcome = command(tmp_path, program)
    assert outcome.status == "method_error"
    assert re.search(told, outcome.reason)


def test_a_command_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    outcome = command(
        tmp_path,
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n",
        limits=Limits(seconds=1.5),
    )
    assert outcome.status == "timeout"
    pid = int((tmp_path / "log.txt").read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_a_command_that_fills_the_disk_is_ended(tmp_path: Path) -> None:
    outcome = command(
        tmp_path,
        "import sys, pathlib, time\n"
        "pathlib.Path(sys.argv[2], 'x').write_bytes(bytes(3 << 20))\n"
        "time.sleep(600)\n",
        limits=Limits(seconds=20, output_bytes=1 << 20),
    )
    assert outcome.status == "method_error"
    assert "wrote more than" in outcome.reason


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    values = {"kind": "command", "argv": ["a3d-no-such-program"], "result": "x.ply"}
    method = method_of(tmp_path, output="gaussians", runner=values)
    with open_method(method) as run, pytest.raises(BenchError, match=r"no-such-program.*not found"):
        run.prepare()


def test_leaving_the_block_ends_the_worker(tmp_path: Path) -> None:
    with open_method(write_adapter(tmp_path)) as run:
        run.prepare()
        children = psutil.Process(os.getpid()).children(recursive=True)
        workers = [one for one in children if "a3d_bench.methods.worker" in one.cmdline()]
        assert workers
        newest = max(workers, key=lambda one: one.create_time())
    assert not newest.is_running() or newest.status() == psutil.STATUS_ZOMBIE


def test_a_worker_ends_when_the_harness_is_killed(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from a3d_bench.methods import adapter_methods, open_method\n"
        "(method,) = adapter_methods(Path(sys.argv[1])).values()\n"
        "run = open_method(method)\n"
        "run.prepare()\n"
        "print(run._group.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "adapter.py")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
