"""PSNR and SSIM: no network, the definitions that scikit-image has."""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

PSNR_CAP_DB = 100.0


class Psnr:
    """Peak signal to noise ratio over all pixels and channels, in dB, at most 100.

    Equal pictures would have infinitely many; no mean survives that. One level of 255 in one of
    100,000 values is worth 98 dB.
    """

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> np.ndarray:
        """Return the picture."""
        return np.ascontiguousarray(rgb.numpy())

    def compare(self, truth: np.ndarray, prediction: np.ndarray) -> float:
        """Return dB; data range 1."""
        from a3d_bench.metrics.kernels import squared_distance

        error = squared_distance(truth.reshape(-1), prediction.reshape(-1)) / truth.size
        return PSNR_CAP_DB if error == 0 else min(PSNR_CAP_DB, -10 * math.log10(error))


class Ssim:
    """Structural similarity (Wang et al., 2004), the mean over pixels and channels.

    An 11-wide Gaussian window of sigma 1.5, population variances, data range 1, RGB, windows that
    lie inside the picture only: `skimage.metrics.structural_similarity` with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``.
    """

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> np.ndarray:
        """Return the picture."""
        return np.ascontiguousarray(rgb.numpy())

    def compare(self, truth: np.ndarray, prediction: np.ndarray) -> float:
        """Return the index, at most 1."""
        from a3d_bench.metrics.kernels import mean_ssim

        return float(np.mean([mean_ssim(a, b) for a, b in zip(truth, prediction, strict=True)]))
