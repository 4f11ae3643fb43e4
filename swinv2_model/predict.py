# SPDX-License-Identifier: Apache-2.0
"""`python -m swinv2_model predict`: the five likeliest classes of images, and what the model looks at."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swinv2_model import ranks
from swinv2_model.evaluate import add_model_arguments, load_model, read_labels
from swinv2_model.images import ImageError, Preprocess, read_image
from swinv2_model.weights.pth import atomic_output

if TYPE_CHECKING:
    from mindspore import nn

TOP = 5


@dataclass
class Seen:
    """What window attention of a block was given: arrays, and its options by name."""

    stage: int
    qkv: np.ndarray
    bias_table: np.ndarray
    logit_scale: np.ndarray | None
    window: tuple[int, int]
    valid: tuple[int, int]
    scale: float | None
    mask_padding: bool


def watch(model: nn.Cell, x: np.ndarray) -> tuple[np.ndarray, list[Seen]]:
    """Logits of one image, and the inputs of window attention in the first block of every stage."""
    import mindspore as ms

    seen: list[Seen] = []

    def remember(stage: int, attention: Any) -> Any:
        def hook(cell, inputs):
            qkv, table, scale = [None if t is None else t.asnumpy() for t in (*inputs, None)[:3]]
            seen.append(
                Seen(
                    stage, qkv[0], table, scale, attention.window_size, attention.resolution,
                    attention.scale, attention.mask_padding,
                )
            )  # fmt: skip

        return hook

    handles = []
    for stage, layer in enumerate(model.layers):
        attention = layer.blocks[0].attn
        handles.append(attention.window_attention.register_forward_pre_hook(remember(stage, attention)))
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)  # graphs have no hooks
    try:
        logits = model.set_train(False)(ms.Tensor(x[None])).asnumpy()[0]
    finally:
        ms.set_context(mode=mode)
        for handle in handles:
            handle.remove()
    return logits, seen


def attention_received(seen: Seen) -> np.ndarray:
    """(H, W): how much attention a token gets from its window, averaged over queries and heads; 1 is even.

    The first block of a stage is not shifted, so that windows lie on the grid.
    """
    heads = len(seen.bias_table)
    height, width, channels = seen.qkv.shape
    wh, ww = seen.window
    n, dim = wh * ww, channels // (3 * heads)
    # (windows, N, 3, heads, dim)
    parts = seen.qkv.astype(np.float64).reshape(height // wh, wh, width // ww, ww, 3, heads, dim)
    parts = parts.transpose(0, 2, 1, 3, 4, 5, 6).reshape(-1, n, 3, heads, dim)
    q, k = parts[:, :, 0].transpose(0, 2, 1, 3), parts[:, :, 1].transpose(0, 2, 1, 3)
    if seen.logit_scale is None:
        scale: Any = seen.scale
    else:
        q, k = (t / np.maximum(np.linalg.norm(t, axis=-1, keepdims=True), 1e-12) for t in (q, k))
        scale = np.exp(np.minimum(seen.logit_scale.reshape(heads, 1, 1), np.log(100.0)))
    y, x = np.divmod(np.arange(n), ww)
    bias = seen.bias_table[:, y[:, None] - y + wh - 1, x[:, None] - x + ww - 1]  # (heads, N, N)
    logits = q @ k.swapaxes(-1, -2) * scale + bias
    inside = np.zeros((height, width), bool)
    inside[: seen.valid[0], : seen.valid[1]] = True
    inside = inside.reshape(height // wh, wh, width // ww, ww).transpose(0, 2, 1, 3).reshape(-1, n)
    if seen.mask_padding:
        logits = np.where(inside[:, None, None], logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    # mean over the queries that are image, then over heads: (windows, N)
    queries = inside[:, None, :, None] / np.maximum(inside.sum(-1), 1)[:, None, None, None]
    received = (weights * queries).sum(2).mean(1) * np.maximum(inside.sum(-1, keepdims=True), 1)
    grid = received.reshape(height // wh, width // ww, wh, ww).transpose(0, 2, 1, 3).reshape(height, width)
    return grid[: seen.valid[0], : seen.valid[1]]


def draw_attention(path: Path, image: np.ndarray, seen: Sequence[Seen]) -> None:
    """The image (H, W, 3 or 1), 0 to 1, and over it the attention received in each stage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * (len(seen) + 1), 3.3), layout="constrained")
    axes = figure.subplots(1, len(seen) + 1)
    for axis in axes:
        axis.imshow(image, cmap="gray")
        axis.axis("off")
    axes[0].set_title("image")
    extent = (0, image.shape[1], image.shape[0], 0)
    for axis, one in zip(axes[1:], seen):
        axis.imshow(attention_received(one), cmap="inferno", alpha=0.65, extent=extent, vmin=0)
        axis.set_title(f"attention, stage {one.stage}")
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=100)


def draw_bias(path: Path, seen: Sequence[Seen]) -> None:
    """The position bias of each stage's first block: one small map of (2Wh-1, 2Ww-1) offsets a head."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(seen), 4.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(seen)))
    for axis, one in zip(axes, seen):
        heads, rows, cols = one.bias_table.shape
        across = int(np.ceil(np.sqrt(heads)))
        down = -(-heads // across)
        board = np.full((down * (rows + 1) - 1, across * (cols + 1) - 1), np.nan)
        for head in range(heads):
            top, left = head // across * (rows + 1), head % across * (cols + 1)
            board[top : top + rows, left : left + cols] = one.bias_table[head]
        shown = axis.imshow(board, cmap="viridis")
        axis.set_title(f"position bias, stage {one.stage}, {heads} heads")
        axis.axis("off")
        figure.colorbar(shown, ax=axis, shrink=0.7)
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=100)


def top_classes(logits: np.ndarray, labels: Sequence[str] | None = None) -> list[tuple[str, float]]:
    """(class, probability) of the likeliest classes, the likeliest first; ties go to the lower class."""
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    order = np.argsort(-logits, kind="stable")[:TOP]
    return [(labels[i] if labels else f"class {i}", float(shifted[i] / shifted.sum())) for i in order]


def _unnormalised(x: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(channels, H, W) back to (H, W, channels) from 0 to 1."""
    pixels = x.transpose(1, 2, 0) * np.asarray(preprocess.std) + np.asarray(preprocess.mean)
    return np.clip(pixels, 0, 1)


def main(argv: Sequence[str], prog: str) -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.split(": ", 1)[1])
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    add_model_arguments(parser)
    parser.add_argument("--output", default="runs/predict", metavar="DIR", help="where the pictures go")
    args = parser.parse_args(argv)
    ranks.start(args.device_target, args.device_id)
    model, _, preprocess = load_model(args)
    if model.head is None:
        raise ValueError(f"pretrained: {args.pretrained} has no head; nothing to predict.")
    labels = read_labels(args.labels, model.head.weight.shape[0]) if args.labels else None
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    failed = 0
    taken: set[str] = set()
    for path in args.images:
        try:
            image, note = read_image(path)
            x = preprocess(image)
        except ImageError as error:
            sentence = str(error) if str(path) in str(error) else f"{path}: {error}."
            print(f"unreadable: {sentence}", file=sys.stderr)
            failed += 1
            continue
        logits, seen = watch(model, x)
        if not np.isfinite(logits).all():
            print(
                f"error: {path}: the logits are not finite; another --compute_dtype may hold them.",
                file=sys.stderr,
            )
            failed += 1
            continue
        print(path + (f"  (note: {note})" if note else ""))
        for name, probability in top_classes(logits, labels):
            print(f"  {100 * probability:6.2f} %  {name}")
        stem = os.fsdecode(os.fsencode(Path(path).stem)[:200])  # file systems take names of 255 bytes
        while stem in taken:
            stem += "_"
        taken.add(stem)
        draw_attention(output / f"{stem}_attention.png", _unnormalised(x, preprocess), seen)
        if len(taken) == 1:
            draw_bias(output / "position_bias.png", seen)
    if taken:
        print(f"pictures: {output}/*_attention.png, {output / 'position_bias.png'}")
    return 1 if failed else 0
