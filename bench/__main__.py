# SPDX-License-Identifier: Apache-2.0
"""python -m bench [--quick] [--peers] [--out DIR] [--threads N]"""

import argparse
import os
import time
from pathlib import Path

from bench import machine, report
from bench.rows import write_csv

DISTURBED = 0.05  # share of the cores


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Operators and SwinV2-T on this machine: tables, CSV, bar chart."
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        default=os.environ.get("SWINV2_BENCH_QUICK", "0") not in ("", "0"),
        help="fewer cases and repetitions, about a minute; also by SWINV2_BENCH_QUICK=1",
    )
    parser.add_argument(
        "--peers", action="store_true", help="against PyTorch, ONNX Runtime, OpenVINO and mindcv instead"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), help="folder of CSV and PNG [%(default)s]"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=machine.available_threads(),
        help="threads of every library [%(default)s]",
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    started = time.perf_counter()
    os.environ.setdefault("GLOG_v", "3")
    machine.limit_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    console = report.console()
    if options.peers:
        from bench.peers.run import run
    else:
        from bench.run import run
    here = machine.Machine.here(options.threads)
    console.print(
        f"{here.device}, {here.threads} threads, commit {here.commit}{', quick' if options.quick else ''}"
    )
    others = machine.OtherWork()
    rows = run(here, console, quick=options.quick)
    if others.share() > DISTURBED:
        console.print(f"Other processes had {others.share():.0%} of the cores: take these figures with care.")

    from bench.plot import plot

    name = "peers" if options.peers else "bench"
    csv_path, png_path = options.out / f"{name}.csv", options.out / f"{name}.png"
    write_csv(csv_path, rows)
    plot(csv_path, png_path)
    console.print(f"{csv_path}  {png_path}  ({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main()
