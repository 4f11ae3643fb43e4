# SPDX-License-Identifier: Apache-2.0
"""Train a model of a configuration, and evaluate the checkpoint it leaves."""

import contextlib
import csv
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from swinv2_model import ranks as group
from swinv2_model import registry
from swinv2_model.inference import Inference, confusion
from swinv2_model.randomness import drop_path_factors, permutation
from swinv2_model.training import digits
from swinv2_model.training.config import RunConfig, parse
from swinv2_model.training.data import Digits, DigitScore, Folder, check_digits
from swinv2_model.training.optimizer import AdamW, learning_rates
from swinv2_model.training.step import LossScale, TrainStep
from swinv2_model.weights import keys
from swinv2_model.weights.describe import OPTIONS, Description
from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.files import read_checkpoint, write_checkpoint
from swinv2_model.weights.load import Report, load_into

CHECKPOINT, BEST = "checkpoint.ckpt", "best.ckpt"
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


class Trainer:
    """A run: model, data, optimiser, schedule. `epoch` does one pass, `score` evaluates, `save` writes.

    Every random choice is a function of (seed, epoch, sample): two runs of one configuration see the same
    batches, augmentations and drop paths, whatever the back end.

    Raises:
        ValueError: the configuration does not fit its data.
    """

    def __init__(self, config: RunConfig, rank=0, ranks=1):
        self.config, self.rank, self.ranks, recipe = config, rank, ranks, config.train
        digits_only = config.data.dataset == "digits"
        if digits_only:
            check_digits(config)
        options: dict[str, Any] = {
            "seed": recipe.seed,
            "backend": config.backend,
            "compute_dtype": recipe.compute_dtype,
        }
        if config.pretrained:
            self.model = registry.create_model(config.tree(), checkpoint_path=config.pretrained, **options)
        else:
            self.model = registry.build(registry.load_config(config.tree()), **options)
        self.data = Digits(config, self.model) if digits_only else Folder(config, self.model, rank, ranks)
        batch = recipe.total_batch_size
        if batch > len(self.data):
            raise ValueError(f"train.total_batch_size: expected at most {len(self.data)}, got {batch}.")
        if batch % ranks:
            raise ValueError(
                f"train.total_batch_size: expected a multiple of the {ranks} ranks, got {batch}."
            )
        self.batch_size, self.steps_per_epoch = batch, len(self.data) // batch
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
        self.loss_scale = LossScale() if recipe.compute_dtype == "float16" else None
        self.skipped = 0  # steps whose gradients overflowed
        self.order = None  # (epoch, its order of the images)
        self.step = TrainStep(
            self.model,
            self.optimizer,
            recipe.label_smoothing,
            recipe.clip_global_norm_value,
            self.loss_scale is not None,
            ranks,
        )

    def index(self, epoch, step):
        """(B / ranks,): the training images of this rank in a step."""
        if self.order is None or self.order[0] != epoch:
            self.order = epoch, permutation(self.config.train.seed, epoch, len(self.data))
        part = self.batch_size // self.ranks
        start = step * self.batch_size + self.rank * part
        return self.order[1][start : start + part]

    def batch(self, epoch, step):
        """The inputs of TrainStep."""
        index = self.index(epoch, step)
        images, labels = self.data.batch(epoch, step, index)
        keep = drop_path_factors(self.model.drop_path_rates, self.config.train.seed, epoch, index)
        number = epoch * self.steps_per_epoch + step
        factors = self.optimizer.factors(self.rates[number], number + 1 - self.skipped)
        inputs = Tensor(images), Tensor(labels), Tensor(keep), factors
        return inputs + ((Tensor(np.float32(self.loss_scale.value)),) if self.loss_scale else ())

    def epoch(self, epoch, report=None):
        """One pass over the data. report(step, loss, accuracy, images a second) is called after every step.

        Returns:
            dict with loss, train_accuracy, images_per_second, where gradients are clipped the last finite
            gradient_norm, and in float16 the loss_scale.
        """
        start, losses, correct, last_norm = time.perf_counter(), [], 0, float("nan")
        for step in range(self.steps_per_epoch):
            inputs = self.batch(epoch, step)
            if step + 1 < self.steps_per_epoch:
                self.data.prepare(epoch, self.index(epoch, step + 1))
            loss, right, norm = (value.asnumpy() for value in self.step(*inputs))
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
        return self.data.score()

    def save(self, path):
        """The weights and the configuration they need, under `path` only when complete.

        Raises:
            FloatingPointError: a weight is not finite; `path` stays as it is.
        """
        model, config = self.model, self.config.tree()
        arrays = _finite(path, model.get_parameters())
        trained = self.trained_windows()
        options = {key: getattr(self.config.model, key) for key in OPTIONS}
        sizes = (model.image_size, model.window_size, tuple(trained))
        texts = Description(*sizes, options=options, data=self.data.described()).text()
        config["model"]["pretrained_window_sizes"] = trained
        write_checkpoint(path, arrays, {**texts, CONFIG_KEY: json.dumps(config)})

    def trained_windows(self):
        """pretrained_window_sizes as the model has them: a checkpoint it started from brought its own."""
        if self.config.model.type == "swin":
            return self.config.model.pretrained_window_sizes or [0] * len(self.model.depths)
        first = np.cumsum([0, *self.model.depths[:-1]])
        windows = [np.ravel(self.model.blocks[i].attn.pretrained_window_size).tolist() for i in first]
        return [both[0] if both[0] == both[-1] else both for both in windows]

    def save_state(self, path, epochs, best=-1.0):
        """All that `load_state` needs to go on after so many epochs, the best accuracy among them `best`.

        Raises:
            FloatingPointError: a weight is not finite; `path` stays as it is.
        """
        scale = [self.loss_scale.value, self.loss_scale.good_steps] if self.loss_scale else None
        state = {"epochs": epochs, "skipped": self.skipped, "loss_scale": scale, "best": best}
        texts = {"state": json.dumps(state), CONFIG_KEY: json.dumps(self._run())}
        write_checkpoint(path, _finite(path, self._state()), texts)

    def load_state(self, path):
        """Go on where `save_state` was; returns the epochs done and the best accuracy.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or of another configuration or other data.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"--resume: {path} is not there; a run leaves it until its last epoch is done."
            )
        arrays, texts = read_checkpoint(path)
        ours = json.loads(json.dumps(self._run()))
        try:
            state, theirs = json.loads(texts["state"]), json.loads(texts[CONFIG_KEY])
            other = [key for key in ours if theirs.get(key) != ours[key]]
            values = [] if other else [arrays[parameter.name] for parameter in self._state()]
        except (KeyError, json.JSONDecodeError):
            raise ValueError(
                f"--resume: {path} is no state of a run, or damaged; start without --resume."
            ) from None
        if other:
            raise ValueError(
                f"--resume: {path} is of a run with another {', '.join(other)}; give the same options."
            )
        for parameter, value in zip(self._state(), values):
            parameter.set_data(Tensor(value))
        self.skipped = state["skipped"]
        if self.loss_scale:
            self.loss_scale.value, self.loss_scale.good_steps = state["loss_scale"]
        return state["epochs"], state["best"]

    def _state(self):
        return (*self.model.get_parameters(), *self.optimizer.moment1, *self.optimizer.moment2)

    def _run(self):
        """What has to be the same to go on."""
        return {**self.config.tree(), "pretrained": self.trained_windows(), "data_url": self.data.digest}


def _finite(path, parameters):
    arrays = {parameter.name: parameter.asnumpy() for parameter in parameters}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(f"{path}: not written, the training left NaN or infinity in {name}.")
    return arrays


def main(argv, prog):
    config = parse(argv, prog)
    workers = os.environ.get("MS_WORKER_NUM", "1")
    if config.data.dataset == "digits" and workers != "1":
        raise ValueError(
            f"MS_WORKER_NUM: the digits train in one process, got {workers}; start it without msrun."
        )
    group.graph_mode()
    train(config, Console(highlight=False), *group.start(config.device_target, config.device_id))


def train(config: RunConfig, console: Console, rank=0, ranks=1):
    """Run all epochs, show them, leave checkpoint.ckpt and log.csv in output_dir; returns the last Score.

    A folder of images leaves its best epoch too, best.ckpt. Until then running.ckpt, running.best.ckpt and
    log.running.csv are the state after the last epoch, for `resume`. On several ranks the first one writes.

    Raises:
        ValueError: another run writes into output_dir, or a folder has the name of a file to come.
    """
    trainer = Trainer(config, rank, ranks)
    path, log_path = config.output_dir / CHECKPOINT, config.output_dir / "log.csv"
    # An earlier run's log stays with its checkpoint until there is a new one.
    running_log, state = config.output_dir / "log.running.csv", config.output_dir / "running.ckpt"
    best, running_best = config.output_dir / BEST, config.output_dir / f"running.{BEST}"
    config.output_dir.mkdir(parents=True, exist_ok=True)
    for file in (path, log_path, best, running_log, state, running_best):
        if file.is_dir():
            raise ValueError(f"output_dir: expected to write the file {file}, got a folder; move it away.")
    with _alone_in(config.output_dir) if rank == 0 else contextlib.nullcontext():
        score = _run(trainer, running_log, state, running_best, console)
        if rank == 0:
            trainer.save(path)
            running_log.replace(log_path)
            if config.data.dataset == "folder":
                running_best.replace(best)
            state.unlink(missing_ok=True)
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


def _run(trainer, running_log, state, best_path, console):
    """Run the epochs that are left and show them; returns the last Score."""
    config, recipe, first = trainer.config, trainer.config.train, trainer.rank == 0
    done, best = trainer.load_state(state) if config.resume else (0, -1.0)
    if first:
        if not done:
            state.unlink(missing_ok=True)  # of a run that will not go on
        _begin_log(running_log, done)
    parameters = sum(parameter.size for parameter in trainer.model.trainable_params())
    if first:
        console.print(
            f"{config.name}: {parameters:,} parameters, {len(trainer.data)} training and "
            f"{trainer.data.test_size} test images, {recipe.epochs} epochs of {trainer.steps_per_epoch} steps"
            + (f", {done} of them done" if done else "")
            + f"\n{trainer.data.note}" * bool(trainer.data.note),
            soft_wrap=True,
        )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"),
        TextColumn("{task.fields[speed]:.0f} img/s"),
        TimeRemainingColumn(),
    )
    score = None
    with Progress(*columns, console=console, disable=not first) as progress:
        total = (recipe.epochs - done) * trainer.steps_per_epoch
        task = progress.add_task("", total=total, loss=float("nan"), accuracy=0.0, speed=0.0)
        for epoch in range(done, recipe.epochs):

            def report(_, loss, accuracy, speed):
                progress.update(task, advance=1, loss=loss, accuracy=accuracy, speed=speed)

            progress.update(task, description=f"epoch {epoch + 1}/{recipe.epochs}")
            row = trainer.epoch(epoch, report)
            score = trainer.score()
            if not first:
                continue
            for line in score.unreadable if epoch == done else ():
                console.print(f"unreadable: {line}", soft_wrap=True)
            lr = trainer.rates[(epoch + 1) * trainer.steps_per_epoch - 1]
            _log(running_log, "a", {"epoch": epoch + 1, "lr": lr, "test_accuracy": score.accuracy, **row})
            if config.data.dataset == "folder" and score.accuracy > best:
                best = score.accuracy
                trainer.save(best_path)
            trainer.save_state(state, epoch + 1, best)
            if not console.is_terminal:
                console.print(
                    f"epoch {epoch + 1:3d}  loss {row['loss']:.4f}  accuracy {row['train_accuracy']:.2%}  "
                    f"{row['images_per_second']:.0f} img/s  {score}",
                    soft_wrap=True,
                )
    return score or trainer.score()


def _begin_log(path, done):
    """Write the log anew, with the rows of the epochs that are done."""
    rows = []
    if done and path.is_file():
        with open(path, newline="", errors="replace") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("epoch") or "").isdigit()]
    _log(path, "w", dict(zip(LOG_COLUMNS, LOG_COLUMNS)))
    for row in rows:
        if int(row["epoch"]) <= done:
            _log(path, "a", {key: row.get(key) or "" for key in LOG_COLUMNS})


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
    score = DigitScore(labels, Inference(trained, batch_size=120)((images - mean) / std).argmax(-1))
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
