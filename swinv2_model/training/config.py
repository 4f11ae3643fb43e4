# SPDX-License-Identifier: Apache-2.0
"""The options of `train`, typed: a flag given on the command line wins over the YAML file, that over the default."""

import argparse
import glob
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Optional

import jsonargparse
import numpy as np

from swinv2_model.architecture import ModelConfig
from swinv2_model.registry import PRESETS, list_models, load_config

SECTIONS = ("model", "data", "train")


@dataclass
class DataConfig:
    """The data set and what happens to its images.

    Args:
        dataset: folder, of images, which --data_url names; digits, the scanned digits of scikit-learn.
        mean: taken off values in 0..1, one a channel; of digits, of their ink.
        std: divided by.
        interpolation: nearest, bilinear, bicubic or lanczos.
        crop_ratio: of evaluation, see `images.Preprocess`.
        max_shift: digits in training move by up to this many pixels a side,
        max_rotation: turn by up to this many degrees either way,
        max_scale: and grow or shrink by up to this share.
    """

    mean: list[float]
    std: list[float]
    dataset: Literal["folder", "digits"] = "folder"
    interpolation: str = "bicubic"
    crop_ratio: Optional[float] = 0.875
    max_shift: float = 0.0
    max_rotation: float = 0.0
    max_scale: float = 0.0


@dataclass
class TrainConfig:
    """The recipe.

    Args:
        epochs: in all, warm-up and cool-down included.
        total_batch_size: images a step.
        base_lr: at the end of the warm-up, for 512 images a step; all rates scale with total_batch_size / 512.
        min_lr: at the end of the cosine.
        warmup_length: epochs of linear warm-up from warmup_lr.
        cool_length: epochs at cool_lr after the cosine.
        clip_global_norm_value: largest norm of all gradients together; 0 for no limit.
        mix_up, cutmix: alpha of the Beta distribution that images of a folder are mixed by; 0 for not at all.
        mixup_prob: how often a batch is mixed.
        switch_prob: how often by cutmix, where both are on.
        auto_augment: of folders: rand-m9-mstd0.5-inc1, say, as timm writes it.
        re_prob: how often a box of an image is erased.
        re_mode: to noise (pixel), one colour (rand) or zeros (const).
        re_count: at most so many boxes.
        compute_dtype: of features and products; weights, norms and sums are float32. float16 scales its loss.
        seed: of initialisation, order, augmentation and drop path.
    """

    epochs: int
    total_batch_size: int
    base_lr: float
    min_lr: float
    optimizer: Literal["adamw"] = "adamw"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.05
    lr_scheduler: Literal["cosine_lr"] = "cosine_lr"
    warmup_length: int = 0
    warmup_lr: float = 0.0
    cool_length: int = 0
    cool_lr: float = 0.0
    clip_global_norm_value: float = 0.0
    label_smoothing: float = 0.0
    mix_up: float = 0.0
    cutmix: float = 0.0
    mixup_prob: float = 1.0
    switch_prob: float = 0.5
    auto_augment: Optional[str] = None
    re_prob: float = 0.0
    re_mode: Literal["pixel", "rand", "const"] = "pixel"
    re_count: int = 1
    compute_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    seed: int = 0

    def check(self):
        """Raises ValueError naming the key."""
        for key, low, high, *reason in (
            ("epochs", 1, None),
            ("total_batch_size", 1, None),
            ("base_lr", 0, None),
            ("min_lr", 0, None),
            ("warmup_lr", 0, None),
            ("cool_lr", 0, None),
            ("weight_decay", 0, None),
            ("warmup_length", 0, self.epochs, "train.epochs"),
            ("cool_length", 0, self.epochs - self.warmup_length, "train.epochs - train.warmup_length"),
            ("clip_global_norm_value", 0, None),
            ("label_smoothing", 0, 1),
            ("mix_up", 0, None),
            ("cutmix", 0, None),
            ("mixup_prob", 0, 1),
            ("switch_prob", 0, 1),
            ("re_prob", 0, 1),
            ("re_count", 1, None),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, key)
            if not math.isfinite(value):
                raise ValueError(f"train.{key}: expected a finite number, got {value}.")
            if value < low or (high is not None and value > high):
                limit = f"at least {low}" + (f" and at most {high}" if high is not None else "")
                raise ValueError(f"train.{key}: expected {' = '.join([limit, *reason])}, got {value}.")
        if len(self.betas) != 2 or not all(0 <= np.float32(beta) < 1 for beta in self.betas):
            raise ValueError(f"train.betas: expected two numbers in [0, 1), as float32, got {self.betas}.")


@dataclass
class RunConfig:
    """Everything a run is made of, as its checkpoint keeps it."""

    name: str
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    output_dir: Path
    backend: Optional[str] = None
    data_url: Optional[str] = None
    pretrained: Optional[str] = None
    resume: bool = False
    num_parallel_workers: int = 1
    device_target: str = "CPU"
    device_id: Optional[int] = None

    def tree(self):
        """Plain mappings and lists, as in a YAML file."""
        return {"name": self.name, **{key: dict(vars(getattr(self, key))) for key in SECTIONS}}


def parse(argv, prog="swinv2_model train"):
    """RunConfig of a command line.

    Raises:
        FileNotFoundError: no such preset or file.
        ValueError: an unknown or missing key, a value of the wrong type or out of range.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset")
    first.add_argument("--config")
    # jsonargparse would read a whole section from a file, but not say what it expects there.
    for section in SECTIONS:
        first.add_argument(f"--{section}", nargs="?", const="")
    chosen, _ = first.parse_known_args(argv)
    for section in SECTIONS:
        if getattr(chosen, section) is not None:
            raise ValueError(
                f"--{section}: expected one key of it, --{section}.KEY VALUE, or a file with --config."
            )
    if chosen.preset and chosen.config:
        raise ValueError("--preset, --config: expected one of the two, got both.")
    if chosen.preset and chosen.preset not in list_models():
        raise FileNotFoundError(
            f"--preset: expected one of {', '.join(list_models())}, got {chosen.preset!r}."
        )
    if chosen.config and not Path(chosen.config).is_file():
        raise FileNotFoundError(f"--config: {chosen.config!r} is no file.")
    name = chosen.preset or "digits"
    path = Path(chosen.config) if chosen.config else PRESETS / f"{name}.yaml"
    load_config(path)  # says what is wrong with the file
    parser = _parser(path, prog)
    try:
        parser.parse_args([])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    options = parser.parse_args(argv)
    train = TrainConfig(**options.train.as_dict())
    train.check()
    data = DataConfig(**options.data.as_dict())
    if (data.dataset == "folder") != bool(options.data_url):
        raise ValueError(
            "--data_url: expected a folder with train/ and val/, each with a sub-folder for each class"
            + (
                f", to train {path.stem}; or data.dataset: digits."
                if not options.data_url
                else ", not for digits."
            )
        )
    if options.num_parallel_workers < 1:
        raise ValueError(f"--num_parallel_workers: expected at least 1, got {options.num_parallel_workers}.")
    return RunConfig(
        options.name or path.stem,
        ModelConfig(**options.model.as_dict()),
        data,
        train,
        Path(options.output_dir or Path("runs") / (options.name or path.stem)),
        options.backend,
        options.data_url,
        options.pretrained,
        options.resume,
        options.num_parallel_workers,
        options.device_target,
        options.device_id,
    )


class _Parser(jsonargparse.ArgumentParser):
    def error(self, message, ex=None):
        raise ValueError(" ".join(str(message).split())) from ex


def _parser(path, prog):
    # The names of default_config_files are patterns.
    files = [glob.escape(str(path))]
    parser = _Parser(prog=prog, default_config_files=files, description=__doc__, allow_abbrev=False)
    parser.add_argument("--preset", help="one of `info`'s (default: digits)")
    parser.add_argument("--config", help="a YAML file of the same shape, in place of a preset")
    parser.add_argument("--output_dir", type=Optional[str], help="checkpoint and log (default: runs/NAME)")
    parser.add_argument(
        "--backend", type=Optional[str], help="of the fused operators (default: the device's)"
    )
    parser.add_argument("--name", type=Optional[str], help="of the run")
    parser.add_argument(
        "--data_url", type=Optional[str], help="folder with train/ and val/, a sub-folder a class"
    )
    parser.add_argument("--pretrained", type=Optional[str], help=".ckpt, .safetensors or .pth to start from")
    parser.add_argument("--resume", action="store_true", help="go on from the last epoch in output_dir")
    parser.add_argument(
        "--num_parallel_workers", type=int, default=os.cpu_count() or 1, help="threads that decode"
    )
    parser.add_argument("--device_target", type=Literal["CPU", "Ascend"], default="CPU")
    parser.add_argument("--device_id", type=Optional[int])
    parser.add_argument("--card", type=Optional[dict], help=argparse.SUPPRESS)
    parser.add_class_arguments(ModelConfig, "model")
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainConfig, "train")
    return parser
