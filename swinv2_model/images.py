# SPDX-License-Identifier: Apache-2.0
"""Image files to normalised arrays, exactly as in the official evaluation: decoded and resized by PIL."""

from __future__ import annotations

import math
import os
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from swinv2_model.architecture import pair

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = {"nearest": 0, "bilinear": 2, "bicubic": 3, "lanczos": 1}
# A 1 x 10000 strip scaled to a short side of 292 would ask for 2.5 GB.
MAX_RESIZED_PIXELS = 1 << 26


def is_finite(value: object) -> bool:
    """Whether it is a finite int or float; a bool is none."""
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


class ImageError(ValueError):
    """A file that cannot be used as an image; the message names it."""


@dataclass(frozen=True)
class Preprocess:
    """The evaluation transform of a preset.

    Attributes:
        image_size: (height, width) of the result in pixels.
        crop_ratio: the image is scaled until it covers int(image_size / crop_ratio), then its centre is cut
            out; None scales both sides straight to image_size.
        interpolation: nearest, bilinear, bicubic or lanczos, of PIL.
        mean, std: of the normalisation (x / 255 - mean) / std, one a channel: 3 for colour, 1 for grey.
    """

    image_size: tuple[int, int]
    crop_ratio: float | None = 0.875
    interpolation: str = "bicubic"
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        pair(self.image_size, "image_size")
        if self.crop_ratio is not None and not (is_finite(self.crop_ratio) and 0 < self.crop_ratio <= 1):
            raise ValueError(f"crop_ratio: expected a number in (0, 1] or null, got {self.crop_ratio!r}.")
        if self.interpolation not in tuple(INTERPOLATIONS):
            raise ValueError(
                f"interpolation: expected one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}."
            )
        numbers = all(isinstance(v, (list, tuple)) and all(map(is_finite, v)) for v in (self.mean, self.std))
        if (
            not numbers
            or len(self.mean) not in (1, 3)
            or len(self.mean) != len(self.std)
            or min(self.std) <= 0
        ):
            raise ValueError(f"mean, std: expected 1 or 3 of each, std > 0, got {self.mean} and {self.std}.")

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) an image of this size is scaled to before the crop."""
        th, tw = self.image_size
        if self.crop_ratio is None:
            return tw, th
        th, tw = int(th / self.crop_ratio), int(tw / self.crop_ratio)
        # The side that needs the larger factor is met exactly, the other is rounded down.
        return (tw, int(tw * height / width)) if tw * height >= th * width else (int(th * width / height), th)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """An RGB (or grey) image to float32 (channels, height, width).

        Raises:
            ImageError: the sides differ so much that scaling would ask for unreasonable memory.
        """
        image = image.convert("RGB" if len(self.mean) == 3 else "L")
        size = self.resized(*image.size)
        if size[0] * size[1] > MAX_RESIZED_PIXELS:
            raise ImageError(f"{image.size[0]}x{image.size[1]} pixels are too long a strip to be scaled")
        image = image.resize(size, INTERPOLATIONS[self.interpolation])
        th, tw = self.image_size
        left, top = round((size[0] - tw) / 2), round((size[1] - th) / 2)
        image = image.crop((left, top, left + tw, top + th))
        pixels = np.asarray(image, np.float32).reshape(th, tw, -1) / np.float32(255)
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_image(path: str | os.PathLike[str]) -> tuple[Image.Image, str]:
    """Decode an image file to RGB, as PIL's `convert("RGB")` does, but 16-bit grey is scaled, not clipped.

    Grey, CMYK, palette and transparent images are converted; of an animation the first frame is taken.

    Returns:
        (image, note): the note is a sentence for each way in which the file held more than what is returned.

    Raises:
        ImageError: no regular file, no image, truncated, damaged, or of pixels without a range; the message names
            the file.
    """
    notes = []
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for a writer
            raise ImageError("expected a regular file, got a folder, a pipe or a device")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                frames = getattr(file, "n_frames", 1)
                if frames > 1 and file.format != "MPO":
                    notes.append(f"{path}: animated, the first of {frames} frames is used.")
                file.load()
                image: Image.Image = file
                # PGM, and PNG before Pillow 10.3, hold 16 bits in a 32-bit image.
                if image.mode.startswith("I;16") or (image.mode == "I" and file.format in ("PNG", "PPM")):
                    image = _from_16_bit(image)
                    notes.append(f"{path}: 16-bit grey, reduced to 8 bits.")
                elif image.mode in ("F", "I"):
                    kind = "floating-point" if image.mode == "F" else "signed or 32-bit integer"
                    raise ImageError(f"{kind} pixels have no known range")
                return image.convert("RGB"), " ".join(notes)
    except Image.UnidentifiedImageError:
        raise ImageError(f"{path}: not an image PIL can read.") from None
    except Exception as error:
        # PIL's decoders raise OSError, SyntaxError, struct.error, EOFError and more on damaged files.
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ImageError(f"{path}: {reason}.") from None


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _raise(error: OSError) -> None:
    raise error


@dataclass(frozen=True)
class ImageFolder:
    """Files of an ImageNet-style folder, one sub-folder a class, in a fixed order.

    Attributes:
        classes: names of the sub-folders.
        samples: (path, label); label indexes the classes the model knows.
    """

    classes: tuple[str, ...]
    samples: tuple[tuple[str, int], ...]


def image_folder(
    root: str | os.PathLike[str], labels: Sequence[str] | None = None, split: str | None = "val"
) -> ImageFolder:
    """List `root`/class/**/file, or `root`/`split`/class/**/file where that is there; hidden files are left out.

    Args:
        labels: class names in the model's order; without it the sorted sub-folders are classes 0, 1, ...

    Raises:
        FileNotFoundError: `root` is no folder.
        ValueError: it has no class folders or no files, a link to nothing, a folder twice in a class, or one that is
            not among `labels`.
        OSError: a folder cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data_url: {root} is no folder.")
    root = root / split if split and (root / split).is_dir() else root
    entries = sorted(p for p in root.iterdir() if not p.name.startswith("."))
    broken = [p for p in entries if not p.exists()]
    if broken:  # as a class folder it would shift the labels of those after it
        raise ValueError(f"data_url: {broken[0]} is a link to nothing; mend or remove it.")
    folders = [p for p in entries if p.is_dir()]
    if not folders:
        raise ValueError(f"data_url: {root} has no sub-folder; expected one for each class.")
    known = list(labels) if labels is not None else [p.name for p in folders]
    samples = []
    for folder in folders:
        if folder.name not in known:
            raise ValueError(f"data_url: folder {folder} is none of the {len(known)} labels.")
        if known.count(folder.name) > 1:
            raise ValueError(
                f"data_url: folder {folder} is {known.count(folder.name)} of the labels; rename one and its folder."
            )
        label = known.index(folder.name)
        seen = set()
        for parent, below, files in os.walk(folder, onerror=_raise, followlinks=True):
            real = os.path.realpath(parent)
            if real in seen:
                raise ValueError(
                    f"data_url: {parent} is {real}, which {folder} has already; remove the link."
                )
            seen.add(real)
            below[:] = sorted(name for name in below if not name.startswith("."))
            samples += [(os.path.join(parent, f), label) for f in sorted(files) if not f.startswith(".")]
    if not samples:
        raise ValueError(f"data_url: the folders of {root} hold no files.")
    return ImageFolder(tuple(p.name for p in folders), tuple(samples))


__all__ = ["ImageError", "ImageFolder", "Preprocess", "image_folder", "read_image"]
