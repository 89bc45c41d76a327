from dataclasses import replace

import pytest
import torch

from any3davatar.core import InvalidInput
from any3davatar.core.rigs import canonical_four
from any3davatar.model.config import ModelConfig
from tests.model.tiny import EXTRAS, PAPER, inputs, network, opened, seeded


@pytest.mark.parametrize("config", [PAPER, EXTRAS])
def test_head_has_one_gaussian_per_canonical_pixel(config: ModelConfig) -> None:
    model = opened(network(config, image_head=True))
    prediction = model(*inputs(model), decode_images=True)
    assert prediction.gaussians.detach().validate().batch_shape == (2,)
    assert prediction.gaussians.count == config.gaussians == 4 * 16 * 16
    assert prediction.gaussians.sh_degree == 0
    assert prediction.images.shape == (2, 4, 3, 16, 16)


@pytest.mark.parametrize("config", [PAPER, EXTRAS])
def test_a_batch_equals_its_samples_one_by_one(config: ModelConfig) -> None:
    model = opened(network(config, image_head=True)).double()
    arguments = [tensor.double() for tensor in inputs(model, batch=3)]
    together = model(*arguments, decode_images=True)
    for i in range(3):
        alone = model(*(tensor[i : i + 1] for tensor in arguments), decode_images=True)
        for name, tensor in alone.gaussians.tensors().items():
            # float64: matrix products of another shape may add in another order
            torch.testing.assert_close(tensor, together.gaussians.tensors()[name][i : i + 1])
        torch.testing.assert_close(alone.images, together.images[i : i + 1])


def test_prediction_listens_to_portrait_rays_noise_and_time() -> None:
    model = opened(network(PAPER))
    portrait, rays, state, t = inputs(model)
    means = model(portrait, rays, state, t).gaussians.means
    for changed in (
        (1 - portrait, rays, state, t),
        (portrait, -rays, state, t),
        (portrait, rays, model.start_state(2, seeded(7)), t),
        (portrait, rays, state, 1 - t),
    ):
        assert (model(*changed).gaussians.means != means).any(-1).all()


def test_each_sample_has_its_own_time() -> None:
    model = opened(network(PAPER))
    portrait, rays, state, t = inputs(model)
    changed = torch.stack([t[0], t[1] + 0.1])
    same = (
        model(portrait, rays, state, changed).gaussians.means
        == model(portrait, rays, state, t).gaussians.means
    )
    assert same.flatten(1).all(1).tolist() == [True, False]


def test_without_rays_or_positions_gaussian_tokens_cannot_know_their_place() -> None:
    """Why the paper's pixel-space noise fails without Plücker rays (D.4).

    Permuted patches of noise give permuted tokens, so nothing ties a token to its pixel.
    """
    model = opened(network(replace(PAPER, noise="pixel"))).double()
    portrait, rays, state, t = (tensor.double() for tensor in inputs(model))
    swapped = state.clone()
    swapped[:, 0, :, :4, :4], swapped[:, 3, :, 4:8, 8:12] = (
        state[:, 3, :, 4:8, 8:12],
        state[:, 0, :, :4, :4],
    )
    before = model(portrait, rays, state, t).gaussians.opacities.unflatten(1, (4, 16, 16))
    after = model(portrait, rays, swapped, t).gaussians.opacities.unflatten(1, (4, 16, 16))
    torch.testing.assert_close(after[:, 0, :4, :4], before[:, 3, 4:8, 8:12])  # float64
    torch.testing.assert_close(after[:, 1:3], before[:, 1:3])


def test_mixed_precision_keeps_gaussians_in_float32() -> None:
    model = opened(network(EXTRAS, image_head=True))
    arguments = inputs(model)
    exact = model(*arguments).gaussians.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(*arguments, decode_images=True).gaussians.detach().validate()
    assert rounded.means.dtype == torch.float32
    # bfloat16 has 8 significant bits; a depth is 0.75 tanh of an output of order 1
    torch.testing.assert_close(rounded.means, exact.means, atol=0.1, rtol=0)


def test_noise_is_the_generators() -> None:
    model = network(PAPER)
    assert torch.equal(model.start_state(2, seeded(5)), model.start_state(2, seeded(5)))
    assert not torch.equal(model.start_state(2, seeded(5)), model.start_state(2, seeded(6)))


def test_canonical_cameras_are_those_of_the_rig() -> None:
    canonical, rig = network(EXTRAS).canonical, canonical_four(16, vertical_fov_deg=24.0)
    assert torch.equal(canonical.world_to_camera, rig.world_to_camera)
    assert torch.equal(canonical.K, rig.K)


@pytest.mark.border
@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (2, 3, 8, 8), r"portrait must have shape \(2, 3, 16, 16\) for this network \(size_px"),
        (
            1,
            (1, 6, 16, 16),
            r"portrait_rays must have shape \(2, 6, 16, 16\).*got \(1, 6, 16, 16\)",
        ),
        (2, (2, 4, 3, 16, 16), r"state must have shape \(2, 4, 9, 16, 16\).*'pixel\+plucker'\)"),
        (3, (1,), r"t must have shape \(2,\).*got \(1,\)"),
    ],
)
def test_shapes_are_refused(index: int, shape: tuple[int, ...], message: str) -> None:
    model = network(PAPER)
    arguments = list(inputs(model))
    arguments[index] = torch.zeros(shape)
    with pytest.raises(InvalidInput, match=message):
        model(*arguments)


@pytest.mark.border
def test_clean_state_wants_four_pictures() -> None:
    with pytest.raises(InvalidInput, match=r"images must have shape \(1, 4, 3, 16, 16\); got"):
        network(PAPER).clean_state(torch.zeros(1, 3, 3, 16, 16))
