# SPDX-License-Identifier: Apache-2.0
"""Parameter names of every implementation, there and back."""

import numpy as np
import pytest

from swinv2_model.architecture import Architecture
from swinv2_model.weights import keys
from swinv2_model.weights.errors import CheckpointError

V2 = Architecture(2, 8, (2, 1, 2), (1, 2, 4), num_classes=5)
V1 = Architecture(1, 8, (2, 1, 2), (1, 2, 4), num_classes=5, window_size=(3, 3))
CASES = {"V2": V2, "V1": V1, "headless": V2.with_classes(0)}


def weights(architecture: Architecture, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    shapes = architecture.parameter_shapes()
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("dialect", keys.DIALECTS)
@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_bit_exact(case, dialect):
    official = weights(CASES[case])
    theirs = keys.from_official(official, dialect)
    assert keys.detect(theirs) == dialect
    back = keys.to_official(theirs)
    assert set(back) == set(official)
    assert all(back[name].tobytes() == array.tobytes() for name, array in official.items())


def test_names_are_those_of_the_implementations():
    """A sample of names as each implementation's own state dict has them."""
    official = weights(V2)
    assert {
        "layers.1.downsample.reduction.weight",
        "layers.2.downsample.norm.bias",
        "layers.0.blocks.1.attn.cpb_mlp.2.weight",
        "head.fc.weight",
    } <= set(keys.from_official(official, "timm"))
    assert {
        "swinv2.embeddings.patch_embeddings.projection.weight",
        "swinv2.encoder.layers.0.downsample.norm.weight",
        "swinv2.encoder.layers.0.blocks.1.attention.self.key.weight",
        "swinv2.encoder.layers.0.blocks.1.attention.self.value.bias",
        "swinv2.encoder.layers.0.blocks.1.attention.self.continuous_position_bias_mlp.0.bias",
        "swinv2.encoder.layers.0.blocks.1.attention.output.dense.weight",
        "swinv2.encoder.layers.2.blocks.0.layernorm_before.weight",
        "swinv2.encoder.layers.2.blocks.0.intermediate.dense.bias",
        "swinv2.encoder.layers.2.blocks.0.output.dense.bias",
        "swinv2.layernorm.weight",
        "classifier.bias",
    } <= set(keys.from_official(official, "hf"))
    assert {
        "0.blocks.1.attn.relative_position_bias.cpb_mlp0.weight",
        "0.downsample.norm.gamma",
        "0.blocks.1.blocks.0.attn.q.bias",
        "0.blocks.2.blocks.1.norm2.beta",
        "patch_embed.norm.gamma",
        "head.weight",
    } <= set(keys.from_official(official, "mindcv"))
    hf_v1 = keys.from_official(weights(V1), "hf")
    assert "swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table" in hf_v1
    assert "swin.encoder.layers.0.blocks.0.attention.self.key.bias" in hf_v1
    assert "classifier.weight" in keys.from_official(weights(V1), "mindcv")
    mindspore = keys.from_official(official, "mindspore")
    assert "layers.0.downsample.norm.gamma" in mindspore and "layers.0.blocks.0.mlp.fc1.weight" in mindspore


def test_no_two_parameters_of_a_shape_change_places():
    official, block = weights(V2), "swinv2.encoder.layers.0.blocks.1."
    hf, mindcv = keys.from_official(official, "hf"), keys.from_official(official, "mindcv")
    for ours, name in (
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("attn.proj", "attention.output.dense"),
    ):
        assert np.array_equal(hf[f"{block}{name}.weight"], official[f"layers.0.blocks.1.{ours}.weight"])
        assert np.array_equal(hf[f"{block}{name}.bias"], official[f"layers.0.blocks.1.{ours}.bias"])
    for part, ours in (("query", "q_bias"), ("value", "v_bias")):
        expected = official[f"layers.0.blocks.1.attn.{ours}"]
        assert np.array_equal(hf[f"{block}attention.self.{part}.bias"], expected)
        assert np.array_equal(mindcv[f"0.blocks.1.attn.{part[0]}.bias"], expected)
    assert np.array_equal(mindcv["0.blocks.1.norm1.gamma"], official["layers.0.blocks.1.norm1.weight"])


def test_qkv_thirds_are_query_key_value():
    official = weights(V2)
    hf = keys.from_official(official, "hf")
    whole = official["layers.0.blocks.0.attn.qkv.weight"]
    parts = [
        hf[f"swinv2.encoder.layers.0.blocks.0.attention.self.{n}.weight"] for n in ("query", "key", "value")
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    name = "layers.0.blocks.0.attn.q_bias"
    assert np.array_equal(hf["swinv2.encoder.layers.0.blocks.0.attention.self.query.bias"], official[name])


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "encoder.", "swin.", "a.b.c."])
def test_wrappers_and_buffers_are_dropped(prefix):
    official = weights(V2)
    extra = {
        "layers.0.blocks.0.attn.relative_position_index": np.zeros((4, 4), np.int64),
        "layers.0.blocks.0.attn.relative_coords_table": np.zeros((1, 3, 3, 2)),
        "layers.0.blocks.1.attn_mask": np.zeros((4, 4, 4)),
    }
    wrapped = {prefix + name: array for name, array in {**official, **extra}.items()}
    assert list(keys.to_official(wrapped)) == list(official)


@pytest.mark.parametrize("dialect", keys.DIALECTS)
@pytest.mark.parametrize("case", CASES)
def test_the_prefix_of_the_model_is_found_beside_other_names(case, dialect):
    official, beside = weights(CASES[case]), {"n_averaged": np.int64(3), "criterion.weight": np.zeros(5)}
    wrapped = {f"module.{k}": v for k, v in keys.from_official(official, dialect).items()}
    back = keys.to_official({**beside, **wrapped})
    assert keys.wrapper_of(wrapped) == "module." and set(back) == set(official)


def test_a_model_without_a_prefix_has_none():
    for dialect in keys.DIALECTS:
        assert keys.wrapper_of(keys.from_official(weights(V2), dialect)) == ""
    bare = {k[len("swinv2.") :]: v for k, v in keys.from_official(weights(CASES["headless"]), "hf").items()}
    assert keys.wrapper_of(bare) == "" and set(keys.to_official(bare)) == set(weights(CASES["headless"]))
    assert keys.wrapper_of({**weights(V2), "ema.patch_embed.proj.weight": 0}) == ""


def test_several_models_are_told():
    both = {f"{who}.{name}": array for who in ("teacher", "student") for name, array in weights(V2).items()}
    with pytest.raises(
        CheckpointError, match="one model, got one behind each of 'student.', 'teacher.'; save"
    ):
        keys.to_official(both)


def test_timm_without_head_is_told_by_its_downsampling():
    official = weights(V2.with_classes(0))
    assert keys.detect(keys.from_official(official, "timm")) == "timm"
    assert keys.detect(official) == "official"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"conv1.weight": np.zeros(3)}, "expected a Swin.*'conv1.weight'"),
        (lambda a: {}, "such as none"),
        (lambda a: {"blocks.0.attn.qkv.weight": 0, "head.bias": 0}, "expected a Swin.*'blocks.0.attn.qkv.weight'"),
        (lambda a: {"encoder.layer.0.attention.self.query.weight": 0}, "expected a Swin.*'encoder.layer.0"),
        (lambda a: {"stages.0.blocks.0.attn.qkv.weight": 0, "stages.0.blocks.0.attn.meta_mlp.fc1.bias": 0},
         "got timm's swinv2_cr_"),
        (lambda a: {k: v for k, v in a.items() if "blocks.0.attention.self.key.weight" not in k}, "key|k.weight"),
        (lambda a: {k: v for k, v in a.items() if "layers.0.blocks.0.attention.self.query" not in k}, "missing"),
        (
            lambda a: {k: v[:1] if k.endswith("layers.0.blocks.0.attention.self.key.weight") else v
                       for k, v in a.items()},
            "q, k and v differ",
        ),
        (lambda a: {**a, "layers.0.blocks.0.norm1.weight": np.zeros(8)}, "a second array"),
    ],
)  # fmt: skip
def test_wrong_names_are_told(change, message):
    with pytest.raises(CheckpointError, match=message):
        keys.to_official(change(keys.from_official(weights(V2), "hf")))


def test_unknown_dialect():
    for run in (keys.to_official, keys.from_official):
        with pytest.raises(CheckpointError, match="expected one of official.*'keras'"):
            run(weights(V2), "keras")


def test_qkv_that_is_no_three_thirds():
    with pytest.raises(CheckpointError, match="3 x c rows"):
        keys.split_qkv({"layers.0.blocks.0.attn.qkv.weight": np.zeros((10, 3))})
