# SPDX-License-Identifier: Apache-2.0
"""The operator cases: inputs, the call in MindSpore, the work it cannot avoid. A new operator is one function."""

from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np

HEAD_DIM = 32
IMAGE = 256
DIRECTIONS = ("forward", "forward+backward")
SHORT_CALLS = 4  # operators of a millisecond: entering a graph takes 0.2 to 0.4 ms, which a model does once


@dataclass(frozen=True)
class Work:
    """Operations of the matrix products (0: none worth counting), and bytes that a call must read or write once."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Case:
    """One operator at one shape.

    inputs: seed -> float32 NumPy arguments; output: shape of the result; function: back end -> function of MindSpore
    tensors; work: {direction: Work}; facts: the shape for peers; gradients: the arguments whose gradient is wanted,
    None for all; calls: how many of the operator, each on inputs of its own, are timed in one graph.
    """

    operator: str
    shape: str
    batch: int
    inputs: Callable[..., tuple]
    output: tuple
    function: Callable[[str], Callable]
    work: dict
    facts: dict
    gradients: Optional[tuple] = None
    calls: int = 1

    def name(self, direction):
        return f"{self.operator} {self.shape} {direction}"

    def cotangent(self, seed=1):
        return np.random.default_rng(seed).standard_normal(self.output, np.float32)


@dataclass(frozen=True)
class Stage:
    """Stage 1 to 4 of SwinV2-T at 256 x 256."""

    number: int

    @property
    def size(self):
        return IMAGE // 4 >> (self.number - 1)

    @property
    def channels(self):
        return 96 << (self.number - 1)

    @property
    def heads(self):
        return self.channels // HEAD_DIM


def window_attention(stage, window, batch=8, shifted=True):
    """A block of a stage; shifted only where windows are smaller than the image."""
    stage = Stage(stage)
    size, channels, heads = stage.size, stage.channels, stage.heads
    window = min(window, size)
    shift = window // 2 if shifted and window < size else 0
    pixels = batch * size * size
    # Pairs of tokens along an axis: the last window is of two regions that do not see each other.
    pairs = (size // window - 1) * window**2 + (window - shift) ** 2 + shift**2

    def inputs(seed=0):
        rng = np.random.default_rng(seed)
        qkv = rng.standard_normal((batch, size, size, 3 * channels), np.float32)
        table = 16 / (1 + np.exp(-rng.standard_normal((heads, 2 * window - 1, 2 * window - 1), np.float32)))
        return qkv, table.astype(np.float32), rng.uniform(1.5, 3, heads).astype(np.float32)

    def function(backend):
        from swinv2_kernels import WindowAttention

        return WindowAttention(window, shift, backend=backend)

    product = 2.0 * batch * pairs**2 * channels
    forward = Work(2 * product, 4.0 * pixels * (3 * channels + channels + heads))
    # Backward computes the scores again, then dv, dp, dq, dk.
    backward = Work(5 * product, 4.0 * pixels * (3 * channels + 2 * channels + 3 * channels + heads))
    both = Work(forward.flops + backward.flops, forward.bytes + backward.bytes)
    return Case(
        "window_attention",
        f"T stage {stage.number} w{window} s{shift}",
        batch,
        inputs,
        (batch, size, size, channels),
        function,
        dict(zip(DIRECTIONS, (forward, both))),
        {"size": size, "heads": heads, "window": window, "shift": shift},
    )


def residual_layer_norm(stage, batch=8):
    """x + LayerNorm(y) on the tokens of a stage."""
    stage = Stage(stage)
    shape = (batch, stage.size, stage.size, stage.channels)

    def inputs(seed=0):
        rng = np.random.default_rng(seed)
        x, y = (rng.standard_normal(shape, np.float32) for _ in range(2))
        gamma, beta = (rng.standard_normal(stage.channels, np.float32) for _ in range(2))
        return x, y, gamma, beta

    def function(backend):
        from swinv2_kernels import residual_layer_norm as operator

        def call(x, y, gamma, beta):
            return operator(x, y, gamma, beta, backend=backend)

        return call

    # Forward x, y -> out; backward y, dout -> dy; dx is dout itself, which a graph would copy to give it back.
    return _elementwise("residual_layer_norm", stage, shape, inputs, function, 3, 3, gradients=(1, 2, 3))


def bias_gelu(stage, batch=8):
    """GELU of the MLP's hidden layer."""
    stage = Stage(stage)
    shape = (batch, stage.size, stage.size, 4 * stage.channels)

    def inputs(seed=0):
        rng = np.random.default_rng(seed)
        return rng.standard_normal(shape, np.float32), rng.standard_normal(shape[-1], np.float32)

    def function(backend):
        from swinv2_kernels import bias_gelu as operator

        def call(x, bias):
            return operator(x, bias, backend=backend)

        return call

    # Forward x -> out; backward x, dout -> dx.
    return _elementwise("bias_gelu", stage, shape, inputs, function, 2, 3)


def linear(stage, batch=8):
    """The qkv projection of a stage."""
    stage = Stage(stage)
    channels, outputs, rows = stage.channels, 3 * stage.channels, batch * stage.size**2

    def inputs(seed=0):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((batch, stage.size, stage.size, channels), np.float32)
        weight = rng.standard_normal((outputs, channels), np.float32) / np.float32(channels**0.5)
        return x, weight, rng.standard_normal(outputs, np.float32)

    def function(backend):
        from swinv2_kernels import linear as operator

        def call(x, weight, bias):
            return operator(x, weight, bias, backend=backend)

        return call

    product, read, written = 2.0 * rows * channels * outputs, 4.0 * rows * channels, 4.0 * rows * outputs
    # Forward x -> out; backward x, dout -> dx, and the weight's gradient.
    work = Work(product, read + written), Work(3 * product, 3 * read + 2 * written)
    shape = (batch, stage.size, stage.size, outputs)
    name = f"T stage {stage.number}"
    return Case(
        "linear", name, batch, inputs, shape, function, dict(zip(DIRECTIONS, work)), {}, calls=SHORT_CALLS
    )


def _elementwise(operator, stage, shape, inputs, function, forward_arrays, backward_arrays, gradients=None):
    size = 4.0 * np.prod(shape)
    work = Work(0, forward_arrays * size), Work(0, (forward_arrays + backward_arrays) * size)
    return Case(
        operator,
        f"T stage {stage.number}",
        shape[0],
        inputs,
        shape,
        function,
        dict(zip(DIRECTIONS, work)),
        {},
        gradients,
        SHORT_CALLS,
    )


def operator_cases(quick=False):
    """What `python -m bench` measures. Stage 4 has one window of 8 whatever the model's."""
    if quick:
        return [
            window_attention(1, 8),
            window_attention(3, 8),
            window_attention(3, 16),
            residual_layer_norm(1),
            bias_gelu(3),
        ]
    return [
        *(window_attention(stage, 8) for stage in (1, 2, 3, 4)),
        *(window_attention(stage, 16) for stage in (1, 2, 3)),
        *(operator(stage) for operator in (residual_layer_norm, bias_gelu, linear) for stage in (1, 3)),
    ]
