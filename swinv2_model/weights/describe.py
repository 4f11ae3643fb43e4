# SPDX-License-Identifier: Apache-2.0
"""Which image and window size a checkpoint belongs to, which the weights of V2 alone do not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from swinv2_model.architecture import Architecture, Size, is_trained_window, official_window, pair
from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.keys import from_cell_list
from swinv2_model.weights.pth import PathLike

PRESETS = Path(__file__).parents[1] / "presets"
TEXT_KEY = "swinv2_model"
OPTIONS = ("window_rule", "mask_padding", "mask_value", "gelu", "norm_eps")
_HF_GELU = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_HF_EPS = 1e-5
_TABLE = re.compile(r".*?layers\.(\d+)\.blocks\.0\..*relative_coords_table")
_MASK = re.compile(r".*?layers\.0\.blocks\.1\..*attn_mask")


@dataclass(frozen=True)
class Description:
    """Sizes a model was made for, in pixels (image) and tokens (windows); `source` says who told.

    Where nothing tells the image size it is None. `options` are arguments of the model that are not its defaults,
    `data` keys of a configuration's section of that name.
    `preset` is the one the file, or the file it was converted from, is named after.
    """

    image_size: tuple[int, int] | None
    window_size: tuple[int, int]
    pretrained_window_sizes: tuple[Size, ...]
    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> dict[str, str]:
        """What `write_checkpoint` keeps beside the weights."""
        fields = {
            "image_size": self.image_size,
            "window_size": self.window_size,
            "pretrained_window_sizes": self.pretrained_window_sizes,
            "preset": self.preset,
            "data": dict(self.data),
            **self.options,
        }
        return {TEXT_KEY: json.dumps(fields)}


def _from_fields(fields: object, stages: int, source: str) -> Description:
    if not isinstance(fields, dict):
        raise CheckpointError(f"{source}: expected a JSON object.")
    for key in ("image_size", "window_size"):
        if key not in fields:
            raise CheckpointError(f"{source}: {key!r} is missing.")
    windows = fields.get("pretrained_window_sizes") or [0] * stages
    windows = windows[:stages] if isinstance(windows, list) else []
    if len(windows) != stages or not all(map(is_trained_window, windows)):
        raise CheckpointError(
            f"{source}: 'pretrained_window_sizes' must be {stages} integers, or pairs of them, from 0."
        )
    try:
        image = fields["image_size"]
        image = None if image is None else pair(image, "image_size")
        window = pair(fields["window_size"], "window_size")
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from None
    options = {key: fields[key] for key in OPTIONS if key in fields}
    data = fields.get("data", {})
    if not isinstance(data, dict):
        raise CheckpointError(f"{source}: 'data' must be a JSON object.")
    return Description(image, window, tuple(windows), source, options, fields.get("preset"), data)


def preset_names() -> list[str]:
    """Sorted."""
    return sorted(preset.stem for preset in PRESETS.glob("*.yaml"))


def preset_named_by(path: PathLike) -> str | None:
    """The preset a checkpoint's name begins with."""
    named = (name for name in preset_names() if Path(path).name.startswith(name))
    return max(named, key=len, default=None)


def _hf_config(config: Path, version: int) -> dict[str, Any] | None:
    """Hugging Face's config.json, if it is there and of this version of Swin."""
    if not config.is_file():
        return None
    try:
        fields = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{config}: expected JSON ({error}).") from None
    kind = "swin" if version == 1 else "swinv2"
    return fields if isinstance(fields, dict) and fields.get("model_type") == kind else None


def _hf_options(fields: Mapping[str, Any], version: int, source: str) -> dict[str, Any]:
    """What Hugging Face computes otherwise than our defaults."""
    activation, epsilon = fields.get("hidden_act", "gelu"), fields.get("layer_norm_eps", _HF_EPS)
    if activation not in list(_HF_GELU):
        raise CheckpointError(
            f"{source}: hidden_act: expected one of {', '.join(_HF_GELU)}, got {activation!r}; "
            "no other activation is implemented."
        )
    if epsilon != _HF_EPS:
        # There it is not the epsilon of the patch embedding's norm, which norm_eps would change too.
        raise CheckpointError(
            f"{source}: layer_norm_eps: expected {_HF_EPS}, got {epsilon!r}; "
            "norm_eps is not the same, change it in that file to accept the difference."
        )
    # Its V2 adds the mask of -100 twice.
    mask_value = -200.0 if version == 2 else -100.0
    return {"gelu": _HF_GELU[activation], "mask_padding": False, "mask_value": mask_value}


def _check_hf_windows(made: Description, architecture: Architecture) -> None:
    """Refuse sizes at which Hugging Face's V2 has other windows: for them it rounds grids down and asks the height."""
    if architecture.version == 1 or made.image_size is None:
        return
    (height, width), whole = made.image_size, made.window_size[0]
    for stage in range(len(architecture.depths)):
        patch = architecture.patch_size << stage
        window = min(height // patch, whole)
        shift = whole // 2 if height // patch > window else 0
        ours = official_window((-(-height // patch), -(-width // patch)), made.window_size)
        if ours != ((window, window), (shift, shift)):
            raise CheckpointError(
                f"{made.source}: image_size: expected one that gives Hugging Face the same windows as here, got "
                f"{made.image_size}: theirs in stage {stage} are {window}x{window} shifted by {shift}, ours "
                f"{ours[0][0]}x{ours[0][1]} shifted by {ours[1][0]}; change it in that file to accept the difference."
            )


def _grid_of_windows(mask: np.ndarray) -> tuple[int, int] | None:
    """Rows and columns of windows, from the mask of a shifted block; None where it has another pattern.

    Only windows of the last row and the last column hold several regions: the first of them ends row 0.
    """
    mixed = mask.any((1, 2))
    columns = int(mixed.argmax()) + 1
    if len(mixed) % columns:
        return None
    grid = mixed.reshape(-1, columns)
    expected = np.zeros_like(grid)
    expected[-1] = expected[:, -1] = True
    rows = len(grid)
    return (rows, columns) if min(rows, columns) > 1 and np.array_equal(grid, expected) else None


def _from_buffers(raw: Mapping[str, np.ndarray], architecture: Architecture, file: str) -> Description | None:
    """Sizes from the buffers of official and mindcv checkpoints."""
    stages = len(architecture.depths)
    windows, trained = {}, [0] * stages
    for name, array in raw.items():
        match = _TABLE.fullmatch(from_cell_list(name))
        if not match or array.ndim != 4 or int(match[1]) >= stages or min(array.shape[1:3]) < 3:
            continue
        stage, window = int(match[1]), ((array.shape[1] + 1) // 2, (array.shape[2] + 1) // 2)
        windows[stage] = window
        # largest coordinate t = log2(8 x + 1) / 3 with x = (w - 1) / (pretrained - 1), or 1
        x = (2.0 ** (3 * float(array[..., 0].max())) - 1) / 8
        if np.isfinite(x) and x > 0:
            trained[stage] = round(1 + (window[0] - 1) / x)
    if architecture.version == 1:
        windows[0] = architecture.window_size
    masks = [a for name, a in raw.items() if _MASK.fullmatch(from_cell_list(name)) and a.ndim == 3 and len(a)]
    grid = _grid_of_windows(masks[0]) if masks else None
    if 0 not in windows or (grid is None and architecture.version == 1):
        return None
    source = f"buffers of {file}"
    if grid is None:
        # Without the image a stage's own window is not known to follow, so it is named.
        return Description(None, windows[0], tuple(trained), source)
    (rows, columns), (height, width), patch = grid, windows[0], architecture.patch_size
    pretrained = (0 if i in windows and size == windows[i][0] else size for i, size in enumerate(trained))
    return Description(
        (rows * height * patch, columns * width * patch), windows[0], tuple(pretrained), source
    )


def describe(
    path: PathLike,
    raw: Mapping[str, np.ndarray],
    texts: Mapping[str, str],
    architecture: Architecture,
    dialect: str,
) -> Description | None:
    """Sizes and options from what `convert` wrote beside the weights, from buffers, or from Hugging Face's config.json.

    Args:
        path: the checkpoint; a `config.json` is looked for beside it if `dialect` is Hugging Face's.
        raw: {name: array} as read, buffers included.
        texts: what the file says about itself.

    Returns:
        None where nothing tells.

    Raises:
        CheckpointError: a description is there, but malformed.
    """
    stages, file = len(architecture.depths), str(path)
    if TEXT_KEY in texts:
        try:
            return _from_fields(json.loads(texts[TEXT_KEY]), stages, f"description in {file}")
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{file}: its description {TEXT_KEY!r} is no JSON ({error}).") from None
    found = _from_buffers(raw, architecture, file)
    if dialect != "hf":
        return found
    config = Path(path).with_name("config.json")
    fields = _hf_config(config, architecture.version)
    if fields is not None:
        found = _from_fields(fields, stages, str(config))
        _check_hf_windows(found, architecture)
    return found and replace(found, options=_hf_options(fields or {}, architecture.version, str(config)))
