"""Where colours start: the mean head, the portrait's own pixels, and a palette picked from it.

What is behind and beside a head is mostly of a few colours that its front shows somewhere: hair,
skin, clothes. To carry them there by attention and AdaLN alone, a small network must first learn to
copy colours; a palette copies them from the first update on, also those it has never seen.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.model.config import VIEWS, ModelConfig
from any3davatar.model.scaffold import COLOR_MARGIN, Scaffold

OWN_SHARE = 2.0  # logit of a pixel's own start beside zeros for the palette: 48 % with 8 colours
OWN_SHARE_SEEN = 5.0  # the same where the own start is the portrait's pixel: 95 %


class Palette(nn.Module):
    """Pick K colours from a portrait, and mix them for each pixel of the canonical views.

    A colour is a mean over the portrait's patches; the network weighs the patches by what they
    hold and by where they are. The mixtures are the same for all heads: ``D_gs`` departs from them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        colors, side = config.palette_colors, config.size_px
        self.patch_px = config.patch_px
        self.places = nn.Parameter(torch.zeros(colors, config.view_tokens))
        self.contents = nn.Linear(config.width, colors)
        self.mixture = nn.Parameter(torch.zeros(VIEWS, side, side, 1 + colors))

    def forward(
        self,
        own: Float[Tensor, "_ 4 3 H W"],
        portrait: Float[Tensor, "B 3 H W"],
        context: Float[Tensor, "B T D"],
    ) -> Float[Tensor, "B 4 3 H W"]:
        """Return logits of colours: mixtures of a pixel's own start and the palette."""
        weights = (self.contents(context).mT + self.places).softmax(-1)  # (B, K, T)
        patches = F.avg_pool2d(portrait, self.patch_px).flatten(2)  # (B, 3, T)
        picked = torch.einsum("bkt,bct->bkc", weights, patches)
        with torch.autocast(portrait.device.type, enabled=False):
            colors = torch.logit(picked.to(own.dtype), eps=COLOR_MARGIN)
            shares = self.mixture.softmax(-1)  # (4, H, W, 1 + K)
            mixed = torch.einsum("vhwk,bkc->bvchw", shares[..., 1:], colors)
            return own * shares[..., 0][None, :, None] + mixed


def own_colors(
    scaffold: Scaffold, portrait: Float[Tensor, "B 3 H W"], config: ModelConfig
) -> Float[Tensor, "_ 4 3 H W"]:
    """Return the logits of the colours at which pixels start without a palette.

    With ``color_skip`` the front view starts at the portrait's pixels, in place of the mean head's
    colours: adding two logits would be a colour that neither of them means.
    """
    start = scaffold.start_color[None]
    if not config.color_skip:
        return start
    front = torch.logit(portrait.to(start.dtype), eps=COLOR_MARGIN)[:, None]
    return torch.cat([front, start[:, 1:].expand(len(front), -1, -1, -1, -1)], dim=1)
