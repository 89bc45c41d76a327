"""Captures, rules and adapters that tests of methods share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from a3d_bench.methods import RegisteredMethod, adapter_methods
from a3d_bench.methods.conformance import probe_capture
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.types import Capture
from any3davatar.cache import cache_root

SIZE_PX = 32
VIEWS = (3, 5, 11, 0)  # of the probe's

ADAPTER = '''
import os, time
import torch
from pathlib import Path
from a3d_bench.methods.avatars import GaussianAvatar
from a3d_bench.methods.conformance import probe_head
from a3d_bench.types import MethodError
from any3davatar.core import Views

METHODS = {"moody": {
    "id": "moody", "title": "Moody", "output": "gaussians", "seed": "none",
    "runner": {"kind": "python", "entry": "adapter.py:Moody"},
}}


class Strange:
    def __init__(self, change):
        self.change, self.head = change, GaussianAvatar(probe_head())

    def render(self, cameras, background):
        return self.change(self.head.render(cameras, background))


class Moody:
    """Does what the subject's name says."""

    def reconstruct(self, portrait, *, seed):
        print("asked for", portrait.id)
        mood = portrait.id.rpartition("/")[2]
        if mood == "raise":
            raise MethodError("no face was found")
        if mood == "bug":
            return {}["missing key"]
        if mood == "hang":
            time.sleep(600)
        if mood == "die":
            os._exit(7)
        if mood == "memory":
            self.eaten = bytearray(os.urandom(1 << 20)) * 1000
            time.sleep(600)
        if mood == "out-of-memory":
            raise MemoryError("asked for too much")
        if mood == "chatty":
            for _ in range(3000):
                print("x" * 100)
        if mood == "nan":
            return Strange(lambda v: Views(v.rgb * float("nan"), v.alpha))
        if mood == "small":
            return Strange(lambda v: Views(v.rgb[..., :-1], v.alpha[..., :-1]))
        if mood == "nothing":
            return None
        return GaussianAvatar(probe_head())
'''


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Keep prepared pictures out of the user's cache, but use its compiled kernels."""
    kernels = cache_root() / "kernels"
    folder.mkdir(exist_ok=True)
    if kernels.is_dir():
        (folder / "kernels").symlink_to(kernels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A3D_CACHE", str(folder))
        yield


def rules(**overrides: str) -> Protocol:
    """Return the smoke protocol at the probe's field of view and a small size."""
    changed = [f"picture.size_px={SIZE_PX}", 'picture.vertical_fov_deg="none"']
    return load_protocol("smoke", changed + [f"{k}={v}" for k, v in overrides.items()])


def head_named(name: str) -> Capture:
    """Return four views of the probe's head under another name."""
    probe = probe_capture()
    return replace(
        probe,
        id=f"probe/{name}",
        subject=name,
        input_view=1,
        cameras=probe.cameras[list(VIEWS)],
        views=tuple(probe.views[i] for i in VIEWS),
        view_names=tuple(probe.view_names[i] for i in VIEWS),
    )


def write_adapter(folder: Path, text: str = ADAPTER) -> RegisteredMethod:
    """Write an adapter file and return its only method."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "adapter.py"
    path.write_text(text)
    (method,) = adapter_methods(path).values()
    return method


def method_of(folder: Path, **card: object) -> RegisteredMethod:
    """Return a method whose card has these values."""
    from a3d_bench.methods import card_of

    values = {"id": "made", "title": "Made", "output": "views", **card}
    return RegisteredMethod(card_of(values, "test"), "test", folder)
