# SPDX-License-Identifier: Apache-2.0
"""The one exception of the weight tools."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint, class map or conversion cannot be used; the message names the file and the key."""
