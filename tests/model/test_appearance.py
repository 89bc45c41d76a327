from dataclasses import replace

import pytest
import torch

from any3davatar.core import InvalidInput
from any3davatar.model.appearance import ImageDecoder
from tests.model.tiny import EXTRAS, PAPER, inputs, network, opened, seeded


@pytest.mark.parametrize("patch_px", [1, 2, 4, 8])
def test_image_decoder_doubles_up_to_full_size(patch_px: int) -> None:
    config = replace(PAPER, patch_px=patch_px)
    tokens = torch.randn(2, 4 * config.view_tokens, 32, generator=seeded())
    assert ImageDecoder(config)(tokens).shape == (2, 4, 3, 16, 16)


def test_image_decoder_keeps_views_apart() -> None:
    decoder = ImageDecoder(PAPER)
    tokens = torch.randn(1, 64, 32, generator=seeded())
    changed = tokens.clone()
    changed[:, 16:32] += 1  # the left view
    moved = (decoder(changed) != decoder(tokens)).flatten(2).any(-1)
    assert moved.tolist() == [[False, True, False, False]]


def test_gaussians_are_the_same_with_and_without_the_image_head() -> None:
    """Section 3.4: removable at inference, at no cost. Bit for bit."""
    without, with_head = network(EXTRAS), network(EXTRAS, image_head=True)
    arguments = inputs(without)
    expected = without(*arguments).gaussians.tensors()
    for decode_images in (False, True):
        got = with_head(*arguments, decode_images=decode_images)
        assert (got.images is not None) == decode_images
        for name, tensor in got.gaussians.tensors().items():
            assert torch.equal(tensor, expected[name])


def test_image_head_teaches_the_tokens() -> None:
    """The pictures come from the Gaussians' tokens: their loss reaches every block."""
    model = opened(network(PAPER, image_head=True))
    images = model(*inputs(model), decode_images=True).images
    images.square().sum().backward()
    taught = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    every = {name for name, _ in model.named_parameters()}
    assert every - taught == {name for name in every if name.startswith("gaussian_decoder.")}


def test_decoding_without_image_head_is_refused() -> None:
    model = network(PAPER)
    with pytest.raises(InvalidInput, match=r"decode_images needs D_vae: build .* image_head=True"):
        model(*inputs(model), decode_images=True)
