"""Other people's processes: started in a group of their own, watched, and ended whole."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from a3d_bench.errors import BenchError

Verdict = Literal["done", "timeout", "memory", "disk"]
_POLL_S = 0.02
_POLL_MAX_S = 0.25
_LOG_POLL_S = 0.5
# What programs need to start at all; everything else is passed only where the card names it.
_KEPT_ENVIRONMENT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What one subject may take.

    Attributes:
        seconds: from the job's start to its end.
        load_seconds: for loading a Python method, once.
        memory_bytes: resident memory of all its processes together, or None for no limit.
        log_bytes: of what it prints; the rest is cut off, and the log says so.
        output_bytes: of what it leaves.
    """

    seconds: float = 3600.0
    load_seconds: float = 900.0
    memory_bytes: int | None = None
    log_bytes: int = 4 << 20
    output_bytes: int = 8 << 30


def clean_environment(names: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment that other people's programs see."""
    kept = {name: os.environ[name] for name in (*_KEPT_ENVIRONMENT, *names) if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1"}


class Group:
    """A process and all that it starts.

    Attributes:
        process: the first of them.
        peak_rss_bytes: the highest resident memory of all together that was seen.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        stdin: int,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it.

        Raises:
            BenchError: the program can't be started.
        """
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.process = subprocess.Popen(
                list(argv),
                cwd=folder,
                env=dict(environment),
                stdin=stdin,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise BenchError(
                f"{argv[0]!r} can't be started in {folder}: {error}; correct the command of the "
                "method's card"
            ) from error
        finally:
            os.close(descriptor)
        self.peak_rss_bytes = 0
        self._seen: dict[int, float] = {}

    def watch(
        self, is_done: Callable[[float], bool], limits: Limits, *, log: Path, output: Path | None
    ) -> Verdict:
        """Wait until `is_done`, which may wait as many seconds as it is given, or until a limit."""
        start = checked = time.monotonic()
        wait_s = _POLL_S
        while not is_done(wait_s):
            now = time.monotonic()
            if now - start > limits.seconds:
                return "timeout"
            rss = self._rss_bytes()
            self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
            if limits.memory_bytes is not None and rss > limits.memory_bytes:
                return "memory"
            if now - checked > _LOG_POLL_S:
                checked = now
                cut_log(log, limits.log_bytes)
                if output is not None and folder_bytes(output) > limits.output_bytes:
                    return "disk"
            wait_s = min(2 * wait_s, _POLL_MAX_S)
        cut_log(log, limits.log_bytes)
        return "done"

    def end(self) -> None:
        """End what is left of them, those too that left the group but were seen before."""
        import psutil

        self._remember()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid, created in self._seen.items():
            try:
                other = psutil.Process(pid)
                # A number may belong to somebody else by now: the time of birth tells.
                if other.create_time() == created:
                    other.kill()
            except psutil.Error:
                continue
        self.process.wait()

    def _rss_bytes(self) -> int:
        import psutil

        total = 0
        for other in self._remember():
            try:
                total += other.memory_info().rss
            except psutil.Error:
                continue
        return total

    def _remember(self) -> list:
        import psutil

        try:
            first = psutil.Process(self.process.pid)
            alive = [first, *first.children(recursive=True)]
            for other in alive:
                self._seen.setdefault(other.pid, other.create_time())
        except psutil.Error:
            return []
        return alive


def cut_log(log: Path, limit_bytes: int) -> None:
    """Cut a log that grew too long; its writers append, so it stays whole from there on."""
    try:
        size = log.stat().st_size
    except OSError:
        return
    if size > limit_bytes:
        note = f"\n[cut by a3d-bench at {limit_bytes} bytes]\n".encode()
        with log.open("r+b") as file:
            file.truncate(limit_bytes - len(note))
            file.seek(0, os.SEEK_END)
            file.write(note)


def folder_bytes(folder: Path) -> int:
    """Return the size of the regular files in a folder; links are not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:
                continue
    return total


def how_it_ended(code: int) -> str:
    """Return words for an exit code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
