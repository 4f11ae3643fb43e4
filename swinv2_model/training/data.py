# SPDX-License-Identifier: Apache-2.0
"""What a run trains on. A data set gives the images and targets of a batch, a pure function of (seed, epoch, step),
and scores a model."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swinv2_model.evaluate import evaluate, folder_samples
from swinv2_model.images import ImageError, image_folder, read_image
from swinv2_model.inference import Inference
from swinv2_model.registry import preprocessing
from swinv2_model.training import digits
from swinv2_model.training.augment import TrainTransform, mix

BATCH = 32  # images that are scored together
DIGITS_ONLY = ("max_shift", "max_rotation", "max_scale")
FOLDERS_ONLY = ("mix_up", "cutmix", "auto_augment", "re_prob")


@dataclass
class Score:
    """How many of the test images a model got right, and what could not be read of them."""

    correct: int
    total: int
    unreadable: Sequence[str] = ()

    @property
    def accuracy(self):
        return self.correct / max(self.total, 1)

    def __str__(self):
        return f"test accuracy {100 * self.accuracy:.2f} % ({self.correct} of {self.total})"


class DigitScore(Score):
    """With what the model said of each image."""

    def __init__(self, labels, predictions):
        super().__init__(int((labels == predictions).sum()), len(labels))
        self.labels, self.predictions = labels, predictions


class Digits:
    """The scanned digits of scikit-learn, moved, turned and scaled a little: see `digits.augment`."""

    note = digest = ""

    def __init__(self, config, model):
        self.config, self.model = config, model
        (self.images, self.labels), (test_images, self.test_labels) = digits.load(model.image_size)
        self.test_images = self._normalise(test_images)
        self.inference = Inference(model, batch_size=120)  # a third of them
        self.test_size = len(self.test_labels)

    def _normalise(self, images):
        shape = (1, -1, 1, 1)
        mean, std = np.float32(self.config.data.mean), np.float32(self.config.data.std)
        return (images - mean.reshape(shape)) / std.reshape(shape)

    def __len__(self):
        return len(self.labels)

    def prepare(self, epoch, index):
        """Nothing takes time here."""

    def batch(self, epoch, step, index):
        """float32 (B, 1, H, W), int32 labels (B,)."""
        data, seed = self.config.data, self.config.train.seed
        limits = (getattr(data, key) for key in DIGITS_ONLY)
        return self._normalise(digits.augment(self.images[index], seed, epoch, index, *limits)), self.labels[
            index
        ]

    def score(self):
        return DigitScore(self.test_labels, self.inference(self.test_images).argmax(-1))

    def described(self):
        """The section `data` that a checkpoint brings along: whole scans are scaled to image_size."""
        return {"crop_ratio": None, "mean": self.config.data.mean, "std": self.config.data.std}


class Folder:
    """`data_url`/train/class/file and `data_url`/val/class/file, as ImageNet's, by the recipe of the configuration.

    Raises:
        FileNotFoundError, ValueError: a folder is missing, or has more classes than the model.
    """

    def __init__(self, config, model, rank=0, ranks=1):
        recipe = config.train
        if config.model.in_channels != 3:
            raise ValueError(
                f"model.in_channels: expected 3 for folders of images, got {config.model.in_channels}."
            )
        for key in DIGITS_ONLY:
            if getattr(config.data, key):
                raise ValueError(f"data.{key}: is for the digits; folders of images have train.auto_augment.")
        self.config, self.model, self.rank, self.ranks = config, model, rank, ranks
        self.preprocess = preprocessing(config.tree(), model.image_size)
        train = image_folder(Path(config.data_url) / "train", split=None)
        found, classes = len(train.classes), config.model.num_classes
        if found > classes:
            raise ValueError(
                f"model.num_classes: expected at least {found}, the class folders of {config.data_url}/train, "
                f"got {classes}; give --model.num_classes {found}."
            )
        self.note = f"note: {found} class folders for {classes} classes: they are classes 0, 1, ..." * (
            found < classes
        )
        paths, labels = zip(*train.samples)
        self.paths, self.labels = paths, np.array(labels, np.int32)
        self.samples = folder_samples(
            Path(config.data_url) / "val", self.preprocess, train.classes, split=None
        )
        self.test_size = len(self.samples.labels)
        # Which images, wherever the folder lies: all their paths begin with it.
        names = [path[len(str(Path(config.data_url))) :] for path in (*paths, *self.samples.names)]
        self.digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        self.inference = Inference(model, min(BATCH, self.test_size))
        self.transform = TrainTransform(
            self.preprocess.image_size,
            self.preprocess.mean,
            self.preprocess.std,
            interpolation=self.preprocess.interpolation,
            auto_augment=recipe.auto_augment,
            re_prob=recipe.re_prob,
            re_mode=recipe.re_mode,
            re_count=recipe.re_count,
        )
        self.pool = ThreadPoolExecutor(config.num_parallel_workers)
        self.ahead: dict[tuple, list[Future]] = {}

    def __len__(self):
        return len(self.labels)

    def prepare(self, epoch, index):
        """Start to decode a batch that is to come."""
        self.ahead[epoch, tuple(index)] = [self.pool.submit(self._image, epoch, i) for i in index]

    def _image(self, epoch, index):
        path = self.paths[index]
        image, _ = read_image(path)
        try:
            return self.transform(image, self.config.train.seed, epoch, index)
        except ImageError as error:
            raise ImageError(f"{path}: {error}.") from None

    def batch(self, epoch, step, index):
        """float32 (B, 3, H, W), soft targets (B, num_classes).

        Raises:
            ImageError: a file cannot be read; the message names it.
        """
        key = epoch, tuple(index)
        if key not in self.ahead:
            self.prepare(epoch, index)
        images = np.stack([future.result() for future in self.ahead.pop(key)])
        recipe = self.config.train
        return mix(
            images,
            self.labels[index],
            self.config.model.num_classes,
            recipe.seed,
            epoch,
            step * self.ranks + self.rank,
            mix_up=recipe.mix_up,
            cutmix=recipe.cutmix,
            mixup_prob=recipe.mixup_prob,
            switch_prob=recipe.switch_prob,
            label_smoothing=recipe.label_smoothing,
        )

    def score(self):
        workers = self.config.num_parallel_workers
        classes = self.config.model.num_classes
        result = evaluate(
            self.model, self.samples, classes, BATCH, workers, self.rank, self.ranks, forward=self.inference
        )
        return Score(result.top1, result.scored, result.unreadable)

    def described(self):
        """The section `data` that a checkpoint brings along."""
        keys = ("interpolation", "crop_ratio", "mean", "std")
        return {key: getattr(self.preprocess, key) for key in keys}


def check_digits(config):
    """Raises ValueError where a configuration is not for the digits, naming the key."""
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
    for key, limit in zip(DIGITS_ONLY, (32, 180, 0.5)):
        if not 0 <= getattr(config.data, key) <= limit:
            raise ValueError(f"data.{key}: expected 0 to {limit}, got {getattr(config.data, key)}.")
    for key in FOLDERS_ONLY:
        if getattr(config.train, key):
            raise ValueError(
                f"train.{key}: is for folders of images; the digits have data.max_shift and so on."
            )
