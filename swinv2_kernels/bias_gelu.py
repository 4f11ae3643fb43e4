# SPDX-License-Identifier: Apache-2.0
"""Bias and GELU as one operator.

The formula, forward and backward, is in csrc/bias_gelu/bias_gelu.h, and as MindSpore operators in
swinv2_kernels.reference.bias_gelu.
"""

from functools import cache
from typing import Optional

from mindspore import Tensor
from mindspore.ops import constexpr

from swinv2_kernels import reference
from swinv2_kernels.backend import device_target, resolve_row_in_graph
from swinv2_kernels.checks import all_known, check_float32, check_not_empty, check_shape, check_storage_dtype
from swinv2_kernels.custom import custom_operator


def bias_gelu(x: Tensor, bias: Tensor, approximate: str = "none", *, backend: Optional[str] = None) -> Tensor:
    """gelu(x + bias), the exact form by default (arXiv 1606.08415); what follows the first Linear of the MLP.

    Formula: csrc/bias_gelu/bias_gelu.h. Differentiable in both tensors, deterministic.

    Args:
        x: (..., C) float32, float16 or bfloat16. Arithmetic is float32.
        bias: (C,) float32.
        approximate: "none" for z Phi(z), "tanh" for the approximation some checkpoints were trained with.
        backend: as in `window_attention`.

    Returns:
        Shape and dtype of x.

    Raises:
        ValueError, TypeError: an argument of the wrong shape, value or dtype, named in the text.
        RuntimeError: the back end cannot run here.
    """
    name = resolve_row_in_graph(backend)
    _check_form(approximate)
    check_storage_dtype("x", x)
    check_float32("bias", bias)
    if all_known(x.shape, bias.shape):
        check_not_empty("x", x.shape, 1, "(..., C)")
        check_shape("bias", bias.shape, x.shape[-1:], "the channels of x")
    if name == "reference":
        return reference.bias_gelu(x, bias, approximate)
    operator = _gelu_operator(approximate, name)
    return operator(x, bias)


@constexpr
def _check_form(approximate):
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")


@constexpr
def _gelu_operator(approximate, backend):
    return _build(approximate == "tanh", backend, device_target())


@cache
def _build(tanh, backend, _device):
    gradient = custom_operator("SwinV2BiasGeluGrad", backend, 2, tanh=tanh)

    def bprop(x, bias, out, dout):
        return gradient(x, bias, dout)

    return custom_operator("SwinV2BiasGelu", backend, 1, bprop, tanh=tanh)
