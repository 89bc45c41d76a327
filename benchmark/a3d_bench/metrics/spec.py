"""What a metric is: a description of a picture, and a comparison of two descriptions.

The true picture is described once, however many predictions are compared with it. Pictures are
described one at a time, so that no value depends on what else is scored with it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.errors import BenchError
from a3d_bench.weights import WeightSet

Profile = Literal["paper", "embedded"]


@runtime_checkable
class Metric(Protocol):
    """A metric that is ready to score; not to be shared between threads."""

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> Any | None:
        """Return what `compare` needs of an sRGB picture in [0, 1]; None where no face is seen."""
        ...

    def compare(self, truth: Any, prediction: Any) -> float:
        """Return the value of a prediction, from two descriptions."""
        ...


@dataclass(frozen=True)
class MetricSpec:
    """A metric before anything is loaded.

    Attributes:
        id: full, with its network: ``lpips[alex]``.
        title: what tables call it.
        direction: which values are better.
        identity: the value of a picture with itself: the best there is.
        decimals: how many of them tables show.
        profiles: where it belongs: ``paper`` are the official networks, ``embedded`` those that
            ride inside registry packages.
        source: implementation and parameters, for reports.
        revision: counted up when our own code changes values.
        weights: the files it looks through, None for none.
        modules: optional packages it imports.
        extra: the extra of this distribution that installs them.
        size_min_px: smallest picture it takes.
        needs_face: whether it counts only where a face is visible.
        make: loads it.
    """

    id: str
    title: str
    direction: Literal["higher", "lower"]
    identity: float
    decimals: int
    profiles: tuple[Profile, ...]
    source: str
    make: Callable[[], Metric]
    revision: int = 1
    weights: WeightSet | None = None
    modules: tuple[str, ...] = ()
    extra: str | None = None
    size_min_px: int = 1
    needs_face: bool = False

    def available(self) -> str | None:
        """Return None, or one line that says what is missing and the command that mends it."""
        from importlib.util import find_spec

        missing = [module for module in self.modules if find_spec(module) is None]
        if missing:
            wanted = f"any3davatar[{self.extra}]" if self.extra else " ".join(missing)
            return f"{self.id} needs {', '.join(missing)}: run `python -m pip install '{wanted}'`"
        if self.weights is not None and (reason := self.weights.missing()):
            return f"{self.id} needs {reason}"
        return None

    def load(self) -> Metric:
        """Return the metric, ready to score, after its golden values were found.

        Raises:
            BenchError: something is missing, or the network is not the one it should be.
        """
        if (reason := self.available()) is not None:
            raise BenchError(f"{reason}; or leave {self.id} out of the protocol's metrics")
        return self.make()

    @property
    def network_digest(self) -> str:
        """SHA-256 over the digests of the network's files, empty where there is no network."""
        return "" if self.weights is None else self.weights.digest()

    @property
    def digest(self) -> str:
        """What makes values comparable: id, revision of our code, and network."""
        parts = [self.id, self.revision, self.network_digest]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def golden_pictures() -> tuple[Float[Tensor, "3 64 64"], Float[Tensor, "3 64 64"]]:
    """Return two pictures that are made of integers only, alike on every machine.

    A golden value is what a network must find between them before it may score.
    """
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    waves = torch.stack([rows * 5 + columns, columns * 7 - rows, rows * columns // 8])
    a = (waves % 256).float() / 255
    b = ((waves + (rows // 16 + columns // 16) % 2 * 40) % 256).float() / 255
    return a, b


def check_golden(metric_id: str, got: float, expected: float, tolerance: float) -> None:
    """Refuse a network that does not find what it should.

    Raises:
        BenchError: it does not.
    """
    if not abs(got - expected) <= tolerance:
        raise BenchError(
            f"{metric_id} finds {got:.5f} between its two golden pictures, expected "
            f"{expected:.5f} +- {tolerance:g}: this is another network, or a broken installation. "
            "Run `a3d-bench weights verify`"
        )
