# SPDX-License-Identifier: Apache-2.0
"""The post-norm residual of Swin Transformer V2 as one operator.

The formula, forward and backward, is in csrc/residual_layer_norm/residual_layer_norm.h, and as MindSpore operators in
swinv2_kernels.reference.residual_layer_norm.
"""

from functools import cache
from typing import Optional

import mindspore as ms
import numpy as np
from mindspore import Tensor
from mindspore.ops import constexpr

from swinv2_kernels import reference
from swinv2_kernels.backend import device_target, resolve_row_in_graph
from swinv2_kernels.checks import (
    all_known,
    check_float32,
    check_not_empty,
    check_same,
    check_shape,
    check_storage_dtype,
    check_tensor,
    number,
)
from swinv2_kernels.custom import custom_operator


def residual_layer_norm(
    x: Tensor,
    y: Tensor,
    gamma: Tensor,
    beta: Tensor,
    epsilon: float = 1e-5,
    keep: Optional[Tensor] = None,
    *,
    backend: Optional[str] = None,
) -> Tensor:
    """x + keep * LayerNorm(y) over the last axis: res-post-norm with drop path (arXiv 2111.09883, figure 1).

    Formula: csrc/residual_layer_norm/residual_layer_norm.h. Differentiable in every tensor, deterministic.

    Args:
        x, y: (B, ..., C) float32, float16 or bfloat16, of one dtype, or y a half type beside a float32 x (a residual
            stream under mixed precision). Arithmetic is float32.
        gamma, beta: (C,) float32.
        epsilon: added to the variance, > 0.
        keep: (B,) float32, the drop-path factor of each sample: 0, or 1 / (1 - rate). None keeps all. Where shapes are
            dynamic, (1,) is one factor for all.
        backend: as in `window_attention`.

    Returns:
        Shape and dtype of x.

    Raises:
        ValueError, TypeError: an argument of the wrong shape, value or dtype, named in the text.
        RuntimeError: the back end cannot run here.
    """
    name, epsilon = resolve_row_in_graph(backend), _checked_epsilon(epsilon)
    check_storage_dtype("x", x)
    if x.dtype == ms.float32:
        check_storage_dtype("y", y)
    else:
        check_tensor("y", y)
        check_same("y", "dtype", y.dtype, "x", x.dtype)
    check_float32("gamma", gamma)
    check_float32("beta", beta)
    if keep is not None:
        check_float32("keep", keep)
    if all_known(x.shape, y.shape, gamma.shape, beta.shape, () if keep is None else keep.shape):
        check_not_empty("x", x.shape, 2, "(B, ..., C)")
        check_same("y", "shape", y.shape, "x", x.shape)
        check_shape("gamma", gamma.shape, x.shape[-1:], "one a channel")
        check_shape("beta", beta.shape, x.shape[-1:], "one a channel")
        if keep is not None:
            check_shape("keep", keep.shape, x.shape[:1], "one factor a sample")
    if name == "reference":
        return reference.residual_layer_norm(x, y, gamma, beta, epsilon, keep)
    if keep is None:
        keep = _one()  # for all samples, however many an exported graph is given
    operator = _residual_operator(epsilon, name)
    return operator(x, y, gamma, beta, keep)[0]


def layer_norm(
    y: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5, *, backend: Optional[str] = None
) -> Tensor:
    """LayerNorm(y) over the last axis: what follows patch embedding, patch merging and the last stage.

    Formula: csrc/residual_layer_norm/residual_layer_norm.h, without x. Differentiable in every tensor, deterministic.

    Args:
        y: (..., C) float32, float16 or bfloat16. Arithmetic is float32.
        gamma, beta: (C,) float32.
        epsilon: added to the variance, > 0.
        backend: as in `window_attention`.

    Returns:
        Shape of y, float32.

    Raises:
        ValueError, TypeError: an argument of the wrong shape, value or dtype, named in the text.
        RuntimeError: the back end cannot run here.
    """
    name, epsilon = resolve_row_in_graph(backend), _checked_epsilon(epsilon)
    check_storage_dtype("y", y)
    check_float32("gamma", gamma)
    check_float32("beta", beta)
    if all_known(y.shape, gamma.shape, beta.shape):
        check_not_empty("y", y.shape, 1, "(..., C)")
        check_shape("gamma", gamma.shape, y.shape[-1:], "one a channel")
        check_shape("beta", beta.shape, y.shape[-1:], "one a channel")
    if name == "reference":
        return reference.layer_norm(y, gamma, beta, epsilon)
    operator = _norm_operator(epsilon, name)
    return operator(y, gamma, beta)[0]


@constexpr
def _checked_epsilon(epsilon):
    if not number("epsilon", epsilon) > 0:
        raise ValueError(f"epsilon: expected a number > 0 in float32, got {epsilon!r}")
    return float(epsilon)


@constexpr
def _one():
    return Tensor(np.ones(1, np.float32))


# Every operator's getter has a name of its own, and is called on a line of its own: mindspore.rewrite, and so amp's O1,
# compiles these functions anew, and looks such names up among all that it has seen.
@constexpr
def _residual_operator(epsilon, backend):
    return _build(epsilon, backend, device_target())


@constexpr
def _norm_operator(epsilon, backend):
    return _build_norm(epsilon, backend, device_target())


@cache
def _build(epsilon, backend, _device):
    gradient = custom_operator("SwinV2ResidualLayerNormGrad", backend, 4, epsilon=epsilon)

    def bprop(x, y, gamma, beta, keep, out, dout):
        dy, dgamma, dbeta, dkeep = gradient(y, gamma, beta, keep, out[1], dout[0])
        return dout[0], dy, dgamma, dbeta, dkeep

    return custom_operator("SwinV2ResidualLayerNorm", backend, 2, bprop, epsilon=epsilon)


@cache
def _build_norm(epsilon, backend, _device):
    gradient = custom_operator("SwinV2LayerNormGrad", backend, 3, epsilon=epsilon)

    def bprop(y, gamma, beta, out, dout):
        return gradient(y, gamma, beta, out[1], dout[0])

    return custom_operator("SwinV2LayerNorm", backend, 2, bprop, epsilon=epsilon)
