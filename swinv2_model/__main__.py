# SPDX-License-Identifier: Apache-2.0
import sys

from swinv2_model.cli import keep_interrupt, main

keep_interrupt()
sys.exit(main())
