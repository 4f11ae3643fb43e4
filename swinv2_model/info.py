# SPDX-License-Identifier: Apache-2.0
"""`python -m swinv2_model info`: parameters, multiply-adds, stages and accuracy card of a preset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from swinv2_model.architecture import Size
from swinv2_model.registry import architecture, list_models, load_config

Table = list[tuple[str, ...]]


def _size(values: list[int] | None, default: Size) -> Size:
    return default if values is None else values[0] if len(values) == 1 else tuple(values)


def _print_table(rows: Table) -> None:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:]))]
        print("  ".join(cells).rstrip())


def main(argv: Sequence[str], prog: str) -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.split(": ", 1)[1])
    parser.add_argument("name", nargs="?", help="a preset, a pattern such as '*w16*', or a YAML")
    parser.add_argument(
        "--image_size", type=int, nargs="+", help="another size: one side, or height and width"
    )
    parser.add_argument(
        "--window_size", type=int, nargs="+", help="another window: one side, or height and width"
    )
    args = parser.parse_args(argv)
    if not args.name or any(c in args.name for c in "*?["):
        names = list_models(args.name or "*")
        if not names:
            raise ValueError(f"name: no preset matches {args.name!r}; see {', '.join(list_models())}.")
        rows: Table = [("preset", "parameters", "multiply-adds", "top-1", "top-5")]
        for name in names:
            config = load_config(name)
            model, arch = config["model"], architecture(config)
            card = [str(config["card"].get(key) or "-") for key in ("top1", "top5")]
            adds = arch.multiply_adds(model["image_size"], model["window_size"])
            rows.append((name, f"{arch.num_parameters():,}", f"{adds / 1e9:.1f} G", *card))
        _print_table(rows)
        return 0
    config = load_config(args.name)
    arch, model, card = architecture(config), config["model"], config["card"]
    image = _size(args.image_size, model["image_size"])
    window = _size(args.window_size, model["window_size"])
    adds = arch.multiply_adds(image, window)
    print(config["name"])
    print(f"parameters     {arch.num_parameters():,}")
    print(f"multiply-adds  {adds / 1e9:.1f} G ({adds:,}; the continuous position bias is not counted)")
    rows = [("stage", "tokens", "channels", "blocks", "heads", "window", "windows", "parameters", "G")]
    for row in arch.stages(image, window):
        tokens, side = (f"{a}x{b}" for a, b in (row.resolution, row.window))
        cells = (row.stage, tokens, row.dim, row.depth, row.num_heads, side, row.windows)
        rows.append((*map(str, cells), f"{row.parameters:,}", f"{row.multiply_adds / 1e9:.2f}"))
    _print_table(rows)
    for key in ("top1", "top5", "paper", "weights"):
        value = card.get(key)
        print(f"{key:8} {'not published' if value is None else value}")
    return 0
