"""FLIP (Andersson et al., 2020): what a person sees when flipping between two pictures."""

from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor


class Flip:
    """LDR-FLIP by its authors' package `flip-evaluator`; the mean over pixels.

    Seen as its authors assume: 0.7 m before a 4K screen 0.7 m wide, 67 pixels per degree.
    """

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> np.ndarray:
        """Return (H, W, 3) sRGB."""
        return np.ascontiguousarray(rgb.movedim(0, -1).numpy())

    def compare(self, truth: np.ndarray, prediction: np.ndarray) -> float:
        """Return the mean error in [0, 1]."""
        return float(flip_map(truth, prediction).mean(dtype=np.float64))


def flip_map(
    truth: Float[np.ndarray, "H W 3"], prediction: Float[np.ndarray, "H W 3"]
) -> Float[np.ndarray, "H W"]:
    """Return FLIP's error of every pixel, in [0, 1], of sRGB in [0, 1]."""
    import flip_evaluator

    evaluate: Any = flip_evaluator.evaluate
    errors, _, _ = evaluate(truth, prediction, "LDR", applyMagma=False, computeMeanError=False)
    return np.ascontiguousarray(errors, dtype=np.float32).reshape(truth.shape[:2])
