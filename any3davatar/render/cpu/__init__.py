"""The CPU backend: a C++ kernel, compiled at first use, behind the call that backends share."""

from any3davatar.render.cpu import build
from any3davatar.render.cpu.autograd import rasterize
from any3davatar.render.cpu.build import KernelUnavailable, is_available

__all__ = ["KernelUnavailable", "is_available", "load", "rasterize"]


def load() -> None:
    """Make the kernel for this CPU ready now, compiling it where the cache has none.

    Raises:
        KernelUnavailable: it can be neither loaded nor compiled; the message says why.
    """
    build.load(build.selected_build())
