# SPDX-License-Identifier: Apache-2.0
"""Window attention by the Ascend kernels, with what MindSpore's own operators do around them.

The kernels read the bias laid out for their tiles, and leave its gradient as sums over the units of a core
(csrc/window_attention/tiling_host.h). Both are index arithmetic on the table, once a step: a gather before, segment
sums after. One Cell serves a device, where the op package has the kernels, and the twins.
"""

from functools import cache

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops import constexpr

from swinv2_kernels.backend import soc_of
from swinv2_kernels.custom import custom_operator

FORBIDDEN = -1e30  # kForbidden of tiling.h


class AscendAttention(nn.Cell):
    """`construct(qkv, bias_table, scale)` -> (out, stats), out with gradients in all three.

    Shapes and dtypes as in `window_attention`; qkv is float16, on the 910B also bfloat16; scale (heads,) float32 is the
    factor itself.

    Raises:
        ValueError: a window or head_dim that the chip's kernel does not take, named in the text.
        RuntimeError: a dtype that it does not take; gradients under dynamic shapes.
    """

    def __init__(self, backend, window_size, shift_size, valid_size, mask_value, cosine):
        super().__init__()
        attributes = {
            "window_size": window_size,
            "shift_size": shift_size,
            "valid_size": valid_size,
            "mask_value": mask_value,
            "cosine": cosine,
        }
        self.window_size, self.soc = window_size, soc_of(backend)
        self.attend = custom_operator("SwinV2WindowAttention", backend, 2, soc=self.soc, **attributes)
        self.pull = custom_operator("SwinV2WindowAttentionGrad", backend, 3, soc=self.soc, **attributes)
        if backend == "ascend":
            self.attend = _with_arguments(self.attend, tuple(attributes.values()))
            self.pull = _with_arguments(self.pull, tuple(attributes.values()))

    def construct(self, qkv, bias_table, scale):
        index = _bias_index(qkv.shape[3], scale.shape[0], self.window_size, self.soc, False)
        return self.attend(qkv, _laid_out(bias_table, index), scale)

    def bprop(self, qkv, bias_table, scale, out, dout):
        heads, entries = scale.shape[0], bias_table.shape[1] * bias_table.shape[2]
        index = _bias_index(qkv.shape[3], heads, self.window_size, self.soc, True)
        slots = _partial_heads(qkv.shape, heads, self.window_size, self.soc)
        bias = _laid_out(bias_table, index)
        dqkv, dbias, dscale = self.pull(qkv, bias, scale, out[0], out[1], dout[0])
        # (slots, pairs) -> (heads, pairs) -> (entries, heads). Behind each lies what nobody wrote, or is no pair.
        dbias = _sums(dbias.reshape(dbias.shape[0], -1), slots, heads)
        dtable = _sums(dbias.transpose(1, 0), index.reshape(-1), entries)
        dscale = _sums(dscale, slots, heads).sum(-1)
        return dqkv, dtable.transpose(1, 0).reshape(bias_table.shape), dscale


def _with_arguments(operator, arguments):
    """aclnn takes attributes as arguments behind the tensors, in the order of op_host.cc, and MindSpore hands them on
    in graphs alone. Shapes are inferred from those that are set."""

    @ms.jit
    def call(*tensors):
        return operator(*tensors, *arguments)

    return call


def _laid_out(bias_table, index):
    """The table (heads, 2*Wh-1, 2*Ww-1) as the kernel reads it: (heads, *index.shape)."""
    heads = bias_table.shape[0]
    entries = ops.concat((bias_table.reshape(heads, -1), _behind(heads)), 1)
    return ops.gather(entries, index, 1)


def _sums(x, segments, count):
    """Rows of x (n, ...) added up by their segment, below count; the others are left out."""
    return ops.unsorted_segment_sum(x, segments, count + 1)[:count]


@constexpr
def _behind(heads):
    return Tensor(np.tile(np.array([0, FORBIDDEN], np.float32), (heads, 1)))


@constexpr(check=False)  # of unknown values too
def _bias_index(channels, heads, window_size, soc, backward):
    if channels is None or heads is None or min(channels, heads) < 0:
        raise ValueError(
            "qkv, bias_table: expected known channels and heads where the Ascend kernels are built, got "
            f"{channels} and {heads}; give their last and first dimension"
        )
    return _bias_layout(channels, heads, tuple(window_size), soc, backward)


@cache
def _bias_layout(*arguments):
    from swinv2_kernels import _native  # type: ignore[attr-defined]

    *problem, soc, backward = arguments
    return Tensor(_native.ascend.window_attention_bias_index(*problem, soc=soc, backward=backward), ms.int32)


@constexpr
def _partial_heads(qkv_shape, heads, window_size, soc):
    return _slots(tuple(qkv_shape), heads, tuple(window_size), soc)


@cache
def _slots(qkv_shape, heads, window_size, soc):
    from swinv2_kernels import _native  # type: ignore[attr-defined]

    slots = _native.ascend.window_attention_partial_heads(qkv_shape, heads, window_size, soc=soc)
    return Tensor(np.where(slots < 0, heads, slots), ms.int32)
