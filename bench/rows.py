# SPDX-License-Identifier: Apache-2.0
"""A measurement as one row of a CSV file, and the few statistics that tables are made of."""

import csv
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Row:
    """Percentiles of `n` samples in `unit`: us, ms (times), MiB, GFLOP/s or GB/s."""

    case: str
    impl: str
    device: str
    dtype: str
    threads: int
    batch: int
    unit: str
    p20: float
    p50: float
    p80: float
    n: int
    commit: str

    @property
    def key(self):
        """What rows that may be compared have in common."""
        return self.case, self.batch, self.unit


COLUMNS = tuple(field.name for field in fields(Row))


def percentiles(samples):
    """(p20, p50, p80) of a non-empty sequence, interpolated linearly between samples."""
    if len(samples) == 0:
        raise ValueError("samples: expected at least one, got none")
    return tuple(float(p) for p in np.percentile(np.asarray(samples, float), (20, 50, 80)))


def geometric_mean(ratios):
    """exp(mean(log r)) of positive ratios; nan of none."""
    ratios = list(ratios)
    if any(not r > 0 for r in ratios):
        raise ValueError(f"ratios: expected positive numbers, got {ratios}")
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def speedups(rows, ours):
    """{(case, batch, unit): {impl: median of impl / median of `ours`}} wherever `ours` was measured."""
    medians = {}
    for row in rows:
        medians.setdefault(row.key, {})[row.impl] = row.p50
    return {
        key: {impl: value / found[ours] for impl, value in found.items()}
        for key, found in medians.items()
        if ours in found
    }


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()})


def read_csv(path):
    """The rows of a file written by `write_csv`.

    Raises:
        ValueError: the columns are others, or a number is none.
    """
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(
                f"{Path(path).name}: expected the columns {', '.join(COLUMNS)}, got {reader.fieldnames}"
            )
        kinds = {field.name: field.type for field in fields(Row)}
        return [Row(**{name: kinds[name](text) for name, text in line.items()}) for line in reader]
