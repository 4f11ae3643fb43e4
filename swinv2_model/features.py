# SPDX-License-Identifier: Apache-2.0
"""A model as a backbone: the outputs of its stages."""

from __future__ import annotations

from collections.abc import Iterable

from mindspore import nn


class Features(nn.Cell):
    """Images (B, channels, H, W) -> a tuple of (B, H_i, W_i, C_i), one for each of `out_indices`.

    Stage i has 1 / (patch_size 2^i) of the image's sides and embed_dim 2^i channels, taken before patch
    merging, as timm's `features_only` does.

    Raises:
        ValueError: an index is no stage.
    """

    def __init__(self, model: nn.Cell, out_indices: Iterable[int]) -> None:
        super().__init__(auto_prefix=False)
        stages = len(model.layers)
        indices = tuple(out_indices) if isinstance(out_indices, Iterable) else (out_indices,)
        if not indices or any(type(i) is not int or not -stages <= i < stages for i in indices):
            raise ValueError(f"out_indices: expected stages from 0 to {stages - 1}, got {indices}.")
        self.model = model
        self.out_indices = tuple(i % stages for i in indices)
        self.channels = tuple(model.embed_dim << i for i in self.out_indices)
        self.reductions = tuple(model.patch_size << i for i in self.out_indices)

    def resize(self, image_size, window_size=None):
        """See the model's own `resize`."""
        self.model.resize(image_size, window_size)
        self.compile_cache.clear()
        return self

    def construct(self, x):
        features = self.model.stage_features(x)
        out = ()
        for i in self.out_indices:
            out += (features[i],)
        return out
