import re

import pytest
import torch

from any3davatar.model import Any3DAvatar
from any3davatar.model.config import ModelConfig
from any3davatar.model.decoder import activate
from any3davatar.model.start import start_of
from tests.model.tiny import EXTRAS, PAPER, inputs, network

# Behind a gate of exactly zero, or in front of a modulation of exactly zero; the context is heard
# through attention only, which is behind a gate.
SHUT_AT_START = re.compile(r"dit\.blocks\.\d+\.(attention|mlp)\.|conditioning\.|image_tokenizer\.")


def silent_parameters(model: Any3DAvatar) -> set[str]:
    """Return the parameters that a loss on everything predicted gives no gradient."""
    model.zero_grad()
    prediction = model(*inputs(model), decode_images=True)
    loss = sum(tensor.square().sum() for tensor in prediction.gaussians.tensors().values())
    (loss + prediction.images.square().sum()).backward()
    silent = set()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        silent |= set() if parameter.grad.any() else {name}
    return silent


@pytest.mark.parametrize("config", [PAPER, EXTRAS])
def test_only_what_lies_behind_shut_gates_waits_for_the_second_step(config: ModelConfig) -> None:
    model = network(config, image_head=True)
    shut = {name for name, _ in model.named_parameters() if SHUT_AT_START.match(name)}
    if config.palette_colors:  # its choice of colours hears the context at once
        shut = {name for name in shut if not name.startswith("image_tokenizer.")}
    assert silent_parameters(model) == shut
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert silent_parameters(model) == set()


@pytest.mark.parametrize("config", [PAPER, EXTRAS])
def test_head_starts_at_the_scaffold_within_a_hair(config: ModelConfig) -> None:
    model = network(config)
    arguments = inputs(model)
    grey = torch.zeros(1, 4, 3, 16, 16)
    begin = start_of(model.scaffold, arguments[0], config)
    raw = torch.zeros(2, 4, 16, 16, 14)
    start = activate(raw, model.scaffold, begin, grey, config)
    got = model(*arguments).gaussians.detach()
    # raw outputs have deviation 0.01 * sqrt(16 features) or less; depth_reach <= 1 and a slope <= 1
    torch.testing.assert_close(got.means, start.means, atol=0.2, rtol=0)
    assert float((got.means - start.means).abs().max()) > 1e-4


def test_pictures_start_at_mid_grey_within_a_hair() -> None:
    model = network(PAPER, image_head=True)
    images = model(*inputs(model), decode_images=True).images
    # 36 weights of deviation 0.01 on features of unit size, halved: a deviation of 0.03
    assert float((images - 0.5).detach().abs().max()) < 0.15


def test_weights_are_a_function_of_the_seed() -> None:
    first, again, other = (Any3DAvatar(PAPER, seed=seed, image_head=True) for seed in (3, 3, 4))
    theirs = again.state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in first.state_dict().items())
    weight = "gaussian_decoder.upsample.weight"
    assert not torch.equal(other.state_dict()[weight], theirs[weight])


def test_variance_survives_the_tokenizers() -> None:
    """Tokens of unit-size inputs are neither lost nor blown up before the first layer norm."""
    model = network(PAPER)
    portrait, rays, state, _ = inputs(model)
    for tokens in (
        model.image_tokenizer(portrait, rays),
        model.gaussian_tokenizer(state, portrait),
    ):
        assert 0.1 < float(tokens.detach().std()) < 3
