# SPDX-License-Identifier: Apache-2.0
"""SwinTransformerV2: images (B, channels, H, W) in, features or logits out."""

import math
import zlib

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from swinv2_kernels.backend import resolve_backend, storage_dtypes
from swinv2_kernels.checks import number
from swinv2_model.architecture import GELUS, WINDOW_RULES, hidden_width, pair
from swinv2_model.inputs import checked
from swinv2_model.layers import (
    Attention,
    Block,
    LayerNorm,
    Linear,
    PatchEmbed,
    PatchMerging,
    Stage,
    block_geometry,
)

DTYPES = {"float32": ms.float32, "float16": ms.float16, "bfloat16": ms.bfloat16}


class SwinTransformerV2(nn.Cell):
    """Swin Transformer V2 (arXiv 2111.09883) on the fused window attention.

    Parameters carry the official names, with gamma and beta in LayerNorms. A new model has the official
    initialisation, drawn from `seed` and each parameter's name: norm1 and norm2 of every block start at 0, so
    that an untrained block is the identity.

    Any image size works. Images are padded with zeros at the bottom and the right to whole patches, token
    grids to whole windows before the shift (padded keys masked, unless mask_padding=False) and to even sizes
    before patch merging.

    Args:
        image_size: int or (H, W) the model is called with; `resize` changes it.
        window_size: int or (Wh, Ww).
        pretrained_window_sizes: one entry a stage, int or pair; 0 for "trained with this window".
        window_rule: "official" or "per_axis", see `layers.block_geometry`.
        mask_padding: False lets padded tokens be attended to, as Hugging Face does.
        mask_value: added between tokens of different regions of a shifted window; -100 is the official value.
        gelu: "none" for the exact form, "tanh" for mindcv's.
        norm_eps: of every LayerNorm but those of patch merging, which have 1e-5; mindcv has 1e-6.
        drop_path_rate: of the last block; `drop_path_rates` rise linearly to it. The model draws nothing: the
            factors are an input.
        compute_dtype: "float32", "float16" or "bfloat16" for matrix products and window attention;
            parameters, residual stream, normalisation and logits stay float32. On CPUs with AVX512_BF16 or AMX
            "bfloat16" is the fastest.
        backend: of the fused operators; None takes the default, see `swinv2_kernels.use_backend`.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    # What a version is made of; Swin V1 (model_v1.py) names its own.
    Attention, Block, PatchMerging = Attention, Block, PatchMerging

    def __init__(
        self,
        image_size=256,
        patch_size=4,
        in_channels=3,
        num_classes=1000,
        embed_dim=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=8,
        mlp_ratio=4.0,
        pretrained_window_sizes=None,
        drop_path_rate=0.2,
        window_rule="official",
        mask_padding=True,
        mask_value=-100.0,
        gelu="none",
        norm_eps=1e-5,
        compute_dtype="float32",
        seed=0,
        backend=None,
    ):
        super().__init__()
        depths, num_heads = _by_stage("depths", depths), _by_stage("num_heads", num_heads)
        pretrained = (0,) * len(depths)
        if pretrained_window_sizes is not None:
            pretrained = _by_stage("pretrained_window_sizes", pretrained_window_sizes)
        _check_architecture(depths, num_heads, pretrained, embed_dim, patch_size, in_channels, num_classes)
        _check_choice("window_rule", window_rule, WINDOW_RULES)
        _check_choice("gelu", gelu, GELUS)
        _check_choice("compute_dtype", compute_dtype, tuple(DTYPES))
        name = resolve_backend(backend)
        if compute_dtype not in storage_dtypes(name):
            raise ValueError(
                f"compute_dtype: expected {' or '.join(storage_dtypes(name))} on back end {name!r}, got "
                f"{compute_dtype!r}; train with --train.compute_dtype"
            )
        if not number("norm_eps", norm_eps) > 0:
            raise ValueError(f"norm_eps: expected a positive number, got {norm_eps!r}")
        if not 1 <= embed_dim * number("mlp_ratio", mlp_ratio) < math.inf:
            raise ValueError(f"mlp_ratio: expected hidden layers of at least 1 channel, got {mlp_ratio!r}")
        _check_count("seed", seed, 0)
        if not isinstance(mask_padding, bool):
            raise TypeError(f"mask_padding: expected a bool, got {mask_padding!r}")
        if not 0 <= number("drop_path_rate", drop_path_rate) < 1:
            raise ValueError(f"drop_path_rate: expected at least 0 and below 1, got {drop_path_rate!r}")

        self.patch_size, self.in_channels, self.depths = patch_size, in_channels, depths
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.window_rule, self.seed = window_rule, seed
        self.num_features = embed_dim * 2 ** (len(depths) - 1)
        self.drop_path_rates = tuple(float(r) for r in np.linspace(0, drop_path_rate, sum(depths)))
        dtype = DTYPES[compute_dtype]

        self.patch_embed = PatchEmbed(in_channels, embed_dim, patch_size, dtype, norm_eps, backend)
        stages = []
        for index, (depth, heads) in enumerate(zip(depths, num_heads)):
            channels = embed_dim * 2**index
            blocks = [
                self.Block(
                    channels,
                    self.Attention(
                        channels, heads, pretrained[index], mask_padding, mask_value, dtype, backend
                    ),
                    hidden_width(channels, mlp_ratio),
                    gelu,
                    dtype,
                    norm_eps,
                )
                for _ in range(depth)
            ]
            last = index == len(depths) - 1
            stages.append(Stage(blocks, None if last else self.PatchMerging(channels, dtype, backend)))
        self.layers = nn.CellList(stages)
        self.norm = LayerNorm(self.num_features, norm_eps, backend)
        self.head = Linear(self.num_features, num_classes, backend=self.norm.backend) if num_classes else None
        self._place(pair(image_size, "image_size"), pair(window_size, "window_size"))
        for name, parameter in self.parameters_and_names():
            parameter.name = name
            initialise(parameter, seed, in_channels * patch_size**2)

    @property
    def blocks(self):
        """All blocks in order."""
        return [block for layer in self.layers for block in layer.blocks]

    def _place(self, image_size, window_size):
        self.image_size, self.window_size = image_size, window_size
        resolution = tuple(-(-size // self.patch_size) for size in image_size)
        for layer in self.layers:
            for index, block in enumerate(layer.blocks):
                block.attn.place(block_geometry(resolution, window_size, index % 2 == 1, self.window_rule))
            resolution = tuple(-(-size // 2) for size in resolution)

    def resize(self, image_size, window_size=None):
        """Change the image size, and the window, of a live model; parameters stay as they are.

        Where a block's window changes, the position bias goes on from the window it was trained with
        (pretrained_window_size), as in the official 12-to-16 fine-tuning. In graph mode the model compiles
        itself again; `ms.jit` functions and Cells around it must be built again, `Inference` does so.
        """
        before = [block.attn.geometry.window_size for block in self.blocks]
        window = self.window_size if window_size is None else pair(window_size, "window_size")
        self._place(pair(image_size, "image_size"), window)
        for block, old in zip(self.blocks, before):
            trained = block.attn.pretrained_window_size
            if block.attn.geometry.window_size != old and trained in (0, (0, 0), [0, 0]):
                block.attn.pretrained_window_size = old
        self.compile_cache.clear()
        return self

    def reset_classifier(self, num_classes):
        """A fresh head for `num_classes` classes; 0 for none, and logits are then the pooled features."""
        _check_count("num_classes", num_classes, 0)
        self.head = Linear(self.num_features, num_classes, backend=self.norm.backend) if num_classes else None
        if self.head is not None:
            for name, parameter in self.head.parameters_and_names():
                parameter.name = f"head.{name}"
                initialise(parameter, self.seed)
        self.compile_cache.clear()
        return self

    def round_weights(self):
        """Store the weights of products in bfloat16, for serving with compute_dtype="bfloat16".

        It halves what a small batch reads from memory. On CPUs with AVX512_BF16 or AMX logits keep their bits, as
        weights are rounded there anyway; elsewhere the rounding is new. Load weights first, train without. In graph
        mode the model compiles itself again; `ms.jit` functions and Cells around it must be built again.

        Raises:
            ValueError: compute_dtype is another.
        """
        linears = [c for _, c in self.cells_and_names() if isinstance(c, Linear) and c.dtype == ms.bfloat16]
        if not linears:
            raise ValueError("round_weights: expected a model of compute_dtype 'bfloat16'")
        for layer in linears:
            layer.weight.set_dtype(ms.bfloat16)
        self.compile_cache.clear()
        return self

    def bias_tables(self):
        """The position-bias table of every block, in order, for `construct`."""
        tables = ()
        for layer in self.layers:
            for block in layer.blocks:
                tables += (block.attn.bias_table(),)
        return tables

    def stage_features(self, x, keep=None, bias_tables=None):
        """The output of every stage before its patch merging: a tuple of (B, H_i, W_i, C_i)."""
        tables = None if bias_tables is None else len(bias_tables)
        x = checked(x, self.in_channels, self.image_size, sum(self.depths), keep, tables)
        x = self.patch_embed(x)
        features, index = (), 0
        for layer in self.layers:
            for block in layer.blocks:
                factors = None if keep is None else (keep[index, 0], keep[index, 1])
                x = block(x, factors, None if bias_tables is None else bias_tables[index])
                index += 1
            features += (x,)
            if layer.downsample is not None:
                x = layer.downsample(x)
        return features

    def forward_features(self, x, keep=None, bias_tables=None):
        """Normalised last tokens, averaged: (B, num_features) float32."""
        x = self.norm(self.stage_features(x, keep, bias_tables)[-1])
        return x.reshape(-1, x.shape[1] * x.shape[2], self.num_features).mean(1)

    def construct(self, x, keep=None, bias_tables=None):
        """Logits (B, num_classes) float32.

        Args:
            x: images (B, in_channels, H, W).
            keep: (blocks, 2, B) float32 drop-path factors of attention and MLP branches, 0 or 1/(1 - rate) each;
                None keeps everything.
            bias_tables: from `bias_tables()`, with the parameters as they are; None computes them here.
        """
        x = self.forward_features(x, keep, bias_tables)
        return x if self.head is None else self.head(x)


def initialise(parameter, seed, patch_fan_in=1):
    """Draw a parameter as the official code does, from (seed, name) alone."""
    rng = np.random.default_rng([seed, zlib.crc32(parameter.name.encode())])
    name, shape = parameter.name, parameter.shape
    if name.startswith("patch_embed.proj"):
        bound = 1 / math.sqrt(patch_fan_in)  # PyTorch's default for a convolution, weight and bias
        value = rng.uniform(-bound, bound, shape)
    elif name.endswith("logit_scale"):
        value = np.full(shape, math.log(10.0))
    elif name.endswith((".norm1.gamma", ".norm2.gamma")):
        value = np.zeros(shape)
    elif name.endswith("gamma"):
        value = np.ones(shape)
    elif len(shape) == 2:
        value = 0.02 * rng.standard_normal(shape, np.float32)
    else:
        value = np.zeros(shape)
    parameter.set_data(Tensor(value.astype(np.float32)))


def _check_count(name, value, least):
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def _check_architecture(depths, num_heads, pretrained, embed_dim, patch_size, in_channels, num_classes):
    counts = {"embed_dim": embed_dim, "patch_size": patch_size, "in_channels": in_channels}
    for name, value in counts.items():
        _check_count(name, value, 1)
    _check_count("num_classes", num_classes, 0)
    if not depths:
        raise ValueError("depths: expected at least one stage, got ()")
    for name, values in (("num_heads", num_heads), ("pretrained_window_sizes", pretrained)):
        if len(values) != len(depths):
            raise ValueError(f"{name}: expected one entry a stage, {len(depths)} as depths, got {values}")
    for index, (depth, heads) in enumerate(zip(depths, num_heads)):
        _check_count(f"depths[{index}]", depth, 1)
        _check_count(f"num_heads[{index}]", heads, 1)
        if embed_dim * 2**index % heads:
            raise ValueError(
                f"num_heads[{index}]: expected a divisor of the stage's {embed_dim * 2**index} channels, got {heads}"
            )


def _by_stage(name, values):
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name}: expected a tuple with one entry a stage, got {values!r}")
    return tuple(values)
