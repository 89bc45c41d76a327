"""The Any3DAvatar network: the paper's figure 3, one file a box.

Read in this order: `config` (what a network is built from), `embed` (tokenizers), `scaffold`
(canonical rays, where Gaussians start), `dit` (the denoiser), `decoder` (tokens to Gaussians),
`appearance` (tokens to pictures, training only), `avatar` (the whole), `initialization`,
`checkpoint` (weights on disk), `table` (what a preset costs).
"""

from any3davatar.model.avatar import Any3DAvatar, Prediction
from any3davatar.model.checkpoint import CheckpointError, load_weights, save_weights
from any3davatar.model.config import PRESETS, ModelConfig, Noise
from any3davatar.model.scaffold import Hull

__all__ = [
    "PRESETS",
    "Any3DAvatar",
    "CheckpointError",
    "Hull",
    "ModelConfig",
    "Noise",
    "Prediction",
    "load_weights",
    "save_weights",
]
