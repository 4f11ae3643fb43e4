# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer, version 1 (arXiv 2103.14030), on the operator's dot-product mode.

It differs from V2 in four places: the norm comes before each branch, logits are q k^T / sqrt(head_dim),
the position bias is a learned table, and patch merging normalises before it reduces.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from swinv2_model.layers import Attention, Block, LayerNorm, Linear, PatchMerging, pad_grid
from swinv2_model.model import SwinTransformerV2
from swinv2_model.weights.resample import resize_bias_table


class AttentionV1(Attention):
    """qkv with full bias, scale head_dim^-0.5, a learned bias table ((2Wh-1)(2Ww-1), num_heads)."""

    logit_scale = None
    table_shape = None

    def _define(self, channels, dtype):
        self.scale = float((channels // self.num_heads) ** -0.5)
        self.qkv = Linear(channels, 3 * channels, dtype=dtype, backend=self.backend)

    def place(self, geometry):
        """Set the windows; the table is made for the first ones and resampled (bicubic) for others."""
        super().place(geometry)
        shape = tuple(2 * size - 1 for size in geometry.window_size)
        name = "relative_position_bias_table"
        if self.table_shape is None:
            table = np.zeros((shape[0] * shape[1], self.num_heads), np.float32)
        else:
            old = self.relative_position_bias_table
            table, name = resize_bias_table(old.asnumpy(), shape, self.table_shape), old.name
        self.table_shape = shape
        self.relative_position_bias_table = Parameter(Tensor(table), name=name)

    def bias_table(self):
        rows, cols = self.table_shape
        table = self.relative_position_bias_table.astype(ms.float32)
        return ops.transpose(table, (1, 0)).reshape(self.num_heads, rows, cols)

    def project_qkv(self, x):
        return self.qkv(x)


class BlockV1(Block):
    """x + keep * attn(norm1(x)), then x + keep * mlp(norm2(x))."""

    def construct(self, x, keep=None, bias_table=None):
        keep1, keep2 = (None, None) if keep is None else keep
        branch = self.attn(self.norm1(x), bias_table)
        x = x + (branch if keep1 is None else branch * keep1.reshape(-1, 1, 1, 1))
        branch = self.mlp(self.norm2(x))
        return x + (branch if keep2 is None else branch * keep2.reshape(-1, 1, 1, 1))


class PatchMergingV1(PatchMerging):
    """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C), normalised over 4C first."""

    def __init__(self, channels, dtype, backend=None):
        nn.Cell.__init__(self)
        self.norm = LayerNorm(4 * channels, backend=backend)
        self.reduction = Linear(4 * channels, 2 * channels, has_bias=False, dtype=dtype, backend=backend)

    def construct(self, x):
        x = pad_grid(x, x.shape[1] % 2, x.shape[2] % 2)
        height, width, channels = x.shape[1:]
        # Official order: (even row, even column), (odd, even), (even, odd), (odd, odd).
        x = x.reshape(-1, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 4, 2, 5)
        x = self.reduction(self.norm(x.reshape(-1, height // 2, width // 2, 4 * channels)))
        return x.astype(ms.float32)  # no norm after it, as in V2, brings the stream back


class SwinTransformer(SwinTransformerV2):
    """Swin Transformer V1; arguments and errors as `SwinTransformerV2`, without `pretrained_window_sizes`.

    `resize` to another window resamples the bias tables, as the official code does when it loads weights.
    """

    Attention, Block, PatchMerging = AttentionV1, BlockV1, PatchMergingV1

    def __init__(self, image_size=224, window_size=7, **options):
        if options.get("pretrained_window_sizes"):
            raise ValueError(
                "pretrained_window_sizes: Swin V1 has no continuous position bias; leave it out."
            )
        super().__init__(image_size=image_size, window_size=window_size, **options)
        for block in self.blocks:
            for norm in (block.norm1, block.norm2):
                norm.gamma.set_data(Tensor(np.ones(norm.gamma.shape, np.float32)))
