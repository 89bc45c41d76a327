"""Shape annotations of the library are checked at run time in every test.

A test of the library's own error texts marks itself ``border``: there the annotations step aside
and the library's checks are what meets the wrong value, as they do for its users.
"""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

import tests.typecheck  # noqa: F401  the hook looks it up by name

jaxtyping.install_import_hook(["any3davatar", "a3d_bench"], "tests.typecheck.check")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Start every test with one thread, whatever the test before, or a library in it, has set.

    Tensors here are tiny: a second thread costs more than it saves. And sums in another number of
    threads have other last bits (gsply, used as another author's reader, raises the number).
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _annotations_step_aside(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("border") is None:
        yield
        return
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
