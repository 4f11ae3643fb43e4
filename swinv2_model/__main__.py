# SPDX-License-Identifier: Apache-2.0
import os
import sys

from swinv2_model.cli import INTERRUPTED, TERMINATED, keep_signals, main

keep_signals()
status = main()
if status in (INTERRUPTED, TERMINATED):  # an exit in order aborts where MindSpore is imported by half
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
sys.exit(status)
