# SPDX-License-Identifier: Apache-2.0
"""The operators as plain MindSpore ops: the mathematics to read, the ground fused kernels are compared with.

Computed in float32 and returned in the dtype of the first argument, but for `linear` and the patch operators, computed
in it, and `layer_norm`, returned in float32. Autodiff gives the gradients.
"""

import math
from functools import lru_cache

import mindspore as ms
import mindspore.numpy as mnp
import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr

NORM_EPS = 1e-12
LOGIT_SCALE_MAX = math.log(100.0)


def window_attention(
    qkv, bias_table, scale, *, window_size, shift_size, valid_size=None, mask_value=-100.0, cosine=True
):
    """Shifted window attention, image to image (Swin V2, arXiv 2111.09883, eq. 2; shift: V1, section 3.2).

        out = softmax(scale * <q', k'> + bias + mask) v
        cosine: q' = q / max(|q|, 1e-12), the same for k; dot product: q' = q, k' = k

    Args:
        qkv: (B, H, W, 3*heads*head_dim), channels [q|k|v][head][dim]; H and W multiples of the window.
        bias_table: (heads, 2*Wh-1, 2*Ww-1) float32; bias[h, i, j] = table[h, y_i-y_j+Wh-1, x_i-x_j+Ww-1].
        scale: (heads,) float32; in cosine attention see `scale_of`.
        window_size, shift_size: (Wh, Ww), (Sh, Sw).
        valid_size: (Hv, Wv), the part of (H, W) that is image; the rest is never read and comes out zero.
        mask_value: added where query and key lie in different regions of the shifted image.

    Returns:
        (B, H, W, heads*head_dim), dtype of qkv.
    """
    height, width = qkv.shape[1], qkv.shape[2]
    window_h, window_w = window_size
    heads = bias_table.shape[0]
    head_dim = qkv.shape[3] // heads // 3
    rows, cols, tokens = height // window_h, width // window_w, window_h * window_w
    padded = valid_size is not None and tuple(valid_size) != (height, width)

    x = qkv.astype(ms.float32)
    if padded:
        x = ops.select(_inside(height, width, valid_size), x, ops.zeros_like(x))
    x = _roll(x, -shift_size[0], -shift_size[1])

    # partition: (3, B, rows, cols, heads, Wh, Ww, head_dim) -> q, k, v (B*windows, heads, N, head_dim)
    x = x.reshape(-1, rows, window_h, cols, window_w, 3, heads, head_dim).transpose(5, 0, 1, 3, 6, 2, 4, 7)
    x = x.reshape(3, -1, heads, tokens, head_dim)
    q, k, v = ops.unstack(x, 0)

    scale = scale.astype(ms.float32).reshape(heads, 1, 1)
    if cosine:
        q, k = _times(q, scale * _inverse_norm(q)), _times(k, _inverse_norm(k))
    else:
        q = q * scale
    index = _relative_position_index(window_size)  # (N*N,)
    table = bias_table.astype(ms.float32).reshape(heads, -1)
    bias = ops.gather(table, index, 1).reshape(heads, tokens, tokens)
    logits = ops.BatchMatMul(transpose_b=True)(q, k) + bias
    if padded or shift_size[0] > 0 or shift_size[1] > 0:
        mask = _mask(height, width, window_size, shift_size, valid_size, mask_value)  # (windows, 1, N, N)
        logits = logits.reshape(-1, rows * cols, heads, tokens, tokens) + mask
        logits = logits.reshape(-1, heads, tokens, tokens)
    out = ops.BatchMatMul()(ops.softmax(logits, -1), v)

    # reverse: (B, rows, cols, heads, Wh, Ww, head_dim) -> image
    out = out.reshape(-1, rows, cols, heads, window_h, window_w, head_dim).transpose(0, 1, 4, 2, 5, 3, 6)
    out = _roll(out.reshape(-1, height, width, heads * head_dim), shift_size[0], shift_size[1])
    if padded:
        out = ops.select(_inside(height, width, valid_size), out, ops.zeros_like(out))
    return out.astype(qkv.dtype)


def scale_of(logit_scale):
    """exp(min(logit_scale, ln 100)), (heads,): the scale of cosine attention. NaN stays; ops.minimum would lose it."""
    raw = logit_scale.reshape(-1)
    raw = ops.select(raw > LOGIT_SCALE_MAX, ops.full_like(raw, LOGIT_SCALE_MAX), raw)
    # MindSpore's float32 exp on the CPU is wrong by up to 3e-6, which a scale of 100 turns into 3e-4 on a logit.
    return ops.exp(raw.astype(ms.float64)).astype(ms.float32) if _on_cpu() else ops.exp(raw)


def residual_layer_norm(x, y, gamma, beta, epsilon=1e-5, keep=None):
    """x + keep * LayerNorm(y): the post-norm residual of Swin V2 (arXiv 2111.09883, figure 1).

    Args:
        x, y: (B, ..., C); LayerNorm(y) = (y - mean) / sqrt(var + epsilon) * gamma + beta over C.
        gamma, beta: (C,) float32.
        keep: (B,) drop-path factor of each sample, 0 or 1/(1-rate); None keeps all.

    Returns:
        shape and dtype of x.
    """
    normed = layer_norm(y, gamma, beta, epsilon)
    if keep is not None:
        normed = normed * keep.astype(ms.float32).reshape((-1,) + (1,) * (y.ndim - 1))
    return (x.astype(ms.float32) + normed).astype(x.dtype)


def layer_norm(y, gamma, beta, epsilon=1e-5):
    """(y - mean) / sqrt(var + epsilon) * gamma + beta over the last axis, in float32."""
    norm = ops.LayerNorm(-1, -1, epsilon)
    return norm(y.astype(ms.float32), gamma.astype(ms.float32), beta.astype(ms.float32))[0]


def linear(x, weight, bias=None, gelu=None):
    """g(x W^T + b), x (..., K), weight (N, K) and bias (N,) float32, computed in x's dtype; g as in `bias_gelu`."""
    if gelu is None:
        return _dense(x, weight, bias)
    if bias is None:
        bias = ops.zeros((weight.shape[0],), ms.float32)
    return bias_gelu(_dense(x, weight), bias, gelu)


def _dense(x, weight, bias=None):
    weight, bias = weight.astype(x.dtype), None if bias is None else bias.astype(x.dtype)
    if x.dtype != ms.bfloat16 or not _on_cpu():
        return ops.dense(x, weight, bias)
    # MindSpore has no bfloat16 products on the CPU.
    bias = None if bias is None else bias.astype(ms.float32)
    return ops.dense(x.astype(ms.float32), weight.astype(ms.float32), bias).astype(ms.bfloat16)


def patch_merging(x, weight, bias=None):
    """(B, H, W, C) -> (B, H/2, W/2, N), a Linear of the tokens (even row, even column), (odd, even), (even, odd),
    (odd, odd) side by side; weight (N, 4C)."""
    height, width, channels = x.shape[1:]
    x = x.reshape(-1, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 4, 2, 5)
    return linear(x.reshape(-1, height // 2, width // 2, 4 * channels), weight, bias)


def patch_embedding(x, weight, bias=None):
    """Convolution with stride p of images (B, C, H, W) by weight (N, C, p, p), as tokens (B, H/p, W/p, N).

    As a matrix product: 30 times as fast as MindSpore's convolution on the CPU.
    """
    outputs, channels, p = weight.shape[:3]
    rows, cols = x.shape[2] // p, x.shape[3] // p
    x = x.reshape(-1, channels, rows, p, cols, p).transpose(0, 2, 4, 1, 3, 5)
    x = x.reshape(-1, rows, cols, channels * p * p)
    return linear(x, weight.reshape(outputs, channels * p * p), bias)


def bias_gelu(x, bias, approximate="none"):
    """gelu(x + bias), x (..., C), bias (C,) float32.

    approximate "none": z/2 (1 + erf(z/sqrt(2))); "tanh": z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))).
    By hand: on the CPU MindSpore's gelu is always the tanh form, and its tanh is good to 1e-4 only.
    """
    z = x.astype(ms.float32) + bias.astype(ms.float32)
    if approximate == "none":
        out = z * (0.5 + 0.5 * ops.erf(z * math.sqrt(0.5)))
    elif approximate == "tanh":
        out = z * ops.sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z))
    else:
        raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return out.astype(x.dtype)


def _roll(x, shift_h, shift_w):
    return mnp.roll(x, (shift_h, shift_w), (1, 2)) if shift_h or shift_w else x


def _inverse_norm(x):
    """1 / max(|x|, 1e-12) over the last axis, kept."""
    return ops.rsqrt(ops.maximum(_sum_last(x * x), NORM_EPS * NORM_EPS))


# On the CPU a sum over a short axis (also the gradient of broadcasting along one) takes 20 times as long as
# the same sum written as a product with ones. On Ascend a float32 product may round to half.
def _sum_last(x):
    if _on_cpu():
        return ops.matmul(x, ops.ones((x.shape[-1], 1), ms.float32))
    return x.sum(-1, keepdims=True)


def _times(x, factor):
    """x (..., n) times factor (..., 1)."""
    if _on_cpu():
        return x * ops.matmul(factor, ops.ones((1, x.shape[-1]), ms.float32))
    return x * factor


@constexpr
def _on_cpu():
    return ms.get_context("device_target") == "CPU"


@constexpr
def _inside(height, width, valid_size):
    """(1, H, W, 1) bool: image, not padding."""
    inside = np.zeros((1, height, width, 1), bool)
    inside[:, : valid_size[0], : valid_size[1]] = True
    return Tensor(inside)


@constexpr
def _relative_position_index(window_size):
    return _relative_position_index_tensor(tuple(window_size))


@lru_cache(maxsize=64)
def _relative_position_index_tensor(window_size):
    return Tensor(relative_position_index(window_size).reshape(-1))


def relative_position_index(window_size):
    """(N, N) int32 index into the flattened bias table, rows are queries: dy * (2Ww-1) + dx."""
    y, x = np.divmod(np.arange(window_size[0] * window_size[1], dtype=np.int32), window_size[1])
    dy = y[:, None] - y[None, :] + window_size[0] - 1
    dx = x[:, None] - x[None, :] + window_size[1] - 1
    return dy * (2 * window_size[1] - 1) + dx


@constexpr
def _mask(height, width, window_size, shift_size, valid_size, mask_value):
    valid_size = None if valid_size is None else tuple(valid_size)
    return _mask_tensor(height, width, tuple(window_size), tuple(shift_size), valid_size, mask_value)


@lru_cache(maxsize=64)
def _mask_tensor(height, width, window_size, shift_size, valid_size, mask_value):
    """(windows, 1, N, N): mask_value between regions, -inf at padded keys; padded queries see everything."""
    valid_size = valid_size or (height, width)

    def windows(image):
        (h, w), (wh, ww) = image.shape, window_size
        return image.reshape(h // wh, wh, w // ww, ww).swapaxes(1, 2).reshape(-1, wh * ww)

    def bands(size, window, shift):
        edges = [size - window, size - shift] if shift else []
        return np.digitize(np.arange(size), edges)

    region = windows(
        3 * bands(height, window_size[0], shift_size[0])[:, None]
        + bands(width, window_size[1], shift_size[1])[None, :]
    )
    image = np.zeros((height, width), bool)
    image[: valid_size[0], : valid_size[1]] = True
    image = windows(np.roll(image, (-shift_size[0], -shift_size[1]), (0, 1)))
    mask = np.where(region[:, :, None] == region[:, None, :], 0.0, mask_value)
    mask = np.where(image[:, None, :], mask, -np.inf)
    mask = np.where(image[:, :, None], mask, 0.0)
    return Tensor(mask[:, None].astype(np.float32))
