# SPDX-License-Identifier: Apache-2.0
"""The layers of Swin Transformer V2 (arXiv 2111.09883), all in image layout (B, H, W, C)."""

from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from swinv2_kernels import (
    WindowAttention,
    bias_gelu,
    layer_norm,
    linear,
    patch_embedding,
    patch_merging,
    relative_position_bias_table,
    residual_layer_norm,
)
from swinv2_kernels.backend import resolve_backend, resolve_row_backend
from swinv2_model.architecture import CPB_HIDDEN, official_window

LAYER_NORM_EPS = 1e-5


class Geometry(NamedTuple):
    """Where a block's windows lie on its (H, W) grid of tokens."""

    resolution: tuple[int, int]
    window_size: tuple[int, int]
    shift_size: tuple[int, int]

    @property
    def padding(self):
        """Rows and columns missing at the bottom and the right to a multiple of the window."""
        return tuple(-size % window for size, window in zip(self.resolution, self.window_size))


def block_geometry(resolution, window_size, shifted, window_rule="official"):
    """The windows of a block on a grid: odd blocks shift by half a window.

    Rule "official": where min(resolution) <= window, shift 0 and window min(resolution), on both axes together.
    Rule "per_axis" (timm's and Hugging Face's): each axis alone; also for windows that are not square, where
    the official rule says nothing.
    """
    if window_rule == "official":
        window, shift = official_window(resolution, window_size)
    else:
        window = tuple(min(size, w) for size, w in zip(resolution, window_size))
        shift = tuple(0 if size <= w else w // 2 for size, w in zip(resolution, window_size))
    return Geometry(tuple(resolution), window, shift if shifted else (0, 0))


def _parameter(name, *shape):
    """A float32 parameter; `model.initialise` gives it its value."""
    return Parameter(Tensor(np.zeros(shape, np.float32)), name=name)


def _operand(x, dtype, training):
    """x for a product in `dtype`. In inference float32 x stays, and is rounded on loading; in training the copy is
    made, for the backward keeps it."""
    return x if x.dtype == ms.float32 and not training else x.astype(dtype)


class Linear(nn.Cell):
    """x W^T + b computed in `dtype`; weight (out, in) and bias stay float32, but for `round_weights`."""

    def __init__(self, in_channels, out_channels, has_bias=True, dtype=ms.float32, backend=None):
        super().__init__()
        self.weight = _parameter("weight", out_channels, in_channels)
        self.bias = _parameter("bias", out_channels) if has_bias else None
        self.dtype, self.backend = dtype, resolve_row_backend(backend)

    def construct(self, x):
        return self.with_bias(x, self.bias)

    def with_bias(self, x, bias, gelu=None):
        """The product with another bias in place of the layer's own, None for none, and a GELU if it is named."""
        x = _operand(x, self.dtype, self.training)
        return linear(x, self.weight, bias, gelu, dtype=self.dtype, backend=self.backend)


class LayerNorm(nn.Cell):
    """Layer normalisation over the last axis in float32: gamma, beta (C,)."""

    def __init__(self, channels, epsilon=LAYER_NORM_EPS, backend=None):
        super().__init__()
        self.gamma = _parameter("gamma", channels)
        self.beta = _parameter("beta", channels)
        self.epsilon, self.backend = epsilon, resolve_row_backend(backend)

    def construct(self, x):
        return layer_norm(x, self.gamma, self.beta, self.epsilon, backend=self.backend)


def pad_grid(x, rows, cols):
    """(B, H, W, C) with zero rows at the bottom and zero columns at the right."""
    return pad_end(pad_end(x, 1, rows), 2, cols)


def pad_end(x, axis, count):
    """x and `count` zeros behind it along an axis. Not ops.pad: in MindSpore 2.10 a compiled graph's second call gets
    its gradient wrong on the CPU."""
    if count == 0:
        return x
    return ops.concat((x, ops.zeros((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)), axis)


class PatchProjection(nn.Cell):
    """A convolution whose stride is its kernel; weight (embed_dim, in_channels, p, p)."""

    def __init__(self, in_channels, embed_dim, patch_size, dtype, backend=None):
        super().__init__()
        self.weight = _parameter("weight", embed_dim, in_channels, patch_size, patch_size)
        self.bias = _parameter("bias", embed_dim)
        self.dtype, self.backend = dtype, resolve_row_backend(backend)

    def construct(self, x):
        x = _operand(x, self.dtype, self.training)
        return patch_embedding(x, self.weight, self.bias, dtype=self.dtype, backend=self.backend)


class PatchEmbed(nn.Cell):
    """Images (B, channels, H, W) -> tokens (B, ceil(H/p), ceil(W/p), embed_dim), normalised."""

    def __init__(self, in_channels, embed_dim, patch_size, dtype, norm_eps=LAYER_NORM_EPS, backend=None):
        super().__init__()
        self.patch_size = patch_size
        self.proj = PatchProjection(in_channels, embed_dim, patch_size, dtype, backend)
        self.norm = LayerNorm(embed_dim, norm_eps, backend)

    def construct(self, x):
        p, (height, width) = self.patch_size, x.shape[2:]
        return self.norm(self.proj(pad_end(pad_end(x, 2, -height % p), 3, -width % p)))


class Attention(nn.Cell):
    """qkv -> window attention -> projection, (B, H, W, C) -> (B, H, W, C).

    A grid that windows do not divide is padded at the bottom and the right before the shift. With
    `mask_padding` padded tokens are no keys; without it they take part, as in Hugging Face's code.
    """

    scale = None  # cosine attention: logit_scale is learned

    def __init__(self, channels, num_heads, pretrained_window_size, mask_padding, mask_value, dtype, backend):
        super().__init__()
        self.num_heads = num_heads
        self.pretrained_window_size = pretrained_window_size
        self.mask_padding, self.mask_value = mask_padding, mask_value
        self.backend = resolve_backend(backend)
        self._define(channels, dtype)
        self.proj = Linear(channels, channels, dtype=dtype, backend=self.backend)
        self.geometry, self.window_attention = None, None

    def _define(self, channels, dtype):
        self.logit_scale = _parameter("logit_scale", self.num_heads, 1, 1)
        self.cpb_mlp = nn.SequentialCell(
            Linear(2, CPB_HIDDEN), nn.ReLU(), Linear(CPB_HIDDEN, self.num_heads, has_bias=False)
        )
        self.qkv = Linear(channels, 3 * channels, has_bias=False, dtype=dtype, backend=self.backend)
        self.q_bias = _parameter("q_bias", channels)
        self.v_bias = _parameter("v_bias", channels)

    def place(self, geometry):
        """Set the windows. Done before the first call, and again when the image size changes."""
        self.geometry = geometry
        self.window_size, self.resolution, self.padding = (
            geometry.window_size,
            geometry.resolution,
            geometry.padding,
        )
        padded = geometry.padding != (0, 0)
        self.window_attention = WindowAttention(
            geometry.window_size,
            geometry.shift_size,
            valid_size=geometry.resolution if padded and self.mask_padding else None,
            scale=self.scale,
            mask_value=self.mask_value,
            backend=self.backend,
        )

    def bias_table(self):
        """(heads, 2Wh-1, 2Ww-1) float32, from the parameters as they are now."""
        return relative_position_bias_table(
            self.cpb_mlp[0].weight,
            self.cpb_mlp[0].bias,
            self.cpb_mlp[2].weight,
            window_size=self.window_size,
            pretrained_window_size=self.pretrained_window_size,
        )

    def project_qkv(self, x):
        """(B, H, W, C) -> (B, H, W, 3C): [q|k|v]; keys have no bias."""
        bias = ops.concat((self.q_bias, ops.zeros_like(self.q_bias), self.v_bias))
        return self.qkv.with_bias(x, bias)

    def construct(self, x, bias_table=None):
        if bias_table is None:
            bias_table = self.bias_table()
        rows, cols = self.padding
        height, width = self.resolution
        qkv = self.project_qkv(pad_grid(x, rows, cols))
        x = self.window_attention(qkv, bias_table, self.logit_scale)
        if rows or cols:  # on the CPU neither a slice nor the gradient of a split takes bfloat16
            x = x.astype(ms.float32)[:, :height, :width]
        return self.proj(x)


class Mlp(nn.Cell):
    """fc2(gelu(fc1 x)). In training the GELU is an operator of its own: its backward needs the product before it."""

    def __init__(self, channels, hidden, gelu, dtype, backend=None):
        super().__init__()
        self.fc1 = Linear(channels, hidden, dtype=dtype, backend=backend)
        self.fc2 = Linear(hidden, channels, dtype=dtype, backend=backend)
        self.gelu, self.backend = gelu, resolve_row_backend(backend)

    def construct(self, x):
        if self.training:
            hidden = bias_gelu(self.fc1.with_bias(x, None), self.fc1.bias, self.gelu, backend=self.backend)
        else:
            hidden = self.fc1.with_bias(x, self.fc1.bias, self.gelu)
        return self.fc2(hidden)


class Block(nn.Cell):
    """x + keep * norm1(attn(x)), then x + keep * norm2(mlp(x)): the norm comes after the branch."""

    def __init__(self, channels, attention, mlp_hidden, gelu, dtype, norm_eps=LAYER_NORM_EPS):
        super().__init__()
        self.attn = attention
        self.norm1 = LayerNorm(channels, norm_eps, attention.backend)
        self.mlp = Mlp(channels, mlp_hidden, gelu, dtype, attention.backend)
        self.norm2 = LayerNorm(channels, norm_eps, attention.backend)
        self.backend = resolve_row_backend(attention.backend)

    def construct(self, x, keep=None, bias_table=None):
        """keep: a pair of (B,) drop-path factors, for the attention and the MLP branch."""
        keep1, keep2 = (None, None) if keep is None else keep
        x = self.add_normalised(x, self.attn(x, bias_table), self.norm1, keep1)
        return self.add_normalised(x, self.mlp(x), self.norm2, keep2)

    def add_normalised(self, x, branch, norm, keep):
        return residual_layer_norm(x, branch, norm.gamma, norm.beta, norm.epsilon, keep, backend=self.backend)


class PatchMerging(nn.Cell):
    """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C): 2 x 2 tokens become one; odd sizes get zeros."""

    def __init__(self, channels, dtype, backend=None):
        super().__init__()
        self.reduction = Linear(4 * channels, 2 * channels, has_bias=False, dtype=dtype, backend=backend)
        self.norm = LayerNorm(2 * channels, backend=backend)

    def construct(self, x):
        x = pad_grid(x, x.shape[1] % 2, x.shape[2] % 2)
        reduction = self.reduction
        x = _operand(x, reduction.dtype, self.training)
        return self.norm(patch_merging(x, reduction.weight, dtype=reduction.dtype, backend=reduction.backend))


class Stage(nn.Cell):
    """Blocks of one resolution, then patch merging in all but the last stage."""

    def __init__(self, blocks, downsample):
        super().__init__()
        self.blocks = nn.CellList(blocks)
        self.downsample = downsample
