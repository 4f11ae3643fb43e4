# SPDX-License-Identifier: Apache-2.0
"""Operators as users run them, in a graph of MindSpore: forward and forward+backward, fused against reference."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from bench.measure import interleave, settled
from swinv2_model.ranks import graph_mode

IMPLEMENTATIONS = {"fused": "cpu", "reference": "reference"}
TOLERANCE = 1e-4  # of the largest value; the tests hold the operators to much less
_gradient = ops.GradOperation(get_all=True, sens_param=True)


class Mismatch(RuntimeError):
    """Two implementations of a case give different results: their times would say nothing."""


def compiled(case, direction, backend, dtype="float32", cell=False):
    """() -> NumPy results of one call; returns when they are there.

    dtype: storage of the first argument, of results in its place and of the cotangent. cell: as in a model, a cell in
    graph mode, instead of a `ms.jit` function, beside which the Python thread spins.
    """
    function = case.function(backend)
    first, *rest = (Tensor(x) for x in case.inputs())
    storage = getattr(ms, dtype)
    arguments = [first.astype(storage), *rest]
    if direction != "forward":
        arguments.append(Tensor(case.cotangent()).astype(storage))

    def call(*args):
        return function(*args) if direction == "forward" else _gradient(function)(*args)

    class Graph(nn.Cell):
        def construct(self, *args):
            return call(*args)

    if cell:
        graph_mode()
    run = Graph() if cell else ms.jit(call)
    return lambda: finish(run(*arguments))


def finish(results):
    """The results as NumPy arrays: views, but the graph must have run."""
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
    compare(name, *(runs[impl]() for impl in ("reference", "fused")))
    samples = interleave(runs, seconds)
    return [machine.row(name, i, "us", [t * 1e6 for t in s], batch=case.batch) for i, s in samples.items()]
