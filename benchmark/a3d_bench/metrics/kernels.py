"""Numba kernels: sums over pictures and features, each in one pass over memory.

They are serial, so their sums have one order. Importing this module imports numba, which keeps its
compiled code beside this file, in ``$NUMBA_CACHE_DIR`` if set, or in the user's cache when neither
can be written: the first use of a machine compiles for some seconds.

Argument types are inferred by numba: ``no_type_check`` keeps run-time checkers from wrapping what
numba must compile.
"""

from typing import no_type_check

import numba as nb
import numpy as np

SIGMA_PX = 1.5
RADIUS_PX = 5  # skimage: truncated at 3.5 sigma
TAPS = 2 * RADIUS_PX + 1
C1 = 0.01**2
C2 = 0.03**2
_offsets = np.arange(-RADIUS_PX, RADIUS_PX + 1)
_gaussian = np.exp(-0.5 * (_offsets / SIGMA_PX) ** 2)
WEIGHTS = tuple(float(weight) for weight in _gaussian / _gaussian.sum())
# No NaN comes in, and no sum is so delicate that its order counts: those flags let it be vectors.
_jit = nb.njit(cache=True, fastmath={"contract", "reassoc", "nsz"}, nogil=True)


@_jit
@no_type_check
def squared_distance(a, b):
    """Return the sum of squared differences of two flat float32 arrays, in float64."""
    total = 0.0
    for i in range(a.shape[0]):
        difference = np.float64(a[i]) - np.float64(b[i])
        total += difference * difference
    return total


@_jit
@no_type_check
def scale_features(features, weights, epsilon):
    """Bring each row of (pixels, channels) float32 to length 1, then scale channels, in place."""
    pixels, channels = features.shape
    for i in range(pixels):
        square = np.float32(0)
        for c in range(channels):
            square += features[i, c] * features[i, c]
        shrink = np.float32(1) / (np.sqrt(square) + epsilon)
        for c in range(channels):
            features[i, c] *= shrink * weights[c]


@_jit
@no_type_check
def mean_ssim(truth, prediction):
    """Return the mean of SSIM over the windows inside two (H, W) float32 channels, in float64.

    Row by row, down the picture: what is needed at a time stays in the processor's cache. Of the
    two variances only the sum is needed. The window is symmetric: rows and columns are added in
    pairs, loops have few arrays, and compilers make vectors of them.
    """
    height, width = truth.shape
    inner = width - TAPS + 1
    recent = np.empty((TAPS, 4, width))  # of the last rows: x, y, x^2 + y^2, x y
    across = np.empty((4, width))  # weighted over the rows of a window
    means = np.empty((4, inner))  # weighted over a window
    total = 0.0
    for row in range(height):
        slot = recent[row % TAPS]
        x_row, y_row, squares_row, product_row = slot[0], slot[1], slot[2], slot[3]
        for j in range(width):
            x = np.float64(truth[row, j])
            y = np.float64(prediction[row, j])
            x_row[j] = x
            y_row[j] = y
            squares_row[j] = x * x + y * y
            product_row[j] = x * y
        if row < TAPS - 1:
            continue
        for m in range(4):
            line, mean = across[m], means[m]
            middle = recent[(row - RADIUS_PX) % TAPS, m]
            for j in range(width):
                line[j] = WEIGHTS[RADIUS_PX] * middle[j]
            for k in range(RADIUS_PX):
                weight = WEIGHTS[k]
                upper = recent[(row - TAPS + 1 + k) % TAPS, m]
                lower = recent[(row - k) % TAPS, m]
                for j in range(width):
                    line[j] += weight * (upper[j] + lower[j])
            for j in range(inner):
                mean[j] = (
                    WEIGHTS[0] * (line[j] + line[j + 10])
                    + WEIGHTS[1] * (line[j + 1] + line[j + 9])
                    + WEIGHTS[2] * (line[j + 2] + line[j + 8])
                    + WEIGHTS[3] * (line[j + 3] + line[j + 7])
                    + WEIGHTS[4] * (line[j + 4] + line[j + 6])
                    + WEIGHTS[5] * line[j + 5]
                )
        x_mean, y_mean, squares_mean, product_mean = means[0], means[1], means[2], means[3]
        for j in range(inner):
            product = x_mean[j] * y_mean[j]
            squares = x_mean[j] * x_mean[j] + y_mean[j] * y_mean[j]
            total += ((2 * product + C1) * (2 * (product_mean[j] - product) + C2)) / (
                (squares + C1) * (squares_mean[j] - squares + C2)
            )
    return total / ((height - TAPS + 1) * inner)
