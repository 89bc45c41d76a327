"""Opening files for reading without being led astray: regular files only, sizes known first."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from any3davatar.io.errors import FormatError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def kind_of_file(mode: int) -> str:
    """Return the words for a file type, from `os.stat_result.st_mode`."""
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "a regular file")


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file (or a link to one) for reading; yield it and its size in bytes.

    Raises:
        FormatError: the path is a folder, pipe, socket or device. A pipe is not waited for.
        OSError: the path can't be opened.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer, perhaps for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(
                f"{path}: got {kind_of_file(status.st_mode)}, expected a regular file; "
                "give the path of the file itself"
            )
        file = os.fdopen(descriptor, "rb", closefd=False)
        with file:
            yield file, status.st_size
    finally:
        os.close(descriptor)


def read_whole(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """Return the content of a regular file of at most `limit_bytes`.

    Raises:
        FormatError: not a regular file, or a larger one.
        OSError: the path can't be read.
    """
    with open_regular(path) as (file, size):
        if size > limit_bytes:
            raise FormatError(
                f"{path}: the file has {size} bytes, expected at most {limit_bytes}; "
                "is this really a file of this kind?"
            )
        return file.read(size)
