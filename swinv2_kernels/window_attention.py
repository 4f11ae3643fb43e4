# SPDX-License-Identifier: Apache-2.0
"""Window attention of Swin Transformer V2 (and V1) as one operator from image layout to image layout.

The formula, forward and backward, is in csrc/window_attention/window_attention.h, and as MindSpore operators in
swinv2_kernels.reference.window_attention.
"""

import atexit
import math
from functools import cache
from numbers import Integral
from typing import Optional, Union

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.ops import constexpr

from swinv2_kernels import reference
from swinv2_kernels.ascend import AscendAttention
from swinv2_kernels.backend import device_target, resolve_backend, resolve_in_graph
from swinv2_kernels.checks import all_known, check_float32, check_storage_dtype, number
from swinv2_kernels.custom import custom_operator

Size = Union[int, tuple[int, int]]

NO_VALID_SIZE = (-1, -1)


def window_attention(
    qkv: Tensor,
    bias_table: Tensor,
    logit_scale: Optional[Tensor] = None,
    *,
    window_size: Size,
    shift_size: Size = 0,
    valid_size: Optional[tuple[int, int]] = None,
    scale: Optional[float] = None,
    mask_value: float = -100.0,
    backend: Optional[str] = None,
) -> Tensor:
    """Shifted window attention on an image; roll, partition, mask, bias and reverse happen inside.

    Cosine attention (V2, arXiv 2111.09883 section 3.2) when `logit_scale` is given, dot-product attention (V1) when
    `scale` is. Formula: csrc/window_attention/window_attention.h. Works in PyNative, `ms.jit` and graph mode, with
    static and dynamic batch, and is differentiable in its three tensors, once. Deterministic: bitwise the same from run
    to run and for any number of threads (on Ascend with `ms.set_deterministic(True)`).

    Args:
        qkv: (B, H, W, 3*heads*head_dim), channels [q|k|v][head][dim]; float32, float16 or bfloat16. Arithmetic is
            float32. H and W are multiples of the window.
        bias_table: (heads, 2*Wh-1, 2*Ww-1) float32; entry [h, dy+Wh-1, dx+Ww-1] is added to the logit of a query that
            lies (dy, dx) tokens after its key. See `relative_position_bias_table`.
        logit_scale: (heads,) or (heads, 1, 1) float32, raw: the factor is exp(min(logit_scale, ln 100)).
        window_size: Wh = Ww, or (Wh, Ww), in tokens.
        shift_size: 0 <= shift < window_size; an int for both axes, or (Sh, Sw).
        valid_size: (Hv, Wv), the part of (H, W) that is image: tokens beyond it are no keys and give zero. None: every
            token counts.
        scale: factor of dot-product attention, where logit_scale is None; head_dim**-0.5 is V1's.
        mask_value: added to the logit where query and key come from opposite borders of the image; -inf forbids.
        backend: one of `swinv2_kernels.BACKENDS`; None: `use_backend`, the environment, the device (in this order).

    Returns:
        (B, H, W, heads*head_dim) in qkv's dtype.

    Raises:
        ValueError, TypeError: an argument of the wrong shape, value or dtype, named in the text; a window or head_dim
            that the Ascend kernels do not take.
        RuntimeError: the back end cannot run here, or not windows of this size (on the CPU a thread has 1 MB of
            scratch: 64 x 64 tokens of head_dim 64 are too many), or not qkv's dtype, or, where qkv's shape is dynamic,
            it does not fit; gradients by the Ascend kernels under dynamic shapes.
    """
    options = _options(
        window_size, shift_size, valid_size, scale, mask_value, logit_scale is None, resolve_in_graph(backend)
    )
    return _attend(qkv, bias_table, logit_scale, options)


class WindowAttention(nn.Cell):
    """`window_attention` with its options and back end chosen once, at construction.

    `construct(qkv, bias_table, logit_scale=None)`; arguments, result and errors as in `window_attention`.
    """

    def __init__(
        self,
        window_size: Size,
        shift_size: Size = 0,
        valid_size: Optional[tuple[int, int]] = None,
        scale: Optional[float] = None,
        mask_value: float = -100.0,
        backend: Optional[str] = None,
    ):
        super().__init__()
        self.backend = resolve_backend(backend)
        cosine = scale is None
        self.options = _checked_options(
            window_size, shift_size, valid_size, scale, mask_value, cosine, self.backend
        )
        # A Cell that a graph gets while it is traced, as `window_attention` does, can miss its gradient.
        self.ascend = None
        if self.backend not in ("cpu", "reference"):
            self.ascend = _operator(self.options)

    def construct(self, qkv, bias_table, logit_scale=None):
        if self.ascend is None:
            return _attend(qkv, bias_table, logit_scale, self.options)
        scale = _scale_of(qkv, bias_table, logit_scale, self.options)
        return self.ascend(qkv, bias_table, scale)[0]

    def extend_repr(self) -> str:
        window_size, shift_size, valid_size, scale, mask_value, backend = self.options
        return (
            f"window_size={window_size}, shift_size={shift_size}, valid_size={valid_size}, scale={scale}, "
            f"mask_value={mask_value}, backend={backend!r}"
        )


def _attend(qkv, bias_table, logit_scale, options):
    window_size, shift_size, valid_size, scale, mask_value, backend = options
    given = _scale_of(qkv, bias_table, logit_scale, options)
    if backend == "reference":
        return reference.window_attention(
            qkv,
            bias_table,
            given,
            window_size=window_size,
            shift_size=shift_size,
            valid_size=valid_size,
            mask_value=mask_value,
            cosine=scale is None,
        )
    return _attention_operator(options)(qkv, bias_table, given)[0]


def _scale_of(qkv, bias_table, logit_scale, options):
    """What the back end takes as scale, all arguments checked: the factor of each head, but for the CPU's operator,
    which takes a logit_scale as it is."""
    window_size, shift_size, valid_size, scale, mask_value, backend = options
    check_storage_dtype("qkv", qkv)
    check_float32("bias_table", bias_table)
    _check_mode(logit_scale is not None, scale is not None)
    if logit_scale is not None:
        check_float32("logit_scale", logit_scale)
    if all_known(qkv.shape, bias_table.shape, () if logit_scale is None else logit_scale.shape):
        _check_shapes(
            qkv.shape,
            bias_table.shape,
            None if logit_scale is None else logit_scale.shape,
            window_size,
            shift_size,
            valid_size,
        )
    if scale is not None:
        return ops.full((bias_table.shape[0],), scale, dtype=ms.float32)
    return logit_scale if backend == "cpu" else reference.scale_of(logit_scale)


# ---- built once per set of options; constexpr makes the calls below part of tracing in graph mode ----


@constexpr
def _attention_operator(options):
    return _operator(options)


def _operator(options):
    window_size, shift_size, valid_size, scale, mask_value, backend = options
    valid_size = NO_VALID_SIZE if valid_size is None else tuple(valid_size)
    return _build(
        tuple(window_size), tuple(shift_size), valid_size, mask_value, scale is None, backend, device_target()
    )


@cache
def _build(window_size, shift_size, valid_size, mask_value, cosine, backend, _device):
    if backend != "cpu":
        return AscendAttention(backend, window_size, shift_size, valid_size, mask_value, cosine)
    attributes = {
        "window_size": list(window_size),
        "shift_size": list(shift_size),
        "valid_size": list(valid_size),
        "mask_value": mask_value,
        "logit_scale": cosine,
    }
    gradient = custom_operator("SwinV2WindowAttentionGrad", backend, 3, **attributes)

    def bprop(qkv, bias_table, logit_scale, out, dout):
        return gradient(qkv, bias_table, logit_scale, out[0], out[1], dout[0])

    return custom_operator("SwinV2WindowAttention", backend, 2, bprop, **attributes)


atexit.register(_build.cache_clear)  # a Cell's end needs MindSpore's modules


# ---- checks ----


def _pair(value: Size, name: str) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, Integral) and not isinstance(v, bool) for v in pair):
        raise TypeError(f"{name}: expected an int or a pair of ints (height, width), got {value!r}")
    return int(pair[0]), int(pair[1])


def _checked_options(window_size, shift_size, valid_size, scale, mask_value, cosine, backend):
    window_size, shift_size = _pair(window_size, "window_size"), _pair(shift_size, "shift_size")
    if min(window_size) < 1:
        raise ValueError(f"window_size: expected at least 1 token on each axis, got {window_size}")
    if any(not 0 <= s < w for s, w in zip(shift_size, window_size)):
        raise ValueError(f"shift_size: expected 0 <= shift < window_size {window_size}, got {shift_size}")
    if valid_size is not None:
        valid_size = _pair(valid_size, "valid_size")
        if min(valid_size) < 1:
            raise ValueError(f"valid_size: expected at least 1 token on each axis, got {valid_size}")
    if cosine and scale is not None:
        raise ValueError(
            f"scale: expected None together with logit_scale (cosine attention), got {scale!r}; "
            "give one of the two"
        )
    if not cosine and scale is None:
        raise ValueError(
            "logit_scale: expected a tensor (cosine attention), or a float scale (dot-product attention), got neither"
        )
    if scale is not None:
        given, scale = scale, number("scale", scale)
        if not math.isfinite(scale):
            raise ValueError(f"scale: expected a number that is finite in float32, got {given!r}")
    given, mask_value = mask_value, number("mask_value", mask_value)
    if not mask_value <= 0:
        raise ValueError(f"mask_value: expected a number <= 0 or -inf, got {given!r}")
    return window_size, shift_size, valid_size, scale, mask_value, backend


@constexpr
def _options(window_size, shift_size, valid_size, scale, mask_value, without_logit_scale, backend):
    cosine = not without_logit_scale
    return _checked_options(window_size, shift_size, valid_size, scale, mask_value, cosine, backend)


@constexpr
def _check_mode(has_logit_scale, has_scale):
    if not has_logit_scale and not has_scale:
        raise ValueError(
            "logit_scale: expected a tensor (cosine attention), or scale at construction, got neither"
        )
    if has_logit_scale and has_scale:
        raise ValueError("logit_scale: expected None where scale is given, got a tensor")


@constexpr
def _check_shapes(qkv, bias_table, logit_scale, window_size, shift_size, valid_size):
    if len(qkv) != 4:
        raise ValueError(f"qkv: expected 4 dimensions (B, H, W, 3*heads*head_dim), got shape {qkv}")
    if min(qkv) < 1:
        raise ValueError(f"qkv: expected every dimension to be at least 1, got shape {qkv}")
    window_h, window_w = window_size
    expected = (2 * window_h - 1, 2 * window_w - 1)
    if len(bias_table) != 3 or tuple(bias_table[1:]) != expected or bias_table[0] < 1:
        raise ValueError(
            f"bias_table: expected shape (heads, {expected[0]}, {expected[1]}) for window_size {window_size}, "
            f"got {bias_table}"
        )
    heads = bias_table[0]
    if qkv[3] % (3 * heads):
        raise ValueError(
            f"qkv: expected channels divisible by 3*heads = {3 * heads} (heads from bias_table), "
            f"got {qkv[3]} channels"
        )
    if logit_scale is not None and tuple(logit_scale) not in ((heads,), (heads, 1, 1)):
        raise ValueError(f"logit_scale: expected shape ({heads},) or ({heads}, 1, 1), got {logit_scale}")
    if qkv[1] % window_h or qkv[2] % window_w:
        raise ValueError(
            f"qkv: expected H and W to be multiples of window_size {window_size}, got {(qkv[1], qkv[2])}; "
            "pad the image and pass valid_size"
        )
    if valid_size is not None and (valid_size[0] > qkv[1] or valid_size[1] > qkv[2]):
        raise ValueError(f"valid_size: expected at most (H, W) = {(qkv[1], qkv[2])}, got {valid_size}")
