# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: the machine's peaks, operators, SwinV2-T, memory."""

import atexit
import gc
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import cases, memory, models, report
from bench.machine import measure_peaks
from bench.operators import IMPLEMENTATIONS, measure_operator


def progress(console):
    columns = TextColumn("{task.description:<56}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True)


def work_through(console, jobs):
    """jobs: [(label, () -> [Row])]; all rows, with a progress bar where there is a terminal."""
    rows = []
    with progress(console) as bar:
        task = bar.add_task("", total=len(jobs))
        for label, job in jobs:
            bar.update(task, description=label)
            rows += job()
            gc.collect()  # models hang in cycles with their compiled functions
            bar.advance(task)
    return rows


def isolated(function, *arguments):
    """Call a function in a process of its own: MindSpore gives memory back only there, and a model takes gigabytes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_quietly) as pool:
        return pool.submit(function, *arguments).result()


def _end_quietly():
    """MindSpore's cells complain if they are still there when the interpreter takes its modules down: it does not."""
    atexit.register(os._exit, 0)


def run(machine, console, quick=False):
    """Measure, print, and return all rows."""
    peak_rows, peaks = measure_peaks(machine, 20 if quick else 50)
    console.print(report.peaks_table(peak_rows))

    wanted = [(case, d) for case in cases.operator_cases(quick) for d in cases.DIRECTIONS]
    budget = 1.0 if quick else 2.0

    def operator(case, direction):
        return case.name(direction), lambda: measure_operator(machine, case, direction, budget)

    operators = work_through(console, [operator(*pair) for pair in wanted])
    works = {case.name(d): case.work[d] for case, d in wanted}
    title = f"Operators in graph mode, float32, batch {wanted[0][0].batch}"
    console.print(report.operator_table(operators, works, peaks, title))

    def inference(window, batch):
        label = f"SwinV2-T w{window} inference, batch {batch}"
        return label, lambda: isolated(
            models.measure_inference, machine, window, batch, 2.0 if quick else 5.0
        )

    def training(batch):
        label = f"SwinV2-T w8 training step, batch {batch}"
        return label, lambda: isolated(models.measure_training, machine, 8, batch, 2.0 if quick else 8.0)

    sizes = [(8, 1)] if quick else [(w, b) for w in (8, 16) for b in (1, 8)]
    whole = work_through(console, [inference(*size) for size in sizes] + [training(2 if quick else 8)])
    console.print(report.model_table(whole, "SwinV2-T, 256 x 256, float32, graph mode"))

    def used(job, batch):
        label = f"peak memory, {memory.JOBS[job]}"
        return label, lambda: memory.measure_memory(machine, job, batch, IMPLEMENTATIONS)

    jobs = [used("operator", 8)] if quick else [used("operator", 8), used("inference", 8)]
    memories = work_through(console, jobs)
    console.print(report.memory_table(memories))
    return peak_rows + operators + whole + memories
