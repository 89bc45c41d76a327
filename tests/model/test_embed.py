from dataclasses import replace

import pytest
import torch

from any3davatar.model.embed import PatchTokenizer, aligned_pictures, sinusoids
from any3davatar.sampling import diffuse
from tests.model.tiny import PAPER, inputs, network, opened, seeded


def test_a_token_reads_its_own_patch_and_no_other() -> None:
    tokenizer = PatchTokenizer(9, PAPER)
    pictures = torch.randn(1, 9, 16, 16, generator=seeded())
    row, column = 2, 1
    changed = pictures.clone()
    changed[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    moved = (tokenizer(changed) != tokenizer(pictures)).any(-1)[0]
    assert moved.nonzero().flatten().tolist() == [row * 4 + column]  # reading order


def test_tokenizer_equals_a_strided_convolution() -> None:
    """A p x p convolution of stride p is what other transformers call patch embedding."""
    tokenizer = PatchTokenizer(9, PAPER)
    pictures = torch.randn(2, 9, 16, 16, generator=seeded())
    first = tokenizer.mlp[0]
    assert isinstance(first, torch.nn.Linear)
    weight = first.weight.reshape(32, 9, 4, 4)
    embedded = torch.nn.functional.conv2d(pictures, weight, first.bias, stride=4)
    expected = tokenizer.mlp[1:](embedded.flatten(2).mT)
    # float32 sums of 144 terms of order 0.1 in two orders
    torch.testing.assert_close(tokenizer(pictures), expected, atol=1e-5, rtol=1e-5)


def test_aligned_pictures_show_the_portrait_in_front_and_mirrored_behind() -> None:
    portrait = torch.rand(2, 4, 16, 16, generator=seeded())  # with alpha
    front, left, right, back = aligned_pictures(portrait).unbind(1)
    assert torch.equal(front, 2 * portrait - 1)
    assert torch.equal(back, front.flip(-1))
    assert not left.any()
    assert not right.any()


def test_aligned_image_leaves_the_noise_in_place() -> None:
    model = opened(network(replace(PAPER, aligned_image=True)))
    portrait, _, state, _ = inputs(model)
    other = model.start_state(2, seeded(9))
    tokens = model.gaussian_tokenizer(state, portrait)
    assert (model.gaussian_tokenizer(other, portrait) != tokens).any(-1).all()
    assert (model.gaussian_tokenizer(state, 1 - portrait) != tokens).any(-1).reshape(2, 4, -1).all(
        (0, 2)
    ).tolist() == [True, False, False, True]


def test_timesteps_are_told_apart_at_the_spacing_of_thirty_steps() -> None:
    codes = sinusoids(torch.arange(31) / 30)
    distances = torch.cdist(codes, codes) + 1e9 * torch.eye(31)
    assert float(distances.min()) > 1  # of vectors of length sqrt(128)
    assert torch.equal(
        sinusoids(torch.zeros(1))[0], torch.tensor([1.0, 0.0]).repeat_interleave(128)
    )


@pytest.mark.parametrize(
    ("noise", "shape"),
    [("pixel+plucker", (4, 9, 16, 16)), ("pixel", (4, 3, 16, 16)), ("latent", (4, 32, 4, 4))],
)
def test_each_noise_injection_walks_from_noise_to_clean(noise: str, shape: tuple[int, ...]) -> None:
    model = network(replace(PAPER, noise=noise))
    images = torch.rand(2, 4, 3, 16, 16, generator=seeded())
    start, clean = model.start_state(2, seeded()), model.clean_state(images)
    assert start.shape == clean.shape == (2, *shape)
    portrait, rays, _, t = inputs(model)
    halfway = diffuse(clean, start, t)
    model(portrait, rays, halfway, t).gaussians.detach().validate()
    moving = start[:, :, :3] if noise == "pixel+plucker" else start
    # standard error of the deviation of n normal numbers is 1 / sqrt(2 n); five of them
    assert abs(float(moving.std()) - 1) < 5 / (2 * moving.numel()) ** 0.5


def test_both_ends_carry_the_canonical_rays() -> None:
    model = network(PAPER)
    clean = model.clean_state(torch.rand(3, 4, 3, 16, 16, generator=seeded()))
    start = model.start_state(3, seeded())
    rays = model.canonical.plucker().expand(3, -1, -1, -1, -1)
    assert torch.equal(start[:, :, 3:], rays)
    assert torch.equal(clean[:, :, 3:], rays)


def test_clean_pictures_are_centred_like_the_noise() -> None:
    images = torch.rand(1, 4, 3, 16, 16, generator=seeded())
    for noise in ("pixel+plucker", "pixel"):
        clean = network(replace(PAPER, noise=noise)).clean_state(images)
        assert torch.equal(clean[:, :, :3], 2 * images - 1)


def test_rays_are_the_same_at_every_t() -> None:
    model = network(PAPER)
    clean = model.clean_state(torch.rand(3, 4, 3, 16, 16, generator=seeded()))
    start = model.start_state(3, seeded())
    rays = model.canonical.plucker().expand(3, -1, -1, -1, -1)
    between = diffuse(clean, start, torch.tensor([0.0, 0.3, 1.0]))
    # (1 - t) r + t r rounds at most three times; |r| < 1.5
    torch.testing.assert_close(between[:, :, 3:], rays, atol=5e-7, rtol=0)
