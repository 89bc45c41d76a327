"""Where numbers come from: commit, packages, device, seeds, and the command that was typed."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Packages whose version moves a number, or is asked for first when one moved.
PACKAGES = (
    "any3davatar",
    "ai-edge-litert",
    "dreamsim",
    "face-alignment",
    "flip-evaluator",
    "gsplat",
    "insightface",
    "lpips",
    "numpy",
    "onnxruntime",
    "pandas",
    "pillow",
    "scikit-image",
    "scipy",
    "torch",
    "torchvision",
)


def machine() -> dict[str, Any]:
    """Return what this machine is: system, processor, memory, GPU."""
    import psutil
    import torch

    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
    }


def software() -> dict[str, Any]:
    """Return our own commit and the versions of what numbers depend on."""
    commit, dirty = _commit()
    return {
        "python": platform.python_version(),
        "commit": commit,
        "dirty": dirty,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def command_line(argv: Sequence[str] | None = None) -> list[str]:
    """Return what was typed, without the path of the program."""
    typed = list(sys.argv if argv is None else argv)
    return [Path(typed[0]).name, *typed[1:]] if typed else []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    """Return the commit of the checkout this package lies in, and whether it was changed since."""
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    # A checkout of something else may lie around an installed package: ask whether it tracks us.
    if commit is None or not _git(folder, "ls-files", Path(__file__).name):
        return None, None
    return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
