# SPDX-License-Identifier: Apache-2.0
"""The log-spaced continuous position bias of Swin V2 (arXiv 2111.09883, eq. 3 and 4), as a table."""

from functools import lru_cache

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr

from swinv2_kernels.checks import all_known, check_storage_dtype
from swinv2_kernels.window_attention import _pair


def relative_coords_table(window_size, pretrained_window_size=0):
    """Log-spaced offsets within a window: sign(c) * log2(|c| + 1) / log2(8), c = 8 * offset / (p - 1).

    p is the pretrained window where that is > 0, else the window, on each axis. An axis of size 1 has only
    the offset 0 and gets coordinate 0 (the official formula divides 0 by 0 there).

    Args:
        window_size: int or (Wh, Ww).
        pretrained_window_size: int or (Ph, Pw); the window the MLP was trained with, 0 for the same.

    Returns:
        float32 array (1, 2*Wh-1, 2*Ww-1, 2): rows, columns, (dy, dx).

    Raises:
        TypeError, ValueError: a size that is not an int or a pair of ints, or too small.
    """
    return _coords(*_sizes(window_size, pretrained_window_size)).copy()


def relative_position_bias_table(w0, b0, w2, *, window_size, pretrained_window_size=0):
    """16 * sigmoid(w2 relu(w0 coords + b0)) at every offset: the `bias_table` of `window_attention`.

    Plain differentiable ops in float32. It depends on parameters only: compute it once a step in training and
    keep it in evaluation. The bias between query i and key j is table[h, y_i-y_j+Wh-1, x_i-x_j+Ww-1].

    Args:
        w0, b0, w2: (hidden, 2), (hidden,), (heads, hidden); the checkpoint's cpb_mlp.0.weight, cpb_mlp.0.bias
            and cpb_mlp.2.weight. float32, float16 or bfloat16.
        window_size, pretrained_window_size: as for `relative_coords_table`.

    Returns:
        (heads, 2*Wh-1, 2*Ww-1) float32.

    Raises:
        TypeError, ValueError: as `relative_coords_table`, and weights of other shapes or dtypes.
    """
    check_storage_dtype("w0", w0)
    check_storage_dtype("b0", b0)
    check_storage_dtype("w2", w2)
    if all_known(w0.shape, b0.shape, w2.shape):
        _check_shapes(w0.shape, b0.shape, w2.shape)
    coords = _coords_tensor(window_size, pretrained_window_size)  # (offsets, 2)
    hidden = ops.relu(ops.matmul(coords, ops.transpose(_float32(w0), (1, 0))) + _float32(b0))
    table = ops.matmul(_float32(w2), ops.transpose(hidden, (1, 0)))  # (heads, offsets)
    table = ops.minimum(-table.reshape(_table_shape(w2.shape[0], window_size)), 80.0)  # 0, not NaN, far out
    # The sigmoid by expm1: on the CPU MindSpore's exp is good to 5e-6 only, its expm1 to 1e-7.
    return 16 / (2 + ops.expm1(table))


def _float32(x):
    return x.astype(ms.float32)


def _sizes(window_size, pretrained_window_size):
    window = _pair(window_size, "window_size")
    pretrained = _pair(pretrained_window_size, "pretrained_window_size")
    if min(window) < 1:
        raise ValueError(f"window_size: expected at least 1 token on each axis, got {window}")
    if min(pretrained) < 0:
        raise ValueError(f"pretrained_window_size: expected 0 or more on each axis, got {pretrained}")
    return window, pretrained


@lru_cache(maxsize=64)
def _coords(window, pretrained):
    axes = []
    for size, trained in zip(window, pretrained):
        offsets = np.arange(1 - size, size, dtype=np.float64)
        scaled = 8 * offsets / max((trained or size) - 1, 1)
        axes.append(np.sign(scaled) * np.log2(np.abs(scaled) + 1) / np.log2(8))
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)[None].astype(np.float32)


# Evaluated once, when a graph is compiled.
@constexpr
def _coords_tensor(window_size, pretrained_window_size):
    return Tensor(relative_coords_table(window_size, pretrained_window_size).reshape(-1, 2))


@constexpr
def _table_shape(heads, window_size):
    window, _ = _sizes(window_size, 0)
    return heads, 2 * window[0] - 1, 2 * window[1] - 1


@constexpr
def _check_shapes(w0, b0, w2):
    if len(w0) != 2 or w0[0] < 1 or w0[1] != 2:
        raise ValueError(f"w0: expected shape (hidden, 2), got {tuple(w0)}")
    if tuple(b0) != (w0[0],):
        raise ValueError(f"b0: expected shape ({w0[0]},) to match w0 {tuple(w0)}, got {tuple(b0)}")
    if len(w2) != 2 or w2[0] < 1 or w2[1] != w0[0]:
        raise ValueError(f"w2: expected shape (heads, {w0[0]}) to match w0 {tuple(w0)}, got {tuple(w2)}")
