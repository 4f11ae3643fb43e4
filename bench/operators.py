# SPDX-License-Identifier: Apache-2.0
"""Operators as users run them, in a graph of MindSpore: forward and forward+backward, fused against reference."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from bench.measure import interleave, settled
from swinv2_model.ranks import graph_mode

IMPLEMENTATIONS = {"fused": "cpu", "reference": "reference"}
TOLERANCE = 1e-4  # of the largest value; the tests hold the operators to much less


class Mismatch(RuntimeError):
    """Two implementations of a case give different results: their times would say nothing."""


def compiled(case, direction, backend, dtype="float32", phase=None):
    """() -> Tensors, the results of one run of the graph with case.calls operators; on the CPU they are there then.

    A cell in graph mode, as in a model: beside a `ms.jit` function called from PyNative the Python thread spins.
    Results are the operators' own, then, with forward+backward, the gradients.

    dtype: storage of the first argument, of results in its place and of the cotangent.
    phase: of the cell. In "increment", which is for serving, MindSpore does not compare a call's arguments with what it
        has compiled.
    """
    function, calls, storage = case.function(backend), case.calls, getattr(ms, dtype)
    arguments = []
    for seed in range(calls):
        first, *rest = (Tensor(x) for x in case.inputs(seed))
        arguments += [first.astype(storage), *rest]
    count = len(arguments) // calls
    wanted = case.gradients or tuple(range(count))
    if direction != "forward":
        arguments += [Tensor(case.cotangent(calls + seed)).astype(storage) for seed in range(calls)]

    class Forward(nn.Cell):
        def construct(self, *args):
            results = ()
            for i in range(calls):
                results = (*results, function(*args[i * count : (i + 1) * count]))
            return results

    class Both(nn.Cell):
        def construct(self, *args):
            outputs, gradients = (), ()
            for i in range(calls):
                output, pullback = ms.vjp(function, *args[i * count : (i + 1) * count])
                found = pullback(args[calls * count + i])
                outputs = (*outputs, output)
                for j in wanted:
                    gradients = (*gradients, found[j])
            return outputs + gradients

    graph_mode()
    graph = Forward() if direction == "forward" else Both()
    if phase:
        graph.phase = phase
    return lambda: graph(*arguments)


def finish(results):
    """The results as NumPy arrays: views, but the graph must have run. It takes some 40 us a result."""
    return [r.asnumpy() for r in (results if isinstance(results, (tuple, list)) else (results,))]


def compare(name, expected, actual, tolerance=TOLERANCE):
    """The largest difference over all results, as a share of each one's largest value.

    Raises:
        Mismatch: it is more than `tolerance`, or a shape differs.
    """
    worst = 0.0
    for index, (a, b) in enumerate(zip(expected, actual)):
        a, b = a.astype(np.float32), b.astype(np.float32)
        if a.size != b.size:
            raise Mismatch(f"{name}: result {index} has shape {b.shape}, expected {a.shape}")
        error = float(np.abs(a.ravel() - b.ravel()).max() / max(np.abs(a).max(), 1e-30))
        if not error <= tolerance:
            raise Mismatch(
                f"{name}: result {index} differs by {error:.1e} of its range, allowed {tolerance:.0e}"
            )
        worst = max(worst, error)
    return worst


def measure_operator(machine, case, direction, seconds):
    """[Row] of one case, fused and reference, after their results have been compared."""
    name = case.name(direction)
    runs = {i: settled(compiled(case, direction, backend)) for i, backend in IMPLEMENTATIONS.items()}
    compare(name, *(finish(runs[impl]()) for impl in ("reference", "fused")))
    samples = interleave(runs, seconds)
    unit = 1e6 / case.calls
    return [machine.row(name, i, "us", [t * unit for t in s], batch=case.batch) for i, s in samples.items()]
