# SPDX-License-Identifier: Apache-2.0
"""Bicubic resampling of the learned bias tables of Swin V1, for another window size."""

from __future__ import annotations

import numpy as np

# Keys' cubic convolution with a = -0.75 at half-pixel centres, as torch.nn.functional.interpolate has it.
_A = -0.75


def _cubic_matrix(old: int, new: int) -> np.ndarray:
    """(new, old): row i weighs the old samples for new sample i; samples beyond the border repeat it."""
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        first = int(np.floor(centre))
        for tap in range(-1, 3):
            x = abs(centre - (first + tap))
            near = ((_A + 2) * x - (_A + 3)) * x * x + 1
            far = ((x - 5) * x + 8) * x * _A - 4 * _A
            weight = near if x <= 1 else far
            weights[i, min(max(first + tap, 0), old - 1)] += weight
    return weights


def resize_bias_table(table: np.ndarray, rows: int) -> np.ndarray:
    """((2 w - 1)^2, heads) -> (rows, heads), both square in space, in the table's dtype.

    Raises:
        ValueError: the old or the new number of rows is no odd square.
    """
    old, new = round(len(table) ** 0.5), round(rows**0.5)
    if old * old != len(table) or new * new != rows or not old % 2 or not new % 2:
        raise ValueError(f"table: expected (2 w - 1)^2 rows on both sides, got {len(table)} and {rows}.")
    grid = table.reshape(old, old, -1).astype(np.float64)
    matrix = _cubic_matrix(old, new)
    return np.einsum("yh,xw,hwc->yxc", matrix, matrix, grid).reshape(rows, -1).astype(table.dtype)
