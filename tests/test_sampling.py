import pytest
import torch

from any3davatar.core import Cameras, Gaussians, InvalidInput
from any3davatar.core.rigs import canonical_four
from any3davatar.model import Prediction
from any3davatar.render import render
from any3davatar.sampling import Predictor, advance, diffuse, flow, multi_step, one_step, velocity
from tests.model.tiny import EXTRAS, inputs, network, opened, seeded

WHITE = torch.ones(3)
STEPS = [1, 2, 5, 10, 20, 30]  # the paper's N, and 2


class Perfect:
    """A predictor that knows the head, whatever it is shown."""

    def __init__(self, head: Gaussians) -> None:
        self.head = head
        self.canonical: Cameras = canonical_four(16)
        self.times: list[float] = []
        self.renders_seen = 0

    def start_state(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(batch, 4, 3, 16, 16, generator=generator)

    def clean_state(self, images: torch.Tensor) -> torch.Tensor:
        self.renders_seen += 1
        return 2 * images - 1

    def __call__(
        self,
        portrait: torch.Tensor,
        portrait_rays: torch.Tensor,
        state: torch.Tensor,
        t: torch.Tensor,
    ) -> Prediction:
        self.times.append(float(t[0]))
        return Prediction(self.head, None)


@pytest.fixture
def head() -> Gaussians:
    generator = seeded(2)
    return Gaussians.from_rgb(
        means=0.4 * torch.randn(1, 20, 3, generator=generator),
        quats=torch.nn.functional.normalize(torch.randn(1, 20, 4, generator=generator), dim=-1),
        scales=0.05 + 0.1 * torch.rand(1, 20, 3, generator=generator),
        opacities=torch.rand(1, 20, generator=generator),
        rgb=torch.rand(1, 20, 3, generator=generator),
    )


@pytest.fixture
def portrait() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(1, 3, 16, 16, generator=seeded()), torch.zeros(1, 6, 16, 16)


def test_diffusion_runs_from_noise_to_clean() -> None:
    clean, noise = torch.randn(2, 3, 4, 9, 8, 8, generator=seeded())
    assert torch.equal(diffuse(clean, noise, torch.zeros(3)), noise)
    assert torch.equal(diffuse(clean, noise, torch.ones(3)), clean)
    mixed = diffuse(clean, noise, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(mixed[0], noise[0])
    assert torch.equal(mixed[1], 0.75 * noise[1] + 0.25 * clean[1])
    assert torch.equal(mixed[2], clean[2])


def test_velocity_of_a_straight_line_is_its_difference() -> None:
    clean, noise = torch.randn(2, 1, 4, 9, 8, 8, generator=seeded()).double()
    for t in (0.0, 0.25, 0.875):
        state = diffuse(clean, noise, torch.tensor([t], dtype=torch.float64))
        torch.testing.assert_close(velocity(state, clean, t), clean - noise)  # float64


@pytest.mark.parametrize("steps", STEPS)
def test_perfect_prediction_walks_a_straight_line_to_the_clean_state(
    head: Gaussians, portrait: tuple[torch.Tensor, torch.Tensor], steps: int
) -> None:
    model = Perfect(head)
    views = render(head, model.canonical, WHITE)
    clean, noise = model.clean_state(views.rgb), model.start_state(1, seeded(4))
    walk = list(flow(model, *portrait, steps=steps, background=WHITE, generator=seeded(4)))
    assert len(walk) == steps
    for k, step in enumerate(walk):
        assert step.t == k / steps
        on_line = diffuse(clean, noise, torch.full((1,), step.t))
        # each step rounds a state of size 5 three times (1e-6); later steps divide by 1 - t, and
        # contract what earlier ones left by the same factor
        torch.testing.assert_close(step.state, on_line, atol=2e-5, rtol=0)
    last = advance(walk[-1].state, clean, steps - 1, steps)
    torch.testing.assert_close(last, clean, atol=2e-5, rtol=0)


def test_the_last_step_forgets_the_state() -> None:
    """Eq. 5: at t = 1 - 1/N the state after the step is the prediction, whatever was before."""
    state, clean = torch.randn(2, 1, 4, 9, 8, 8, generator=seeded()).double()
    for steps in STEPS:
        torch.testing.assert_close(advance(state, clean, steps - 1, steps), clean)  # float64


def test_one_step_is_multi_step_of_one() -> None:
    model = opened(network(EXTRAS))
    portrait, rays, *_ = inputs(model, batch=1)
    once = one_step(model, portrait, rays, generator=seeded(3))
    walked = multi_step(model, portrait, rays, steps=1, background=WHITE, generator=seeded(3))
    for name, tensor in once.tensors().items():
        assert torch.equal(walked.tensors()[name], tensor)
        assert not tensor.requires_grad


def test_network_is_asked_at_the_even_times_of_eq_3(
    head: Gaussians, portrait: tuple[torch.Tensor, torch.Tensor]
) -> None:
    model = Perfect(head)
    multi_step(model, *portrait, steps=4, background=WHITE, generator=seeded())
    one_step(model, *portrait, generator=seeded())
    assert model.times == [0, 0.25, 0.5, 0.75, 0]
    assert model.renders_seen == 3  # the last head is the result: nobody asks for its pictures


def test_network_sees_its_own_last_head_in_the_state() -> None:
    model = opened(network(EXTRAS))
    portrait, rays, *_ = inputs(model, batch=1)
    first, second = flow(model, portrait, rays, steps=2, background=WHITE, generator=seeded())
    views = render(first.gaussians, model.canonical, WHITE)
    halfway = (first.state + model.clean_state(views.rgb)) / 2
    torch.testing.assert_close(
        second.state, halfway, atol=1e-6, rtol=1e-6
    )  # float32, two roundings


def test_a_seed_gives_one_head() -> None:
    model = opened(network(EXTRAS))
    portrait, rays, *_ = inputs(model, batch=1)

    def sample(seed: int) -> torch.Tensor:
        return multi_step(
            model,
            portrait,
            rays,
            steps=2,
            background=WHITE,
            generator=seeded(seed),
        ).means

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))


def test_zero_steps_are_refused(
    head: Gaussians, portrait: tuple[torch.Tensor, torch.Tensor]
) -> None:
    model: Predictor = Perfect(head)
    with pytest.raises(InvalidInput, match="steps must be at least 1; got 0"):
        multi_step(model, *portrait, steps=0, background=WHITE, generator=seeded())
