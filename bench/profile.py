# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: `python -m bench.profile [--batch N] [--window 8|16]`.

The kernels of a SwinV2-T inference, each timed alone on NumPy arrays and in turn with the model in MindSpore; and
operators in a graph beside their kernels. What the kernels do not explain is MindSpore's (entering the graph,
handing over from one operator to the next, its own small ones) and what kernels lose to caches that others have used.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

from bench import cases, machine, report
from bench.cases import Stage, Work
from bench.measure import interleave, settled
from bench.rows import write_csv

DEPTHS, PATCH, MLP_RATIO, CLASSES = (2, 2, 6, 2), 4, 4, 1000  # SwinV2-T


@dataclass(frozen=True)
class Kernel:
    """One kind of call: how often an inference makes it, how it runs on arrays of its own, and its work."""

    name: str
    calls: int
    run: Callable[[], object]
    work: Work


def kernels(window, batch):
    """[Kernel] of one inference. Norms without a residual are timed as those with it."""
    from swinv2_kernels import _native

    rng = np.random.default_rng(5)

    def array(*shape):
        return rng.standard_normal(shape, np.float32)

    def linear(name, calls, x, rows, K, N, gelu=None, **view):
        weight, bias = array(N, K) / np.float32(K**0.5), array(N)
        work = Work(2.0 * rows * K * N, 4.0 * (x.size + N * K + rows * N))
        return Kernel(name, calls, lambda: _native.linear_forward(x, weight, bias, gelu, **view), work)

    def of(name, calls, case):
        return Kernel(name, calls, kernel_of(case, "forward"), case.work["forward"])

    def attention(stage, number, depth):
        kinds = {shifted: cases.window_attention(number, window, batch, shifted) for shifted in (False, True)}
        if not kinds[True].facts["shift"]:
            return [of(f"{stage}, window attention", depth, kinds[False])]
        return [
            of(f"{stage}, window attention", depth - depth // 2, kinds[False]),
            of(f"{stage}, window attention, shifted", depth // 2, kinds[True]),
        ]

    first, last = Stage(1), Stage(len(DEPTHS))
    pixels = array(batch, 3, cases.IMAGE, cases.IMAGE)
    view = {"view": "embedding", "patch_size": PATCH}
    found = [
        linear("patch embedding", 1, pixels, batch * first.size**2, 3 * PATCH**2, first.channels, **view),
        of("patch embedding, norm", 1, cases.residual_layer_norm(first.number, batch)),
    ]
    for number, depth in enumerate(DEPTHS, 1):
        stage, size, C = f"stage {number}", Stage(number).size, Stage(number).channels
        rows = batch * size**2
        x, hidden = array(batch, size, size, C), array(batch, size, size, MLP_RATIO * C)
        found += [
            linear(f"{stage}, qkv", depth, x, rows, C, 3 * C),
            *attention(stage, number, depth),
            linear(f"{stage}, projection", depth, x, rows, C, C),
            linear(f"{stage}, MLP in, GELU", depth, x, rows, C, MLP_RATIO * C, "none"),
            linear(f"{stage}, MLP out", depth, hidden, rows, MLP_RATIO * C, C),
            of(f"{stage}, residual norms", 2 * depth, cases.residual_layer_norm(number, batch)),
        ]
        if number < last.number:
            found += [
                linear(f"{stage}, patch merging", 1, x, rows // 4, 4 * C, 2 * C, view="merging"),
                of(f"{stage}, patch merging, norm", 1, cases.residual_layer_norm(number + 1, batch)),
            ]
    return [
        *found,
        of("last norm", 1, cases.residual_layer_norm(last.number, batch)),
        linear("head", 1, array(batch, last.channels), batch, last.channels, CLASSES),
    ]


def profile_model(here, window, batch, seconds=12.0):
    """([Kernel], {name: Row in ms an inference, calls counted}, Row of the whole model)."""
    from bench import models

    parts = kernels(window, batch)
    model = models.inference(window, "cpu", models.parameters(window), models.images(batch))
    runs = {"model": settled(model), **{k.name: k.run for k in parts}}
    samples = interleave(runs, seconds)
    case = f"SwinV2-T w{window} inference"
    whole = here.row(case, "model", "ms", [t * 1e3 for t in samples["model"]], batch=batch)
    times = {
        k.name: here.row(
            f"{case}, {k.name}", "kernel", "ms", [t * 1e3 * k.calls for t in samples[k.name]], batch=batch
        )
        for k in parts
    }
    return parts, times, whole


def kernel_of(case, direction):
    """() -> None: the kernels of an operator case on NumPy arrays."""
    from swinv2_kernels import _native

    first, *rest = case.inputs()
    dout, both = case.cotangent(), direction != "forward"
    if case.operator == "window_attention":
        (table, logit_scale), shift = rest, (case.facts["shift"],) * 2
        scale = np.exp(logit_scale)

        def run():
            out, stats = _native.window_attention_forward(first, table, scale, shift_size=shift)
            if both:
                _native.window_attention_backward(first, table, scale, out, stats, dout, shift_size=shift)

    elif case.operator == "residual_layer_norm":
        (y, gamma, beta), keep = rest, np.ones(case.batch, np.float32)

        def run():
            _, stats = _native.residual_layer_norm_forward(first, y, gamma, beta, keep)
            if both:
                _native.residual_layer_norm_backward(y, gamma, beta, keep, stats, dout)

    else:

        def run():
            _native.bias_gelu_forward(first, *rest)
            if both:
                _native.bias_gelu_backward(first, *rest, dout)

    return run


def profile_operator(here, case, direction, seconds=2.0):
    """[Row]: the kernels of an operator case alone, then the operator in a graph."""
    from bench import operators

    runs = {
        "kernel": settled(kernel_of(case, direction)),
        "graph": settled(operators.compiled(case, direction, "cpu")),
    }
    calls = {"kernel": 1, "graph": case.calls}
    return [
        here.row(case.name(direction), impl, "us", [t * 1e6 / calls[impl] for t in s], batch=case.batch)
        for impl, s in interleave(runs, seconds).items()
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=1, help="images [%(default)s]")
    parser.add_argument("--window", type=int, default=8, choices=(8, 16), help="[%(default)s]")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), help="folder of the CSV [%(default)s]"
    )
    options = parser.parse_args(arguments)

    os.environ.setdefault("GLOG_v", "3")
    threads = machine.available_threads()
    machine.limit_threads(threads)
    console = report.console()
    here = machine.Machine.here(threads)
    console.print(f"{here.device}, {here.threads} threads, commit {here.commit}")
    peak_rows, peaks = machine.measure_peaks(here, 50)
    console.print(report.peaks_table(peak_rows))

    parts, times, whole = profile_model(here, options.window, options.batch)
    console.print(report.profile_table(parts, times, whole, peaks))

    attention = [cases.window_attention(*case) for case in ((1, 8), (3, 8), (3, 16))]
    wanted = [
        (case, direction)
        for case in (*attention, cases.residual_layer_norm(1), cases.bias_gelu(3))
        for direction in cases.DIRECTIONS
    ]
    rows = [row for pair in wanted for row in profile_operator(here, *pair)]
    works = {case.name(direction): case.work[direction] for case, direction in wanted}
    console.print(
        report.operator_table(rows, works, peaks, "Operators, batch 8: kernel and in a graph", "kernel")
    )

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "profile.csv"
    write_csv(path, [*peak_rows, whole, *times.values(), *rows])
    console.print(str(path))


if __name__ == "__main__":
    main()
