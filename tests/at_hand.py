"""What tests need from a package registry, and what becomes of them where it is not to be had."""

import os
from typing import NoReturn

import pytest

REQUIRED = "A3D_TESTS_REQUIRE_REGISTRIES"


def missing(what: str, error: Exception) -> NoReturn:
    """Skip the test; fail it where registries are known to answer, as in CI.

    There, a loader that wrongly says that something can't be had must not pass for a skip.
    """
    told = f"{what} cannot be had here: {error}"
    if os.environ.get(REQUIRED):
        pytest.fail(told)
    pytest.skip(told)
