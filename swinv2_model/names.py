# SPDX-License-Identifier: Apache-2.0
"""Parameter names: ours are the official ones, except that a LayerNorm's weight and bias are gamma and beta."""

_OURS = {"weight": "gamma", "bias": "beta"}
_OFFICIAL = {ours: official for official, ours in _OURS.items()}


def official_name(name):
    """`layers.0.blocks.1.norm1.gamma` -> `layers.0.blocks.1.norm1.weight`; other names unchanged."""
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.{_OFFICIAL[leaf]}" if leaf in _OFFICIAL else name


def mindspore_name(name):
    """The inverse of `official_name`: a LayerNorm is what is called norm, norm1 or norm2."""
    stem, _, leaf = name.rpartition(".")
    is_norm = stem.rpartition(".")[2].startswith("norm")
    return f"{stem}.{_OURS[leaf]}" if is_norm and leaf in _OURS else name
