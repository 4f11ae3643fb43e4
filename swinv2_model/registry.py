# SPDX-License-Identifier: Apache-2.0
"""Presets by name: their configuration, the model built from it, and any checkpoint loaded into it."""

from __future__ import annotations

import copy
import fnmatch
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from swinv2_model.architecture import (
    GELUS,
    WINDOW_RULES,
    Architecture,
    ModelConfig,
    Size,
    is_trained_window,
    pair,
)
from swinv2_model.images import Preprocess, is_finite
from swinv2_model.mindcv_models import register
from swinv2_model.weights.describe import PRESETS, preset_named_by, preset_names

if TYPE_CHECKING:
    from mindspore import nn

    from swinv2_model.weights.load import Report

SECTIONS = ("name", "model", "data", "train", "card")
# Options of `train`, which reads the same files; it judges the keys of its section itself.
TRAIN_OPTIONS = ("output_dir", "backend")
MODEL_KEYS = {f.name for f in fields(ModelConfig)}
DATA_KEYS = {
    *(f.name for f in fields(Preprocess) if f.name != "image_size"),
    *("dataset", "max_shift", "max_rotation", "max_scale"),
}
CARD_KEYS = {"top1", "top5", "paper", "weights"}
NEEDED = [f.name for f in fields(ModelConfig) if f.default is MISSING]
logger = logging.getLogger("swinv2_model")


class _Loader(yaml.SafeLoader):
    """1e-5 is a number, as in YAML 1.2 and for `train`; YAML 1.1 asks for 1.0e-5."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the presets that match a shell pattern, sorted.

    >>> list_models("*tiny*w16*")
    ['swinv2_tiny_patch4_window16_256']
    """
    return [name for name in preset_names() if fnmatch.fnmatchcase(name, pattern)]


def load_config(config: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """A preset's name, the path of a YAML file of the same shape, or such a mapping, checked.

    Raises:
        FileNotFoundError: neither a preset nor a file.
        TypeError: neither a name, a path nor a mapping.
        ValueError: not YAML, or a section or key is unknown, missing or of the wrong type.
    """
    if isinstance(config, Mapping):
        name, tree = str(config.get("name", "config")), copy.deepcopy(dict(config))
    elif not isinstance(config, (str, os.PathLike)):
        raise TypeError(f"config: expected a preset's name, a YAML file or a mapping, got {config!r}.")
    else:
        name = os.fspath(config)
        path = PRESETS / f"{name}.yaml" if name in list_models() else Path(name)
        if not path.is_file():
            raise FileNotFoundError(
                f"config: {name!r} is no file and none of the presets {', '.join(list_models())}."
            )
        try:
            tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: expected YAML ({reason}).") from None
        if not isinstance(tree, dict):
            raise ValueError(f"{path}: expected the sections {', '.join(SECTIONS)}.")
        tree.setdefault("name", path.stem)
    _check_keys(name, tree, (*SECTIONS, *TRAIN_OPTIONS))
    model = tree.get("model")
    if not isinstance(model, dict):
        raise ValueError(f"{name}: the section 'model' is missing.")
    unknown = [str(key) for key in model if key not in MODEL_KEYS]
    missing = [key for key in NEEDED if key not in model]
    if unknown or missing:
        raise ValueError(f"{name}: model has unknown keys {unknown} and lacks {missing}.")
    if model.setdefault("type", "swinv2") not in ("swin", "swinv2"):
        raise ValueError(f"{name}: model.type must be swinv2 or swin, got {model['type']!r}.")
    for section, known in (("data", DATA_KEYS), ("card", CARD_KEYS)):
        if not isinstance(tree.setdefault(section, {}), dict):
            raise ValueError(f"{name}: the section {section!r} must be a mapping.")
        _check_keys(f"{name}: {section}", tree[section], known)
    try:
        architecture(tree)
        _check_types(model, "model", _OPTION_TYPES)
        _check_types(tree["card"], "card", _CARD_TYPES)
        preprocessing(tree)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return tree


def _check_keys(what: str, mapping: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = [str(key) for key in mapping if key not in known]
    if unknown:
        raise ValueError(f"{what}: expected keys of {', '.join(sorted(known))}, got {', '.join(unknown)}.")


_NUMBER = ("a finite number", is_finite)
_OPTION_TYPES = {
    "mask_padding": ("true or false", lambda v: isinstance(v, bool)),
    "window_rule": (" or ".join(WINDOW_RULES), lambda v: v in WINDOW_RULES),
    "gelu": (" or ".join(GELUS), lambda v: v in GELUS),
    **dict.fromkeys(("mask_value", "norm_eps", "drop_path_rate"), _NUMBER),
    "pretrained_window_sizes": (
        "a list of windows, one a stage, or null",
        lambda v: v is None or (isinstance(v, (list, tuple)) and all(map(is_trained_window, v))),
    ),
}
_CARD_TYPES = dict.fromkeys(
    ("top1", "top5"), ("a finite number or null", lambda v: v is None or is_finite(v))
)


def _check_types(mapping: Mapping[str, Any], section: str, types: Mapping[str, tuple]) -> None:
    for key, (expected, fits) in types.items():
        if key in mapping and not fits(mapping[key]):
            raise ValueError(f"{section}.{key}: expected {expected}, got {mapping[key]!r}.")


def architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a configuration.

    Raises:
        ValueError: names the key that is wrong.
    """
    model = config["model"]

    def counts(key: str) -> tuple[int, ...]:
        values = model[key]
        if not isinstance(values, (list, tuple)) or any(type(v) is not int or v < 1 for v in values):
            raise ValueError(f"model.{key}: expected a list of positive integers, got {values!r}.")
        return tuple(values)

    depths, num_heads = counts("depths"), counts("num_heads")
    if not depths or len(depths) != len(num_heads):
        raise ValueError(
            f"model.depths and model.num_heads must be of one length, got {depths}, {num_heads}."
        )
    for key, least in (("embed_dim", 1), ("num_classes", 0), ("in_channels", 1), ("patch_size", 1)):
        if key in model and (type(model[key]) is not int or model[key] < least):
            raise ValueError(f"model.{key}: expected an integer from {least}, got {model[key]!r}.")
    ratio = model.get("mlp_ratio", 4.0)
    if not (is_finite(ratio) and ratio > 0):
        raise ValueError(f"model.mlp_ratio: expected a positive number, got {ratio!r}.")
    pair(model["image_size"], "model.image_size")
    return Architecture(
        version=1 if model.get("type") == "swin" else 2,
        embed_dim=model["embed_dim"],
        depths=depths,
        num_heads=num_heads,
        num_classes=model.get("num_classes", 1000),
        in_channels=model.get("in_channels", 3),
        patch_size=model.get("patch_size", 4),
        mlp_ratio=ratio,
        window_size=pair(model["window_size"], "model.window_size"),
    )


def preprocessing(config: Mapping[str, Any], image_size: Size | None = None) -> Preprocess:
    """How images are prepared for a configuration, at its own or another image size.

    Raises:
        ValueError: a key of `data` has a value out of range.
    """
    size = pair(config["model"]["image_size"] if image_size is None else image_size, "image_size")
    wanted = {f.name for f in fields(Preprocess)} - {"image_size"}
    return Preprocess(size, **{k: v for k, v in config.get("data", {}).items() if k in wanted})


def build(config: Mapping[str, Any], **changes: Any) -> nn.Cell:
    """The model of a configuration; `changes` are constructor arguments that replace its own."""
    arguments = {**config["model"], **changes}
    kind = arguments.pop("type")
    if kind == "swinv2":
        from swinv2_model.model import SwinTransformerV2

        return SwinTransformerV2(**arguments)
    from swinv2_model.model_v1 import SwinTransformer

    return SwinTransformer(**arguments)


def create_model(
    name: str | os.PathLike[str] | Mapping[str, Any],
    num_classes: int | None = None,
    in_channels: int | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    image_size: Size | None = None,
    window_size: Size | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    cls_map_file: str | os.PathLike[str] | None = None,
    new_head: bool = True,
    **options: Any,
) -> nn.Cell:
    """Build a preset, and load a checkpoint of any implementation into it.

    A checkpoint made for another image or window size is loaded at its own sizes and then resized, so that
    the position bias of V2 goes on from the window it was trained with. What is changed on the way (head,
    channels, sizes) is logged as a warning.

    Args:
        name: a preset, see `list_models`, or a configuration for `load_config`.
        num_classes, in_channels: replace the preset's. A checkpoint's head of another size is re-initialised
            to zero; its patch embedding of 3 channels is summed for 1.
        checkpoint_path: .pth, .safetensors or .ckpt in official, timm, hf, mindcv or mindspore names.
        image_size, window_size: int or (height, width), in pixels and tokens.
        features_only: return the stages' outputs, (B, H_i, W_i, C_i) each, in place of logits.
        out_indices: the stages to return; all by default.
        cls_map_file: takes rows of the checkpoint's head, see `weights.load.read_class_map`.
        new_head: False refuses a checkpoint whose head would be re-initialised.
        options: further arguments of the model: drop_path_rate, window_rule, mask_padding, mask_value, gelu,
            norm_eps, compute_dtype, seed, backend.

    Raises:
        FileNotFoundError: no such preset, configuration or checkpoint.
        CheckpointError: (a ValueError) the checkpoint is damaged or belongs to another model.
        ValueError, TypeError: an argument is out of range.
    """
    config = load_config(name)
    model_config = config["model"]
    wanted_image = pair(model_config["image_size"] if image_size is None else image_size, "image_size")
    wanted_window = pair(model_config["window_size"] if window_size is None else window_size, "window_size")
    changes: dict[str, Any] = {"image_size": wanted_image, "window_size": wanted_window, **options}
    if num_classes is not None:
        changes["num_classes"] = num_classes
    if in_channels is not None:
        changes["in_channels"] = in_channels
    stages = len(model_config["depths"])
    if out_indices is not None and not features_only:
        raise ValueError("out_indices: only together with features_only=True.")
    if checkpoint_path is None:
        model = build(config, **changes)
    else:
        model, report = _build_loaded(config, changes, checkpoint_path, cls_map_file, new_head)
        for note in report.notes:
            logger.warning("%s: %s", os.fspath(checkpoint_path), note)
        if (wanted_image, wanted_window) != (tuple(model.image_size), tuple(model.window_size)):
            model.resize(wanted_image, wanted_window)
    if not features_only:
        return model
    from swinv2_model.features import Features

    return Features(model, range(stages) if out_indices is None else out_indices)


def _build_loaded(
    config: Mapping[str, Any],
    changes: dict[str, Any],
    checkpoint_path: Any,
    cls_map_file: Any,
    new_head: bool,
) -> tuple[nn.Cell, Report]:
    """The model at the sizes its checkpoint was made for, the checkpoint in it."""
    from swinv2_model.weights.errors import CheckpointError
    from swinv2_model.weights.load import load_into, read_official

    arrays, found, report = read_official(checkpoint_path, cls_map_file=cls_map_file)
    model_config = config["model"]
    classes = changes.get("num_classes", architecture(config).num_classes)
    if not new_head and classes != found.num_classes:
        raise CheckpointError(
            f"{os.fspath(checkpoint_path)}: expected a head of {classes} classes, the configuration's num_classes, "
            f"got {found.num_classes or 'none'}; set num_classes to it, or choose rows with a class map (cls_map_file)."
        )
    native: dict[str, Any] = {key: pair(model_config[key], key) for key in ("image_size", "window_size")}
    made = report.description
    if made is not None and len(made.pretrained_window_sizes) == len(model_config["depths"]):
        native["window_size"] = made.window_size
        native["image_size"] = made.image_size or native["image_size"]
        if model_config["type"] == "swinv2":
            native["pretrained_window_sizes"] = made.pretrained_window_sizes
        named = {*model_config, *changes}
        native.update({key: value for key, value in made.options.items() if key not in named})
        if made.window_size != changes["window_size"]:
            report.notes.append(
                f"made for windows of {made.window_size}, used with {changes['window_size']}; "
                f"told by {made.source}"
            )
    model = build(config, **{**changes, **native})
    load_into(model, arrays, os.fspath(checkpoint_path), report)
    return model, report


def config_of(
    checkpoint_path: str | os.PathLike[str], cls_map_file: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """A configuration for a checkpoint from what it tells of itself, and the preset it is named after.

    Args:
        cls_map_file: the class map the checkpoint will be loaded with: it changes the number of classes.

    Raises:
        CheckpointError: damaged, no Swin Transformer, or its sizes are told nowhere.
    """
    from swinv2_model.weights.errors import CheckpointError
    from swinv2_model.weights.load import read_official

    path = Path(checkpoint_path)
    _, found, report = read_official(path, cls_map_file=cls_map_file)
    made = report.description
    name = (made and made.preset) or preset_named_by(path)
    config: dict[str, Any] = {"name": path.stem, "data": {}, "card": {}}
    preset = load_config(name) if name in list_models() else None
    if (
        preset
        and architecture(preset).with_classes(0).parameter_shapes()
        == found.with_classes(0).parameter_shapes()
    ):
        config = preset
    elif made is None or made.image_size is None:
        untold = "image size" if made else "image and window size"
        raise CheckpointError(
            f"{path}: nothing in the file tells the {untold} it was made for; name a preset or "
            "a YAML with --config."
        )
    if made is not None:
        image = made.image_size or config["model"]["image_size"]
        sizes: dict[str, Any] = {"image_size": image, "window_size": made.window_size}
        if found.version == 2:
            sizes["pretrained_window_sizes"] = list(made.pretrained_window_sizes)
    else:
        sizes = {k: config["model"][k] for k in ("image_size", "window_size")}
        if found.version == 2:
            sizes["pretrained_window_sizes"] = config["model"]["pretrained_window_sizes"]
    if made is not None:
        config["data"] = {**config["data"], **made.data}
    config["model"] = {
        "type": "swinv2" if found.version == 2 else "swin",
        "embed_dim": found.embed_dim,
        "depths": list(found.depths),
        "num_heads": list(found.num_heads),
        "num_classes": found.num_classes,
        "in_channels": found.in_channels,
        "patch_size": found.patch_size,
        "mlp_ratio": found.mlp_ratio,
        **sizes,
        **(made.options if made else {}),
    }
    return load_config(config)


register(list_models())
