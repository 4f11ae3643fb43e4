# SPDX-License-Identifier: Apache-2.0
"""`python -m swinv2_model evaluate`: top-1 and top-5 over a folder of images, each counted exactly once."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swinv2_model import ranks as group
from swinv2_model.images import ImageError, Preprocess, image_folder, read_image
from swinv2_model.inference import Inference, confusion
from swinv2_model.registry import config_of, create_model, load_config, preprocessing

if TYPE_CHECKING:
    from mindspore import nn

# What became of a sample; 0 is "not seen", so that the sum over ranks tells every sample's fate.
WRONG, IN_TOP5, TOP1, UNREADABLE, NOT_FINITE = 1, 2, 3, 4, 5
LARGEST_CONFUSION = 20


@dataclass(frozen=True)
class Samples:
    """`load(i)` gives image i as float32 (channels, H, W) with a note, or raises ImageError.

    `folders` counts class folders, empty ones too.
    """

    names: Sequence[str]
    labels: np.ndarray
    load: Callable[[int], tuple[np.ndarray, str]]
    folders: int = 0


@dataclass
class Result:
    """Counts over all samples and all ranks."""

    samples: int
    scored: int = 0
    top1: int = 0
    top5: int = 0
    not_finite: int = 0
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    confusion: np.ndarray | None = None

    def rate(self, correct: int) -> float:
        """Percent of the images that could be read."""
        return 100 * correct / max(self.scored, 1)


def folder_samples(
    data_url: str | os.PathLike[str],
    preprocess: Preprocess,
    labels: Sequence[str] | None = None,
    split: str | None = "val",
) -> Samples:
    """The images of `data_url`/class/file, or `data_url`/`split`/class/file; errors as `images.image_folder`."""
    folder = image_folder(data_url, labels, split)

    def load(index: int) -> tuple[np.ndarray, str]:
        path = folder.samples[index][0]
        image, note = read_image(path)
        try:
            return preprocess(image), note
        except ImageError as error:
            raise ImageError(f"{path}: {error}.") from None

    paths, targets = zip(*folder.samples)
    return Samples(paths, np.array(targets), load, len(folder.classes))


def rank_of_label(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(B, classes), (B,) -> (B,): how many classes come before the label's; ties go to the lower class.

    Rows that are not finite rank last, so that a NaN is never right.
    """
    own = np.take_along_axis(logits, labels[:, None], 1)
    before = np.arange(logits.shape[1]) < labels[:, None]
    rank = ((logits > own) | ((logits == own) & before)).sum(1)
    return np.where(np.isfinite(logits).all(1), rank, logits.shape[1])


def _loaded(samples: Samples, batches: Sequence[range], workers: int) -> Iterator[list[tuple[int, Any]]]:
    """Batches of (index, (image, note) or ImageError) in order, decoded a few batches ahead."""

    def load(index: int) -> Any:
        try:
            return samples.load(index)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        ahead: list[list[tuple[int, Future]]] = []
        for batch in batches:
            ahead.append([(i, pool.submit(load, i)) for i in batch])
            if len(ahead) > 2:
                yield [(i, future.result()) for i, future in ahead.pop(0)]
        for last in ahead:
            yield [(i, future.result()) for i, future in last]


def evaluate(
    model: nn.Cell,
    samples: Samples,
    num_classes: int,
    batch_size: int = 32,
    num_parallel_workers: int = 2,
    rank: int = 0,
    ranks: int = 1,
    progress: bool = False,
    forward: Inference | None = None,
) -> Result:
    """Score every sample once; on several ranks the result is the same on each, and for any number of them.

    Batch b holds samples b * batch_size and on, whatever the number of ranks; rank r takes batches r,
    r + ranks, ... The last batch is padded with images of weight zero, so that one shape is compiled.

    Args:
        model: gives logits (B, num_classes) for float32 images.
        batch_size: images a step; at most as many as there are.
        num_parallel_workers: threads that decode.
        forward: of the model at min(batch_size, number of samples), which saves compiling it again.

    Returns:
        Counts over all ranks. Images that cannot be read are listed and not scored.

    Raises:
        ValueError: a label has no class in the model, or a count is not positive.
    """
    for name, value in (("batch_size", batch_size), ("num_parallel_workers", num_parallel_workers)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name}: expected a positive integer, got {value!r}.")
    total = len(samples.labels)
    if total == 0 or samples.labels.max() >= num_classes:
        raise ValueError(
            f"data_url: expected images of at most {num_classes} classes, the model's number, got "
            f"{samples.labels.max() + 1 if total else 0}."
        )
    batch_size = min(batch_size, total)  # the rest would be computed for nothing
    forward = forward or Inference(model, batch_size)
    starts = range(rank * batch_size, total, ranks * batch_size)
    batches = [range(start, min(start + batch_size, total)) for start in starts]
    shape = (batch_size, model.in_channels, *model.image_size)
    fate = np.zeros(total, np.int32)
    said = np.full(total, -1, np.int32)
    errors: dict[int, str] = {}
    notes: list[str] = []
    with _bar(progress and rank == 0, sum(map(len, batches))) as advance:
        begin = time.perf_counter()
        for batch in _loaded(samples, batches, num_parallel_workers):
            images = np.zeros(shape, np.float32)
            readable = []
            for slot, (index, loaded) in enumerate(batch):
                if isinstance(loaded, ImageError):
                    errors[index] = str(loaded)
                    fate[index] += UNREADABLE
                    continue
                images[slot], note = loaded
                readable.append((slot, index))
                notes += [note] if note else []
            if readable:
                slots, indices = np.array(readable).T
                logits = forward(images)[slots]
                place = rank_of_label(logits, samples.labels[indices])
                cases = [~np.isfinite(logits).all(1), place < 1, place < 5]
                fate[indices] += np.select(cases, [NOT_FINITE, TOP1, IN_TOP5], WRONG).astype(np.int32)
                said[indices] = logits.argmax(1)
            advance(len(batch))
        seconds = time.perf_counter() - begin
    return _reduce(samples, fate, said, errors, notes, seconds, num_classes, ranks)


def _reduce(samples, fate, said, errors, notes, seconds, num_classes, ranks) -> Result:
    seen = group.sum_over_ranks((fate > 0).astype(np.int32), ranks)
    if not (seen == 1).all():
        raise RuntimeError(f"{int((seen != 1).sum())} of {len(seen)} images were not counted exactly once.")
    fate = group.sum_over_ranks(fate, ranks)
    said = group.sum_over_ranks(said + 1, ranks) - 1
    result = Result(len(fate), seconds=seconds, notes=notes)
    result.scored = int((fate != UNREADABLE).sum())
    result.top1 = int((fate == TOP1).sum())
    result.not_finite = int((fate == NOT_FINITE).sum())
    result.top5 = result.top1 + int((fate == IN_TOP5).sum())
    result.unreadable = [
        errors.get(i, f"{samples.names[i]}: cannot be read (told by another rank).")
        for i in np.flatnonzero(fate == UNREADABLE)
    ]
    if num_classes <= LARGEST_CONFUSION:
        result.confusion = confusion(samples.labels[said >= 0], said[said >= 0], num_classes)
    return result


class _bar:
    """A progress bar with images a second, or nothing."""

    def __init__(self, show: bool, total: int) -> None:
        self.progress = None
        if show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("evaluate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            speed = TextColumn("{task.fields[speed]:.1f} img/s")
            self.progress = Progress(*columns, speed, console=Console(file=sys.stderr))
            self.task = self.progress.add_task("", total=total, speed=0.0)

    def __enter__(self) -> Callable[[int], None]:
        progress = self.progress
        if progress is None:
            return lambda count: None
        progress.start()
        begin = time.perf_counter()
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress.update(self.task, advance=count, speed=done / max(time.perf_counter() - begin, 1e-9))

        return advance

    def __exit__(self, *_: Any) -> None:
        if self.progress is not None:
            self.progress.stop()


def print_result(result: Result, card: Mapping[str, Any], ranks: int, device: str) -> None:
    """What rank 0 tells the user."""
    for note in result.notes:
        print(f"note: {note}")
    for line in result.unreadable:
        print(f"unreadable: {line}")
    print(
        f"{result.samples} images on {ranks} x {device}: {result.scored} scored, "
        f"{len(result.unreadable)} unreadable, {result.samples / max(result.seconds, 1e-9):.1f} img/s"
    )
    for name, correct in (("top-1", result.top1), ("top-5", result.top5)):
        expected = card.get(name.replace("-", ""))
        rate = result.rate(correct)
        against = "" if expected is None else f", card {expected} %, difference {rate - expected:+.2f}"
        print(f"{name} {rate:.2f} % ({correct} of {result.scored}){against}")
    if result.not_finite:
        print(
            f"error: {result.not_finite} of {result.scored} images gave logits that are not finite, counted as wrong; "
            "another --compute_dtype may hold them.",
            file=sys.stderr,
        )
    if result.confusion is not None:
        from rich.console import Console
        from rich.table import Table

        table = Table(title="rows: label, columns: prediction")
        table.add_column("")
        for j in range(len(result.confusion)):
            table.add_column(str(j), justify="right")
        for i, row in enumerate(result.confusion):
            table.add_row(str(i), *(str(n) if n else "." for n in row))
        Console().print(table)


def read_labels(path: str | os.PathLike[str], num_classes: int) -> list[str]:
    """Class names, one a line, in the order of the model's classes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not text, or another number of lines than the model has classes.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"labels: {path} is no text file.") from None
    lines = [line.strip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != num_classes:
        raise ValueError(f"labels: {path} has {len(lines)} lines, the model {num_classes} classes.")
    return lines


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose a model and its device; `predict` has them too."""
    parser.add_argument(
        "--config", "--preset", help="a preset or a YAML; by default what the checkpoint tells"
    )
    parser.add_argument("--pretrained", metavar="CKPT", help=".ckpt, .safetensors or .pth")
    parser.add_argument("--image_size", type=int, nargs="+", help="one side, or height and width")
    parser.add_argument("--window_size", type=int, nargs="+", help="one side, or height and width")
    parser.add_argument("--cls_map_file", metavar="MAP", help="line i: the row of the head for class i")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line, in the model's order")
    parser.add_argument("--device_target", default="CPU", choices=["CPU", "Ascend"])
    parser.add_argument("--device_id", type=int)
    parser.add_argument("--compute_dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--backend", help="back end of the fused operators")


def load_model(args: argparse.Namespace) -> tuple[nn.Cell, dict[str, Any], Preprocess]:
    """The model, its configuration and its preprocessing from `add_model_arguments`."""
    if not args.pretrained:
        raise ValueError("pretrained: expected a checkpoint; give --pretrained CKPT.")
    config = load_config(args.config) if args.config else config_of(args.pretrained, args.cls_map_file)
    sizes: dict[str, Any] = {}
    for key in ("image_size", "window_size"):
        value = getattr(args, key)
        if value is not None:
            if len(value) > 2:
                raise ValueError(f"{key}: expected one or two integers, got {value}.")
            sizes[key] = value[0] if len(value) == 1 else tuple(value)
    model = create_model(
        config,
        checkpoint_path=args.pretrained,
        cls_map_file=args.cls_map_file,
        new_head=False,
        backend=args.backend,
        compute_dtype=args.compute_dtype,
        **sizes,
    )
    preprocess = preprocessing(config, model.image_size)
    if len(preprocess.mean) != model.in_channels:
        raise ValueError(
            f"data.mean, data.std: expected {model.in_channels} of each, one for each channel of {args.pretrained}, "
            f"got {len(preprocess.mean)}; give them in the section data of a YAML, --config FILE."
        )
    return model, config, preprocess


def main(argv: Sequence[str], prog: str) -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.split(": ", 1)[1])
    add_model_arguments(parser)
    parser.add_argument("--data_url", metavar="DIR", help="folder with one sub-folder a class, or with val/")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--num_parallel_workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    if args.data_url:
        return run(args)
    honoured = ("data_url", "pretrained", "backend", *([] if args.pretrained else ["config"]))
    given = [k for k, v in vars(args).items() if k not in honoured and v != parser.get_default(k)]
    if given:
        raise ValueError(
            f"--{', --'.join(given)}: only for a folder of images, --data_url DIR; without one a checkpoint of `train` "
            "is evaluated as it was trained."
        )
    return _run_digits(args)


def _run_digits(args: argparse.Namespace) -> int:
    """Without a folder: a run of `train`, which keeps its configuration in the checkpoint."""
    from rich.console import Console

    from swinv2_model.training import trainer

    name = load_config(args.config)["name"] if args.config else "digits"
    path = Path(args.pretrained or Path("runs") / name / trainer.CHECKPOINT)
    trainer.evaluate(path, args.backend, Console(highlight=False))
    return 0


def run(args: argparse.Namespace) -> int:
    group.graph_mode()
    rank, count = group.start(args.device_target, args.device_id)
    model, config, preprocess = load_model(args)
    classes = 0 if model.head is None else model.head.weight.shape[0]
    if not classes:
        raise ValueError(f"pretrained: {args.pretrained} has no head; nothing to evaluate.")
    names = read_labels(args.labels, classes) if args.labels else None
    samples = folder_samples(args.data_url, preprocess, names)
    if rank == 0 and samples.folders < classes and not args.labels:
        print(
            f"note: {samples.folders} class folders for {classes} classes: the sorted folders are classes 0, 1, ..."
        )
    result = evaluate(
        model, samples, classes, args.batch_size, args.num_parallel_workers, rank, count, progress=True
    )
    for note in result.notes if rank else ():
        print(f"note: {note}")
    if rank == 0:
        print_result(result, config["card"], count, args.device_target)
    return 0 if result.scored and not result.not_finite else 1


__all__ = ["Result", "Samples", "evaluate", "folder_samples", "print_result", "run"]
