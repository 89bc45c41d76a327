import pytest
import torch

from any3davatar.core import InvalidInput, Views
from any3davatar.core.images import composite, straight_rgb


def test_straight_rgb_undoes_composite() -> None:
    g = torch.Generator().manual_seed(0)
    rgb, alpha = torch.rand(3, 4, 5, generator=g), torch.rand(1, 4, 5, generator=g) * 0.9 + 0.1
    background = torch.tensor([0.2, 0.5, 1.0])
    back = straight_rgb(composite(rgb, alpha, background), alpha, background)
    torch.testing.assert_close(back, rgb, atol=1e-5, rtol=0)  # divides float32 by alpha >= 0.1


def test_transparent_pixels_have_no_colour() -> None:
    over = torch.ones(3, 1, 1)
    assert bool((straight_rgb(over, torch.zeros(1, 1, 1), torch.ones(3)) == 0).all())


@pytest.mark.border
def test_views_refuse_tensors_that_do_not_belong_together() -> None:
    with pytest.raises(InvalidInput, match=r"alpha has H = 5 but Views\.rgb has H = 4"):
        Views(torch.rand(2, 3, 4, 4), torch.rand(2, 1, 5, 4))


def test_indexing_views_indexes_all_of_them() -> None:
    views = Views(torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4))
    one = views[1]
    assert one.depth is not None
    assert views.depth is not None
    assert torch.equal(one.rgb, views.rgb[1])
    assert torch.equal(one.depth, views.depth[1])
