"""One visit of the network in training: Eq. 1 (multi-step) or Eq. 4 (one-step).

All that the network's weights do happens inside this module's `forward`, and only tensors go in and
out: what DDP and FSDP need to see.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.core import Gaussians
from any3davatar.model import Any3DAvatar, Prediction
from any3davatar.sampling import diffuse
from any3davatar.train.config import TrainConfig
from any3davatar.train.samples import TrainBatch, generator_of


class TrainingNetwork(nn.Module):
    """From a batch and its noise to Gaussians and, with AVAS, pictures.

    Args:
        model: the network; with `D_vae` if and only if ``config.avas``.
        config: the run.
    """

    def __init__(self, model: Any3DAvatar, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.multi_step = config.objective == "multi-step"
        self.avas = config.avas
        if not self.multi_step and config.model.noise == "latent":
            # Noise is already tokens and nothing clean is shown, so this part has no gradient.
            model.gaussian_tokenizer.patches.requires_grad_(False)

    def forward(
        self,
        portrait: Float[Tensor, "B C H W"],
        portrait_rays: Float[Tensor, "B 6 H W"],
        canonical: Float[Tensor, "B 4 3 H W"],
        noise: Float[Tensor, "B 4 S _ _"],
        t: Float[Tensor, "B"],
    ) -> dict[str, Tensor]:
        """Return the tensors of the predicted Gaussians, and ``images`` with AVAS."""
        state = noise
        if self.multi_step:
            state = diffuse(self.model.clean_state(canonical), noise, t)
        prediction = self.model(portrait, portrait_rays, state, t, decode_images=self.avas)
        tensors = prediction.gaussians.tensors()
        return tensors if prediction.images is None else tensors | {"images": prediction.images}


def predict(
    network: nn.Module, model: Any3DAvatar, batch: TrainBatch, config: TrainConfig
) -> Prediction:
    """Visit the network with each sample's own noise and time.

    Args:
        network: a `TrainingNetwork`, wrapped or not.
        model: the network inside, for the shape of its noise.
        batch: samples.
        config: the run.
    """
    noise, t = noise_and_time(model, batch, config)
    tensors = network(batch.portrait, batch.portrait_rays, batch.canonical, noise, t)
    images = tensors.get("images")
    return Prediction(Gaussians(**{k: v for k, v in tensors.items() if k != "images"}), images)


def noise_and_time(
    model: Any3DAvatar, batch: TrainBatch, config: TrainConfig
) -> tuple[Float[Tensor, "B 4 S _ _"], Float[Tensor, "B"]]:
    """Return ``g_0`` and t of each sample: functions of the seed and the sample's number."""
    noise, times = [], []
    for number in batch.numbers.tolist():
        generator = generator_of(config.seed, "noise", number)
        noise.append(model.start_state(1, generator))
        multi_step = config.objective == "multi-step"
        times.append(float(torch.rand((), generator=generator)) if multi_step else 0.0)
    return torch.cat(noise), torch.tensor(times).to(batch.portrait)
