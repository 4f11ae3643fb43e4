# SPDX-License-Identifier: Apache-2.0
"""`python -m swinv2_model VERB ...`: each verb is a module with HELP, add_arguments(parser) and run(args)."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

VERBS = {
    "info": "swinv2_model.info",
    "convert": "swinv2_model.weights.convert",
    "evaluate": "swinv2_model.evaluate",
    "predict": "swinv2_model.predict",
}
ALIASES = {
    "eval": "evaluate",
    "validate": "evaluate",
    "conv_pth2ckpt": "convert",
    "conv_pt2ckpt": "convert",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; what the user got wrong ends in one sentence and exit code 2, never in a traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m swinv2_model VERB [--help]\n")
        for verb, module in VERBS.items():
            names = [verb, *(alias for alias, of in ALIASES.items() if of == verb)]
            print(f"{', '.join(names)}\n    {importlib.import_module(module).HELP}")
        return 0 if argv else 2
    verb = ALIASES.get(argv[0], argv[0])
    if verb not in VERBS:
        print(f"error: expected one of {', '.join([*VERBS, *ALIASES])}, got {argv[0]!r}.", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    module = importlib.import_module(VERBS[verb])
    parser = argparse.ArgumentParser(prog=f"python -m swinv2_model {argv[0]}", description=module.HELP)
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    try:
        return module.run(args)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
