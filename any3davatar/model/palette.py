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
from any3davatar.model.embed import RGB
from any3davatar.model.scaffold import COLOR_MARGIN

OWN_SHARE = 2.0  # logit of a pixel's own start beside zeros for the palette: 48 % with 8 colours
OWN_SHARE_FOLLOWING = 4.0  # where the start follows the portrait: 86 %
OWN_SHARE_SEEN = 8.0  # of the portrait's pixel where the portrait sees the start: 98 % and more


class Palette(nn.Module):
    """Pick K colours from a portrait, and mix them for each pixel of the canonical views.

    A colour is a mean over the portrait's patches; the network weighs the patches by what they
    hold and by where they are. Each pixel has a mixture of its own, which its patch's token
    changes: where some heads have hair and others a hat, the token says which colour to copy.
    ``D_gs`` departs from the mixed colours.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        colors, side = config.palette_colors, config.size_px
        self.patch_px = config.patch_px
        self.places = nn.Parameter(torch.zeros(colors, config.view_tokens))
        self.contents = nn.Linear(config.width, colors)
        self.silhouette = config.silhouette
        own = 2 if config.color_skip else 1  # starts of a pixel's own
        self.mixture = nn.Parameter(torch.zeros(VIEWS, side, side, own + colors))
        self.remix = nn.Linear(config.width, own + colors)

    def forward(
        self,
        own: Float[Tensor, "_ M 4 3 H W"],
        portrait: Float[Tensor, "B C H W"],
        context: Float[Tensor, "B T D"],
        tokens: Float[Tensor, "B T4 D"],
    ) -> Float[Tensor, "B 4 3 H W"]:
        """Return logits of colours: mixtures of a pixel's own starts and the palette.

        Args:
            own: logits of the colours of `any3davatar.model.start.Start`.
            portrait: where the palette's colours are picked; with alpha, from the head alone.
            context: tokens of the portrait.
            tokens: denoised tokens of the four views.
        """
        preferences = self.contents(context).mT + self.places  # (B, K, T)
        side = self.mixture.shape[1] // self.patch_px
        remixed = self.remix(tokens).unflatten(1, (VIEWS, side, side))  # (B, 4, Nh, Nw, M + K)
        with torch.autocast(portrait.device.type, enabled=False):
            alpha = portrait[:, RGB:] if self.silhouette else torch.ones_like(portrait[:, :1])
            covered = F.avg_pool2d(alpha, self.patch_px).flatten(2).clamp_min(1e-4)  # (B, 1, T)
            patches = F.avg_pool2d(portrait[:, :RGB] * alpha, self.patch_px).flatten(2) / covered
            weights = (preferences.to(patches.dtype) + covered.log()).softmax(-1)
            picked = torch.einsum("bkt,bct->bkc", weights, patches)
            colors = torch.logit(picked.to(own.dtype), eps=COLOR_MARGIN)
            # Mixtures before pixels: a softmax over a last axis of ten is ten times as slow.
            remixed = remixed.movedim(-1, 1)  # (B, M + K, 4, Nh, Nw)
            for axis in (3, 4):
                remixed = remixed.repeat_interleave(self.patch_px, dim=axis)
            shares = (self.mixture.movedim(-1, 0) + remixed).contiguous().softmax(dim=1)
            count = own.shape[1]
            mine, theirs = shares.split([count, shares.shape[1] - count], dim=1)  # (B, _, 4, H, W)
            mixed = torch.einsum("bkvhw,bkc->bvchw", theirs, colors)
            return mixed + (mine[:, :, :, None] * own).sum(dim=1)
