"""What changes as samples go by: the learning rate and the horizon of the average."""

import math

from any3davatar.train.config import TrainConfig


def learning_rate(config: TrainConfig, samples: int) -> float:
    """Return the learning rate of the update that follows this many samples.

    A linear rise over the warm-up, then the decay over the rest of the run.
    """
    if samples < config.warmup_samples:
        return (
            config.learning_rate * (samples + config.batch) / (config.warmup_samples + config.batch)
        )
    x = (samples - config.warmup_samples) / (config.total_samples - config.warmup_samples)
    if config.decay == "cosine":
        share = (1 + math.cos(math.pi * x)) / 2
    else:
        share = (1 - x) ** config.decay_power if config.decay == "power" else 1.0
    return config.learning_rate * share


def ema_decay(config: TrainConfig, samples: int) -> float:
    """Return how much of the average stays in the update that ends at this many samples.

    Half after ``ema_halflife_samples``, or sooner early on (Karras et al., 2024, EDM2).
    """
    halflife = min(config.ema_halflife_samples, config.ema_ramp * samples)
    return 0.5 ** (config.batch / max(halflife, 1e-8))
