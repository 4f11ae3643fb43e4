# SPDX-License-Identifier: Apache-2.0
"""bench's pure parts, and a run of every kind of measurement at a size that takes seconds."""

import dataclasses
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from bench import cases, machine, measure, memory, models, operators, plot, profile, report
from bench.__main__ import parse
from bench.rows import COLUMNS, Row, geometric_mean, percentiles, read_csv, speedups, write_csv
from swinv2_kernels import _native

MACHINE = machine.Machine("a CPU", 2, "0123abc")
SMALL = {"image_size": 32, "depths": (1, 1), "num_heads": (1, 2), "embed_dim": 32}


def small_case():
    case = cases.window_attention(3, 8, batch=1)
    assert case.output == (1, 16, 16, 384)
    return case


def rows():
    a = MACHINE.row("one", "fused", "us", [1.0, 2.0, 3.0], batch=8)
    b = MACHINE.row("one", "reference", "us", [8.0], batch=8)
    c = MACHINE.row("two", "reference", "ms", [5.0], batch=1)
    return [a, b, c, MACHINE.row("stream copy", "machine", "GB/s", [30.0])]


def test_percentiles():
    assert percentiles(range(11)) == (2.0, 5.0, 8.0)
    assert percentiles([3.5]) == (3.5, 3.5, 3.5)
    with pytest.raises(ValueError, match="at least one"):
        percentiles([])


def test_geometric_mean():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([]))
    with pytest.raises(ValueError, match="positive"):
        geometric_mean([1.0, 0.0])


def test_speedups_compare_rows_of_one_case_only():
    assert speedups(rows(), "fused") == {("one", 8, "us"): {"fused": 1.0, "reference": 4.0}}


def test_csv_keeps_rows_and_columns(tmp_path):
    path = tmp_path / "rows.csv"
    write_csv(path, rows())
    assert read_csv(path) == rows()
    header = "case,impl,device,dtype,threads,batch,unit,p20,p50,p80,n,commit"
    assert path.read_text().splitlines()[0] == header == ",".join(COLUMNS)
    assert rows()[0] == Row("one", "fused", "a CPU", "float32", 2, 8, "us", 1.4, 2.0, 2.6, 3, "0123abc")


def test_csv_of_other_columns_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("case,impl\none,fused\n")
    with pytest.raises(ValueError, match=r"rows\.csv: expected the columns case, impl, device"):
        read_csv(path)


def test_plot_reads_nothing_but_the_csv(tmp_path):
    write_csv(tmp_path / "rows.csv", rows())
    plot.plot(tmp_path / "rows.csv", tmp_path / "rows.png")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
    write_csv(tmp_path / "peaks.csv", rows()[-1:])
    with pytest.raises(ValueError, match="expected rows in one of us, ms, MiB"):
        plot.plot(tmp_path / "peaks.csv", tmp_path / "peaks.png")


def test_implementations_take_turns():
    calls = []

    def run(name, seconds):
        def call():
            calls.append(name)
            time.sleep(seconds)

        return call

    samples = measure.interleave({"a": run("a", 0.001), "b": run("b", 0.16)}, seconds=0.5)
    assert [len(s) for s in samples.values()] == [30, 3]
    assert min(samples["a"]) >= 0.001 and min(samples["b"]) >= 0.16
    turns = [name for name, before in zip(calls, [None, *calls]) if name != before]
    assert turns == ["a", "b"] * 4


def test_a_graph_is_settled_by_calls_or_by_seconds(monkeypatch):
    calls = []
    run = measure.settled(lambda: calls.append(1))
    assert len(calls) == measure.FIRST_CALLS
    run()
    assert len(calls) == measure.FIRST_CALLS + 1
    monkeypatch.setattr(measure, "FIRST_SECONDS", 0.0)
    measure.settled(lambda: calls.append(2))
    assert calls.count(2) == 1


def test_work_by_hand():
    # Stage 1, window 8, one image: 64 windows of 64 tokens, 3 heads of 32; two products, two operations each.
    work = cases.window_attention(1, 8, batch=1, shifted=False).work["forward"]
    assert work.flops == 64 * 3 * (2 * 64 * 64 * 32) * 2
    assert work.bytes == 4 * (64 * 64 * (288 + 96) + 64 * 64 * 3)  # and the statistics
    # Stage 3, shifted: of its four windows one is whole, two are halves that do not see each other, one is quarters.
    work = cases.window_attention(3, 8, batch=1).work["forward"]
    assert work.flops == 12 * (64**2 + 2 * 2 * 32**2 + 4 * 16**2) * 2 * 32 * 2
    assert cases.window_attention(4, 16).name("forward") == "window_attention T stage 4 w8 s0 forward"


def test_results_that_differ_are_not_timed():
    a = [np.ones(4, np.float32)]
    assert operators.compare("a case", a, a) == 0
    with pytest.raises(operators.Mismatch, match="a case: result 0 differs by 1.0e-03"):
        operators.compare("a case", a, [a[0] * 1.001])
    with pytest.raises(operators.Mismatch, match="differs by nan"):
        operators.compare("a case", a, [a[0] * np.nan])


def test_a_wrong_operator_is_not_timed():
    case = small_case()
    good, wrong = case.function("cpu"), case.function("reference")
    broken = dataclasses.replace(case, function=lambda backend: good if backend == "cpu" else wrong)
    wrong.options = (*wrong.options[:4], -1.0, "reference")  # another mask value
    with pytest.raises(operators.Mismatch, match="window_attention T stage 3 w8 s4 forward"):
        operators.measure_operator(MACHINE, broken, "forward", 0.0)


def test_a_graph_for_serving_gives_the_same():
    plain, serving = (
        operators.compiled(small_case(), "forward", "cpu", phase=p) for p in (None, "increment")
    )
    want = operators.finish(plain())
    for _ in range(2):  # compiled, then entered as it is
        assert operators.compare("serving", want, operators.finish(serving()), 0) == 0


def test_peaks_are_plausible():
    found, peaks = machine.measure_peaks(MACHINE, 2)
    assert [row.unit for row in found] == ["GFLOP/s", "GB/s", "GB/s"]
    assert 0.5 < peaks.gflops < 1e5 and 0.1 < peaks.gbs < 1e4
    with pytest.raises(ValueError, match="repetitions"):
        _native.measure_peaks(0)


@pytest.mark.parametrize("isa", _native.isas())
def test_every_instruction_set_has_its_loops(isa):
    _native.set_isa(isa)
    found = _native.measure_peaks(2)
    assert {name: len(samples) for name, samples in found.items()} == {"gflops": 2, "copy": 2, "triad": 2}
    assert min(min(samples) for samples in found.values()) > 0.01


@pytest.mark.parametrize("direction", cases.DIRECTIONS)
def test_operator_rows_and_table(direction):
    case = small_case()
    found = operators.measure_operator(MACHINE, case, direction, 0.0)
    assert [(row.impl, row.unit, row.batch) for row in found] == [("fused", "us", 1), ("reference", "us", 1)]
    console = report.console()
    with console.capture() as captured:
        works = {case.name(direction): case.work[direction]}
        console.print(report.operator_table(found, works, machine.Peaks(500.0, 40.0), "Operators"))
    gflops = case.work[direction].flops / found[0].p50 * 1e-3
    assert f"{gflops:.0f}" in captured.get() and f"{found[1].p50 / found[0].p50:.2f}x" in captured.get()


def test_model_rows():
    found = models.measure_inference(MACHINE, 4, 1, 0.0, **SMALL)
    found += models.measure_training(MACHINE, 4, 2, 0.0, **SMALL)
    assert [row.impl for row in found] == ["fused", "reference", "fused"]
    assert {row.unit for row in found} == {"ms"} and min(row.p20 for row in found) > 0


@pytest.mark.parametrize("window, multiply_adds", [(8, 5.9e9), (16, 6.6e9)])
def test_a_profile_has_the_work_of_the_model(window, multiply_adds):
    done = sum(k.calls * k.work.flops for k in profile.kernels(window, 1)) / 2
    # The paper's figures for SwinV2-T count the pairs of tokens that a mask forbids.
    forbidden = 0
    for stage, depth in enumerate(profile.DEPTHS, 1):
        whole, shifted = (cases.window_attention(stage, window, 1, s).work["forward"] for s in (False, True))
        forbidden += depth // 2 * (whole.flops - shifted.flops) / 2
    assert done + forbidden == pytest.approx(multiply_adds, rel=0.01)


def test_profile():
    parts = profile.kernels(8, 1)
    for kernel in parts:
        kernel.run()
    times = {k.name: MACHINE.row(k.name, "kernel", "ms", [0.25]) for k in parts}
    whole = MACHINE.row("SwinV2-T", "model", "ms", [10.0], batch=1)
    console = report.console()
    with console.capture() as captured:
        console.print(report.profile_table(parts, times, whole, machine.Peaks(500.0, 40.0)))
    assert f"{10 - 0.25 * len(parts):.2f}" in captured.get()


@pytest.mark.parametrize("direction", cases.DIRECTIONS)
@pytest.mark.parametrize("operator", ["window_attention", "residual_layer_norm", "bias_gelu"])
def test_profile_of_an_operator(operator, direction):
    case = small_case() if operator == "window_attention" else getattr(cases, operator)(4, batch=1)
    found = profile.profile_operator(MACHINE, case, direction, 0.0)
    assert [(row.impl, row.unit) for row in found] == [("kernel", "us"), ("graph", "us")]


def test_memory_in_a_process_of_its_own():
    (row,) = memory.measure_memory(MACHINE, "operator", 1, {"fused": "cpu"})
    qkv = 64 * 64 * 288 * 4 / 2**20
    assert 2 * qkv < row.p50 < 60 * qkv and row.unit == "MiB"  # dqkv, dout and what compiling takes
    with pytest.raises(RuntimeError, match="failed"):
        memory.measure_memory(MACHINE, "operator", 1, {"none": "nonsense"})


def test_command_line(monkeypatch):
    monkeypatch.delenv("SWINV2_BENCH_QUICK", raising=False)
    assert not parse([]).quick and not parse([]).peers and parse(["--quick"]).quick
    for value, quick in (("1", True), ("0", False)):
        monkeypatch.setenv("SWINV2_BENCH_QUICK", value)
        assert parse([]).quick is quick
    with pytest.raises(ValueError, match="threads: expected 1 to"):
        machine.limit_threads(0)


def test_threads_are_those_of_the_rows_whatever_is_inherited():
    program = "from bench import machine; machine.limit_threads(1); from swinv2_kernels import _native; "
    environment = {**os.environ, "SWINV2_KERNELS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", program + "print(_native.num_threads())"]
    run = subprocess.run(
        command, env=environment, cwd=machine.ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "1\n"


def test_other_work_is_a_share():
    other = machine.OtherWork()
    time.sleep(0.05)
    assert 0 <= other.share() <= 1
