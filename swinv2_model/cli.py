# SPDX-License-Identifier: Apache-2.0
"""python -m swinv2_model COMMAND: each command is a module's `main(argv, prog)`, imported when it is asked for."""

import argparse
import importlib
import logging
import sys

# name: (module, function, what it does)
COMMANDS = {
    "train": ("swinv2_model.training.commands", "train", "train a preset that names a data set"),
    "evaluate": (
        "swinv2_model.training.commands",
        "evaluate",
        "accuracy and confusion table of a checkpoint",
    ),
}


def main(argv=None):
    """Exit status of a command line: 0, or 2 after an error of the user's, told in a sentence."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="python -m swinv2_model", description="Swin Transformer V2 on MindSpore"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, _, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    name = parser.parse_args(argv[:1]).command
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    module, function, _ = COMMANDS[name]
    try:
        return (
            getattr(importlib.import_module(module), function)(argv[1:], f"python -m swinv2_model {name}")
            or 0
        )
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
