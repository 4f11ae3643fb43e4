# SPDX-License-Identifier: Apache-2.0
"""A bar chart of a CSV file: `python -m bench.plot FILE.csv FILE.png`. Nothing but the CSV is read."""

import sys

from bench.rows import read_csv

TITLES = {"us": "operators, us", "ms": "SwinV2-T, ms", "MiB": "peak memory, MiB"}


def plot(csv_path, png_path):
    """One panel a unit; a group of bars a case, each labelled with its value and its factor to the first bar."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [row for row in read_csv(csv_path) if row.unit in TITLES]
    if not rows:
        raise ValueError(f"{csv_path}: expected rows in one of {', '.join(TITLES)}, got none")
    units = [unit for unit in TITLES if any(row.unit == unit for row in rows)]
    impls = list(dict.fromkeys(row.impl for row in rows))
    shades = matplotlib.colormaps["tab20"].colors  # ten, each followed by its light form
    colours = {impl: shades[(2 * i + i // 10) % 20] for i, impl in enumerate(impls)}
    groups = {unit: _groups([row for row in rows if row.unit == unit]) for unit in units}
    heights = [sum(len(group) + 1 for group in groups[unit].values()) for unit in units]
    figure, axes = plt.subplots(
        len(units),
        1,
        figsize=(11, 1.5 + 0.24 * sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, unit in zip(axes[:, 0], units):
        y, ticks = 0, []
        shown = [row for group in groups[unit].values() for row in group]
        for label, group in groups[unit].items():
            ticks.append((y + (len(group) - 1) / 2, label))
            for row in group:
                axis.barh(
                    y,
                    row.p50,
                    xerr=[[row.p50 - row.p20], [row.p80 - row.p50]],
                    color=colours[row.impl],
                    height=0.9,
                )
                text = f" {row.p50:,.{0 if row.p50 >= 100 else 1}f}" + (
                    f"  ({row.p50 / group[0].p50:.2f}x)" if row is not group[0] else ""
                )
                axis.text(max(row.p80, row.p50), y, text, va="center", fontsize=7)
                y += 1
            y += 1
        axis.set_yticks(*zip(*ticks), fontsize=8)
        axis.set_ylim(y - 1.2, -0.8)
        low, high = min(row.p20 for row in shown), max(row.p80 for row in shown)
        if unit == "us":
            axis.set_xscale("log")
            axis.set_xlim(low / 2, high * 4)
        else:
            axis.set_xlim(0, high * 1.15)
        axis.set_title(TITLES[unit], fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(
        [plt.Rectangle((0, 0), 1, 1, color=colours[impl]) for impl in impls],
        impls,
        loc="outside lower center",
        ncols=5,
    )
    first = rows[0]
    figure.suptitle(
        f"{first.device}, {first.threads} threads, {first.commit}: medians, shorter is better", fontsize=10
    )
    figure.savefig(png_path, dpi=110)
    plt.close(figure)


def _groups(rows):
    groups = {}
    for row in rows:
        groups.setdefault(f"{row.case}, batch {row.batch}", []).append(row)
    return groups


if __name__ == "__main__":
    plot(*sys.argv[1:])
