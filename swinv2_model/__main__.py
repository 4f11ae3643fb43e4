# SPDX-License-Identifier: Apache-2.0
import sys

from swinv2_model.cli import main

sys.exit(main())
