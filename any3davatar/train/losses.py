"""Eq. 6: ``lambda_2 L2 + lambda_p LPIPS`` over rendered views and decoded pictures, term by term.

Every term has one value a sample: the mean over that sample's views. Rendered views and the decoded
pictures of `D_vae` count alike, as two means that are added. The terms of alpha and of the grid are
no part of the paper.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import Gaussians, Views
from any3davatar.core.sh import C0
from any3davatar.model import Prediction
from any3davatar.model.config import VIEWS, ModelConfig
from any3davatar.train.config import TrainConfig
from any3davatar.train.perceptual import Perceptual
from any3davatar.train.samples import TrainBatch

COVERED_MIN = 1e-6  # opacity that sums count as having before anything is divided by them
# Weights of variances over places, where that of colours has 1: chosen so that each counted 0.002
# to 0.003 on unseen heads before a network was trained with it.
DETAIL_SHARE = 0.05  # of detail, relative to the view's own
SIZE_SHARE = 0.03  # of logarithms of standard deviations
STEP_SHARE = 0.01  # of how far Gaussians stand from the middle of those beside them, in pixels
STEP_REACH_PX = 2.0  # a step counts as no longer: from hair to what is behind it, it is long
DETAIL_FLOOR = 0.01  # detail that every view counts as having: nobody sees less


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
            terms[f"{name}_l2"] = _squared_error(ours, truth, config.bend)
        if perceptual is not None and config.lpips_weight > 0:
            # As the network: in float32 LPIPS takes a CPU twice as long.
            half = config.precision == "bf16"
            with torch.autocast(ours.device.type, torch.bfloat16, enabled=half):
                distances = perceptual(ours.flatten(0, 1), truth.flatten(0, 1))
            terms[f"{name}_lpips"] = distances.float().reshape(len(ours), -1).mean(1)
    if config.alpha_weight > 0:
        terms["render_alpha"] = _squared_error(rendered.alpha, batch.target_alpha, config.bend)
    if config.grid_weight > 0:
        terms["gaussian_grid"] = grid_spread(prediction.gaussians, config.model)
    return terms


def grid_spread(gaussians: Gaussians, model: ModelConfig) -> Float[Tensor, "B"]:
    """Return how far the places of a patch differ in what they do on a head, except in front.

    Each pixel of a patch reads its token through weights of its own, the same in all patches. So a
    small network can give long hair its shine by making the pixels of one column bright, or bright
    here and dark there, or small, or by drawing the rows of each patch together, in every patch and
    on every head. What a place does, as a mean over a view's patches, then differs from what the
    other places do; the shine of a real head lies anywhere.

    Args:
        gaussians: (B, N), of a network of this shape.
        model: the shape.

    Returns:
        The variances of `place_variances`, added up by the weights above.
    """
    weights = {"color": 1.0, "detail": DETAIL_SHARE, "size": SIZE_SHARE, "step": STEP_SHARE}
    variances = place_variances(gaussians, model)
    return torch.stack([weights[name] * each for name, each in variances.items()]).sum(dim=0)


def place_variances(gaussians: Gaussians, model: ModelConfig) -> dict[str, Float[Tensor, "B"]]:
    """Return the variances over a patch's p x p places of what a place does on a head.

    A place does four things: its ``color``; the size of its ``detail`` (what sets a pixel off from
    those beside it) in units of the view's own; its ``size``, the logarithms of standard
    deviations; and its ``step``: where a Gaussian stands, seen from the middle of those beside it,
    in pixels. Each is a mean over the patches of a view, weighted by opacity, and each variance a
    mean over three views, without the front, and over channels.
    """
    picture = (VIEWS, model.size_px, model.size_px)

    def beside_front(values: Float[Tensor, "B N C"]) -> Float[Tensor, "B 3 C H W"]:
        return values.unflatten(1, picture)[:, 1:].movedim(-1, 2)

    opacity = beside_front(gaussians.opacities[..., None])
    color = beside_front(C0 * gaussians.sh[:, :, 0] + 0.5)
    detail = (color - _beside(color, opacity)).abs()
    usual = (opacity * detail).sum((-2, -1), True) / _divisor(opacity.sum((-2, -1), True))
    position = beside_front(gaussians.means)
    step = (position - _beside(position, opacity)) / _pixel(model)
    inner = F.pad(opacity[..., 1:-1, 1:-1], (1, 1, 1, 1))  # with pixels on all sides
    looked_at = {
        "color": (color, opacity),
        "detail": (detail / (usual + DETAIL_FLOOR), inner),
        "size": (beside_front(gaussians.scales.log()), opacity),
        "step": (step.clamp(-STEP_REACH_PX, STEP_REACH_PX), inner),
    }
    return {name: _spread(*each, model.patch_px) for name, each in looked_at.items()}


def _pixel(model: ModelConfig) -> float:
    """Return the side of a pixel at the head's centre, world units."""
    return 2 * model.radius * math.tan(math.radians(model.vertical_fov_deg) / 2) / model.size_px


def _spread(
    values: Float[Tensor, "B V C H W"], weights: Float[Tensor, "B V 1 H W"], patch_px: int
) -> Float[Tensor, "B"]:
    """Return the variance over a patch's places of their means over the patches."""

    def over_patches(x: Tensor) -> Tensor:
        cut = x.unflatten(-1, (-1, patch_px)).unflatten(-3, (-1, patch_px))
        return cut.sum(dim=(-4, -2))  # (B, V, _, p, p)

    covered = _divisor(over_patches(weights))
    means = over_patches(weights * values) / covered
    shares = covered / covered.sum(dim=(-2, -1), keepdim=True)
    center = (shares * means).sum(dim=(-2, -1), keepdim=True)
    return _per_sample((shares * (means - center).square()).sum(dim=(-2, -1)))


def _beside(
    values: Float[Tensor, "B V C H W"], weights: Float[Tensor, "B V 1 H W"]
) -> Float[Tensor, "B V C H W"]:
    """Return the weighted mean over the three by three pixels around each."""
    together = F.avg_pool2d(torch.cat([weights * values, weights], 2).flatten(0, 1), 3, 1, 1)
    sums, covered = together.unflatten(0, values.shape[:2]).split([values.shape[2], 1], dim=2)
    return sums / _divisor(covered)


def _divisor(covered: Tensor) -> Tensor:
    return covered.clamp_min(COVERED_MIN)


def term_names(config: TrainConfig) -> list[str]:
    """Return the names that `loss_terms` gives, in its order."""
    kinds = [k for k, w in (("l2", config.l2_weight), ("lpips", config.lpips_weight)) if w > 0]
    pictures = ["render", "image"] if config.avas else ["render"]
    names = [f"{picture}_{kind}" for picture in pictures for kind in kinds]
    names += ["render_alpha"] if config.alpha_weight > 0 else []
    return names + (["gaussian_grid"] if config.grid_weight > 0 else [])


def weight_of(term: str, config: TrainConfig) -> float:
    """Return the weight of a term of `loss_terms`."""
    kind = term.rpartition("_")[2]
    return {
        "l2": config.l2_weight,
        "lpips": config.lpips_weight,
        "alpha": config.alpha_weight,
        "grid": config.grid_weight,
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


def _squared_error(
    ours: Float[Tensor, "B V C H W"], truth: Float[Tensor, "B V C H W"], bend: float
) -> Float[Tensor, "B"]:
    """Return the mean over views of each one's squared error, bent where `TrainConfig` says so."""
    errors = (ours - truth).square().mean(dim=(2, 3, 4))  # (B, V)
    return _per_sample(bend * (errors / bend).log1p() if bend > 0 else errors)


def _per_sample(values: Float[Tensor, "B *rest"]) -> Float[Tensor, "B"]:
    return values.flatten(1).mean(1)
