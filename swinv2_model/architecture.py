# SPDX-License-Identifier: Apache-2.0
"""The architecture as numbers: names and shapes of every parameter, parameter count, multiply-adds.

Nothing here builds a model, so that a checkpoint can be judged and a preset described without one.
Names are those of the official PyTorch code (https://github.com/microsoft/Swin-Transformer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal, NamedTuple, Optional, Union, get_args

Size = Union[int, Sequence[int]]
Windows = Optional[list[Size]]  # by name: jsonargparse reads ModelConfig, on Python 3.9 too
CPB_HIDDEN = 512


def pair(value: Size, name: str) -> tuple[int, int]:
    """One integer for both axes, or (height, width).

    Raises:
        ValueError: `value` is neither one positive integer nor two.
    """
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or any(isinstance(n, bool) or not isinstance(n, Integral) or n < 1 for n in both):
        raise ValueError(
            f"{name}: expected a positive integer or two of them (height, width), got {value!r}."
        )
    return int(both[0]), int(both[1])


def is_trained_window(value: object) -> bool:
    """Whether it can be an entry of `pretrained_window_sizes`: an integer from 0, or two of them."""
    both = value if isinstance(value, (tuple, list)) and len(value) == 2 else [value]
    return all(type(n) is int and n >= 0 for n in both)


class Stage(NamedTuple):
    """One row of the stage table: sizes in tokens, multiply-adds an image (patch merging included)."""

    stage: int
    resolution: tuple[int, int]
    dim: int
    depth: int
    num_heads: int
    window: tuple[int, int]
    shift: tuple[int, int]
    windows: int
    parameters: int
    multiply_adds: int


# Choices of a model's options.
WindowRule = Literal["official", "per_axis"]
Gelu = Literal["none", "tanh"]
WINDOW_RULES, GELUS = get_args(WindowRule), get_args(Gelu)


@dataclass
class ModelConfig:
    """Arguments of the model.

    Args:
        type: swinv2, or swin for version 1.
        image_size: pixels, one number or height and width.
        window_size: tokens, one number or height and width.
        pretrained_window_sizes: one entry a stage, one number or height and width.
        window_rule: official, or per_axis as timm and Hugging Face clip windows.
        mask_padding: false lets tokens attend to padding, as Hugging Face does.
    """

    image_size: Size
    embed_dim: int
    depths: list[int]
    num_heads: list[int]
    window_size: Size
    type: Literal["swinv2", "swin"] = "swinv2"
    patch_size: int = 4
    in_channels: int = 3
    num_classes: int = 1000
    pretrained_window_sizes: Windows = None
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.2
    window_rule: WindowRule = "official"
    mask_padding: bool = True
    mask_value: float = -100.0
    gelu: Gelu = "none"
    norm_eps: float = 1e-5


def hidden_width(dim: int, mlp_ratio: float) -> int:
    """Width of an MLP; the small term undoes the rounding of a ratio inferred from shapes."""
    return int(dim * mlp_ratio + 1e-6)


@dataclass(frozen=True)
class Architecture:
    """A Swin Transformer of either version.

    Attributes:
        version: 2 (res-post-norm, cosine attention, continuous position bias) or 1 (pre-norm, dot-product
            attention, a learned bias table).
        window_size: of the bias tables of version 1; version 2 has no parameter that depends on it.
        num_classes: 0 leaves out the head.
    """

    version: int
    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    num_classes: int = 1000
    in_channels: int = 3
    patch_size: int = 4
    mlp_ratio: float = 4.0
    window_size: tuple[int, int] = (7, 7)

    def hidden(self, dim: int) -> int:
        return hidden_width(dim, self.mlp_ratio)

    def dim(self, stage: int) -> int:
        return self.embed_dim << stage

    @property
    def num_features(self) -> int:
        return self.dim(len(self.depths) - 1)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """{official name: shape} of every parameter, in the order of the official state dict."""
        p, c = self.patch_size, self.embed_dim
        shapes: dict[str, tuple[int, ...]] = {
            "patch_embed.proj.weight": (c, self.in_channels, p, p),
            "patch_embed.proj.bias": (c,),
            "patch_embed.norm.weight": (c,),
            "patch_embed.norm.bias": (c,),
        }
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                shapes.update(
                    self._block_shapes(f"layers.{i}.blocks.{j}.", self.dim(i), self.num_heads[i], i)
                )
            if i < len(self.depths) - 1:
                c = self.dim(i)
                norm = 2 * c if self.version == 2 else 4 * c
                shapes[f"layers.{i}.downsample.reduction.weight"] = (2 * c, 4 * c)
                shapes[f"layers.{i}.downsample.norm.weight"] = (norm,)
                shapes[f"layers.{i}.downsample.norm.bias"] = (norm,)
        shapes["norm.weight"] = shapes["norm.bias"] = (self.num_features,)
        if self.num_classes:
            shapes["head.weight"] = (self.num_classes, self.num_features)
            shapes["head.bias"] = (self.num_classes,)
        return shapes

    def _block_shapes(self, name: str, c: int, heads: int, stage: int) -> dict[str, tuple[int, ...]]:
        hidden = self.hidden(c)
        if self.version == 2:
            attention = {
                "logit_scale": (heads, 1, 1),
                "q_bias": (c,),
                "v_bias": (c,),
                "cpb_mlp.0.weight": (CPB_HIDDEN, 2),
                "cpb_mlp.0.bias": (CPB_HIDDEN,),
                "cpb_mlp.2.weight": (heads, CPB_HIDDEN),
                "qkv.weight": (3 * c, c),
            }
        else:
            wh, ww = self.window_size
            attention = {
                "relative_position_bias_table": ((2 * wh - 1) * (2 * ww - 1), heads),
                "qkv.weight": (3 * c, c),
                "qkv.bias": (3 * c,),
            }
        attention.update({"proj.weight": (c, c), "proj.bias": (c,)})
        return {
            f"{name}norm1.weight": (c,),
            f"{name}norm1.bias": (c,),
            **{f"{name}attn.{key}": shape for key, shape in attention.items()},
            f"{name}norm2.weight": (c,),
            f"{name}norm2.bias": (c,),
            f"{name}mlp.fc1.weight": (hidden, c),
            f"{name}mlp.fc1.bias": (hidden,),
            f"{name}mlp.fc2.weight": (c, hidden),
            f"{name}mlp.fc2.bias": (c,),
        }

    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def stages(self, image_size: Size, window_size: Size) -> list[Stage]:
        """The stage table at an image and window size.

        Multiply-adds follow `flops()` of the official code, from which the paper's table comes: Linear
        layers, attention and norms; the continuous position bias, softmax and GELU are not counted.
        Where a resolution is no multiple of the window the padded tokens count in attention.

        Raises:
            ValueError: a size is not positive.
        """
        height, width = pair(image_size, "image_size")
        window = pair(window_size, "window_size")
        shapes = self.parameter_shapes()
        rows = []
        h, w = math.ceil(height / self.patch_size), math.ceil(width / self.patch_size)  # as the model pads
        for i, depth in enumerate(self.depths):
            (wh, ww), shift = official_window((h, w), window)
            c, heads = self.dim(i), self.num_heads[i]
            windows = math.ceil(h / wh) * math.ceil(w / ww)
            n = wh * ww
            attention = n * c * 3 * c + 2 * n * n * c + n * c * c
            block = windows * attention + 2 * h * w * c * self.hidden(c) + 2 * h * w * c
            total = depth * block
            if i < len(self.depths) - 1:
                merged = math.ceil(h / 2) * math.ceil(w / 2)
                norm = merged * 2 * c if self.version == 2 else merged * 4 * c
                total += merged * 4 * c * 2 * c + norm
            parameters = sum(math.prod(s) for k, s in shapes.items() if k.startswith(f"layers.{i}."))
            rows.append(Stage(i, (h, w), c, depth, heads, (wh, ww), shift, windows, parameters, total))
            h, w = (h + 1) // 2, (w + 1) // 2
        return rows

    def multiply_adds(self, image_size: Size, window_size: Size) -> int:
        """Multiply-adds of one image; see `stages` for what counts."""
        height, width = pair(image_size, "image_size")
        tokens = math.ceil(height / self.patch_size) * math.ceil(width / self.patch_size)
        embed = tokens * self.embed_dim * (self.in_channels * self.patch_size**2 + 1)
        # The official code counts the last norm at num_patches / 2^stages tokens.
        head = self.num_features * (tokens // 2 ** len(self.depths)) + self.num_features * self.num_classes
        return embed + sum(stage.multiply_adds for stage in self.stages(image_size, window_size)) + head

    def with_classes(self, num_classes: int) -> Architecture:
        return replace(self, num_classes=num_classes)


def official_window(
    resolution: tuple[int, int], window_size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Window and shift of a stage by the official rule, applied to both axes together.

    Where the shorter side is at most the window, the window is that side and nothing is shifted. A window
    that is not square follows the rule axis by axis.
    """
    wh, ww = window_size
    if wh == ww:
        if min(resolution) <= wh:
            return (min(resolution),) * 2, (0, 0)
        return (wh, ww), (wh // 2, ww // 2)
    (height, width), clipped = resolution, (min(resolution[0], wh), min(resolution[1], ww))
    return clipped, (0 if height <= wh else wh // 2, 0 if width <= ww else ww // 2)
