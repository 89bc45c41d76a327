"""Compile the C++ kernel at first use, keep it in a cache, and load it.

The library is one translation unit behind a plain C interface: no Python or torch headers, so a
build depends on neither's version. It exists in two builds of the same source: ``avx2`` and
``portable`` (whatever vectors the target has by default: SSE2, NEON). The environment may say

* ``A3D_CPU_BUILD``: ``avx2`` or ``portable``, instead of what this CPU can do;
* ``CXX``: the compiler, instead of the first of ``c++``, ``g++`` and ``clang++`` on the PATH;
* ``A3D_CACHE``: the cache root, instead of the platform's user cache folder.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from any3davatar.cache import cache_root

logger = logging.getLogger(__name__)

Build = Literal["avx2", "portable"]

_SOURCES = Path(__file__).parent / "kernel"
_COMPILERS = ("c++", "g++", "clang++")
# Contraction is off because the source calls fma by name: the forward and the backward pass must
# compute the same bits. Nothing that relaxes NaN or the order of sums (-ffast-math) is used:
# inputs are checked by NaN, and results do not depend on the number of threads.
# -fno-math-errno lets sqrt be an instruction.
_FLAGS = (
    "-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-pthread",
    "-fvisibility=hidden", "-Wno-psabi",
)  # fmt: skip
_BUILD_FLAGS: dict[Build, tuple[str, ...]] = {"avx2": ("-mavx2", "-mfma"), "portable": ()}
_DIGEST_BYTES = hashlib.sha256().digest_size


class KernelUnavailable(RuntimeError):
    """The CPU kernel can be neither loaded from the cache nor compiled."""


def selected_build() -> Build:
    """Return the build for this CPU, or the one that ``A3D_CPU_BUILD`` names.

    Raises:
        KernelUnavailable: ``A3D_CPU_BUILD`` names no build.
    """
    named = os.environ.get("A3D_CPU_BUILD")
    if named is None:
        return "avx2" if _cpu_has_avx2() else "portable"
    for build in get_args(Build):
        if named == build:
            return build
    raise KernelUnavailable(f"A3D_CPU_BUILD must be one of {get_args(Build)}; got {named!r}")


@cache
def _cpu_has_avx2() -> bool:
    """Ask Linux; elsewhere the portable build is the one that always works."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text().splitlines():
        if line.startswith("flags"):
            return {"avx2", "fma"} <= set(line.split())
    return False


def cache_folder() -> Path:
    """Return where compiled kernels are kept."""
    return cache_root() / "kernels"


def library_path(build: Build) -> Path:
    """Return where a build is kept; the name changes with source, flags and machine."""
    digest = hashlib.sha256()
    for source in sorted(_SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    digest.update(repr((_FLAGS, _BUILD_FLAGS[build], platform.machine())).encode())
    return cache_folder() / f"raster-{build}-{digest.hexdigest()[:16]}.so"


def find_compiler() -> list[str] | None:
    """Return the compiler's command, or None; a ``CXX`` that is set is never replaced."""
    named = os.environ.get("CXX")
    if named:
        command = shlex.split(named)
        return command if shutil.which(command[0]) else None
    found = next((name for name in _COMPILERS if shutil.which(name)), None)
    return None if found is None else [found]


def is_available() -> bool:
    """Tell whether the kernel can be loaded from the cache or compiled here."""
    return _is_intact(library_path(selected_build())) or find_compiler() is not None


def load(build: Build) -> ctypes.CDLL:
    """Load a build, compiling it first where the cache has none that is intact.

    Raises:
        KernelUnavailable: no compiler, a failed compilation, or a cache that cannot be written.
    """
    return _load(build, library_path(build))


@cache
def _load(build: Build, path: Path) -> ctypes.CDLL:
    if not _is_intact(path):
        _compile(build, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as first_error:
        # Intact, but of another world: a home folder shared by machines with different C libraries.
        logger.warning("cached kernel %s does not load (%s); compiling it again", path, first_error)
    _compile(build, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelUnavailable(f"the kernel was compiled but does not load: {error}") from error


def _is_intact(path: Path) -> bool:
    """Check the digest at the file's end: a truncated library must not even be opened."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return hashlib.sha256(body).digest() == digest


def _compile(build: Build, path: Path) -> None:
    """Compile beside `path` under a name of our own, then move it there in one step.

    Processes that start together each compile and the last one wins; all of them are right.
    """
    compiler = find_compiler()
    if compiler is None:
        wanted = os.environ.get("CXX") or "any of " + ", ".join(_COMPILERS)
        raise KernelUnavailable(
            f"the CPU rasterizer needs a C++17 compiler at its first use and found none (looked "
            f"for {wanted}). Install g++ or clang++, or point CXX at one; the plain torch "
            "reference backend works without"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix="build-", dir=path.parent)
    except OSError as error:
        raise KernelUnavailable(
            f"the kernel cache {path.parent} cannot be written ({error}); point A3D_CACHE at a "
            "folder that can"
        ) from error
    with scratch as folder:
        output = Path(folder) / path.name
        command = [*compiler, *_FLAGS, *_BUILD_FLAGS[build]]
        command += [str(_SOURCES / "kernel.cpp"), "-o", str(output)]
        logger.info("compiling the CPU rasterizer (%s build): %s", build, shlex.join(command))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KernelUnavailable(
                f"the CPU rasterizer does not compile with {shlex.join(compiler)} (exit status "
                f"{done.returncode}):\n{done.stderr[-4000:]}"
            )
        body = output.read_bytes()
        # Loaders of shared libraries ignore what follows the last section.
        output.write_bytes(body + hashlib.sha256(body).digest())
        output.replace(path)
