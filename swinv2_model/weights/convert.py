# SPDX-License-Identifier: Apache-2.0
"""`python -m swinv2_model convert`: weights from one implementation and format to another."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from swinv2_model.weights import keys
from swinv2_model.weights.describe import preset_named_by
from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.files import KINDS, write_checkpoint
from swinv2_model.weights.load import Report, read_official
from swinv2_model.weights.pth import PathLike


def convert(
    source: PathLike,
    target: PathLike,
    from_: str = "auto",
    to: str | None = None,
    cls_map_file: PathLike | None = None,
    num_classes: int | None = None,
) -> Report:
    """Convert a checkpoint; element types and bits are kept, buffers are dropped.

    Args:
        source: .pth, .safetensors or .ckpt of any implementation.
        target: its suffix chooses the format; it appears only when complete.
        from_: whose names `source` uses, or `auto`; refused where they are another's.
        to: whose names to write; None: `official` for a .pth, `mindspore` otherwise.
        cls_map_file: text file, line i the row of the old head that becomes class i.
        num_classes: size of the new head; a head of another size is re-initialised to zero, 0 leaves it out.

    Returns:
        What was used, dropped and changed.

    Raises:
        FileNotFoundError: `source`, the map or the folder of `target` does not exist.
        CheckpointError: the checkpoint or the map is wrong; names the file and the key.
        ValueError: num_classes is no integer from 0.
    """
    if num_classes is not None and (not isinstance(num_classes, (int, np.integer)) or num_classes < 0):
        raise ValueError(f"num_classes: expected an integer from 0, got {num_classes!r}.")
    kind = KINDS.get(Path(target).suffix)
    if kind is None:
        raise CheckpointError(f"{target}: expected a name ending in {', '.join(KINDS)}.")
    if Path(target).exists() and os.path.samefile(source, target):
        raise CheckpointError(f"{target}: is the checkpoint to convert itself; give another name.")
    arrays, _, report = read_official(source, from_, cls_map_file, num_classes)
    to = to or ("official" if kind == "pth" else "mindspore")
    texts, bare = None, (kind, to) == ("pth", "hf")
    if made := report.description:
        texts = replace(made, preset=made.preset or preset_named_by(source)).text()
        if bare:
            report.notes.append(
                "sizes and options are not kept: a .pth for Hugging Face has no place for them"
            )
    # Hugging Face takes a state dict under a key for no weights at all, and starts with random ones.
    write_checkpoint(target, keys.from_official(arrays, to), texts, None if bare else "model")
    report.notes.append(f"wrote {target} in {to} names")
    return report


def main(argv: Sequence[str], prog: str) -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.split(": ", 1)[1])
    names = list(keys.DIALECTS)
    parser.add_argument("source", nargs="?", metavar="IN", help=".pth, .safetensors or .ckpt")
    parser.add_argument("target", nargs="?", metavar="OUT", help="its suffix chooses the format")
    parser.add_argument("--pth_file", help="the same as IN")
    parser.add_argument("--ckpt_file", help="the same as OUT")
    parser.add_argument("--from", dest="from_", choices=["auto", *names], default="auto", help="names of IN")
    parser.add_argument("--to", choices=names, help="names of OUT (official for .pth, else mindspore)")
    parser.add_argument("--cls_map_file", metavar="MAP", help="line i: the row of the old head for class i")
    parser.add_argument("--num_classes", type=int, help="another size sets the head to zero, 0 leaves it out")
    args = parser.parse_args(argv)
    files = [name for name in (args.source, args.pth_file, args.target, args.ckpt_file) if name]
    if len(files) != 2 or bool(args.source) == bool(args.pth_file):
        given = f", got {', '.join(files)}" if files else ""
        raise CheckpointError(f"convert: expected IN and OUT (or --pth_file and --ckpt_file){given}.")
    source, target = files
    print(convert(source, target, args.from_, args.to, args.cls_map_file, args.num_classes))
    return 0
