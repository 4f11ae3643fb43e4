# SPDX-License-Identifier: Apache-2.0
"""Fused operators of Swin Transformer V2 for MindSpore, on the CPU and on Ascend."""

from swinv2_kernels.backend import BACKENDS, available_backends, resolve_backend, use_backend
from swinv2_kernels.window_attention import WindowAttention, window_attention

__all__ = [
    "BACKENDS",
    "WindowAttention",
    "available_backends",
    "resolve_backend",
    "use_backend",
    "window_attention",
]
__version__ = "0.1.0"
