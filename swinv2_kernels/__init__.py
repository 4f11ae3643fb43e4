# SPDX-License-Identifier: Apache-2.0
"""Fused operators of Swin Transformer V2 for MindSpore, on the CPU and on Ascend.

Without MindSpore there is `swinv2_kernels._native` alone, the kernels on NumPy arrays.
"""

from importlib.util import find_spec

if find_spec("mindspore") is not None:
    from swinv2_kernels.backend import (
        BACKENDS,
        BackendUnavailable,
        available_backends,
        resolve_backend,
        use_backend,
    )
    from swinv2_kernels.bias_gelu import bias_gelu
    from swinv2_kernels.linear import linear, patch_embedding, patch_merging
    from swinv2_kernels.relative_position_bias import relative_coords_table, relative_position_bias_table
    from swinv2_kernels.residual_layer_norm import layer_norm, residual_layer_norm
    from swinv2_kernels.window_attention import WindowAttention, window_attention

    __all__ = [
        "BACKENDS",
        "BackendUnavailable",
        "WindowAttention",
        "available_backends",
        "bias_gelu",
        "layer_norm",
        "linear",
        "patch_embedding",
        "patch_merging",
        "relative_coords_table",
        "relative_position_bias_table",
        "residual_layer_norm",
        "resolve_backend",
        "use_backend",
        "window_attention",
    ]
else:
    __all__ = []

__version__ = "0.1.0"
