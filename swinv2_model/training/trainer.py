# SPDX-License-Identifier: Apache-2.0
"""Train a model of a configuration, and evaluate the checkpoint it leaves."""

import contextlib
import csv
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mindspore import Tensor
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from swinv2_model import ranks, registry
from swinv2_model.inference import Inference, confusion
from swinv2_model.randomness import drop_path_factors, permutation
from swinv2_model.training import digits
from swinv2_model.training.config import RunConfig, parse
from swinv2_model.training.optimizer import AdamW, learning_rates
from swinv2_model.training.step import LossScale, TrainStep
from swinv2_model.weights import keys
from swinv2_model.weights.describe import OPTIONS, Description
from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.files import read_checkpoint, write_checkpoint
from swinv2_model.weights.load import Report, load_into

CHECKPOINT = "checkpoint.ckpt"
CONFIG_KEY = "config"
RESULT_COLUMNS = (
    "loss",
    "train_accuracy",
    "test_accuracy",
    "images_per_second",
    "gradient_norm",
    "loss_scale",
)
LOG_COLUMNS = ("epoch", "lr", *RESULT_COLUMNS)


@dataclass
class Score:
    """What a model makes of labelled images."""

    labels: np.ndarray
    predictions: np.ndarray

    @property
    def correct(self):
        return int((self.labels == self.predictions).sum())

    @property
    def accuracy(self):
        return self.correct / len(self.labels)

    def __str__(self):
        return f"test accuracy {100 * self.accuracy:.2f} % ({self.correct} of {len(self.labels)})"


class Trainer:
    """A run: model, data, optimiser, schedule. `epoch` does one pass, `score` evaluates, `save` writes.

    Every random choice is a function of (seed, epoch, sample): two runs of one configuration see the same
    batches, shifts and drop paths, whatever the back end.

    Raises:
        ValueError: the configuration does not fit its data.
    """

    def __init__(self, config: RunConfig):
        self.config, recipe = config, config.train
        _check_data(config)
        options = {"seed": recipe.seed, "backend": config.backend, "compute_dtype": recipe.compute_dtype}
        self.model = registry.build(registry.load_config(config.tree()), **options)
        (self.images, self.labels), (test_images, self.test_labels) = digits.load(self.model.image_size)
        self.test_images = self._normalise(test_images)
        batch = recipe.total_batch_size
        if batch > len(self.labels):
            raise ValueError(f"train.total_batch_size: expected at most {len(self.labels)}, got {batch}.")
        self.batch_size, self.steps_per_epoch = batch, len(self.labels) // batch
        self.optimizer = AdamW(self.model.trainable_params(), recipe.betas, weight_decay=recipe.weight_decay)
        self.rates = (batch / 512) * learning_rates(
            recipe.epochs,
            self.steps_per_epoch,
            recipe.base_lr,
            recipe.min_lr,
            recipe.warmup_length,
            recipe.warmup_lr,
            recipe.cool_length,
            recipe.cool_lr,
        )
        scaled = recipe.compute_dtype == "float16"
        self.step = TrainStep(
            self.model, self.optimizer, recipe.label_smoothing, recipe.clip_global_norm_value, scaled
        )
        self.loss_scale, self.skipped = LossScale() if scaled else None, 0
        self.inference = Inference(self.model, batch_size=120)

    def _normalise(self, images):
        shape = (1, -1, 1, 1)
        mean, std = np.float32(self.config.data.mean), np.float32(self.config.data.std)
        return (images - mean.reshape(shape)) / std.reshape(shape)

    def batch(self, epoch, step):
        """The inputs of TrainStep."""
        seed, batch = self.config.train.seed, self.batch_size
        index = permutation(seed, epoch, len(self.labels))[step * batch : (step + 1) * batch]
        data = self.config.data
        limits = (data.max_shift, data.max_rotation, data.max_scale)
        images = digits.augment(self.images[index], seed, epoch, index, *limits)
        keep = drop_path_factors(self.model.drop_path_rates, seed, epoch, index)
        number = epoch * self.steps_per_epoch + step
        factors = self.optimizer.factors(self.rates[number], number + 1 - self.skipped)
        inputs = Tensor(self._normalise(images)), Tensor(self.labels[index]), Tensor(keep), factors
        return inputs + ((Tensor(np.float32(self.loss_scale.value)),) if self.loss_scale else ())

    def epoch(self, epoch, report=None):
        """One pass over the data. report(step, loss, accuracy, images a second) is called after every step.

        Returns:
            dict with loss, train_accuracy, images_per_second, where gradients are clipped the last finite
            gradient_norm, and in float16 the loss_scale.
        """
        start, losses, correct, last_norm = time.perf_counter(), [], 0, float("nan")
        for step in range(self.steps_per_epoch):
            loss, right, norm = (value.asnumpy() for value in self.step(*self.batch(epoch, step)))
            if not np.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}.")
            if self.loss_scale:
                self.loss_scale.update(np.isfinite(norm))
                self.skipped += int(not np.isfinite(norm))
            last_norm = float(norm) if np.isfinite(norm) or not self.loss_scale else last_norm
            losses.append(float(loss))
            correct += int(right)
            seen = (step + 1) * self.batch_size
            speed = seen / (time.perf_counter() - start)
            if report is not None:
                report(step, losses[-1], correct / seen, speed)
        row = {"loss": float(np.mean(losses)), "train_accuracy": correct / seen, "images_per_second": speed}
        row |= {"gradient_norm": last_norm} if self.step.clip > 0 else {}
        return row | ({"loss_scale": self.loss_scale.value} if self.loss_scale else {})

    def score(self):
        """Score on the test images."""
        return Score(self.test_labels, self.inference(self.test_images).argmax(-1))

    def save(self, path):
        """The weights and the configuration they need, under `path` only when complete.

        Raises:
            FloatingPointError: a weight is not finite; `path` stays as it is.
        """
        arrays = {parameter.name: parameter.asnumpy() for parameter in self.model.get_parameters()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise FloatingPointError(f"{path}: not written, the training left NaN or infinity in {name}.")
        model = self.model
        trained = self.config.model.pretrained_window_sizes or [0] * len(model.depths)
        options = {key: getattr(self.config.model, key) for key in OPTIONS}
        # Whole scans are scaled to image_size.
        data = {"crop_ratio": None, "mean": self.config.data.mean, "std": self.config.data.std}
        sizes = (model.image_size, model.window_size, tuple(trained))
        texts = Description(*sizes, options=options, data=data).text()
        write_checkpoint(path, arrays, {**texts, CONFIG_KEY: json.dumps(self.config.tree())})


def main(argv, prog):
    workers = os.environ.get("MS_WORKER_NUM", "1")
    if workers != "1":
        raise ValueError(f"MS_WORKER_NUM: train runs in one process, got {workers}; start it without msrun.")
    ranks.graph_mode()
    train(parse(argv, prog), Console(highlight=False))


def train(config: RunConfig, console: Console):
    """Run all epochs, show them, leave checkpoint.ckpt and log.csv in output_dir; returns the last Score.

    Raises:
        ValueError: another run writes into output_dir, or a folder has the name of a file to come.
    """
    trainer = Trainer(config)
    path, log_path = config.output_dir / CHECKPOINT, config.output_dir / "log.csv"
    # An earlier run's log stays with its checkpoint until there is a new one.
    running_log = config.output_dir / "log.running.csv"
    config.output_dir.mkdir(parents=True, exist_ok=True)
    for file in (path, log_path):
        if file.is_dir():
            raise ValueError(f"output_dir: expected to write the file {file}, got a folder; move it away.")
    with _alone_in(config.output_dir):
        score = _run(trainer, running_log, console)
        trainer.save(path)
        running_log.replace(log_path)
    console.print(f"{score}\nwrote {path} and {log_path}", soft_wrap=True)
    return score


@contextlib.contextmanager
def _alone_in(folder):
    """Hold a lock on a folder, which ends with the process at the latest."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"output_dir: another run writes into {folder}; wait for it, or give another folder."
            ) from None
        except OSError:  # network file systems may not lock folders
            pass
        yield
    finally:
        os.close(handle)


def _run(trainer, running_log, console):
    """Run all epochs and show them; returns the last Score."""
    config, recipe = trainer.config, trainer.config.train
    parameters = sum(parameter.size for parameter in trainer.model.trainable_params())
    console.print(
        f"{config.name}: {parameters:,} parameters, {len(trainer.labels)} training and "
        f"{len(trainer.test_labels)} test images, {recipe.epochs} epochs of {trainer.steps_per_epoch} steps",
        soft_wrap=True,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"),
        TextColumn("{task.fields[speed]:.0f} img/s"),
        TimeRemainingColumn(),
    )
    _log(running_log, "w", dict(zip(LOG_COLUMNS, LOG_COLUMNS)))
    with Progress(*columns, console=console) as progress:
        total = recipe.epochs * trainer.steps_per_epoch
        task = progress.add_task("", total=total, loss=float("nan"), accuracy=0.0, speed=0.0)
        for epoch in range(recipe.epochs):

            def report(_, loss, accuracy, speed):
                progress.update(task, advance=1, loss=loss, accuracy=accuracy, speed=speed)

            progress.update(task, description=f"epoch {epoch + 1}/{recipe.epochs}")
            row = trainer.epoch(epoch, report)
            score = trainer.score()
            lr = trainer.rates[(epoch + 1) * trainer.steps_per_epoch - 1]
            _log(running_log, "a", {"epoch": epoch + 1, "lr": lr, "test_accuracy": score.accuracy, **row})
            if not console.is_terminal:
                console.print(
                    f"epoch {epoch + 1:3d}  loss {row['loss']:.4f}  accuracy {row['train_accuracy']:.2%}  "
                    f"{row['images_per_second']:.0f} img/s  {score}",
                    soft_wrap=True,
                )
    return score


def _log(path, mode, row):
    try:
        with open(path, mode, newline="") as file:
            csv.DictWriter(file, LOG_COLUMNS).writerow(row)
    except OSError as error:  # "No space left" comes without a name
        raise OSError(error.errno, error.strerror, str(path)) from None


def evaluate(path, backend, console: Console):
    """Reload a checkpoint that `train` wrote, show accuracy and confusion table; returns the Score.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: damaged, or not written by `train`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; `python -m swinv2_model train` writes one.")
    arrays, texts = read_checkpoint(path)
    config = _config_of(path, texts)
    compute_dtype = config.get("train", {}).get("compute_dtype", "float32")
    trained = registry.build(registry.load_config(config), backend=backend, compute_dtype=compute_dtype)
    load_into(trained, keys.to_official(arrays, "mindspore"), str(path), Report("mindspore"))
    _, (images, labels) = digits.load(trained.image_size)
    mean, std = (np.float32(config["data"][key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    score = Score(labels, Inference(trained, batch_size=120)((images - mean) / std).argmax(-1))
    console.print(confusion_table(score, digits.NUM_CLASSES))
    console.print(str(score))
    return score


def confusion_table(score, classes):
    """A rich table: a row for each label, a column for each answer."""
    table = Table(title="rows: true digit, columns: answer")
    for name in ("", *map(str, range(classes))):
        table.add_column(name, justify="right")
    for label, row in enumerate(confusion(score.labels, score.predictions, classes)):
        table.add_row(str(label), *(str(count) if count else "." for count in row))
    return table


def _config_of(path, texts):
    try:
        config = json.loads(texts[CONFIG_KEY])
        dataset = config["data"]["dataset"]
    except (KeyError, TypeError, json.JSONDecodeError):
        dataset = None
    if dataset != "digits":
        raise CheckpointError(
            f"{path}: expected a run of `train` on the digits; for others give a folder of images, --data_url DIR."
        )
    return config


def _check_data(config):
    channels, classes = config.model.in_channels, config.model.num_classes
    if (channels, classes) != (1, digits.NUM_CLASSES):
        raise ValueError(
            f"model.in_channels, model.num_classes: expected 1 and {digits.NUM_CLASSES} for digits, "
            f"got {channels} and {classes}."
        )
    for key in ("mean", "std"):
        if len(getattr(config.data, key)) != channels:
            raise ValueError(f"data.{key}: expected one number a channel, got {getattr(config.data, key)}.")
    if not np.isfinite(config.data.mean).all():
        raise ValueError(f"data.mean: expected finite numbers, got {config.data.mean}.")
    if not all(0 < std < np.inf for std in config.data.std):
        raise ValueError(f"data.std: expected finite positive numbers, got {config.data.std}.")
    for key, limit in (("max_shift", 32), ("max_rotation", 180), ("max_scale", 0.5)):
        if not 0 <= getattr(config.data, key) <= limit:
            raise ValueError(f"data.{key}: expected 0 to {limit}, got {getattr(config.data, key)}.")
