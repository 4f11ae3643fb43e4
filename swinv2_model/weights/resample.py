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


def resize_bias_table(
    table: np.ndarray, new: tuple[int, int], old: tuple[int, int] | None = None
) -> np.ndarray:
    """(old height * old width, heads) -> (new height * new width, heads), in the table's dtype.

    Args:
        new: (2 Wh - 1, 2 Ww - 1) of the new window.
        old: the same of the old one; None for a square.

    Raises:
        ValueError: the table's rows are not those of `old`.
    """
    side = round(len(table) ** 0.5)
    old = (side, side) if old is None else old
    if old[0] * old[1] != len(table):
        raise ValueError(f"table: expected {old[0]} * {old[1]} rows, got {len(table)}.")
    if old == new:
        return table
    grid = table.reshape(*old, -1).astype(np.float64)
    rows, cols = (_cubic_matrix(o, n) for o, n in zip(old, new))
    return np.einsum("yh,xw,hwc->yxc", rows, cols, grid).reshape(new[0] * new[1], -1).astype(table.dtype)
