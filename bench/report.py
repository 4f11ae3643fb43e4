# SPDX-License-Identifier: Apache-2.0
"""Tables for people, made from rows."""

from rich.console import Console
from rich.table import Table

from bench.rows import geometric_mean, speedups

WIDTH = 132
OURS = "ours"


def console():
    """A console that keeps its tables whole where the output is no terminal."""
    out = Console()
    return out if out.is_terminal else Console(width=WIDTH)


def _table(title, first, *others):
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column(first)  # the one that wraps
    for name in others:
        table.add_column(name, justify="left" if name == "impl" else "right", no_wrap=True)
    return table


def _grouped(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    return groups.values()


def _factor(rows, row, baseline):
    """How many times as fast (or small) as the reference; or, next to ours, as many times our time."""
    for other in rows:
        if other.impl == baseline and other is not row:
            factor = other.p50 / row.p50
            return f"{1 / factor if baseline == OURS else factor:.2f}x"
    return ""


def _factor_title(baseline):
    return "time / ours" if baseline == OURS else f"x {baseline}"


def peaks_table(rows):
    table = _table("This machine, measured", "what", "unit", "p20", "p50", "p80", "threads", "n")
    for r in rows:
        table.add_row(
            r.case, r.unit, f"{r.p20:.1f}", f"{r.p50:.1f}", f"{r.p80:.1f}", str(r.threads), str(r.n)
        )
    return table


def operator_table(rows, works, peaks, title, baseline="reference"):
    """works: {case name: Work}. GB/s counts what must be read and written once; shares are of the measured peaks."""
    table = _table(title, "case", "impl", "us", "GFLOP/s", "peak", "GB/s", "peak", _factor_title(baseline))
    for group in _grouped(rows):
        for index, r in enumerate(group):
            work = works[r.case]
            gflops, gbs = work.flops / r.p50 * 1e-3, work.bytes / r.p50 * 1e-3
            shares = f"{gflops / peaks.gflops:.0%}", f"{gbs / peaks.gbs:.0%}"
            rates = (f"{gflops:.0f}", shares[0]) if work.flops else ("", "")
            factor = _factor(group, r, baseline)
            name = "" if index else r.case
            table.add_row(name, r.impl, f"{r.p50:,.0f}", *rates, f"{gbs:.1f}", shares[1], factor)
        table.add_section()
    return table


def profile_table(kernels, times, whole, peaks):
    """times: {kernel's name: Row in ms an inference}; whole: the model's Row, of which shares are."""
    table = _table(
        f"{whole.case}, batch {whole.batch}", "kernels, alone", "calls", "ms", "share", "GFLOP/s", "peak"
    )
    total, flops = 0.0, 0.0

    def add(name, calls, ms, work):
        rate = work / ms * 1e-6
        rates = (f"{rate:.0f}", f"{rate / peaks.gflops:.0%}") if work else ("", "")
        table.add_row(name, calls, f"{ms:.2f}", f"{ms / whole.p50:.0%}", *rates)

    for kernel in kernels:
        ms, work = times[kernel.name].p50, kernel.calls * kernel.work.flops
        total, flops = total + ms, flops + work
        add(kernel.name, str(kernel.calls), ms, work)
    table.add_section()
    add("all kernels", "", total, flops)
    add("the rest: MindSpore, colder caches", "", whole.p50 - total, 0)
    add("the model", "", whole.p50, flops)
    return table


def model_table(rows, title, baseline="reference"):
    table = _table(title, "case", "batch", "impl", "ms", "p20 - p80", "img/s", _factor_title(baseline))
    for group in _grouped(rows):
        for index, r in enumerate(group):
            first = ("", "") if index else (r.case, str(r.batch))
            spread = f"{r.p20:.0f} - {r.p80:.0f}"
            rate = f"{1e3 * r.batch / r.p50:.1f}"
            table.add_row(*first, r.impl, f"{r.p50:.1f}", spread, rate, _factor(group, r, baseline))
        table.add_section()
    return table


def memory_table(rows, baseline="reference"):
    table = _table(
        "Peak memory above weights and inputs", "case", "batch", "impl", "MiB", _factor_title(baseline)
    )
    for group in _grouped(rows):
        for index, r in enumerate(group):
            first = ("", "") if index else (r.case, str(r.batch))
            table.add_row(*first, r.impl, f"{r.p50:,.0f}", _factor(group, r, baseline))
        table.add_section()
    return table


def means_table(rows, ours, groups):
    """Geometric means of (time of impl / time of ours); groups: {title: predicate of a row}."""
    found = {title: speedups([r for r in rows if wanted(r)], ours) for title, wanted in groups.items()}
    impls = list(dict.fromkeys(r.impl for r in rows if r.impl != ours))
    table = _table(f"Geometric means of time / time of {ours} (cases)", "impl", *groups)
    for impl in impls:
        cells = []
        for title in groups:
            ratios = [times[impl] for times in found[title].values() if impl in times]
            cells.append(f"{geometric_mean(ratios):.2f}x ({len(ratios)})" if ratios else "")
        table.add_row(impl, *cells)
    return table
