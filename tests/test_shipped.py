"""The network that comes with the package: small, whole, of a preset, and better than nothing."""

import pytest
import torch
from skimage import data

from any3davatar.core.rigs import canonical_four
from any3davatar.io import Photo
from any3davatar.model.config import PRESETS
from any3davatar.reconstruct import SHIPPED, Reconstructor
from any3davatar.render import render


def test_it_is_the_mini_preset_and_fits_into_a_package() -> None:
    assert SHIPPED.stat().st_size < 20e6
    assert Reconstructor.load().model.config == PRESETS["mini"]


@pytest.mark.weights
def test_it_makes_a_head_of_a_photograph() -> None:
    reconstruct = Reconstructor.load()
    pixels = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1).float() / 255
    head = reconstruct(Photo(pixels, None, ()))
    cameras = canonical_four(64, vertical_fov_deg=24.0)
    views = render(head.gaussians, cameras, torch.ones(3))
    seen = head.portrait.views
    # Her own portrait comes back from the front: 16 dB is twice as near as the mean head comes to
    # heads of its own kind (12.8 dB on anyhead-mini).
    error = (views.rgb[0].clamp(0, 1) - seen.rgb).square().mean()
    assert float(-10 * error.log10()) > 16
    overlap = torch.minimum(views.alpha[0], seen.alpha).sum()
    assert float(overlap / torch.maximum(views.alpha[0], seen.alpha).sum()) > 0.8
    # From the other sides it is a head, not a card: as wide from the left as from the front.
    covered = views.alpha.mean(dim=(1, 2, 3))
    assert float(covered.min() / covered.max()) > 0.6
    # And there is no face on its back: skin is where the portrait has it, hair behind.
    assert float((views.rgb[3] - views.rgb[0]).abs().mean()) > 0.05


@pytest.mark.weights
def test_it_scores_the_same_in_bfloat16() -> None:
    reconstruct = Reconstructor.load()
    pixels = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1).float() / 255
    head = reconstruct(Photo(pixels, None, ()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = reconstruct.infer(head.portrait, steps=1, seed=0)
    cameras, white = canonical_four(64, vertical_fov_deg=24.0), torch.ones(3)
    exact_views, rough_views = (
        render(each.gaussians, cameras, white).rgb.clamp(0, 1) for each in (head, rough)
    )
    assert not torch.equal(exact_views, rough_views)
    truth = head.portrait.views.rgb
    exact_db, rough_db = (
        float(-10 * (views[0] - truth).square().mean().log10())
        for views in (exact_views, rough_views)
    )
    assert abs(exact_db - rough_db) < 0.1
    # Where there is no truth, from the sides and behind: far below what a score of 20 dB can see.
    assert float(-10 * (exact_views - rough_views).square().mean().log10()) > 35
