# SPDX-License-Identifier: Apache-2.0
"""The matrix products of SwinV2: a Linear over tokens, patch merging and patch embedding as Linears on strided views.

The formula, forward and backward, is in csrc/linear/linear.h, and as MindSpore operators in swinv2_kernels.reference.
Arithmetic is float32 on the CPU whatever the storage; with AVX512_BF16 or AMX bfloat16 is multiplied by the weight
rounded to bfloat16, or stored so, and summed in float32.
"""

from functools import cache
from typing import Optional

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr

from swinv2_kernels import reference
from swinv2_kernels.backend import device_target, resolve_row_in_graph
from swinv2_kernels.checks import (
    DTYPES,
    all_known,
    check_float32,
    check_not_empty,
    check_rank,
    check_shape,
    check_storage_dtype,
    check_tensor,
)
from swinv2_kernels.custom import custom_operator

VIEWS = {"tokens": 0, "merging": 1, "embedding": 2}  # csrc/linear/linear_host.h
GELUS = {None: 0, "none": 1, "tanh": 2}  # csrc/linear/linear.h


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    gelu: Optional[str] = None,
    *,
    dtype: Optional[ms.Type] = None,
    backend: Optional[str] = None,
) -> Tensor:
    """g(x W^T + b), g the identity or a GELU.

    Formula: csrc/linear/linear.h. Differentiable in every tensor, deterministic. With a GELU the backward computes
    the product again: in training `linear` and then `bias_gelu` is the faster pair.

    Args:
        x: (..., K) float32, float16 or bfloat16.
        weight: (N, K) float32, or bfloat16 where the result is: for serving, half of what is read.
        bias: (N,) float32; None for none.
        gelu: None for none, "none" for the exact form, "tanh" for the approximation.
        dtype: float16 or bfloat16: float32 x is rounded to it on loading, which saves the copy of `x.astype(dtype)`.
            None, or x's own: x as it is.
        backend: as in `window_attention`.

    Returns:
        (..., N) in `dtype`.

    Raises:
        ValueError, TypeError: an argument of the wrong shape, value or dtype, named in the text.
        RuntimeError: the back end cannot run here.
    """
    name = resolve_row_in_graph(backend)
    _check_gelu(gelu)
    _check_tensors(x, weight, 2, "(N, K)")
    dtype = _check_dtype(dtype, x.dtype)
    _check_weight_dtype(weight.dtype, x.dtype if dtype is None else dtype)
    if all_known(x.shape, weight.shape):
        check_not_empty("x", x.shape, 1, "(..., K)")
        check_shape("weight", weight.shape, (weight.shape[0], x.shape[-1]), "K the channels of x")
    _check_bias(bias, weight.shape)
    if name == "reference":
        return reference.linear(_as(x, dtype), weight, bias, gelu)
    operator = _linear_operator("tokens", 0, gelu, dtype, name)
    return operator(x, weight, _or_zeros(bias, weight))


def patch_merging(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    *,
    dtype: Optional[ms.Type] = None,
    backend: Optional[str] = None,
) -> Tensor:
    """2 x 2 tokens become one, and a Linear: no gathered copy is made.

    Formula: csrc/linear/linear.h. Differentiable in every tensor, deterministic.

    Args:
        x: (B, H, W, C) float32, float16 or bfloat16, H and W even.
        weight: (N, 4C) stored as in `linear`; its columns are for (even row, even column), (odd, even), (even, odd),
            (odd, odd).
        bias: (N,) float32; None for none.
        dtype: as in `linear`.
        backend: as in `window_attention`.

    Returns:
        (B, H/2, W/2, N) in `dtype`.

    Raises:
        ValueError, TypeError: an argument of the wrong shape or dtype, named in the text.
        RuntimeError: the back end cannot run here.
    """
    name = resolve_row_in_graph(backend)
    _check_tensors(x, weight, 2, "(N, 4C)")
    dtype = _check_dtype(dtype, x.dtype)
    _check_weight_dtype(weight.dtype, x.dtype if dtype is None else dtype)
    if all_known(x.shape, weight.shape):
        check_rank("x", x.shape, 4, "(B, H, W, C)")
        check_not_empty("x", x.shape, 4, "(B, H, W, C)")
        _check_multiples("x", x.shape[1:3], 2)
        check_shape("weight", weight.shape, (weight.shape[0], 4 * x.shape[3]), "4C columns")
    _check_bias(bias, weight.shape)
    if name == "reference":
        return reference.patch_merging(_as(x, dtype), weight, bias)
    operator = _linear_operator("merging", 0, None, dtype, name)
    return operator(x, weight, _or_zeros(bias, weight))


def patch_embedding(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    *,
    dtype: Optional[ms.Type] = None,
    backend: Optional[str] = None,
) -> Tensor:
    """A convolution whose stride is its kernel, from images to tokens: no patches are copied.

    Formula: csrc/linear/linear.h. Differentiable in every tensor, deterministic.

    Args:
        x: images (B, C, H, W) float32, float16 or bfloat16, H and W multiples of the patch size p.
        weight: (N, C, p, p) float32.
        bias: (N,) float32; None for none.
        dtype: as in `linear`.
        backend: as in `window_attention`.

    Returns:
        (B, H/p, W/p, N) in `dtype`.

    Raises:
        ValueError, TypeError: an argument of the wrong shape or dtype, named in the text.
        RuntimeError: the back end cannot run here.
    """
    name = resolve_row_in_graph(backend)
    _check_tensors(x, weight, 4, "(N, C, p, p)")
    check_float32("weight", weight)
    dtype = _check_dtype(dtype, x.dtype)
    outputs, channels, patch_size = weight.shape[:3]
    check_shape("weight", weight.shape, (outputs, channels, patch_size, patch_size), "square patches")
    if all_known(x.shape, weight.shape):
        check_rank("x", x.shape, 4, "(B, C, H, W)")
        check_not_empty("x", x.shape, 4, "(B, C, H, W)")
        check_shape("x", x.shape, (x.shape[0], channels, *x.shape[2:]), "the channels of weight")
        _check_multiples("x", x.shape[2:], patch_size)
    _check_bias(bias, weight.shape)
    if name == "reference":
        return reference.patch_embedding(_as(x, dtype), weight, bias)
    weight = weight.reshape(outputs, channels * patch_size * patch_size)
    operator = _linear_operator("embedding", patch_size, None, dtype, name)
    return operator(x, weight, _or_zeros(bias, weight))


def _check_tensors(x, weight, rank, form):
    check_storage_dtype("x", x)
    check_tensor("weight", weight)
    if all_known(weight.shape):
        check_rank("weight", weight.shape, rank, form)
        check_not_empty("weight", weight.shape, rank, form)


def _check_bias(bias, weight_shape):
    if bias is not None:
        check_float32("bias", bias)
    if bias is not None and all_known(bias.shape, weight_shape):
        check_shape("bias", bias.shape, weight_shape[:1], "one a row of weight")


def _or_zeros(bias, weight):
    if bias is None:
        bias = _zeros(weight.shape[0])
    return bias


@constexpr
def _zeros(count):
    if count is None or count < 0:
        raise ValueError(
            "bias: expected a Tensor where weight's rows are unknown as the graph is compiled, got None"
        )
    return Tensor(np.zeros(count, np.float32))


@constexpr
def _check_gelu(gelu):
    if gelu not in tuple(GELUS):  # a list has no hash
        raise ValueError(f"gelu: expected None, 'none' or 'tanh', got {gelu!r}")


@constexpr
def _check_dtype(dtype, given):
    """None where x is taken as it is."""
    if dtype is None or dtype == given:
        return None
    if given != ms.float32 or dtype not in DTYPES:
        raise TypeError(
            f"dtype: expected None, that of x, {given}, or for float32 x one of float16 and bfloat16, got {dtype!r}"
        )
    return dtype


@constexpr
def _check_weight_dtype(given, out):
    if given != ms.float32 and not given == out == ms.bfloat16:
        raise TypeError(
            f"weight: expected float32, whatever the features' dtype, or bfloat16 where the result is bfloat16, got "
            f"{given} for a result in {out}; cast it"
        )


def _as(x, dtype):
    return x if dtype is None or x.dtype == dtype else x.astype(dtype)


@constexpr
def _check_multiples(name, size, of):
    if size[0] % of or size[1] % of:
        raise ValueError(
            f"{name}: expected H and W to be multiples of {of}, got {size[0]} x {size[1]}; pad with zeros at the "
            "bottom and the right"
        )


@constexpr
def _linear_operator(view, patch_size, gelu, dtype, backend):
    return _build(view, patch_size, gelu, dtype, backend, device_target())


@cache
def _build(view, patch_size, gelu, dtype, backend, device):
    how = {"view": VIEWS[view], "patch_size": patch_size, "gelu": GELUS[gelu], "dtype": -1}
    input_gradient = custom_operator("SwinV2LinearGradInput", backend, 1, **how)
    weight_gradient = custom_operator("SwinV2LinearGradWeight", backend, 2, **how)
    if dtype is not None:
        gradients = _build(view, patch_size, gelu, None, backend, device).bprop
        how["dtype"] = DTYPES.index(dtype)

        def bprop(x, weight, bias, out, dout):
            dx, dweight, dbias = gradients(x.astype(dtype), weight, bias, out, dout)
            return dx.astype(ms.float32), dweight, dbias

    elif gelu is None:

        def bprop(x, weight, bias, out, dout):
            dweight, dbias = weight_gradient(x, dout)
            return input_gradient(_as(weight, ms.float32), dout), _as(dweight, weight.dtype), dbias

    else:
        product = _build(view, patch_size, None, None, backend, device)
        gelu_gradient = custom_operator("SwinV2BiasGeluGrad", backend, 2, tanh=gelu == "tanh")

        def bprop(x, weight, bias, out, dout):
            dz, dbias = gelu_gradient(product(x, weight, ops.zeros_like(bias)), bias, dout)
            dweight, _ = weight_gradient(x, dz)
            return input_gradient(_as(weight, ms.float32), dz), _as(dweight, weight.dtype), dbias

    return custom_operator("SwinV2Linear", backend, 1, bprop, **how)
