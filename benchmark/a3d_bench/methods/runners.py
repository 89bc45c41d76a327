"""The three ways to run a method, all by one contract: a job folder in, its ``out`` folder filled.

* `PythonRun`: a class, in a process of its own that keeps it loaded.
* `CommandRun`: a program in any environment, once a subject.
* `ExternalRun`: outputs that are there already.

A runner never raises for what a method does: that becomes an `Outcome` with a status and a reason.
"""

import hashlib
import importlib.util
import json
import os
import select
import shutil
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from a3d_bench.errors import BenchError
from a3d_bench.methods.card import (
    COMMAND_FIELDS,
    CommandRunner,
    ExternalRunner,
    PythonRunner,
    filled,
)
from a3d_bench.methods.job import Job
from a3d_bench.methods.processes import (
    Group,
    Limits,
    Verdict,
    clean_environment,
    how_it_ended,
)
from a3d_bench.methods.registry import RegisteredMethod
from a3d_bench.types import STATUSES, Seconds, Status
from any3davatar.io import FormatError
from any3davatar.io.json_file import read_json_object

_ANSWER_LIMIT_BYTES = 1 << 20
_REASON_LIMIT = 500
_DETAILS_MAX = 64
_TEXT_LIMIT = 2000


@dataclass(frozen=True)
class Outcome:
    """What came of a job; the pictures lie in `source`.

    Attributes:
        status: ``ok``, ``method_error``, ``timeout``, ``oom`` or ``missing``.
        reason: one line where it is not ``ok``.
        source: the folder that the method's files lie in, which nothing may leave.
        seconds: by stage, as far as known.
        timed_by: who held the watch.
        peak_rss_bytes: highest resident memory, or None.
        peak_gpu_bytes: highest allocated GPU memory, or None.
        device: what it ran on.
        details: what the method says of itself.
    """

    status: Status
    reason: str
    source: Path
    seconds: Seconds = field(default_factory=Seconds)
    timed_by: Literal["harness", "method", "process", "nobody"] = "nobody"
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    device: str = "unknown"
    details: Mapping[str, str] = field(default_factory=dict)


class MethodRun(AbstractContextManager["MethodRun"]):
    """A method that is being run; leaving the block ends all its processes.

    Attributes:
        method: which.
        limits: what a subject may take.
    """

    def __init__(self, method: RegisteredMethod, limits: Limits) -> None:
        self.method = method
        self.limits = limits

    def prepare(self) -> None:
        """Do once what can be done before the first job.

        Raises:
            BenchError: the method can't run here at all; the message says what is missing.
        """

    @abstractmethod
    def reconstruct(self, job: Job, log: Path) -> Outcome:
        """Run a job.

        Args:
            job: an untouched one.
            log: where to what the method prints is appended.
        """
        ...

    def fingerprint(self, fields: Mapping[str, str]) -> str:
        """Return a digest of what, beside the card, an output depends on.

        Args:
            fields: `Job.result_fields` of the capture.
        """
        return ""

    def close(self) -> None:
        """End its processes."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_method(method: RegisteredMethod, limits: Limits | None = None) -> MethodRun:
    """Return a method, ready to be given jobs; use it in a ``with`` block."""
    limits = limits or Limits()
    runner = method.card.runner
    if isinstance(runner, PythonRunner):
        return PythonRun(method, runner, limits)
    if isinstance(runner, CommandRunner):
        return CommandRun(method, runner, limits)
    return ExternalRun(method, runner, limits)


class PythonRun(MethodRun):
    """A class, in a process that keeps it loaded and is replaced when it hangs or dies."""

    def __init__(self, method: RegisteredMethod, runner: PythonRunner, limits: Limits) -> None:
        super().__init__(method, limits)
        self._runner = runner
        self._group: Group | None = None
        self._answers = b""
        self._answers_fd = -1
        self._loading_log: Path | None = None

    def prepare(self) -> None:
        """Start the process and load the method."""
        import tempfile

        if self._group is not None:
            return
        with tempfile.TemporaryDirectory(prefix="a3d-bench-") as folder:
            log = Path(folder) / "log.txt"
            self._start(Path(folder), log)

    def reconstruct(self, job: Job, log: Path) -> Outcome:
        """Hand the job to the process."""
        if self._group is None:
            try:
                self._start(job.folder, log)
            except BenchError as error:
                return _failed("method_error", str(error), job)
        group = self._group
        assert group is not None
        assert group.process.stdin is not None
        group.peak_rss_bytes = 0
        request = json.dumps({"job": str(job.path), "log": str(log)}) + "\n"
        try:
            group.process.stdin.write(request.encode())
            group.process.stdin.flush()
        except OSError:
            pass  # it has died: `_waited` sees it
        verdict, answer = self._waited(group, self.limits, log, job.out)
        peak = group.peak_rss_bytes or None
        if verdict == "done" and answer is not None:
            status = answer.get("status")
            outcome = _outcome_of(answer, job, peak)
            if status == "oom":
                self.close()
            return outcome
        self.close()
        if verdict == "done":
            return _died(group, job, peak)
        return _stopped(verdict, self.limits, job, peak)

    def fingerprint(self, fields: Mapping[str, str]) -> str:
        """Return the digest of the class's file, the card's files, and files that options name."""
        digest = hashlib.sha256()
        named = [Path(value) for value in self._runner.options.values() if isinstance(value, str)]
        for path in (self._class_file(), *map(_installed, self._runner.files), *named):
            if path is not None and path.is_file():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def _class_file(self) -> Path | None:
        place = self._runner.entry.partition(":")[0]
        if place.endswith(".py"):
            return None if self.method.folder is None else self.method.folder / place
        return _origin(place)

    def close(self) -> None:
        """End the process and all that it started."""
        if self._group is not None:
            self._group.end()
            if self._group.process.stdin is not None:
                with suppress(OSError):  # what it did not read any more
                    self._group.process.stdin.close()
            self._group = None
        if self._answers_fd >= 0:
            os.close(self._answers_fd)
            self._answers_fd = -1

    def _start(self, folder: Path, log: Path) -> None:
        read_end, write_end = os.pipe()
        beside = "" if self.method.folder is None else str(self.method.folder)
        words = ["-m", "a3d_bench.methods.worker", self.method.card.model_dump_json(), beside]
        try:
            self._group = Group(
                [sys.executable, *words, str(write_end)],
                folder=folder,
                environment=_own_environment(),
                log=log,
                stdin=subprocess.PIPE,
                pass_fds=(write_end,),
            )
        except BenchError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._answers, self._answers_fd = b"", read_end
        limits = Limits(
            seconds=self.limits.load_seconds,
            memory_bytes=self.limits.memory_bytes,
            log_bytes=self.limits.log_bytes,
        )
        verdict, answer = self._waited(self._group, limits, log, None)
        if verdict == "done" and answer is not None and "loaded" in answer:
            return
        group = self._group
        self.close()
        title = self.method.id
        if answer is not None and "unavailable" in answer:
            raise BenchError(f"{title} can't be loaded: {_text(answer['unavailable'])}")
        if verdict == "done":
            told = _last_line(log)
            raise BenchError(
                f"{title} can't be loaded: its process ended "
                f"({how_it_ended(group.process.returncode)}){told}"
            )
        raise BenchError(
            f"{title} can't be loaded: {_stopped_words(verdict, limits)} while it was loaded"
        )

    def _waited(
        self, group: Group, limits: Limits, log: Path, output: Path | None
    ) -> tuple[Verdict, dict[str, Any] | None]:
        """Wait for one line of the worker; None where it died instead."""

        def has_line(wait_s: float) -> bool:
            ready, _, _ = select.select([self._answers_fd], [], [], wait_s)
            if not ready:
                return False
            read = os.read(self._answers_fd, 1 << 16)
            self._answers += read
            return not read or b"\n" in read or len(self._answers) > _ANSWER_LIMIT_BYTES

        verdict = group.watch(has_line, limits, log=log, output=output)
        line, newline, self._answers = self._answers.partition(b"\n")
        if verdict != "done" or not newline:
            return verdict, None
        try:
            answer = json.loads(line)
        except ValueError:
            return verdict, None
        return verdict, answer if isinstance(answer, dict) else None


def _origin(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _installed(place: str) -> Path:
    """Return the file that a card calls ``package:path``.

    Raises:
        BenchError: it is not there; without it nobody could tell one output from another.
    """
    package, _, path = place.partition(":")
    origin = _origin(package)
    if origin is None or not (origin.parent / path).is_file():
        raise BenchError(
            f"the card lists the file {place!r}, which is not installed; reinstall {package}, or "
            "correct `files` in the card"
        )
    return origin.parent / path


class CommandRun(MethodRun):
    """A program: started anew for every subject, in a fresh folder, with a clean environment."""

    def __init__(self, method: RegisteredMethod, runner: CommandRunner, limits: Limits) -> None:
        super().__init__(method, limits)
        self._runner = runner

    def prepare(self) -> None:
        """Check that the program and its folder are there."""
        fields = {name: "x" for name in COMMAND_FIELDS}
        argv = [filled(word, fields) for word in self._runner.argv]
        folder = self._folder(fields)
        if folder is not None and not folder.is_dir():
            raise BenchError(
                f"{self.method.id}: the folder {folder} of its command does not exist; the card's "
                "steps say how to make it"
            )
        found = shutil.which(argv[0], path=clean_environment().get("PATH"))
        if found is None and not (folder is not None and (folder / argv[0]).is_file()):
            raise BenchError(
                f"{self.method.id}: the program {argv[0]!r} is not found; the card's steps say how "
                "to install it"
            )

    def reconstruct(self, job: Job, log: Path) -> Outcome:
        """Run the program on the job."""
        try:
            fields = job.fields()
            argv = [filled(word, fields) for word in self._runner.argv]
            folder = self._folder(fields) or job.folder
            start = time.perf_counter()
            group = Group(
                argv,
                folder=folder,
                environment=clean_environment(self._runner.pass_environment),
                log=log,
                stdin=subprocess.DEVNULL,
            )
        except BenchError as error:
            return _failed("method_error", str(error), job)

        def has_ended(wait_s: float) -> bool:
            try:
                group.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                return False
            return True

        try:
            verdict = group.watch(has_ended, self.limits, log=log, output=job.out)
            took = time.perf_counter() - start
        finally:
            group.end()
        peak = group.peak_rss_bytes or None
        if verdict != "done":
            return _stopped(verdict, self.limits, job, peak)
        if group.process.returncode != 0:
            return _died(group, job, peak, _last_line(log))
        return _with_report(job, took, peak)

    def _folder(self, fields: dict[str, str]) -> Path | None:
        if self._runner.folder is None:
            return None
        folder = Path(filled(self._runner.folder, fields))
        if not folder.is_absolute() and self.method.folder is not None:
            return self.method.folder / folder
        return folder


class ExternalRun(MethodRun):
    """Outputs that somebody made; nothing is run, and nobody knows what they took."""

    def __init__(self, method: RegisteredMethod, runner: ExternalRunner, limits: Limits) -> None:
        super().__init__(method, limits)
        self._runner = runner

    def prepare(self) -> None:
        """Check that the folder is there."""
        self._source()

    def reconstruct(self, job: Job, log: Path) -> Outcome:
        """Point to the folder."""
        try:
            return Outcome("ok", "", self._source())
        except BenchError as error:
            return _failed("missing", str(error), job)

    def fingerprint(self, fields: Mapping[str, str]) -> str:
        """Return a digest of names, sizes and times of the files that may be the capture's."""
        from a3d_bench.methods.outputs import files_of_capture

        try:
            source = self._source()
        except BenchError:
            return ""
        digest = hashlib.sha256()
        for path in files_of_capture(source, self._runner.result, fields):
            status = path.stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def _source(self) -> Path:
        if self._runner.folder is None:
            raise BenchError(
                f"{self.method.id} is not run by a3d-bench: give the folder of its outputs, "
                f"--method {self.method.id}=FOLDER"
            )
        folder = Path(filled(self._runner.folder, {}))
        if not folder.is_absolute() and self.method.folder is not None:
            folder = self.method.folder / folder
        if not folder.is_dir():
            raise BenchError(f"{self.method.id}: the folder {folder} of its outputs does not exist")
        return folder.resolve()


def _own_environment() -> dict[str, str]:
    """Return this process's environment, so that our own Python finds the same packages."""
    search = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": search, "PYTHONUNBUFFERED": "1"}


def _outcome_of(answer: Mapping[str, Any], job: Job, peak: int | None) -> Outcome:
    status = answer.get("status")
    return Outcome(
        status=status if status in STATUSES else "method_error",
        reason=_text(answer.get("reason", "")),
        source=job.out,
        seconds=_seconds(answer.get("seconds")),
        timed_by="harness" if status == "ok" else "nobody",
        peak_rss_bytes=_whole(answer.get("peak_rss_bytes")) or peak,
        peak_gpu_bytes=_whole(answer.get("peak_gpu_bytes")),
        device=_text(answer.get("device", "unknown")),
        details=_details(answer.get("details")),
    )


def _with_report(job: Job, took: float, peak: int | None) -> Outcome:
    """Return the outcome of a command that ended well; its ``out/result.json`` may say more."""
    path = job.out / "result.json"
    known = Outcome("ok", "", job.out, Seconds(infer=took), "process", peak)
    if path.is_symlink() or not path.is_file():
        return known
    try:
        report = read_json_object(path).values
    except (FormatError, OSError) as error:
        return _failed("method_error", f"result.json: {error}", job)
    if report.get("error"):
        return _failed("method_error", _text(report["error"]), job)
    seconds = _seconds(report.get("seconds"))
    told = seconds.infer is not None
    return Outcome(
        status="ok",
        reason="",
        source=job.out,
        seconds=seconds if told else Seconds(infer=took),
        timed_by="method" if told else "process",
        peak_rss_bytes=peak,
        peak_gpu_bytes=_whole(report.get("peak_gpu_bytes")),
        device=_text(report.get("device", "unknown")),
        details={**_details(report.get("details")), "process_seconds": f"{took:.6g}"},
    )


def _failed(status: Status, reason: str, job: Job, peak: int | None = None) -> Outcome:
    return Outcome(status, _text(reason), job.out, peak_rss_bytes=peak)


def _died(group: Group, job: Job, peak: int | None, told: str = "") -> Outcome:
    code = group.process.returncode
    if code == -9:
        reason = "killed by the system (SIGKILL), most likely for want of memory"
        return _failed("oom", reason, job, peak)
    return _failed("method_error", f"its process ended: {how_it_ended(code)}{told}", job, peak)


def _stopped(verdict: Verdict, limits: Limits, job: Job, peak: int | None) -> Outcome:
    statuses: dict[Verdict, Status] = {"timeout": "timeout", "memory": "oom"}
    status = statuses.get(verdict, "method_error")
    return _failed(status, _stopped_words(verdict, limits), job, peak)


def _stopped_words(verdict: Verdict, limits: Limits) -> str:
    if verdict == "timeout":
        return f"stopped after the time limit of {limits.seconds:g} s"
    if verdict == "memory":
        return f"stopped at the memory limit of {(limits.memory_bytes or 0) / 2**30:.3g} GiB"
    return f"stopped: it wrote more than {limits.output_bytes / 2**30:.3g} GiB"


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return f"; it printed last: {lines[-1][:200]}" if lines else ""


def _text(value: object) -> str:
    """Return one line of a stranger's text, without control characters."""
    line = " ".join(str(value).split())
    return "".join(c for c in line if c.isprintable())[:_REASON_LIMIT]


def _details(values: object) -> dict[str, str]:
    if not isinstance(values, Mapping):
        return {}
    kept = list(values.items())[:_DETAILS_MAX]
    return {str(key)[:64]: str(value)[:_TEXT_LIMIT] for key, value in kept}


def _seconds(values: object) -> Seconds:
    """Return the seconds of a stranger's report; what is no sensible number is not known."""
    if not isinstance(values, Mapping):
        return Seconds()
    known: dict[str, float] = {}
    for one in fields(Seconds):
        value = values.get(one.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
            known[one.name] = value
    frames = int(known.pop("frames", 0))
    return Seconds(**known, frames=frames)  # pyright: ignore[reportArgumentType]


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 50:
        return value
    return None
