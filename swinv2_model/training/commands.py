# SPDX-License-Identifier: Apache-2.0
"""The commands `train` and `evaluate`."""

import argparse
from pathlib import Path

from rich.console import Console

from swinv2_model.training import config
from swinv2_model.training.trainer import CHECKPOINT
from swinv2_model.training.trainer import evaluate as evaluate_checkpoint
from swinv2_model.training.trainer import train as train_run


def train(argv, prog):
    train_run(config.parse(argv, prog), Console(highlight=False))


def evaluate(argv, prog):
    parser = argparse.ArgumentParser(
        prog=prog, description="Accuracy and confusion table of a trained checkpoint."
    )
    parser.add_argument(
        "--preset", default="digits", help="looks for runs/PRESET/checkpoint.ckpt (default: digits)"
    )
    parser.add_argument("--pretrained", metavar="CKPT", help="the checkpoint, in place of that")
    parser.add_argument("--backend", help="of the fused operators (default: the device's)")
    options = parser.parse_args(argv)
    path = options.pretrained or Path("runs") / options.preset / CHECKPOINT
    evaluate_checkpoint(path, options.backend, Console(highlight=False))
