# SPDX-License-Identifier: Apache-2.0
"""The attention core in other libraries: `python -m bench.peers.attention [seconds a case]` for its table alone.

Image layout to image layout. Peers are given the bias (and for SDPA bias plus mask) expanded beforehand; what they do
with it, gradients included, is in their time. Ours expands its table inside, and enters a graph of MindSpore for each
call; "ours, serving" enters one that does not look at its arguments again, and "ours, kernel alone" is the same kernel
called from Python on NumPy arrays.
"""

import numpy as np
import torch

from bench.cases import DIRECTIONS, window_attention
from bench.measure import interleave, settled
from bench.operators import compare, compiled, finish
from bench.peers.torch_swinv2 import WindowAttention, relative_position_index
from bench.profile import kernel_of

TOLERANCE = 1e-4
TOLERANCE_BFLOAT16 = 3e-2  # against float32 results of float32 inputs: their rounding counts


def cases(quick=False):
    if quick:
        return [window_attention(3, 8)]
    return [window_attention(1, 8), window_attention(3, 8), window_attention(3, 16)]


def torch_runs(case, direction):
    """{impl: () -> list of arrays} for PyTorch eager, SDPA and torch.compile."""
    facts = case.facts
    # Copies: NumPy's own large arrays lie on huge pages, what an operator of either framework leaves does not.
    qkv, table, logit_scale, cotangent = (
        torch.from_numpy(a).clone() for a in (*case.inputs(), case.cotangent())
    )
    heads, window = facts["heads"], facts["window"]
    index = torch.from_numpy(relative_position_index(window))
    expanded = table.flatten(1)[:, index].reshape(heads, window**2, window**2)

    def run(core, bias):
        if direction == "forward":
            arguments = [qkv, bias, logit_scale]

            def call():
                with torch.inference_mode():
                    return [core(*arguments).numpy()]

        else:
            arguments = [a.clone().requires_grad_() for a in (qkv, bias, logit_scale)]

            def call():
                gradients = torch.autograd.grad(core(*arguments), arguments, cotangent)
                return [g.numpy() for g in gradients]

        return call

    runs = {}
    for impl, mode in (("PyTorch eager", "eager"), ("PyTorch SDPA", "sdpa"), ("torch.compile", "eager")):
        core = WindowAttention(facts["size"], heads, window, facts["shift"], mode)
        bias = core.expand(expanded).contiguous()
        if impl == "torch.compile":
            torch.compiler.reset()  # else the last case's code becomes one for all sizes
            core = torch.compile(core, dynamic=False)
        runs[impl] = run(core, bias)
    return runs


def measure_attention(machine, case, direction, seconds):
    """[Row]: ours first, then the peers, results compared before."""
    name = case.name(direction)
    runs = {"ours": settled(compiled(case, direction, "cpu")), **torch_runs(case, direction)}
    expected = finish(runs["ours"]())
    if direction != "forward":
        _, *expected = expected
    for impl in list(runs)[1:]:
        actual = runs[impl]()
        runs[impl]()  # torch.compile is ready at the second call
        if direction == "forward":
            compare(f"{name}, {impl}", actual, expected, TOLERANCE)
        else:
            # Peers have the gradient of the expanded bias (and may have it by window): only its sum over all
            # pairs of a head compares.
            heads = case.facts["heads"]
            total = actual[1].reshape(-1, heads, actual[1].shape[-1] ** 2).sum((0, 2), dtype=np.float64)
            magnitude = float(np.abs(actual[1]).sum() / heads)
            ours = expected[1].sum((1, 2), dtype=np.float64)
            compare(f"{name}, {impl}", [actual[0], actual[2]], [expected[0], expected[2]], TOLERANCE)
            compare(f"{name}, {impl}", [np.append(total, magnitude)], [np.append(ours, magnitude)], TOLERANCE)
    if direction == "forward":
        half = settled(compiled(case, direction, "cpu", "bfloat16"))
        compare(f"{name}, bfloat16", expected, finish(half()), TOLERANCE_BFLOAT16)
        runs["ours bfloat16"] = half
        serving = settled(compiled(case, direction, "cpu", phase="increment"))
        compare(f"{name}, serving", expected, finish(serving()), 0)
        runs["ours, serving"] = serving
    runs["ours, kernel alone"] = settled(kernel_of(case, direction))
    samples = interleave(runs, seconds)
    rows = []
    for impl, times in samples.items():
        dtype = "bfloat16" if impl == "ours bfloat16" else "float32"
        rows.append(machine.row(name, impl, "us", [t * 1e6 for t in times], batch=case.batch, dtype=dtype))
    return rows


def works(quick=False):
    return {case.name(d): case.work[d] for case in cases(quick) for d in DIRECTIONS}


def main(seconds=3.0):
    from bench import machine, report
    from bench.run import work_through

    console = report.console()
    here = machine.Machine.here(torch.get_num_threads())
    peak_rows, peaks = machine.measure_peaks(here, 20)

    def job(case, direction):
        return case.name(direction), lambda: measure_attention(here, case, direction, seconds)

    rows = work_through(console, [job(c, d) for c in cases() for d in DIRECTIONS])
    console.print(report.peaks_table(peak_rows))
    console.print(report.operator_table(rows, works(), peaks, "Attention core, batch 8", "ours"))


if __name__ == "__main__":
    import os
    import sys

    from bench.machine import available_threads, limit_threads

    os.environ.setdefault("GLOG_v", "3")
    limit_threads(available_threads())
    main(*map(float, sys.argv[1:]))
