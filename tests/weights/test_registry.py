# SPDX-License-Identifier: Apache-2.0
"""Presets, the paper's table, models by name, and checkpoints loaded into them."""

import inspect
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import yaml

from swinv2_model import registry
from swinv2_model.architecture import GELUS, WINDOW_RULES, Architecture, ModelConfig, official_window
from swinv2_model.cli import main
from swinv2_model.images import Preprocess
from swinv2_model.registry import (
    architecture,
    config_of,
    create_model,
    list_models,
    load_config,
    preprocessing,
)
from swinv2_model.weights import describe, keys
from swinv2_model.weights.convert import convert
from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.load import load_into, read_official
from swinv2_model.weights.pth import read_pth, write_pth

GOLDEN = Path(__file__).parents[1] / "golden" / "model_w8_64px.pth"
OFFICIAL = list_models("swin*")
GOLDEN_CONFIG = {
    "name": "golden",
    "model": {
        "image_size": 64,
        "embed_dim": 32,
        "depths": [2, 2],
        "num_heads": [1, 2],
        "window_size": 8,
        "num_classes": 10,
    },
}

# model, window, resolution: parameters to the last digit; acc@1, acc@5, params and FLOPs as the paper prints them
PAPER = {
    "swinv2_tiny_patch4_window8_256": (28_347_154, 81.8, 95.9, "28M", "5.9G"),
    "swinv2_small_patch4_window8_256": (49_728_418, 83.7, 96.6, "50M", "11.5G"),
    "swinv2_base_patch4_window8_256": (87_918_816, 84.2, 96.9, "88M", "20.3G"),
    "swinv2_tiny_patch4_window16_256": (28_347_154, 82.8, 96.2, "28M", "6.6G"),
    "swinv2_small_patch4_window16_256": (49_728_418, 84.1, 96.8, "50M", "12.6G"),
    "swinv2_base_patch4_window16_256": (87_918_816, 84.6, 97.0, "88M", "21.8G"),
    "swinv2_base_patch4_window12to16_192to256_22kto1k_ft": (87_918_816, 86.2, 97.9, "88M", "21.8G"),
    "swinv2_base_patch4_window12to24_192to384_22kto1k_ft": (87_918_816, 87.1, 98.2, "88M", "54.7G"),
    "swinv2_large_patch4_window12to16_192to256_22kto1k_ft": (196_739_932, 86.9, 98.0, "197M", "47.5G"),
    "swinv2_large_patch4_window12to24_192to384_22kto1k_ft": (196_739_932, 87.6, 98.3, "197M", "115.4G"),
    "swin_tiny_patch4_window7_224": (28_288_354, 81.2, 95.5, "28M", "4.5G"),
}
OTHERS = [
    "swinv2_base_patch4_window12_192_22k",
    "swinv2_large_patch4_window12_192_22k",
    "swinv2_large_patch4_window16_256",
]


def test_all_official_names_are_there():
    assert sorted([*PAPER, *OTHERS]) == OFFICIAL


def test_a_configuration_has_the_arguments_of_the_model_and_its_defaults():
    from swinv2_model.model import SwinTransformerV2

    arguments = inspect.signature(SwinTransformerV2).parameters
    ours = {f.name: f.default for f in fields(ModelConfig) if f.name != "type"}
    assert arguments.keys() - ours.keys() == {"compute_dtype", "seed", "backend"}
    given = {name: default for name, default in ours.items() if default is not MISSING}
    assert given == {name: arguments[name].default for name in given} and arguments.keys() >= ours.keys()
    assert {*WINDOW_RULES} == {*get_args(get_type_hints(ModelConfig)["window_rule"])}
    assert {*GELUS} == {*get_args(get_type_hints(ModelConfig)["gelu"])}


def test_patterns():
    assert list_models("*w16*") == [n for n in list_models() if "window16" in n]
    assert list_models("*_22k") == OTHERS[:2] and list_models("resnet*") == []


@pytest.mark.parametrize("name", PAPER)
def test_papers_table(name, capsys):
    parameters, top1, top5, millions, giga = PAPER[name]
    config = load_config(name)
    model, found = config["model"], architecture(config)
    assert found.num_parameters() == parameters
    assert f"{found.num_parameters() / 1e6:.0f}M" == millions
    assert f"{found.multiply_adds(model['image_size'], model['window_size']) / 1e9:.1f}G" == giga
    card = config["card"]
    assert (
        (card["top1"], card["top5"]) == (top1, top5) and millions in card["paper"] and giga in card["paper"]
    )
    assert card["weights"].endswith(f"/{name}.pth")
    assert main(["info", name]) == 0
    said = capsys.readouterr().out
    assert f"{parameters:,}" in said and f"{giga[:-1]} G" in said and str(top1) in said


@pytest.mark.parametrize("name", OFFICIAL)
def test_presets_agree_with_their_names(name):
    config = load_config(name)
    model = config["model"]
    size, window = re.search(r"window(?:12to)?(\d+)_(?:192to)?(\d+)", name).groups()[::-1]
    assert (model["image_size"], model["window_size"]) == (int(size), int(window)) and config["name"] == name
    tuned = name.endswith("_ft")
    if model["type"] == "swinv2":
        assert model["pretrained_window_sizes"] == ([12, 12, 12, 6] if tuned else [0, 0, 0, 0])
    assert model["num_classes"] == (21841 if name.endswith("_22k") else 1000)
    family = re.match(r"swin(?:v2)?_(\w+?)_patch4", name)[1]
    expected = {"tiny": 0.2, "small": 0.3, "base": 0.2 if "12" in name else 0.5, "large": 0.2}[family]
    assert model["drop_path_rate"] == expected
    assert config["data"]["crop_ratio"] == (None if "384" in name else 0.875)
    train = config["train"]
    recipe = {"_22k": (90, 5, 0.1, 1.25e-4), "k_ft": (30, 5, 1e-8, 2e-5)}.get(
        name[-4:], (300, 20, 0.05, 5e-4)
    )
    assert (train["epochs"], train["warmup_length"], train["weight_decay"], train["base_lr"]) == recipe
    assert all(type(train[key]) is float for key in ("base_lr", "min_lr", "warmup_lr", "weight_decay"))


@pytest.mark.parametrize("name", ["swinv2_tiny_patch4_window16_256", "swin_tiny_patch4_window7_224"])
def test_arithmetic_agrees_with_the_built_model(name):
    built = {keys.to_official_name(k): tuple(p.shape) for k, p in create_model(name).parameters_and_names()}
    assert built == architecture(load_config(name)).parameter_shapes()


def test_stage_table():
    rows = architecture(load_config("swinv2_tiny_patch4_window16_256")).stages(256, 16)
    assert [r.resolution[0] for r in rows] == [64, 32, 16, 8]
    assert [r.windows for r in rows] == [16, 4, 1, 1] and [r.window[0] for r in rows] == [16, 16, 16, 8]
    assert [r.shift[0] for r in rows] == [8, 8, 0, 0]
    assert official_window((8, 12), (8, 8)) == ((8, 8), (0, 0))
    assert official_window((8, 12), (4, 16)) == ((4, 12), (2, 0))


def test_info_lists_and_rejects(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in OFFICIAL)
    assert main(["info", "*w16*"]) == 0
    assert "window8" not in capsys.readouterr().out
    for name, message in (("resnet50", "none of the presets"), ("*resnet*", "no preset matches")):
        assert main(["info", name]) == 2
        assert message in capsys.readouterr().err
    assert main(["info", "swinv2_tiny_patch4_window8_256", "--image_size", "128", "256"]) == 0
    assert "32x64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": "2,2"}, "model.depths"),
        ({"depths": [2, 0]}, "model.depths"),
        ({"num_heads": [3]}, "one length"),
        ({"embed_dim": 0}, "model.embed_dim"),
        ({"image_size": "big"}, "model.image_size"),
        ({"window_size": [8, 8, 8]}, "model.window_size"),
        ({"mlp_ratio": -1}, "model.mlp_ratio"),
        ({"type": "vit"}, "swinv2 or swin"),
        ({"colour": 1}, "unknown keys .'colour'."),
    ],
)
def test_malformed_configurations_are_told(tmp_path, change, message):
    config = {**GOLDEN_CONFIG, "model": {**GOLDEN_CONFIG["model"], **change}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "model: 3", "model: {}", b"\xff\xfe", "data: 1\nmodel: {}", ""]
)
def test_malformed_yaml_is_told(tmp_path, text):
    (tmp_path / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match="c"):
        load_config(tmp_path / "c.yaml")


def test_preprocessing_of_presets():
    config = load_config("swinv2_base_patch4_window12to24_192to384_22kto1k_ft")
    assert preprocessing(config) == Preprocess(
        (384, 384), None, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
    assert preprocessing(config, (64, 96)).image_size == (64, 96)
    assert preprocessing(load_config("swin_tiny_patch4_window7_224")).resized(500, 400) == (320, 256)


def logits(model, x):
    import mindspore as ms

    return model.set_train(False)(ms.Tensor(x)).asnumpy()


@pytest.fixture(scope="module")
def golden():
    data = np.load(GOLDEN.with_suffix(".npz"))
    return data["x"], data["logits"]


@pytest.mark.parametrize("dialect", keys.DIALECTS)
def test_golden_logits_from_every_dialect(golden, tmp_path, dialect):
    x, expected = golden
    convert(GOLDEN, tmp_path / "a.safetensors", to=dialect)
    model = create_model(GOLDEN_CONFIG, checkpoint_path=tmp_path / "a.safetensors")
    assert np.abs(logits(model, x) - expected).max() <= 1e-5 * np.ptp(expected)


def test_a_compiled_model_sees_what_is_loaded(golden):
    import mindspore as ms

    x, expected = ms.Tensor(golden[0]), golden[1]
    model = create_model(GOLDEN_CONFIG, seed=1).set_train(False)

    @ms.jit
    def compiled(images):
        return model(images)

    assert np.abs(compiled(x).asnumpy() - expected).max() > 0.1 * np.ptp(expected)
    arrays, _, report = read_official(GOLDEN)
    load_into(model, arrays, str(GOLDEN), report)
    assert np.abs(compiled(x).asnumpy() - expected).max() <= 1e-5 * np.ptp(expected)


def test_rounded_weights_are_loaded_and_seen_by_a_compiled_model(golden):
    import mindspore as ms

    x = ms.Tensor(golden[0])
    arrays, _, report = read_official(GOLDEN)
    loaded = create_model(GOLDEN_CONFIG, compute_dtype="bfloat16", checkpoint_path=GOLDEN)
    expected = logits(loaded.round_weights(), golden[0])
    model = create_model(GOLDEN_CONFIG, compute_dtype="bfloat16", seed=1).round_weights().set_train(False)

    @ms.jit
    def compiled(images):
        return model(images)

    assert np.abs(compiled(x).asnumpy() - expected).max() > 0.1 * np.ptp(expected)
    load_into(model, arrays, str(GOLDEN), report)
    assert np.abs(compiled(x).asnumpy() - expected).max() <= 1e-5 * np.ptp(expected)


def test_a_model_from_the_checkpoint_alone(golden, tmp_path):
    x, expected = golden
    convert(GOLDEN, tmp_path / "a.ckpt")
    config = config_of(tmp_path / "a.ckpt")
    assert config["model"]["image_size"] == (64, 64) and config["model"]["depths"] == [2, 2]
    model = create_model(config, checkpoint_path=tmp_path / "a.ckpt")
    assert np.abs(logits(model, x) - expected).max() <= 1e-5 * np.ptp(expected)
    write_pth(tmp_path / "bare.pth", read_official(GOLDEN)[0])
    with pytest.raises(CheckpointError, match=r"bare.pth: nothing .* image and window size"):
        config_of(tmp_path / "bare.pth")


def test_a_checkpoint_named_after_its_preset(tmp_path):
    name = "swinv2_tiny_patch4_window16_256"
    shapes = architecture(load_config(name)).parameter_shapes()
    write_pth(tmp_path / f"{name}.pth", {k: np.zeros(s, np.float32) for k, s in shapes.items()})
    config = config_of(tmp_path / f"{name}.pth")
    assert config["model"]["window_size"] == 16 and config["card"]["top1"] == 82.8
    (tmp_path / f"{name}-mine.pth").write_bytes(GOLDEN.read_bytes())
    assert config_of(tmp_path / f"{name}-mine.pth")["card"] == {}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
def test_conversion_keeps_the_preprocessing(monkeypatch, tmp_path, suffix):
    """The preset of golden scales both sides, crop_ratio null, which no weight or buffer tells."""
    preset = {**GOLDEN_CONFIG, "data": {"crop_ratio": None, "mean": [0.5] * 3}, "card": {"top1": 12.3}}
    (tmp_path / "golden_w8_64.yaml").write_text(yaml.safe_dump(preset))
    monkeypatch.setattr(describe, "PRESETS", tmp_path)
    monkeypatch.setattr(registry, "PRESETS", tmp_path)
    (tmp_path / "golden_w8_64.pth").write_bytes(GOLDEN.read_bytes())
    before = config_of(tmp_path / "golden_w8_64.pth")
    assert preprocessing(before) == Preprocess((64, 64), None, mean=[0.5] * 3)
    convert(tmp_path / "golden_w8_64.pth", tmp_path / f"a{suffix}")
    # a .pth in Hugging Face's names has no place for it
    convert(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", to="timm" if suffix == ".pth" else "hf")
    for file in (f"a{suffix}", f"b{suffix}"):
        after = config_of(tmp_path / file)
        assert preprocessing(after) == preprocessing(before) and after["card"] == before["card"]


def test_head_and_channels_that_differ(golden, tmp_path, caplog):
    x, expected = golden
    model = create_model(GOLDEN_CONFIG, num_classes=3, checkpoint_path=GOLDEN)
    assert not logits(model, x).any() and "10 classes in the checkpoint, 3 wanted" in caplog.text
    (tmp_path / "map.txt").write_text("4\n1\n")
    mapped = create_model(
        GOLDEN_CONFIG, num_classes=2, checkpoint_path=GOLDEN, cls_map_file=tmp_path / "map.txt"
    )
    assert np.abs(logits(mapped, x) - expected[:, [4, 1]]).max() <= 1e-5 * np.ptp(expected)
    grey = create_model(GOLDEN_CONFIG, in_channels=1, checkpoint_path=GOLDEN)
    colour = create_model(GOLDEN_CONFIG, checkpoint_path=GOLDEN)
    one = x[:, :1]
    assert np.abs(logits(grey, one) - logits(colour, np.repeat(one, 3, 1))).max() < 1e-5
    with pytest.raises(
        CheckpointError, match=r"patch_embed.proj.weight' \(32, 3, 4, 4\), expected \(32, 4, 4, 4\)"
    ):
        create_model(GOLDEN_CONFIG, in_channels=4, checkpoint_path=GOLDEN)


def test_a_checkpoint_of_another_model_is_told():
    with pytest.raises(CheckpointError, match=r"model_w8_64px.pth: .*Missing .*layers.2"):
        create_model("swinv2_tiny_patch4_window8_256", checkpoint_path=GOLDEN)


def test_another_size_goes_on_from_the_trained_window(golden):
    """Loading at another size equals loading and then resizing a live model, and keeps the bias' scale."""
    x = np.random.default_rng(0).standard_normal((1, 3, 96, 64)).astype(np.float32)
    made = create_model(GOLDEN_CONFIG, checkpoint_path=GOLDEN, image_size=(96, 64), window_size=4)
    live = create_model(GOLDEN_CONFIG, checkpoint_path=GOLDEN)
    live.resize((96, 64), 4)
    assert np.array_equal(logits(made, x), logits(live, x))
    assert [block.attn.pretrained_window_size for block in live.blocks] == [(8, 8)] * 4
    fresh = create_model(
        {**GOLDEN_CONFIG, "model": {**GOLDEN_CONFIG["model"], "window_size": 4}}, image_size=(96, 64)
    )
    assert [block.attn.pretrained_window_size for block in fresh.blocks] == [0] * 4
    back = live.resize(64, 8)
    assert np.abs(logits(back, golden[0]) - golden[1]).max() <= 1e-5 * np.ptp(golden[1])


def test_sizes_may_be_integers_of_numpy():
    model = create_model(GOLDEN_CONFIG, image_size=np.int64(96), window_size=[np.int32(4), 8])
    assert (model.image_size, model.window_size) == ((96, 96), (4, 8))
    assert all(type(size) is int for size in (*model.image_size, *model.window_size))
    for bad in (True, np.True_, np.float32(96), np.int64(0)):
        with pytest.raises(ValueError, match="image_size: expected a positive integer"):
            create_model(GOLDEN_CONFIG, image_size=bad)


def test_v1_tables_are_resampled_with_the_window(tmp_path, caplog):
    small = {
        "type": "swin",
        "image_size": 32,
        "embed_dim": 8,
        "depths": [2],
        "num_heads": [2],
        "window_size": 4,
    }
    shapes = Architecture(1, 8, (2,), (2,), 10, window_size=(4, 4)).parameter_shapes()
    rng = np.random.default_rng(0)
    arrays = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    write_pth(tmp_path / "v1.pth", arrays)
    config = {"model": {**small, "num_classes": 10}}
    live = create_model(config, checkpoint_path=tmp_path / "v1.pth").resize(48, 6)
    config["model"]["window_size"] = 6
    config["model"]["image_size"] = 48
    loaded = create_model(config, checkpoint_path=tmp_path / "v1.pth")
    assert "resampled from 49 to 121 rows" in caplog.text
    x = rng.standard_normal((1, 3, 48, 48)).astype(np.float32)
    assert np.array_equal(logits(live, x), logits(loaded, x))
    table = loaded.layers[0].blocks[0].attn.relative_position_bias_table
    assert table.name == "layers.0.blocks.0.attn.relative_position_bias_table" and table.shape == (121, 2)
    with pytest.raises(ValueError, match="pretrained_window_sizes"):
        create_model({"model": {**small, "pretrained_window_sizes": [4]}})


def test_features_only(golden):
    import mindspore as ms

    x = golden[0]
    features = create_model(GOLDEN_CONFIG, checkpoint_path=GOLDEN, features_only=True)
    outputs = features(ms.Tensor(x))
    assert [o.shape for o in outputs] == [(len(x), 16, 16, 32), (len(x), 8, 8, 64)]
    assert features.channels == (32, 64) and features.reductions == (4, 8)
    model = features.model
    pooled = model.norm(outputs[1]).mean((1, 2))
    assert np.abs(model.head(pooled).asnumpy() - golden[1]).max() <= 1e-5 * np.ptp(golden[1])
    last = create_model(GOLDEN_CONFIG, features_only=True, out_indices=(-1,))
    assert [o.shape for o in last(ms.Tensor(x))] == [(len(x), 8, 8, 64)]
    with pytest.raises(ValueError, match="stages from 0 to 1"):
        create_model(GOLDEN_CONFIG, features_only=True, out_indices=(2,))
    with pytest.raises(ValueError, match="features_only=True"):
        create_model(GOLDEN_CONFIG, out_indices=(0,))


def test_mindcv_policies_are_options():
    model = create_model(
        GOLDEN_CONFIG, gelu="tanh", norm_eps=1e-6, window_rule="per_axis", mask_padding=False
    )
    assert model.norm.epsilon == 1e-6 and model.layers[0].downsample.norm.epsilon == 1e-5
    with pytest.raises(ValueError, match="norm_eps"):
        create_model(GOLDEN_CONFIG, norm_eps=0)


def test_registered_with_mindcv():
    mindcv = pytest.importorskip("mindcv", reason="mindcv is not installed")
    assert set(OFFICIAL) <= set(mindcv.list_models("swin*"))
    model = mindcv.create_model("swinv2_tiny_patch4_window8_256", num_classes=7)
    assert model.head.weight.shape == (7, 768)
    with pytest.raises(ValueError, match="nothing is downloaded"):
        mindcv.create_model("swinv2_tiny_patch4_window8_256", pretrained=True)


def test_mindcv_names_are_its_own():
    mindcv = pytest.importorskip("mindcv", reason="mindcv is not installed")
    for theirs, ours in (
        ("swinv2_tiny_window8", "swinv2_tiny_patch4_window8_256"),
        ("swin_tiny", "swin_tiny_patch4_window7_224"),
    ):
        shapes = architecture(load_config(ours)).parameter_shapes()
        names = keys.from_official({k: np.zeros(s, np.float32) for k, s in shapes.items()}, "mindcv")
        assert {p.name for p in mindcv.create_model(theirs).trainable_params()} == set(names)


def test_golden_configuration_is_the_json():
    fields = json.loads(GOLDEN.with_suffix(".json").read_text())
    config = config_of(GOLDEN)["model"]
    assert (config["image_size"], config["window_size"]) == (
        (fields["img_size"],) * 2,
        (fields["window_size"],) * 2,
    )
    assert config["pretrained_window_sizes"] == fields["pretrained_window_sizes"]
    assert set(read_pth(GOLDEN)) >= set(architecture(config_of(GOLDEN)).parameter_shapes())


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "mask_padding", "no way", "model.mask_padding: expected true or false, got 'no way'"),
        ("model", "mask_padding", 0, "model.mask_padding: expected true or false, got 0"),
        ("model", "norm_eps", "small", "model.norm_eps: expected a finite number, got 'small'"),
        ("model", "mask_value", float("nan"), "model.mask_value: expected a finite number"),
        ("model", "gelu", ["tanh"], r"model.gelu: expected none or tanh, got \['tanh'\]"),
        ("model", "pretrained_window_sizes", 8, "model.pretrained_window_sizes: expected a list"),
        ("model", "pretrained_window_sizes", [[8], 4], "model.pretrained_window_sizes: expected a list"),
        ("data", "crop_pct", 0.5, "data: expected keys of .*crop_ratio.*, got crop_pct"),
        ("data", "crop_ratio", "all", "crop_ratio: expected a number"),
        ("data", "mean", [0.5, float("nan"), 0.5], "mean, std"),
        ("data", "std", 0.5, "mean, std"),
        ("data", "std", [1, float("inf"), 1], "mean, std"),
        ("data", "interpolation", ["bicubic"], "interpolation: expected one of"),
        ("card", "top1", "81.8 %", "card.top1: expected a finite number or null, got '81.8 %'"),
        ("card", "top2", 3, "card: expected keys of .*, got top2"),
    ],
)
def test_keys_of_a_yaml_are_checked(tmp_path, section, key, value, message):
    config = {"model": dict(GOLDEN_CONFIG["model"]), "data": {}, "card": {}}
    config[section][key] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=rf"mine.yaml: {message}"):
        load_config(tmp_path / "mine.yaml")


@pytest.mark.parametrize("config", [None, 3, b"swinv2", ["swinv2"]])
def test_what_is_no_configuration_is_told(config):
    with pytest.raises(TypeError, match=r"config: expected a preset's name, a YAML file or a mapping, got"):
        create_model(config)


def test_an_unknown_section_is_told(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**GOLDEN_CONFIG, "dta": {}, "name": "mine"}))
    with pytest.raises(ValueError, match="mine.yaml: expected keys of .*data.*, got dta"):
        load_config(tmp_path / "mine.yaml")


def test_numbers_are_read_as_train_reads_them(tmp_path):
    text = yaml.safe_dump(GOLDEN_CONFIG) + "data: {crop_ratio: 9e-1}\n"
    (tmp_path / "mine.yaml").write_text(
        text.replace("model:", "model:\n  norm_eps: 1e-6\n  mask_value: -1E+2")
    )
    config = load_config(tmp_path / "mine.yaml")
    assert (config["model"]["norm_eps"], config["model"]["mask_value"]) == (1e-6, -100.0)
    assert config["data"]["crop_ratio"] == 0.9


def test_numbers_beyond_float32_are_told(tmp_path):
    arrays, _, report = read_official(GOLDEN)
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    wide["norm.bias"][0] = 1e300
    model = create_model(GOLDEN_CONFIG)
    with pytest.raises(CheckpointError, match="a.pth: 'norm.bias' holds numbers beyond the range of float32"):
        load_into(model, wide, "a.pth", report)


@pytest.mark.parametrize("image_size", [20, 33, (70, 50)])
def test_the_stage_table_counts_what_the_model_pads(image_size):
    model = create_model(GOLDEN_CONFIG, image_size=image_size, window_size=4)
    rows = architecture(GOLDEN_CONFIG).stages(image_size, 4)
    assert [row.resolution for row in rows] == [layer.blocks[0].attn.resolution for layer in model.layers]
