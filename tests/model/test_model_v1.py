# SPDX-License-Identifier: Apache-2.0
"""Swin V1 against a float64 forward pass written out in NumPy."""

import math

import numpy as np
import oracle
import pytest

from swinv2_model.architecture import Architecture, official_window
from swinv2_model.registry import create_model
from swinv2_model.weights.pth import write_pth

DEPTHS, HEADS, DIM = (2, 2), (2, 4), 16
ERF = np.vectorize(math.erf)


def layer_norm(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)


def forward(images, weights, window_size):
    """Images (B, 3, H, W) float64 -> logits; the equations of arXiv 2103.14030, sizes that divide."""
    batch, _, height, width = images.shape
    patches = images.reshape(batch, 3, height // 4, 4, width // 4, 4).transpose(0, 2, 4, 1, 3, 5)
    kernel = weights["patch_embed.proj.weight"].reshape(DIM, -1)
    x = patches.reshape(batch, height // 4, width // 4, -1) @ kernel.T + weights["patch_embed.proj.bias"]
    x = layer_norm(x, weights, "patch_embed.norm")
    for stage, depth in enumerate(DEPTHS):
        window, shift = official_window(x.shape[1:3], (window_size,) * 2)
        for j in range(depth):
            block = f"layers.{stage}.blocks.{j}"
            side = 2 * window[0] - 1
            table = weights[f"{block}.attn.relative_position_bias_table"].T.reshape(HEADS[stage], side, side)
            qkv = linear(layer_norm(x, weights, f"{block}.norm1"), weights, f"{block}.attn.qkv")
            scale = (qkv.shape[-1] // 3 // HEADS[stage]) ** -0.5
            geometry = {"window_size": window, "shift_size": shift if j % 2 else (0, 0)}
            out = oracle.forward(qkv, table, np.full(HEADS[stage], scale), cosine=False, **geometry)
            x = x + linear(out, weights, f"{block}.attn.proj")
            hidden = linear(layer_norm(x, weights, f"{block}.norm2"), weights, f"{block}.mlp.fc1")
            hidden = hidden * (1 + ERF(hidden / math.sqrt(2))) / 2
            x = x + linear(hidden, weights, f"{block}.mlp.fc2")
        if stage < len(DEPTHS) - 1:
            quarters = [x[:, row::2, col::2] for col in (0, 1) for row in (0, 1)]
            name = f"layers.{stage}.downsample"
            x = linear(
                layer_norm(np.concatenate(quarters, -1), weights, f"{name}.norm"),
                weights,
                f"{name}.reduction",
            )
    return linear(layer_norm(x, weights, "norm").mean((1, 2)), weights, "head")


@pytest.mark.parametrize("size", [(64, 64), (64, 96)], ids=["square", "non-square"])
def test_logits(size, tmp_path):
    import mindspore as ms

    window = 4
    rng = np.random.default_rng(0)
    shapes = Architecture(1, DIM, DEPTHS, HEADS, 10, window_size=(window, window)).parameter_shapes()
    weights = {k: (0.2 * rng.standard_normal(s)).astype(np.float32) for k, s in shapes.items()}
    write_pth(tmp_path / "v1.pth", weights)
    model = {"type": "swin", "image_size": size, "embed_dim": DIM, "depths": DEPTHS, "num_heads": HEADS}
    model = create_model(
        {"model": {**model, "window_size": window, "num_classes": 10}}, checkpoint_path=tmp_path / "v1.pth"
    )
    images = rng.standard_normal((2, 3, *size)).astype(np.float32)
    expected = forward(
        images.astype(np.float64), {k: v.astype(np.float64) for k, v in weights.items()}, window
    )
    error = np.abs(model(ms.Tensor(images)).asnumpy() - expected).max()
    assert error <= 1e-5 * np.ptp(expected)


SMALL = {"model": {"type": "swin", "image_size": 32, "embed_dim": 16, "depths": [2, 2],
                   "num_heads": [2, 4], "window_size": 4, "num_classes": 5}}  # fmt: skip


@pytest.mark.parametrize("dtype, tolerance", [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_half_compute_keeps_a_float32_stream(mode, dtype, tolerance):
    import mindspore as ms

    x = ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    model, expected = create_model(SMALL, compute_dtype=dtype), create_model(SMALL)(x).asnumpy()
    assert [f.dtype for f in model.stage_features(x)] == [ms.float32] * 2
    np.testing.assert_allclose(model(x).asnumpy(), expected, atol=tolerance * np.abs(expected).max())


def test_gradients_reach_every_parameter():
    import mindspore as ms

    model = create_model(SMALL)
    x = ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    parameters = model.trainable_params()
    gradients = ms.grad(lambda x: model(x)[:, 0].sum(), None, parameters)(x)
    silent = [p.name for p, g in zip(parameters, gradients) if not np.abs(g.asnumpy()).max() > 0]
    # rows of the head for other classes, and keys' bias, which softmax ignores, may be silent; whole tensors may not
    assert silent == []
