"""The few sparse matrices that geometry needs.

SciPy's inferred types mix matrices and arrays, so all of them pass through here as ``Sparse``.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Sparse: TypeAlias = Any  # a scipy.sparse.csr_matrix


def incidence(rows: NDArray, columns: NDArray, shape: tuple[int, int]) -> Sparse:
    """Return a matrix with ones at (rows, columns); places named twice add up."""
    return weighted(np.ones(rows.size, np.float32), rows, columns, shape)


def weighted(values: NDArray, rows: NDArray, columns: NDArray, shape: tuple[int, int]) -> Sparse:
    """Return a matrix with the given values at (rows, columns)."""
    from scipy.sparse import csr_matrix

    return csr_matrix((values.ravel(), (rows.ravel(), columns.ravel())), shape=shape)


def diagonal(values: NDArray) -> Sparse:
    """Return a square diagonal matrix."""
    index = np.arange(len(values))
    return weighted(np.asarray(values), index, index, (len(values), len(values)))


def identity(size: int) -> Sparse:
    """Return the identity."""
    return diagonal(np.ones(size))


def row_mean(matrix: Sparse) -> Sparse:
    """Scale rows to sum to one; empty rows stay empty."""
    return diagonal(1.0 / np.maximum(row_sum(matrix), 1.0)) @ matrix


def row_sum(matrix: Sparse) -> NDArray:
    """Return the sum of every row, (N,)."""
    return np.asarray(matrix.sum(1)).ravel()


def stacked(blocks: list[Sparse]) -> Sparse:
    """Put matrices on top of each other."""
    from scipy.sparse import csr_matrix, vstack

    return csr_matrix(vstack(blocks))


def mean_of_rows(matrix: Sparse) -> Sparse:
    """Return the mean row as a (1, N) matrix."""
    from scipy.sparse import csr_matrix

    return csr_matrix(matrix.mean(0))


def packed(name: str, matrix: Sparse) -> dict[str, NDArray]:
    """Return the arrays that store a matrix under a name."""
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices,
        f"{name}.indptr": matrix.indptr,
        f"{name}.shape": np.array(matrix.shape),
    }


def unpacked(name: str, arrays: dict[str, NDArray]) -> Sparse:
    """Rebuild a matrix from ``packed`` arrays; raises KeyError when one is missing."""
    from scipy.sparse import csr_matrix

    data, indices, indptr, shape = (
        arrays[f"{name}.{field}"] for field in ("data", "indices", "indptr", "shape")
    )
    return csr_matrix((data, indices, indptr), shape=tuple(shape))
