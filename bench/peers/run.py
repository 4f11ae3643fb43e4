# SPDX-License-Identifier: Apache-2.0
"""`python -m bench --peers`: the attention core and SwinV2-T against whichever libraries are installed."""

from bench import report
from bench.cases import DIRECTIONS
from bench.machine import measure_peaks
from bench.peers import EXTRA, LIBRARIES, missing
from bench.run import isolated, work_through


def run(machine, console, quick=False):
    """Measure, print, and return all rows."""
    lacking = missing()
    for library, modules in lacking.items():
        console.print(f"{library} is left out: {', '.join(modules)} not installed ({EXTRA} brings all peers)")
    installed = set(LIBRARIES) - set(lacking)
    peak_rows, peaks = measure_peaks(machine, 50)
    console.print(report.peaks_table(peak_rows))
    measured = []

    if "PyTorch" in installed:
        from bench.peers import attention

        def core(case, direction):
            seconds = 1.0 if quick else 3.0
            return case.name(direction), lambda: attention.measure_attention(
                machine, case, direction, seconds
            )

        cores = work_through(console, [core(c, d) for c in attention.cases(quick) for d in DIRECTIONS])
        title = "Attention core, image layout to image layout"
        console.print(report.operator_table(cores, attention.works(quick), peaks, title, report.OURS))
        measured += cores

    if installed:
        from bench.peers import models

        def inference(window, batch):
            label = f"SwinV2-T w{window} inference, batch {batch}"
            seconds = 3.0 if quick else 15.0
            return label, lambda: isolated(
                models.measure_inference, machine, window, batch, seconds, installed
            )

        def training(batch):
            label = f"SwinV2-T w8 training step, batch {batch}"
            return label, lambda: isolated(models.measure_training, machine, 8, batch, 3.0 if quick else 20.0)

        jobs = [inference(8, 1)] if quick else [inference(w, b) for w in (8, 16) for b in (1, 8)]
        if "PyTorch" in installed:
            jobs.append(training(2 if quick else 8))
        whole = work_through(console, jobs)
        console.print(report.model_table(whole, "SwinV2-T, 256 x 256", report.OURS))
        measured += whole

    groups = {
        "attention forward": lambda r: r.unit == "us" and r.case.endswith(" forward"),
        "attention forward+backward": lambda r: r.unit == "us" and r.case.endswith("forward+backward"),
        "inference": lambda r: r.case.endswith("inference"),
        "training step": lambda r: r.case.endswith("training step"),
    }
    console.print(report.means_table(measured, report.OURS, groups))
    return peak_rows + measured
