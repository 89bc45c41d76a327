"""The palette carries colours of the portrait to where the portrait does not look."""

from dataclasses import replace

import torch

from any3davatar.core.sh import sh_to_rgb
from any3davatar.model import Any3DAvatar
from any3davatar.model.palette import Palette
from any3davatar.model.start import FRONT, seen_from_front
from tests.model.tiny import EXTRAS, inputs, network, seeded

NO_SKIP = replace(EXTRAS, color_skip=False)


def palette_of(model: Any3DAvatar) -> Palette:
    assert model.palette is not None
    return model.palette


def test_a_plain_portrait_gives_its_one_color_wherever_the_palette_rules() -> None:
    palette = Palette(EXTRAS)
    with torch.no_grad():
        palette.mixture[..., :2] = -50.0  # nothing of the pixels' own
    color = torch.tensor([0.8, 0.3, 0.1])
    # A head of one colour over white: what is not the head does not pale it.
    alpha = (torch.rand(2, 1, 16, 16, generator=seeded(1)) < 0.5).float()
    portrait = torch.cat([color[:, None, None] * alpha + (1 - alpha), alpha], dim=1)
    own = torch.zeros(1, 2, 4, 3, 16, 16)
    context = torch.randn(2, EXTRAS.view_tokens, EXTRAS.width, generator=seeded())
    tokens = torch.randn(2, 4 * EXTRAS.view_tokens, EXTRAS.width, generator=seeded(2))
    got = torch.sigmoid(palette(own, portrait, context, tokens))
    expected = color[:, None, None].expand_as(got)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)  # float32 logit and back


def test_a_token_says_which_colors_its_own_patch_takes() -> None:
    palette = Palette(EXTRAS)
    first, last = 1, 4 * EXTRAS.view_tokens - 2  # of the front, and of the back
    own = torch.randn(1, 2, 4, 3, 16, 16, generator=seeded(3))
    portrait = torch.rand(1, 4, 16, 16, generator=seeded(4))
    context = torch.zeros(1, EXTRAS.view_tokens, EXTRAS.width)
    tokens = torch.zeros(1, 4 * EXTRAS.view_tokens, EXTRAS.width)
    with torch.no_grad():
        palette.remix.weight.zero_()
        palette.remix.bias.zero_()
        even = palette(own, portrait, context, tokens)
        palette.remix.weight[1, 0] = 50.0  # the portrait's pixel, where the first number is 1
        tokens[0, [first, last], 0] = 1.0
        got = palette(own, portrait, context, tokens)
    p, side = EXTRAS.patch_px, EXTRAS.patches
    told = torch.zeros(4, side, side, dtype=torch.bool)
    told.view(-1)[[first, last]] = True
    told = told.repeat_interleave(p, 1).repeat_interleave(p, 2)
    shown = own[:, 1].movedim(2, -1)
    torch.testing.assert_close(got.movedim(2, -1)[:, told], shown[:, told], atol=1e-5, rtol=0)
    assert torch.equal(got.movedim(2, -1)[:, ~told], even.movedim(2, -1)[:, ~told])


def test_a_color_never_seen_before_reaches_the_back_of_the_head() -> None:
    """No weight has to know blue: a blue portrait makes a bluer back before any training."""
    model = network(replace(EXTRAS, hull_ways=0, hull_waves=0))  # ways carry colours too
    portrait, rays, state, t = inputs(model, batch=1)
    blue = torch.tensor([0.1, 0.2, 0.9])[:, None, None].expand_as(portrait[:, :3])
    red = blue.flip(-3)

    def back(color: torch.Tensor) -> torch.Tensor:
        return back_of(torch.cat([color, portrait[:, 3:]], dim=1))

    def back_of(portrait: torch.Tensor) -> torch.Tensor:
        gaussians = model(portrait, rays, state, t).gaussians
        colors = sh_to_rgb(gaussians.sh, torch.zeros_like(gaussians.means))
        return colors.unflatten(1, (4, 16, 16))[0, 3].mean((0, 1))

    with torch.no_grad():
        change = back(blue) - back(red)
    assert float(change[2]) > 0.05
    assert float(change[0]) < -0.05


def test_pixels_start_near_their_own_color_and_the_seen_ones_nearest() -> None:
    model = network(EXTRAS)
    mean, shown = palette_of(model).mixture.softmax(-1)[..., :2].unbind(-1)
    seen = seen_from_front(model.scaffold)
    assert bool(seen[FRONT].all())
    assert 0 < int(seen[1:].sum()) < seen[1:].numel()
    assert bool((shown[seen] > 0.9).all())
    assert bool((mean[~seen] > 0.8).all())
    without_skip = palette_of(network(NO_SKIP)).mixture.softmax(-1)[..., 0]
    assert bool((without_skip > 0.8).all())
    for one_mean in (
        replace(EXTRAS, hull_ways=0, hull_waves=0),
        replace(NO_SKIP, hull_ways=0, hull_waves=0),
    ):
        mean = palette_of(network(one_mean)).mixture.softmax(-1)[..., 0]
        own = mean[~seen] if one_mean.color_skip else mean
        assert bool(((own > 0.5) & (own < 0.8)).all())  # everybody's mean is worth less


def test_it_is_off_in_the_papers_presets_and_then_nothing_is_left_of_it() -> None:
    from any3davatar.model import PRESETS

    assert PRESETS["full"].palette_colors == PRESETS["base"].palette_colors == 0
    model = network(replace(EXTRAS, palette_colors=0))
    assert model.palette is None
    assert not [name for name in model.state_dict() if name.startswith("palette")]
