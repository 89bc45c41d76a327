"""Eq. 6: ``lambda_2 L2 + lambda_p LPIPS`` over rendered views and decoded pictures, term by term.

Every term has one value a sample: the mean over that sample's views. Rendered views and the decoded
pictures of `D_vae` count alike, as two means that are added.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import Views
from any3davatar.model import Prediction
from any3davatar.train.config import TrainConfig
from any3davatar.train.perceptual import Perceptual
from any3davatar.train.samples import TrainBatch


class TrainingDiverged(RuntimeError):
    """A loss or a gradient is not finite; the message names the term and the samples."""


def loss_terms(
    prediction: Prediction,
    rendered: Views,
    batch: TrainBatch,
    config: TrainConfig,
    perceptual: Perceptual | None,
) -> dict[str, Float[Tensor, "B"]]:
    """Return the terms with a weight above 0, unweighted, by name.

    Args:
        prediction: what the network said.
        rendered: (B, V) its Gaussians from the target cameras, over the run's background.
        batch: what is true.
        config: the run.
        perceptual: LPIPS, where its weight is above 0.
    """
    pairs = {"render": (rendered.rgb, batch.target_rgb)}
    if prediction.images is not None:
        pairs["image"] = (prediction.images, batch.canonical)
    terms: dict[str, Tensor] = {}
    for name, (ours, truth) in pairs.items():
        if config.l2_weight > 0:
            terms[f"{name}_l2"] = _per_sample((ours - truth).square())
        if perceptual is not None and config.lpips_weight > 0:
            terms[f"{name}_lpips"] = (
                perceptual(ours.flatten(0, 1), truth.flatten(0, 1)).reshape(len(ours), -1).mean(1)
            )
    if config.alpha_weight > 0:
        terms["render_alpha"] = _per_sample((rendered.alpha - batch.target_alpha).square())
    return terms


def term_names(config: TrainConfig) -> list[str]:
    """Return the names that `loss_terms` gives, in its order."""
    kinds = [k for k, w in (("l2", config.l2_weight), ("lpips", config.lpips_weight)) if w > 0]
    pictures = ["render", "image"] if config.avas else ["render"]
    names = [f"{picture}_{kind}" for picture in pictures for kind in kinds]
    return [*names, "render_alpha"] if config.alpha_weight > 0 else names


def weight_of(term: str, config: TrainConfig) -> float:
    """Return the weight of a term of `loss_terms`."""
    kind = term.rpartition("_")[2]
    return {
        "l2": config.l2_weight,
        "lpips": config.lpips_weight,
        "alpha": config.alpha_weight,
    }[kind]


def total(terms: Mapping[str, Float[Tensor, "B"]], config: TrainConfig) -> Float[Tensor, "B"]:
    """Return the weighted sum of the terms, a sample each (Eq. 6)."""
    return torch.stack([weight_of(name, config) * term for name, term in terms.items()]).sum(0)


def check_finite_terms(
    terms: Mapping[str, Float[Tensor, "B"]],
    present: Float[Tensor, "B"],
    names: list[str],
    samples: int,
) -> None:
    """Raise `TrainingDiverged` for the first term that is not finite.

    Args:
        terms: from `loss_terms`.
        present: which samples count.
        names: what to call each sample.
        samples: samples seen so far, for the message.
    """
    for name, term in terms.items():
        wrong = ~torch.isfinite(term.detach()) & (present > 0)
        if bool(wrong.any()):
            who = ", ".join(names[i] for i in wrong.nonzero()[:, 0].tolist())
            raise TrainingDiverged(
                f"{name} is not finite after {samples} samples, for {who}; nothing of this update "
                "was kept. Lower learning_rate, or go on from an earlier checkpoint"
            )


def _per_sample(values: Float[Tensor, "B *rest"]) -> Float[Tensor, "B"]:
    return values.flatten(1).mean(1)
