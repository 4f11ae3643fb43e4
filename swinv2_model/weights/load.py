# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint of any implementation to a checked official state dict: names, shapes and the head."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from swinv2_model.architecture import Architecture
from swinv2_model.weights import keys
from swinv2_model.weights.describe import Description, describe
from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.files import read_checkpoint
from swinv2_model.weights.pth import PathLike
from swinv2_model.weights.resample import resize_bias_table

if TYPE_CHECKING:
    from mindspore import nn

HEAD = ("head.weight", "head.bias")


@dataclass
class Report:
    """What happened to a checkpoint on its way; `notes` are sentences for the user."""

    dialect: str
    used: int = 0
    buffers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    description: Description | None = None

    def __str__(self) -> str:
        lines = [f"{self.used} parameters in {self.dialect} names; {len(self.buffers)} buffers dropped"]
        if self.description:
            image, (wh, ww) = self.description.image_size, self.description.window_size
            images = f"{image[0]}x{image[1]} images" if image else "images of a size nothing tells"
            lines.append(f"made for {images} and {wh}x{ww} windows ({self.description.source})")
        return "\n".join(lines + self.notes)


def infer_architecture(arrays: Mapping[str, np.ndarray], file: str = "checkpoint") -> Architecture:
    """The architecture an official state dict belongs to.

    Raises:
        CheckpointError: shapes that decide the architecture are missing or contradict each other.
    """

    def missing(name: str) -> CheckpointError:
        return CheckpointError(f"{file}: {name!r} is missing among {_some(list(map(repr, arrays)), 4)}.")

    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in arrays:
            raise missing(name)
        if arrays[name].ndim != rank:
            raise CheckpointError(f"{file}: {name!r} has shape {arrays[name].shape}, expected rank {rank}.")
        return arrays[name].shape

    embed_dim, in_channels, patch, other = shape("patch_embed.proj.weight", 4)
    depths: list[int] = []
    while f"layers.{len(depths)}.blocks.0.norm1.weight" in arrays:
        i = len(depths)
        depths.append(1)
        while f"layers.{i}.blocks.{depths[i]}.norm1.weight" in arrays:
            depths[i] += 1
    if not depths:
        raise missing("layers.0.blocks.0.norm1.weight")
    version = keys.version_of(arrays)
    heads, window = [], (7, 7)
    for i in range(len(depths)):
        name = f"layers.{i}.blocks.0.attn."
        if version == 2:
            heads.append(shape(f"{name}logit_scale", 3)[0])
        else:
            rows, count = shape(f"{name}relative_position_bias_table", 2)
            side = round(rows**0.5)
            if side * side != rows or side % 2 == 0:
                raise CheckpointError(
                    f"{file}: '{name}relative_position_bias_table' has {rows} rows, expected (2 w - 1)^2."
                )
            heads.append(count)
            size = (side + 1) // 2
            if i and size > window[0]:  # a smaller one is that of a grid smaller than the window
                raise CheckpointError(
                    f"{file}: '{name}relative_position_bias_table': expected windows of at most {window[0]}, the first "
                    f"stage's, got {size}; windows that differ by stage are not implemented."
                )
            window = (size, size) if i == 0 else window
    hidden = [shape(f"layers.{i}.blocks.0.mlp.fc1.weight", 2)[0] for i in range(len(depths))]
    classes = shape("head.weight", 2)[0] if "head.weight" in arrays else 0
    if patch != other or not all((embed_dim, in_channels, patch, *hidden, *heads)):
        raise CheckpointError(f"{file}: 'patch_embed.proj.weight' or a block has an impossible shape.")
    return Architecture(
        version=version,
        embed_dim=embed_dim,
        depths=tuple(depths),
        num_heads=tuple(heads),
        num_classes=classes,
        in_channels=in_channels,
        patch_size=patch,
        # Every stage rounds its width down: the largest of the ratios is one that gives them all.
        mlp_ratio=max(width / (embed_dim << i) for i, width in enumerate(hidden)),
        window_size=window,
    )


def check(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], file: str) -> None:
    """Compare names, shapes and finiteness with what is expected.

    Raises:
        CheckpointError: lists every missing and unused key, or the first shapes that differ.
    """
    missing = [name for name in shapes if name not in arrays]
    unused = [name for name in arrays if name not in shapes]
    if missing or unused:
        parts = [f"{file}: the parameters do not match the model."]
        parts += [f"Missing ({len(missing)}): {_some(missing)}."] if missing else []
        parts += [f"Unused ({len(unused)}): {_some(unused)}."] if unused else []
        raise CheckpointError(" ".join(parts))
    wrong = [f"{n!r} {a.shape}, expected {shapes[n]}" for n, a in arrays.items() if a.shape != shapes[n]]
    if wrong:
        raise CheckpointError(f"{file}: {len(wrong)} parameters have another shape: {_some(wrong, 4)}.")
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise CheckpointError(f"{file}: {name!r} has dtype {array.dtype}, expected floating point.")
        if not np.isfinite(array).all():
            raise CheckpointError(f"{file}: {name!r} holds NaN or infinity.")


def _new_head(old: int, new: int) -> str:
    if not new:
        return f"head: {old} classes in the checkpoint, none wanted: left out"
    return f"head: {old} classes in the checkpoint, {new} wanted: re-initialised to zero" + (
        "; a class map (cls_map_file) would keep rows of the old head" if old else ""
    )


def _some(items: Sequence[str], limit: int = 40) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def read_class_map(path: PathLike) -> np.ndarray:
    """Read a class map: one integer a line, line i the row of the old head for class i; the order is kept.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a line is no integer from 0, or the file is empty; the message names the line.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except UnicodeDecodeError:
        raise CheckpointError(
            f"{name}: expected a text file of one integer a line, got binary data."
        ) from None
    while lines and not lines[-1].strip():
        lines.pop()
    rows = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise CheckpointError(f"{name}: line {number} is {text[:40]!r}, expected one integer from 0.")
        rows.append(int(text))
    if not rows:
        raise CheckpointError(f"{name}: the class map is empty.")
    return np.array(rows)


def map_head(
    arrays: Mapping[str, np.ndarray], cls_map_file: PathLike, file: str = "checkpoint"
) -> keys.Arrays:
    """Take the rows of the head that the map names, in its order.

    Raises:
        CheckpointError: there is no head, or the map names a row that the head lacks.
    """
    rows = read_class_map(cls_map_file)
    out = dict(arrays)
    for name in HEAD:
        if name not in arrays:
            raise CheckpointError(f"{file}: {name!r} is missing, so that {cls_map_file} has nothing to map.")
        if rows.max() >= len(arrays[name]):
            line = int(np.argmax(rows >= len(arrays[name]))) + 1
            raise CheckpointError(
                f"{cls_map_file}: line {line} names class {rows[line - 1]}, but {name!r} of {file} has "
                f"{len(arrays[name])}."
            )
        out[name] = arrays[name][rows]
    return out


def read_official(
    path: PathLike,
    dialect: str = "auto",
    cls_map_file: PathLike | None = None,
    num_classes: int | None = None,
) -> tuple[keys.Arrays, Architecture, Report]:
    """Read any checkpoint as an official state dict that is complete, without buffers and in official order.

    Args:
        path: .pth, .safetensors or .ckpt.
        dialect: whose names it uses, or `auto`; refused where they are another's.
        cls_map_file: takes rows of the head, see `read_class_map`.
        num_classes: wanted size of the head; another size is re-initialised to zero, as in the official
            code, and the report says so. None keeps the head as it is.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file, its names, its shapes or the class map are wrong.
    """
    file = os.fspath(path)
    notes: list[str] = []
    raw, texts = read_checkpoint(path, notes)
    try:
        wrapper = keys.wrapper_of(raw)
        # SimMIM's mask_token is for pre-training alone, but stands among the model's names.
        mask_token = f"{wrapper}mask_token"
        left_out = [name for name in raw if not name.startswith(wrapper) or name == mask_token]
        raw.pop(mask_token, None)
        raw = keys.strip_wrapper(raw)
        arrays = keys.drop_buffers(raw)
        dialect = keys.confirm(arrays, dialect)
        arrays = keys.to_official(arrays, dialect)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    report = Report(dialect, buffers=[name for name in raw if keys.is_buffer(name)], notes=notes)
    if left_out:
        behind = f"took the names behind {wrapper!r}, " if wrapper else ""
        report.notes.append(f"{behind}left out {_some(left_out)}")
    if cls_map_file is not None:
        old = len(arrays["head.weight"]) if "head.weight" in arrays else 0
        arrays = map_head(arrays, cls_map_file, file)
        report.notes.append(f"head: {old} -> {len(arrays['head.weight'])} classes by {cls_map_file}")
    architecture = infer_architecture(arrays, file)
    shapes = architecture.parameter_shapes()
    if architecture.num_classes == 0:
        report.notes.append("head: the checkpoint has none")
    # V1 tables may differ in size from stage to stage; they are resampled when a model loads them.
    for name in [n for n in shapes if n.endswith("relative_position_bias_table")]:
        if name in arrays and arrays[name].shape[1:] == shapes[name][1:]:
            shapes[name] = arrays[name].shape
    check(arrays, shapes, file)
    arrays = {name: arrays[name] for name in shapes}
    report.used = len(arrays)
    report.description = describe(path, raw, texts, architecture, dialect)
    if dialect == "hf" and report.description is None:
        report.notes.append(
            "config.json: none of this model beside the checkpoint, so gelu, mask_padding and mask_value "
            "are the model's, not Hugging Face's"
        )
    if num_classes is not None and num_classes != architecture.num_classes:
        report.notes.append(_new_head(architecture.num_classes, num_classes))
        architecture = architecture.with_classes(num_classes)
        for name, shape in architecture.parameter_shapes().items():
            if name in HEAD:
                arrays[name] = np.zeros(shape, np.float32)
        if num_classes == 0:
            arrays = {name: array for name, array in arrays.items() if name not in HEAD}
    return arrays, architecture, report


def load_into(model: nn.Cell, arrays: Mapping[str, np.ndarray], file: str, report: Report) -> None:
    """Put an official state dict into a model, in the precision of its parameters; compiled graphs see it.

    A head of another size is set to zero, learned bias tables of V1 are resampled, a patch embedding of 3
    channels is summed for 1; each adds a note to `report`.

    Raises:
        CheckpointError: the checkpoint belongs to another model; nothing of it is loaded.
    """
    import mindspore as ms
    from mindspore import Tensor, ops

    ours = {name: parameter for name, parameter in model.parameters_and_names()}
    official = {keys.to_official_name(name): name for name in ours}
    shapes = {name: tuple(ours[official[name]].shape) for name in official}
    fitted = fit_to(arrays, shapes, file, report)
    for name, array in fitted.items():
        if array.dtype == np.float64 and np.abs(array).max(initial=0) > np.finfo(np.float32).max:
            raise CheckpointError(f"{file}: {name!r} holds numbers beyond the range of float32.")
    for name, array in fitted.items():
        parameter = ours[official[name]]
        value = Tensor(array, parameter.dtype)
        if parameter.dtype == ms.bfloat16:  # of round_weights; the CPU has no Assign for it
            parameter.copy_(value)
        else:
            ops.assign(parameter, value)


def fit_to(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], file: str, report: Report
) -> keys.Arrays:
    """Make an official state dict fit a model's shapes, or refuse it; see `load_into`."""
    out = dict(arrays)
    wanted = shapes["head.bias"][0] if "head.bias" in shapes else 0
    got = len(arrays["head.bias"]) if "head.bias" in arrays else 0
    if wanted != got:
        out = {name: array for name, array in out.items() if name not in HEAD}
        out.update({name: np.zeros(shapes[name], np.float32) for name in HEAD if wanted})
        report.notes.append(_new_head(got, wanted))
    for name, shape in shapes.items():
        old = out.get(name)
        if old is None or old.shape == shape:
            continue
        if name.endswith("relative_position_bias_table") and old.ndim == 2 and old.shape[1] == shape[1]:
            side = round(shape[0] ** 0.5)
            out[name] = resize_bias_table(old, (side, side))
            report.notes.append(f"{name}: resampled from {old.shape[0]} to {shape[0]} rows (bicubic)")
        elif name == "patch_embed.proj.weight" and shape == (old.shape[0], 1, *old.shape[2:]):
            out[name] = old.sum(1, keepdims=True, dtype=old.dtype)
            report.notes.append(f"{name}: {old.shape[1]} input channels summed into 1")
    check(out, shapes, file)
    return out
