# SPDX-License-Identifier: Apache-2.0
"""python -m swinv2_model COMMAND: each command is a module's `main(argv, prog)`, imported when it is asked for."""

import _thread
import argparse
import importlib
import io
import logging
import signal
import sys
import threading

EVALUATE = (
    "swinv2_model.evaluate",
    "main",
    "accuracy of a checkpoint over a folder of images, or over the digits",
)
CONVERT = (
    "swinv2_model.weights.convert",
    "main",
    "weights from one implementation's names and format to another's",
)

INTERRUPTED, TERMINATED = 130, 143  # exit statuses, as of a shell after Ctrl-C and SIGTERM

# name: (module, function, what it does); several names for one command are the spellings of other tools
COMMANDS = {
    "info": ("swinv2_model.info", "main", "parameters, multiply-adds, stages and accuracy card of a preset"),
    "convert": CONVERT,
    "train": ("swinv2_model.training.trainer", "main", "train on a folder of images, or on the digits"),
    "evaluate": EVALUATE,
    "predict": (
        "swinv2_model.predict",
        "main",
        "likeliest classes of images, attention and position-bias maps",
    ),
    "eval": EVALUATE,
    "validate": EVALUATE,
    "conv_pth2ckpt": CONVERT,
    "conv_pt2ckpt": CONVERT,
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which unwinds as Ctrl-C does."""


def main(argv=None):
    """Exit status of a command line: 0, 2 after an error of the user's, told in a sentence, 130 or 143 when stopped."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are bytes, of any encoding
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr always is
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
    except Terminated:
        print("terminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_unavailable(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def keep_signals():
    """Let Ctrl-C and SIGTERM unwind for the rest of this process, so that no file is left half written.

    MindSpore takes the signal of Ctrl-C with every graph and ends the process as it stands: no message, no cursor
    after a progress bar. So it is blocked, in threads to come too, and one thread waits for it. SIGTERM it leaves.
    """
    signal.signal(signal.SIGTERM, _terminate)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def wait():
        while True:
            signal.sigwait({signal.SIGINT})
            _thread.interrupt_main()

    threading.Thread(target=wait, daemon=True).start()


def _terminate(*_):
    raise Terminated


def _is_unavailable(error):
    from swinv2_kernels.backend import BackendUnavailable  # MindSpore, which not every command needs

    return isinstance(error, BackendUnavailable)
