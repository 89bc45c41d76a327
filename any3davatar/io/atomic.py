"""Output files that appear whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from any3davatar.io.errors import FormatError
from any3davatar.io.opening import kind_of_file


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in place when the block ends well.

    The temporary file has the suffix of the final one, is flushed to the disk and then renamed
    over it, so that a reader, or the next run after a crash, sees the old file or the new one. If
    the block raises, the temporary file is removed and an old file stays as it was. A link is
    followed: the file that it points to is replaced. Folders are not created: a misspelt folder
    should be an error, and commands create their own output folder.

    Raises:
        FileNotFoundError: the folder does not exist.
        FormatError: `path` is there and is a folder, a pipe or a device.
        OSError: the file can't be written.
    """
    final = Path(os.path.realpath(path))
    if not final.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "the folder for this file does not exist; create it first", str(path)
        )
    if final.exists() and not final.is_file():
        raise FormatError(
            f"{path}: can't write over {kind_of_file(final.stat().st_mode)}, expected a regular "
            "file or nothing there; choose another name"
        )
    temporary = final.parent / f".{secrets.token_hex(8)}.part{final.suffix}"
    try:
        # Creating it here gives it the permissions of any new file (the umask), and makes sure
        # that nobody else's file has the name.
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # a writer that renames a file of its own leaves it private
        _flush_to_disk(temporary)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_to_disk(final.parent)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
