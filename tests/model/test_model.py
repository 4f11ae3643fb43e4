# SPDX-License-Identifier: Apache-2.0
"""Layers and model: geometry, padding, initialisation, drop path, resize, cached position bias, errors."""

import mindspore as ms
import numpy as np
import oracle
import pytest
from mindspore import ParameterTuple, Tensor, nn, ops

from swinv2_kernels import _native
from swinv2_model.architecture import Architecture
from swinv2_model.features import Features
from swinv2_model.inference import Inference, confusion
from swinv2_model.layers import Attention, PatchEmbed, PatchMerging, block_geometry
from swinv2_model.model import SwinTransformerV2
from swinv2_model.weights import keys

SMALL = {
    "image_size": 32,
    "num_classes": 5,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (1, 2),
    "window_size": 4,
}


def small(**changes):
    return SwinTransformerV2(**{**SMALL, **changes})


def randomise(cell, seed=0, spread=0.3):
    """Every parameter drawn anew: untrained blocks are the identity, which hides mistakes."""
    rng = np.random.default_rng(seed)
    for parameter in cell.get_parameters():
        noise = spread * rng.standard_normal(parameter.shape)
        offset = 1.0 if parameter.name.endswith(("gamma", "logit_scale")) else 0.0
        parameter.set_data(Tensor((offset + noise).astype(np.float32)))
    return cell


def images(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "resolution, window, rule, expected",
    [
        ((64, 64), (8, 8), "official", ((8, 8), (4, 4))),
        ((8, 8), (8, 8), "official", ((8, 8), (0, 0))),
        ((4, 4), (8, 8), "official", ((4, 4), (0, 0))),
        ((6, 24), (8, 8), "official", ((6, 6), (0, 0))),
        ((6, 24), (8, 8), "per_axis", ((6, 8), (0, 4))),
        ((14, 14), (7, 7), "official", ((7, 7), (3, 3))),
        ((6, 24), (8, 4), "official", ((6, 4), (0, 2))),
    ],
)
def test_window_rule(resolution, window, rule, expected):
    assert block_geometry(resolution, window, True, rule)[1:] == expected
    assert block_geometry(resolution, window, False, rule)[1:] == (expected[0], (0, 0))


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("shifted", [False, True])
def test_attention_pads_before_the_shift(mask_padding, shifted):
    """A 9 x 6 grid in 4 x 4 windows, against float64 on the padded grid."""
    attention = Attention(16, 2, 0, mask_padding, -100.0, ms.float32, "cpu")
    attention.place(block_geometry((9, 6), (4, 4), shifted))
    randomise(attention)
    x = images(2, 9, 6, 16)
    values = {name: p.asnumpy().astype(np.float64) for name, p in attention.parameters_and_names()}
    padded = np.zeros((2, 12, 8, 16))
    padded[:, :9, :6] = x
    bias = np.concatenate([values["q_bias"], np.zeros(16), values["v_bias"]])
    table = attention.bias_table().asnumpy()
    out = oracle.forward(
        padded @ values["qkv.weight"].T + bias,
        table,
        oracle.effective_scale(values["logit_scale"]),
        window_size=4,
        shift_size=2 if shifted else 0,
        valid_size=(9, 6) if mask_padding else None,
    )[:, :9, :6]
    expected = out @ values["proj.weight"].T + values["proj.bias"]
    np.testing.assert_allclose(attention(Tensor(x)).asnumpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_patch_embedding_is_the_convolution_padded_to_whole_patches():
    embed = randomise(PatchEmbed(3, 8, 4, ms.float32))
    x = images(2, 3, 10, 13)
    values = {name: p.asnumpy() for name, p in embed.parameters_and_names()}
    padded = np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 3)))
    patches = [[padded[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] for j in range(4)] for i in range(3)]
    tokens = np.einsum("ijbcyx,ocyx->bijo", np.array(patches), values["proj.weight"]) + values["proj.bias"]
    tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-5)
    expected = tokens * values["norm.gamma"] + values["norm.beta"]
    np.testing.assert_allclose(embed(Tensor(x)).asnumpy(), expected, atol=2e-5)


def test_patch_merging_order_and_odd_sizes():
    merging = randomise(PatchMerging(4, ms.float32))
    x = images(1, 5, 4, 4)
    p = np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)))
    official = (p[:, 0::2, 0::2], p[:, 1::2, 0::2], p[:, 0::2, 1::2], p[:, 1::2, 1::2])
    gathered = np.concatenate(official, -1)
    values = {name: p.asnumpy() for name, p in merging.parameters_and_names()}
    tokens = gathered @ values["reduction.weight"].T
    tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-5)
    expected = tokens * values["norm.gamma"] + values["norm.beta"]
    np.testing.assert_allclose(merging(Tensor(x)).asnumpy(), expected, atol=2e-5)


@pytest.mark.parametrize("image_size", [(37, 50), (64, 32), 5])
def test_any_image_size(image_size):
    model = randomise(small(image_size=image_size))
    height, width = model.image_size
    logits = model(Tensor(images(2, 3, height, width)))
    assert logits.shape == (2, 5) and np.isfinite(logits.asnumpy()).all()


def test_masked_padding_leaves_the_image_alone():
    """What fills the padding is never seen: a grid of 9 tokens in windows of 4 is not one of 12 with zeros."""
    masked, attended = (randomise(small(image_size=36, mask_padding=m)) for m in (True, False))
    x = Tensor(images(1, 3, 36, 36))
    assert np.abs(masked(x).asnumpy() - attended(x).asnumpy()).max() > 1e-4


class Gradients(nn.Cell):
    """Of the sum of the logits, in the images and in every parameter."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model, self.weights = model, ParameterTuple(model.trainable_params())
        self.of = ops.GradOperation(get_all=True, get_by_list=True)

    def construct(self, x):
        return self.of(self.model, self.weights)(x)


@pytest.mark.parametrize(
    "mode, dtype, mask_padding",
    [
        (ms.GRAPH_MODE, "float32", True),
        (ms.GRAPH_MODE, "float32", False),
        (ms.GRAPH_MODE, "bfloat16", True),
        (ms.PYNATIVE_MODE, "bfloat16", False),
    ],
)
def test_gradients_through_padding(mode, dtype, mask_padding):
    """Patches, windows and merging padded: the same in every call (an operator of MindSpore's that pads is right in the
    first call of a graph only), and the slope of the loss."""
    ms.set_context(mode=mode)
    sizes = {"image_size": (30, 45), "window_size": (3, 4), "depths": (1, 1)}
    model = small(**sizes, compute_dtype=dtype, mask_padding=mask_padding)
    gradients = Gradients(randomise(model, spread=0.2).set_train(False))
    x, step = images(2, 3, 30, 45), 1e-2 * images(2, 3, 30, 45, seed=2)
    calls = [[g.asnumpy() for part in gradients(Tensor(x)) for g in part] for _ in range(3)]
    for call in calls[1:]:
        for first, again in zip(calls[0], call):
            np.testing.assert_array_equal(first, again)
    if dtype == "float32":
        above, below = (model(Tensor(x + way * step)).asnumpy().sum() for way in (1, -1))
        slope = (calls[0][0] * step).sum()
        assert abs((above - below) / 2 - slope) <= 1e-2 * np.linalg.norm(calls[0][0]) * np.linalg.norm(step)


def test_names_and_shapes_are_the_official_ones():
    model = small(in_channels=2)
    architecture = Architecture(2, 16, (2, 2), (1, 2), num_classes=5, in_channels=2)
    named = {name: np.empty(p.shape) for name, p in model.parameters_and_names()}
    official = keys.to_official(named, "mindspore")
    assert {name: array.shape for name, array in official.items()} == architecture.parameter_shapes()


def test_initialisation():
    model, again, other = small(seed=3), small(seed=3), small(seed=4)
    values = {name: p.asnumpy() for name, p in model.parameters_and_names()}
    for name, parameter in again.parameters_and_names():
        np.testing.assert_array_equal(parameter.asnumpy(), values[name])
    assert (other.head.weight.asnumpy() != values["head.weight"]).all()
    weights = np.concatenate([v.ravel() for n, v in values.items() if v.ndim == 2])
    assert abs(weights.std() - 0.02) < 2e-4 and abs(weights.mean()) < 2e-4
    assert np.abs(values["patch_embed.proj.weight"]).max() <= 48**-0.5
    np.testing.assert_allclose(values["layers.0.blocks.0.attn.logit_scale"], np.log(10), rtol=1e-6)
    for name, value in values.items():
        if ".blocks." in name and "norm" in name:
            assert not value.any(), name
        elif name.endswith("gamma"):
            assert (value == 1).all(), name
        elif name.endswith("bias") and not name.startswith("patch_embed"):
            assert not value.any(), name


def test_drop_path_rates_and_factors():
    model = randomise(small(drop_path_rate=0.3))
    np.testing.assert_allclose(model.drop_path_rates, [0, 0.1, 0.2, 0.3])
    x = Tensor(images(2, 3, 32, 32))
    ones = np.ones((4, 2, 2), np.float32)
    np.testing.assert_allclose(model(x, Tensor(ones)).asnumpy(), model(x).asnumpy(), rtol=1e-5, atol=1e-6)
    factors = ones.copy()
    factors[1, 0, 1] = factors[2, 1, 1] = 0  # the second sample loses an attention and an MLP branch
    got = model(x, Tensor(factors)).asnumpy()
    bare = randomise(small())
    for norm in (bare.blocks[1].norm1, bare.blocks[2].norm2):
        norm.gamma.set_data(ops.zeros_like(norm.gamma))
        norm.beta.set_data(ops.zeros_like(norm.beta))
    np.testing.assert_allclose(got[0], model(x).asnumpy()[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], bare(x).asnumpy()[1], rtol=1e-5, atol=1e-6)


def test_resize_is_the_model_built_at_that_size():
    model = randomise(small(image_size=32, window_size=4)).resize(64, 8)
    assert [block.attn.geometry.window_size for block in model.blocks] == [(8, 8)] * 4
    expected = randomise(small(image_size=64, window_size=8, pretrained_window_sizes=(4, 4)))
    x = Tensor(images(1, 3, 64, 64))
    np.testing.assert_allclose(model(x).asnumpy(), expected(x).asnumpy(), rtol=1e-5, atol=1e-6)
    # Back again: the bias MLP is still told the window it was trained with.
    model.resize(32, 4)
    x = Tensor(images(1, 3, 32, 32))
    np.testing.assert_allclose(model(x).asnumpy(), randomise(small())(x).asnumpy(), rtol=1e-5, atol=1e-6)


def test_resize_and_a_new_head_reach_graph_mode():
    """The input's shape stays the same, so that MindSpore alone would run the graph it has."""
    x = Tensor(images(1, 3, 32, 32))
    options = {"depths": (2,), "num_heads": (1,)}
    resized = randomise(small(**options)).resize(32, 2)
    expected = resized(x).asnumpy(), resized.reset_classifier(5)(x).asnumpy()
    ms.set_context(mode=ms.GRAPH_MODE)
    model = randomise(small(**options))
    model(x)
    np.testing.assert_allclose(model.resize(32, 2)(x).asnumpy(), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.reset_classifier(5)(x).asnumpy(), expected[1], rtol=1e-5, atol=1e-6)


def test_resized_features_reach_graph_mode():
    x = Tensor(images(1, 3, 32, 32))
    features = Features(randomise(small()), (0, 1))
    expected = [f.asnumpy() for f in features.resize(32, 2)(x)]
    ms.set_context(mode=ms.GRAPH_MODE)
    features = Features(randomise(small()), (0, 1))
    features(x)
    for got, want in zip(features.resize(32, 2)(x), expected):
        np.testing.assert_allclose(got.asnumpy(), want, rtol=1e-5, atol=1e-6)


def test_reset_classifier():
    model = small().reset_classifier(7)
    names = [p.name for p in model.get_parameters()]
    assert len(set(names)) == len(names) and "head.weight" in names
    x = Tensor(images(1, 3, 32, 32))
    assert model(x).shape == (1, 7)
    features = model.forward_features(x).asnumpy()
    np.testing.assert_array_equal(model.reset_classifier(0)(x).asnumpy(), features)


def test_stage_features():
    shapes = [f.shape for f in small(image_size=(40, 32)).stage_features(Tensor(images(1, 3, 40, 32)))]
    assert shapes == [(1, 10, 8, 16), (1, 5, 4, 32)]


def test_cached_position_bias_is_never_stale():
    model = randomise(small())
    x = images(3, 3, 32, 32)
    inference = Inference(model, batch_size=2)
    first = inference(x)
    np.testing.assert_allclose(first, model(Tensor(x)).asnumpy(), rtol=1e-5, atol=1e-6)
    tables = inference.bias_tables()
    assert inference.bias_tables() is tables
    weight = model.layers[1].blocks[0].attn.cpb_mlp[2].weight
    weight.set_data(weight + 0.5)
    changed = inference(x)
    assert inference.bias_tables() is not tables and np.abs(changed - first).max() > 1e-4
    np.testing.assert_allclose(changed, model(Tensor(x)).asnumpy(), rtol=1e-5, atol=1e-6)
    ops.assign(weight, weight - 0.5)
    np.testing.assert_allclose(inference(x), first, rtol=1e-5, atol=1e-6)
    model.head.bias.set_data(model.head.bias + 2)  # MindSpore's compiled functions do not notice
    np.testing.assert_allclose(inference(x), first + 2, rtol=1e-5, atol=1e-5)
    model.resize(32, 2)
    np.testing.assert_allclose(inference(x), model(Tensor(x)).asnumpy(), rtol=1e-5, atol=1e-6)


def test_inference_of_no_image():
    logits = Inference(small(), batch_size=2)(images(0, 3, 32, 32))
    assert logits.shape == (0, 5) and logits.dtype == np.float32


def test_confusion_counts():
    table = confusion(np.array([0, 1, 1, 2]), np.array([0, 2, 1, 2]), 3)
    np.testing.assert_array_equal(table, [[1, 0, 0], [0, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_heads": (1, 3)}, r"num_heads\[1\]: expected a divisor of the stage's 32 channels, got 3"),
        ({"num_heads": (1,)}, "num_heads: expected one entry a stage, 2 as depths"),
        ({"pretrained_window_sizes": (0,)}, "pretrained_window_sizes: expected one entry a stage"),
        ({"depths": (2, 0)}, r"depths\[1\]: expected at least 1, got 0"),
        ({"depths": ()}, "depths: expected at least one stage"),
        ({"embed_dim": 16.0}, "embed_dim: expected an int, got 16.0"),
        ({"window_rule": "timm"}, "window_rule: expected one of official, per_axis, got 'timm'"),
        ({"gelu": "erf"}, "gelu: expected one of none, tanh, got 'erf'"),
        ({"compute_dtype": "half"}, "compute_dtype: expected one of float32, float16, bfloat16, got 'half'"),
        ({"mlp_ratio": 0.01}, "mlp_ratio: expected hidden layers of at least 1 channel, got 0.01"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio: expected hidden layers"),
        ({"mlp_ratio": "4"}, "mlp_ratio: expected a float, got '4'"),
        ({"depths": 2}, "depths: expected a tuple with one entry a stage, got 2"),
        ({"num_heads": None}, "num_heads: expected a tuple with one entry a stage, got None"),
        ({"pretrained_window_sizes": 4}, "pretrained_window_sizes: expected a tuple"),
        ({"norm_eps": "a"}, "norm_eps: expected a float, got 'a'"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"mask_padding": "no"}, "mask_padding: expected a bool, got 'no'"),
        ({"drop_path_rate": None}, "drop_path_rate: expected a float, got None"),
        ({"drop_path_rate": 1.0}, "drop_path_rate: expected at least 0 and below 1, got 1.0"),
        ({"image_size": (32, 32, 3)}, "image_size: expected"),
        ({"window_size": 0}, "window_size: expected"),
        ({"backend": "cuda"}, "backend: expected one of"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small(**changes)


@pytest.mark.parametrize("shape", [(1, 3, 32, 36), (1, 1, 32, 32), (3, 32, 32)])
def test_another_image_shape_is_told(shape):
    with pytest.raises(ValueError, match=r"x: expected shape \(B, 3, 32, 32\), got .*resize"):
        small()(Tensor(images(*shape)))


def test_what_does_not_fit_the_model_is_told(mode):
    model, x = small(), Tensor(images(2, 3, 32, 32))
    tables = model.bias_tables()
    for shape in [(7, 2, 2), (4, 3, 2), (4, 2, 3), (4, 2)]:
        with pytest.raises(ValueError, match=r"keep: expected shape \(blocks, 2, B\) = \(4, 2, 2\), got"):
            model(x, Tensor(np.ones(shape, np.float32)))
    for wrong in (tables + tables, tables[:1]):
        with pytest.raises(ValueError, match="bias_tables: expected one a block, 4, got"):
            model(x, None, wrong)
    with pytest.raises(TypeError, match="x: expected a Tensor, got None"):
        model(None)


def test_rounded_weights():
    """Products by bfloat16 weights: the same logits where they are rounded anyway, half the memory, and training on."""
    x = Tensor(images(2, 3, 32, 32))
    model = randomise(small(compute_dtype="bfloat16")).set_train(False)
    before = model(x).asnumpy()
    rounded = model.round_weights()(x).asnumpy()
    stored = {
        p.dtype
        for p in model.get_parameters()
        if p.name.endswith(("qkv.weight", "fc1.weight", "reduction.weight"))
    }
    assert stored == {ms.bfloat16}
    assert all(
        p.dtype == ms.float32 for p in model.get_parameters() if "cpb_mlp" in p.name or "bias" in p.name
    )
    if _native.isa() in ("avx512_bf16", "amx_bf16"):
        np.testing.assert_array_equal(rounded, before)
    np.testing.assert_allclose(rounded, before, atol=0.05 * np.abs(before).max())
    ms.load_param_into_net(
        model, {p.name: ms.Parameter(p.astype(ms.float32)) for p in model.get_parameters()}
    )
    np.testing.assert_array_equal(model(x).asnumpy(), rounded)
    with pytest.raises(ValueError, match="round_weights: expected a model of compute_dtype 'bfloat16'"):
        small().round_weights()


def test_under_amp_o1():
    """mindspore.rewrite compiles the model and the operators anew, and must find their names."""
    x = Tensor(images(2, 3, 32, 32))
    model = randomise(small())
    expected = model(x).asnumpy()
    got = ms.amp.auto_mixed_precision(model, "O1", dtype=ms.float16)(x).asnumpy()
    np.testing.assert_allclose(got, expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize(("backend", "dtype"), [("twin-910", "float16"), ("twin-910b", "bfloat16")])
def test_gradients_by_the_ascend_kernels(backend, dtype):
    """A model trains on them: windows of all kinds, through every parameter, as on the CPU's."""
    ms.set_context(mode=ms.GRAPH_MODE)
    image, label = Tensor(images(2, 3, 40, 40)), Tensor(np.array([1, 3], np.int32))

    def gradients(name):
        model = randomise(small(image_size=40, compute_dtype=dtype, backend=name, drop_path_rate=0.0))
        model.set_train()
        weights = ParameterTuple(model.trainable_params())
        loss = lambda x, y: ops.cross_entropy(model(x), y)  # noqa: E731
        value, found = ms.value_and_grad(loss, None, weights)(image, label)
        return value.asnumpy(), [g.asnumpy() for g in found], [w.name for w in weights]

    (want_loss, wanted, names), (loss, found, _) = gradients("cpu"), gradients(backend)
    np.testing.assert_allclose(loss, want_loss, rtol=2e-2)
    for name, got, want in zip(names, found, wanted):
        assert np.abs(got - want).max() <= 0.05 * np.abs(want).max(), name


@pytest.mark.parametrize(
    ("backend", "dtypes", "dtype"),
    [
        ("twin-910", "float16", "float32"),
        ("twin-910", "float16", "bfloat16"),
        ("twin-910b", "float16 or bfloat16", "float32"),
    ],
)
def test_what_the_twins_do_not_multiply(backend, dtypes, dtype):
    with pytest.raises(
        ValueError, match=f"compute_dtype: expected {dtypes} on back end '{backend}', got '{dtype}'"
    ):
        small(backend=backend, compute_dtype=dtype)
