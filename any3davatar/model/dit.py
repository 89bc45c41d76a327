"""The denoiser: a Diffusion Transformer with AdaLN-zero (Peebles and Xie, 2023) over all tokens.

Letters: ``T`` tokens of the whole sequence, ``D`` token width, ``B`` batch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from any3davatar.model.config import ModelConfig


def modulate(
    tokens: Float[Tensor, "B T D"], shift: Float[Tensor, "B D"], scale: Float[Tensor, "B D"]
) -> Float[Tensor, "B T D"]:
    """Shift and scale all tokens of a sample alike."""
    return tokens * (1 + scale[:, None]) + shift[:, None]


def plain_norm(width: int) -> nn.LayerNorm:
    """Return a layer norm without weights: AdaLN brings them."""
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)


class Attention(nn.Module):
    """Full self-attention. The T x T matrix is never stored: 20,480 tokens would need 27 GB."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Let each token look at all tokens."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, heads, D / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D / heads)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DiTBlock(nn.Module):
    """Attention and an MLP, each shifted, scaled and gated by the condition."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.mlp_ratio * config.width
        self.norm1 = plain_norm(config.width)
        self.attention = Attention(config)
        self.norm2 = plain_norm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, hidden),
            nn.GELU(),
            nn.Linear(hidden, config.width),
        )
        self.modulation = nn.Linear(config.width, 6 * config.width)

    def forward(
        self, tokens: Float[Tensor, "B T D"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B T D"]:
        """Return the tokens after one block."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(
            6, -1
        )
        attended = self.attention(modulate(self.norm1(tokens), shift1, scale1))
        tokens = tokens + gate1[:, None] * attended
        transformed = self.mlp(modulate(self.norm2(tokens), shift2, scale2))
        return tokens + gate2[:, None] * transformed


class DiT(nn.Module):
    """`F_DiT`: the context and Gaussian tokens, denoised together."""

    def __init__(self, config: ModelConfig, *, recompute_activations: bool) -> None:
        super().__init__()
        self.recompute_activations = recompute_activations
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.blocks))
        self.norm = plain_norm(config.width)
        self.modulation = nn.Linear(config.width, 2 * config.width)

    def forward(
        self, tokens: Float[Tensor, "B T D"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B T D"]:
        """Return ``s = F_DiT(s_0, t)`` (Algorithm 1, line 11), normalised for the two decoders."""
        for block in self.blocks:
            if self.recompute_activations and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, condition, use_reentrant=False)
            else:
                tokens = block(tokens, condition)  # (B, T, D)
        shift, scale = self.modulation(F.silu(condition)).chunk(2, -1)
        return modulate(self.norm(tokens), shift, scale)
