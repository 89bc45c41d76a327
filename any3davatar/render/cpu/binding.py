"""The kernel's C interface as Python sees it: the mirror of ``kernel/abi.h``."""

import contextlib
import ctypes
import os
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.render.arguments import non_finite, zero_quaternion
from any3davatar.render.cpu.build import Build, KernelUnavailable, load
from any3davatar.render.settings import (
    ALPHA_MAX,
    ALPHA_MIN,
    EXTENT_MAX_SIGMA,
    JACOBIAN_MARGIN,
    TRANSMITTANCE_MIN,
    RasterSettings,
)


class _Model(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_float)
        for name in (
            "near", "far", "dilation_px2", "radius_clip_px", "alpha_max", "alpha_min",
            "transmittance_min", "extent_max_sigma", "jacobian_margin",
        )
    ]  # fmt: skip


class _Scene(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                "heads", "views", "gaussians", "channels", "sh_coefficients", "width", "height",
            )
        ),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "means", "quats", "scales", "opacities", "colors", "sh", "world_to_camera",
                "intrinsics", "background",
            )
        ),
        ("model", _Model),
    ]  # fmt: skip


class _Pictures(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("channels", "alpha", "depth_sum")]


_GRADIENTS = ("means", "quats", "scales", "opacities", "colors", "sh", "background")


class _Gradients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in _GRADIENTS]


class _Fault(ctypes.Structure):
    _fields_ = [
        ("status", ctypes.c_int32),
        ("array", ctypes.c_int32),
        ("index", ctypes.c_int64),
    ]


_OK, _NON_FINITE, _ZERO_QUAT, _NO_MEMORY = range(4)
_ARRAYS = ("means", "quats", "scales", "opacities", "colors", "sh")  # A3dArray


_PROCESS_ID = os.getpid()  # at import


def gomp_parallel() -> int | None:
    """Return the address of ``GOMP_parallel`` in the OpenMP library that torch runs on, if any.

    None too in a process that was forked: its OpenMP threads stayed behind in the parent.
    """
    if os.getpid() != _PROCESS_ID or not hasattr(os, "RTLD_NOLOAD"):
        return None
    home = Path(torch.__file__).parent
    for folder in (home / "lib", home.with_name("torch.libs")):
        for path in sorted(folder.glob("libgomp*.so*")):
            with contextlib.suppress(OSError):  # lies there, but is not what is loaded
                library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
                return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value
    return None


@cache
def kernel_of(build: Build) -> ctypes.CDLL:
    """Load a build and declare its functions; refuse one whose structures differ from ours."""
    kernel = load(build)
    structures = (_Scene, _Pictures, _Gradients, _Fault)
    sizes = (ctypes.c_int64 * len(structures))()
    kernel.a3d_layout(sizes)
    expected = [ctypes.sizeof(structure) for structure in structures]
    if list(sizes) != expected:
        raise KernelUnavailable(
            f"the kernel's structures have sizes {list(sizes)} but the binding has {expected}: "
            "binding.py and kernel/abi.h disagree"
        )
    pointer = ctypes.POINTER
    kernel.a3d_forward.restype = _Fault
    kernel.a3d_forward.argtypes = [
        pointer(_Scene), pointer(_Pictures), ctypes.c_int32, pointer(ctypes.c_void_p),
    ]  # fmt: skip
    kernel.a3d_backward.restype = _Fault
    kernel.a3d_backward.argtypes = [
        pointer(_Scene), pointer(_Pictures), ctypes.c_void_p, pointer(_Pictures),
        pointer(_Gradients), ctypes.c_int32,
    ]  # fmt: skip
    kernel.a3d_borrow_team.restype = None
    kernel.a3d_borrow_team.argtypes = [ctypes.c_void_p]
    kernel.a3d_borrow_team(gomp_parallel())
    kernel.a3d_free.restype = None
    kernel.a3d_free.argtypes = [ctypes.c_void_p]
    return kernel


class Scene(NamedTuple):
    """The tensors of a render: contiguous float32 on the CPU, shapes as in `rasterize`."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor | None
    sh: Tensor | None
    background: Tensor
    world_to_camera: Tensor  # (B, V, 3, 4)
    intrinsics: Tensor  # (B, V, 4): fx, fy, cx, cy


class Pictures(NamedTuple):
    """What the kernel draws, or gradients with respect to it."""

    channels: Tensor  # (B, V, D, H, W)
    alpha: Tensor  # (B, V, 1, H, W)
    depth_sum: Tensor | None  # (B, V, 1, H, W)


@dataclass(frozen=True)
class Frame:
    """What is not a tensor: the size of the pictures, the image model, the build to use."""

    width: int
    height: int
    settings: RasterSettings
    build: Build


class Tape:
    """The forward pass as the backward pass needs it, in the kernel's own memory.

    Holds 32 bytes for each Gaussian of each view, and 8 for each pair of a tile and a Gaussian
    that met one of its open pixels.
    """

    def __init__(self, kernel: ctypes.CDLL, address: int) -> None:
        self.address = address
        weakref.finalize(self, kernel.a3d_free, address)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _scene_structure(scene: Scene, frame: Frame) -> _Scene:
    heads, gaussians = scene.opacities.shape
    settings = frame.settings
    return _Scene(
        heads, scene.background.shape[1], gaussians, scene.background.shape[2],
        0 if scene.sh is None else scene.sh.shape[2], frame.width, frame.height,
        *(
            _address(tensor)
            for tensor in (
                scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, scene.sh,
                scene.world_to_camera, scene.intrinsics, scene.background,
            )
        ),
        _Model(
            settings.near, settings.far, settings.dilation_px2, settings.radius_clip_px,
            ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN, EXTENT_MAX_SIGMA, JACOBIAN_MARGIN,
        ),
    )  # fmt: skip


def _pictures_structure(pictures: Pictures) -> _Pictures:
    return _Pictures(*(_address(tensor) for tensor in pictures))


def _raise_for(fault: _Fault, scene: Scene) -> None:
    if fault.status == _OK:
        return
    if fault.status == _NO_MEMORY:
        raise MemoryError("the CPU rasterizer ran out of memory")
    name = _ARRAYS[fault.array] if fault.status == _NON_FINITE else "quats"
    tensor: Tensor = getattr(scene, name)
    shape = tensor.shape if fault.status == _NON_FINITE else tensor.shape[:2]
    where = torch.unravel_index(torch.tensor(fault.index), shape)
    index = tuple(int(i) for i in where)
    raise non_finite(name, index) if fault.status == _NON_FINITE else zero_quaternion(index)


def draw(
    scene: Scene, frame: Frame, *, with_depth: bool, with_tape: bool
) -> tuple[Pictures, Tape | None]:
    """Render.

    Raises:
        InvalidInput: a value of the scene is not finite, or a quaternion is zero.
        KernelUnavailable: see `build.load`.
    """
    heads, views, channels = scene.background.shape
    if scene.opacities.shape[1] >= 2**32 - 1:
        raise InvalidInput(f"at most 2^32 - 2 Gaussians; got {scene.opacities.shape[1]}")
    size = (frame.height, frame.width)
    pictures = Pictures(
        channels=torch.empty(heads, views, channels, *size),
        alpha=torch.empty(heads, views, 1, *size),
        depth_sum=torch.empty(heads, views, 1, *size) if with_depth else None,
    )
    kernel = kernel_of(frame.build)
    address = ctypes.c_void_p()
    fault = kernel.a3d_forward(
        _scene_structure(scene, frame),
        _pictures_structure(pictures),
        torch.get_num_threads(),
        ctypes.byref(address) if with_tape else None,
    )
    _raise_for(fault, scene)
    return pictures, Tape(kernel, address.value) if address.value is not None else None


def pull_back(
    scene: Scene,
    frame: Frame,
    pictures: Pictures,
    tape: Tape,
    picture_gradients: Pictures,
    wanted: dict[str, bool],
) -> dict[str, Tensor | None]:
    """Return the gradients, by the name of the scene's tensor, of those that are wanted."""
    gradients: dict[str, Tensor | None] = {
        name: torch.empty_like(getattr(scene, name)) if wanted[name] else None
        for name in _GRADIENTS
    }
    fault = kernel_of(frame.build).a3d_backward(
        _scene_structure(scene, frame),
        _pictures_structure(pictures),
        tape.address,
        _pictures_structure(picture_gradients),
        _Gradients(*(_address(gradients[name]) for name in _GRADIENTS)),
        torch.get_num_threads(),
    )
    _raise_for(fault, scene)
    return gradients
