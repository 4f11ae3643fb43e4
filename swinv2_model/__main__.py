# SPDX-License-Identifier: Apache-2.0
import os
import sys

from swinv2_model.cli import INTERRUPTED, keep_interrupt, main

keep_interrupt()
status = main()
if status == INTERRUPTED:  # an exit in order aborts where MindSpore is imported by half
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
sys.exit(status)
