"""From a portrait to a head: one-step and multi-step sampling (Any3DAvatar, Eqs. 1-5).

A state ``g`` is what moves between noise (t = 0) and a clean head (t = 1): the pictures of the four
canonical views, with their Plücker rays beside them, which are the same at every t. The network
predicts Gaussians; their renders from the canonical cameras are the clean state that Eqs. 2-3 need.
The paper is silent on that last point: it writes one symbol for Gaussians and for states.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.cameras import Cameras
from any3davatar.core.errors import InvalidInput
from any3davatar.core.gaussians import Gaussians
from any3davatar.model.avatar import Prediction
from any3davatar.render import Backend, render


@runtime_checkable  # for the type hook of the tests
class Predictor(Protocol):
    """What a sampler needs of a network; `any3davatar.model.Any3DAvatar` has it."""

    @property
    def canonical(self) -> Cameras:
        """The four cameras whose pictures are the state."""
        ...

    def start_state(self, batch: int, generator: torch.Generator) -> Float[Tensor, "B *g"]:
        """Return ``g_0``."""
        ...

    def clean_state(self, images: Float[Tensor, "B 4 3 H W"]) -> Float[Tensor, "B *g"]:
        """Return ``g_1`` of a head with these canonical pictures, in [0, 1]."""
        ...

    def __call__(
        self,
        portrait: Float[Tensor, "B C H W"],
        portrait_rays: Float[Tensor, "B 6 H W"],
        state: Float[Tensor, "B *g"],
        t: Float[Tensor, "B"],
    ) -> Prediction:
        """Predict the clean head."""
        ...


@dataclass(frozen=True, eq=False)
class FlowStep:
    """One visit of the network on the way from noise to the head.

    Attributes:
        t: k / N.
        state: (B, ...) what the network saw, ``g_t``.
        gaussians: (B, N) what it made of it.
    """

    t: float
    state: Float[Tensor, "B *g"]
    gaussians: Gaussians


def diffuse(
    clean: Float[Tensor, "B *g"], noise: Float[Tensor, "B *g"], t: Float[Tensor, "B"]
) -> Float[Tensor, "B *g"]:
    """Return ``g_t = (1 - t) g_0 + t g_1``, the state to train on (Eq. 1).

    Args:
        clean: ``g_1``, from `Predictor.clean_state`.
        noise: ``g_0``, from `Predictor.start_state`.
        t: one time a sample, in [0, 1].
    """
    t = t.reshape(-1, *[1] * (clean.ndim - 1))
    return (1 - t) * noise + t * clean


def velocity(
    state: Float[Tensor, "B *g"], clean: Float[Tensor, "B *g"], t: float
) -> Float[Tensor, "B *g"]:
    """Return ``v_t = (g_1 - g_t) / (1 - t)``: straight to the predicted clean state (Eq. 2)."""
    return (clean - state) / (1 - t)


def advance(
    state: Float[Tensor, "B *g"], clean: Float[Tensor, "B *g"], k: int, steps: int
) -> Float[Tensor, "B *g"]:
    """Return the state after step k of N: ``g + v / N`` (Eq. 3)."""
    return state + velocity(state, clean, k / steps) / steps


@torch.no_grad()
def one_step(
    model: Predictor,
    portrait: Float[Tensor, "B C H W"],
    portrait_rays: Float[Tensor, "B 6 H W"],
    *,
    generator: torch.Generator,
) -> Gaussians:
    """Return the heads after a single visit of the network at t = 0 (Eqs. 4-5).

    Args:
        model: the network.
        portrait: in [0, 1], with alpha where the network takes it (`ModelConfig.silhouette`).
        portrait_rays: Plücker rays of the portrait's camera.
        generator: where the noise comes from; one seed, one head.
    """
    state = model.start_state(len(portrait), generator)
    return model(portrait, portrait_rays, state, _times(0.0, portrait)).gaussians


@torch.no_grad()
def multi_step(
    model: Predictor,
    portrait: Float[Tensor, "B C H W"],
    portrait_rays: Float[Tensor, "B 6 H W"],
    *,
    steps: int,
    background: Float[Tensor, "3"],
    generator: torch.Generator,
    backend: Backend | None = None,
) -> Gaussians:
    """Return the heads after N visits of the network, the last prediction of `flow`.

    The arguments are those of `one_step` and `flow`; with ``steps=1`` it is `one_step`.
    """
    walk = flow(
        model,
        portrait,
        portrait_rays,
        steps=steps,
        background=background,
        generator=generator,
        backend=backend,
    )
    return deque(walk, maxlen=1).pop().gaussians  # at 512, each step that is kept is 100 MB


def flow(
    model: Predictor,
    portrait: Float[Tensor, "B C H W"],
    portrait_rays: Float[Tensor, "B 6 H W"],
    *,
    steps: int,
    background: Float[Tensor, "3"],
    generator: torch.Generator,
    backend: Backend | None = None,
) -> Iterator[FlowStep]:
    """Walk from noise to the head in N even steps of Eq. 3 and yield each.

    Gradients flow through the whole walk unless the caller forbids them.

    Args:
        model: the network.
        portrait: in [0, 1], with alpha where the network takes it (`ModelConfig.silhouette`).
        portrait_rays: Plücker rays of the portrait's camera.
        steps: N, at least 1.
        background: behind the heads in the pictures of the state: the training set's colour.
        generator: where the noise comes from; one seed, one walk.
        backend: a render backend other than the one that `render` picks.

    Raises:
        InvalidInput: `steps` below 1.
    """
    if steps < 1:
        raise InvalidInput(f"steps must be at least 1; got {steps}")
    state = model.start_state(len(portrait), generator)
    for k in range(steps):
        t = k / steps
        gaussians = model(portrait, portrait_rays, state, _times(t, portrait)).gaussians
        yield FlowStep(t, state, gaussians)
        if k + 1 < steps:
            views = render(gaussians, model.canonical, background, backend=backend)
            state = advance(state, model.clean_state(views.rgb), k, steps)


def _times(t: float, portrait: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    return torch.full((len(portrait),), t, dtype=portrait.dtype, device=portrait.device)
