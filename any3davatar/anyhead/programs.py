"""Running external programs as back ends: argument templates, time limits, their files."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from any3davatar.anyhead.errors import DataError

_STDERR_KEPT = 400


class BackEndFailed(Exception):
    """An external back end gave no usable result for one head; the head or group is rejected."""


@dataclass(frozen=True)
class Program:
    """A command line with placeholders.

    Attributes:
        arguments: the program and its arguments; ``{input}``, ``{output}``, ``{prompt}`` and
            ``{seed}`` inside them are replaced. No shell is involved.
        timeout_seconds: after this, the program and its children are killed.
    """

    arguments: tuple[str, ...]
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        if not self.arguments or not any("{output}" in part for part in self.arguments):
            raise DataError(
                f"a command must hold the placeholder {{output}}; got {' '.join(self.arguments)!r}"
            )
        if not self.timeout_seconds > 0:
            raise DataError(f"timeout_seconds must be positive; got {self.timeout_seconds}")

    def run(self, placeholders: Mapping[str, str]) -> None:
        """Run the program.

        Raises:
            BackEndFailed: it can't be started, ends with another status than 0, or takes too long.
        """
        arguments = [_filled(part, placeholders) for part in self.arguments]
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise BackEndFailed(f"{arguments[0]} can't be started: {error.strerror}") from error
        with process:
            try:
                _, errors = process.communicate(timeout=self.timeout_seconds)
            except subprocess.TimeoutExpired as error:
                raise BackEndFailed(
                    f"{arguments[0]} took longer than {self.timeout_seconds:g} seconds"
                ) from error
            finally:
                _kill_group(process)
        if process.returncode != 0:
            raise BackEndFailed(
                f"{arguments[0]} ended with status {process.returncode}: {_last_words(errors)}"
            )


def _filled(part: str, placeholders: Mapping[str, str]) -> str:
    # In one pass over the template, so that a prompt with braces is left as it is.
    pieces = part.split("{")
    filled = pieces[0]
    for piece in pieces[1:]:
        name, brace, rest = piece.partition("}")
        filled += placeholders[name] + rest if brace and name in placeholders else "{" + piece
    return filled


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it started; all of it is in a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _last_words(errors: bytes) -> str:
    text = errors.decode("utf-8", "replace").strip()
    return text[-_STDERR_KEPT:] or "(nothing on stderr)"


def described(arguments: Sequence[str]) -> str:
    """Return a command line as the recipe records it."""
    return " ".join(arguments)
