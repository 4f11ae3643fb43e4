# SPDX-License-Identifier: Apache-2.0
"""The operator cases: inputs, the call in MindSpore, and the work it cannot avoid. A new operator is one function here."""

from dataclasses import dataclass
from typing import Callable

import numpy as np

HEAD_DIM = 32
IMAGE = 256
DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Work:
    """Operations of the matrix products, and bytes that a call must read or write once; per direction."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Case:
    """One operator at one shape.

    inputs: () -> float32 NumPy arguments, all differentiable; output: shape of the result;
    function: back end -> function of MindSpore tensors; work: {direction: Work}; facts: the shape for peers.
    """

    operator: str
    shape: str
    batch: int
    inputs: Callable[[], tuple]
    output: tuple
    function: Callable[[str], Callable]
    work: dict
    facts: dict

    def name(self, direction):
        return f"{self.operator} {self.shape} {direction}"

    def cotangent(self):
        return np.random.default_rng(1).standard_normal(self.output, np.float32)


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


def window_attention(stage, window, batch=8):
    """The shifted blocks where there are any: windows smaller than the image."""
    stage = Stage(stage)
    size, channels, heads = stage.size, stage.channels, stage.heads
    window = min(window, size)
    shift = window // 2 if window < size else 0
    tokens, pixels = window * window, batch * size * size

    def inputs():
        rng = np.random.default_rng(0)
        qkv = rng.standard_normal((batch, size, size, 3 * channels), np.float32)
        table = 16 / (1 + np.exp(-rng.standard_normal((heads, 2 * window - 1, 2 * window - 1), np.float32)))
        return qkv, table.astype(np.float32), rng.uniform(1.5, 3, heads).astype(np.float32)

    def function(backend):
        from swinv2_kernels import WindowAttention

        return WindowAttention(window, shift, backend=backend)

    product = 2.0 * pixels * tokens * channels
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


def operator_cases(quick=False):
    """What `python -m bench` measures. Stage 4 has one window of 8 whatever the model's."""
    if quick:
        return [window_attention(1, 8), window_attention(3, 8), window_attention(3, 16)]
    return [window_attention(s, 8) for s in (1, 2, 3, 4)] + [window_attention(s, 16) for s in (1, 2, 3)]
