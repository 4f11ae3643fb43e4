# SPDX-License-Identifier: Apache-2.0
"""Micro-benchmarks of the kernels alone, on NumPy arrays: `pytest tests/bench/test_micro.py --benchmark-only`."""

import numpy as np
import pytest

from bench import cases
from swinv2_kernels import _native

CASES = [cases.window_attention(1, 8, 1), cases.window_attention(3, 8, 1), cases.window_attention(3, 16, 1)]
quickly = pytest.mark.benchmark(max_time=0.2, min_rounds=3, warmup=True, warmup_iterations=2)


def arguments(case):
    qkv, table, logit_scale = case.inputs()
    return (qkv, table, np.exp(logit_scale)), {"shift_size": (case.facts["shift"],) * 2}


@quickly
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.shape)
def test_window_attention_forward(benchmark, case):
    tensors, options = arguments(case)
    out, _ = benchmark(_native.window_attention_forward, *tensors, **options)
    assert out.shape == case.output


@quickly
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.shape)
def test_window_attention_backward(benchmark, case):
    tensors, options = arguments(case)
    out, stats = _native.window_attention_forward(*tensors, **options)
    gradients = benchmark(
        _native.window_attention_backward, *tensors, out, stats, case.cotangent(), **options
    )
    assert gradients[0].shape == tensors[0].shape
