# SPDX-License-Identifier: Apache-2.0
"""What the operators check alike; each judges in a constexpr, which graph mode runs while tracing."""

import math
from numbers import Real

import mindspore as ms
import numpy as np
from mindspore import Tensor
from mindspore.ops import constexpr

DTYPES = (ms.float32, ms.float16, ms.bfloat16)


def check_tensor(name, value):
    if not isinstance(value, Tensor):
        _no_tensor(name, value)


@constexpr
def _no_tensor(name, value):
    what = repr(value)
    if isinstance(value, np.ndarray):
        what = f"a NumPy array of shape {value.shape}, {value.dtype}; wrap it: mindspore.Tensor(...)"
    raise TypeError(f"{name}: expected a Tensor, got {what if len(what) < 200 else type(value).__name__}")


def check_storage_dtype(name, value):
    check_tensor(name, value)
    _check_storage_dtype(name, value.dtype)


@constexpr
def _check_storage_dtype(name, dtype):
    if dtype not in DTYPES:
        raise TypeError(f"{name}: expected float32, float16 or bfloat16, got {dtype}")


@constexpr(check=False)  # of unknown values too
def all_known(*shapes):
    """Whether no shape has a dynamic dimension or rank; those are checked natively, once they are known."""
    return all(shape is not None and all(n is not None and n >= 0 for n in shape) for shape in shapes)


def check_float32(name, value):
    check_tensor(name, value)
    _check_float32(name, value.dtype)


@constexpr
def _check_float32(name, dtype):
    if dtype != ms.float32:
        raise TypeError(
            f"{name}: expected float32, whatever the features' dtype, got {dtype}; cast it, and keep MindSpore's "
            "to_float and amp O2 or O3, which cast all inputs of an operator, off this cell"
        )


@constexpr
def check_same(name, what, got, other, expected):
    if got != expected:
        raise (TypeError if what == "dtype" else ValueError)(
            f"{name}: expected the {what} of {other}, {expected}, got {got}"
        )


@constexpr
def check_shape(name, shape, expected, meaning):
    if tuple(shape) != tuple(expected):
        raise ValueError(f"{name}: expected shape {tuple(expected)}, {meaning}, got {tuple(shape)}")


@constexpr
def check_rank(name, shape, expected, form):
    if len(shape) != expected:
        raise ValueError(f"{name}: expected {expected} dimensions {form}, got shape {tuple(shape)}")


@constexpr
def check_not_empty(name, shape, least_dimensions, form):
    if len(shape) < least_dimensions:
        raise ValueError(f"{name}: expected at least {least_dimensions} dimensions {form}, got shape {shape}")
    if min(shape) < 1:
        raise ValueError(f"{name}: expected every dimension to be at least 1, got shape {shape}")


def number(name: str, value: float) -> float:
    """A real number as float32 holds it, infinite beyond its range."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a float, got {value!r} of type {type(value).__name__}")
    try:
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    except OverflowError:  # an int beyond float64
        return math.inf if value > 0 else -math.inf
