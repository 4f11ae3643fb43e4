# SPDX-License-Identifier: Apache-2.0
"""The augmentations of the official recipe, which are timm's (https://github.com/huggingface/pytorch-image-models).

Random resized crop, flip, RandAugment and random erasing for one image; mixup and cutmix for a batch. Every random
number is a pure function of (seed, epoch, sample or step, operation), so that neither the number of workers nor the
order in which they work shows in the result.
"""

import math
import re
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from swinv2_model.architecture import pair
from swinv2_model.images import INTERPOLATIONS, is_finite
from swinv2_model.randomness import uniform

TRIES = 10  # of a crop or an erased box, before it is given up
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)
RE_MODES = ("pixel", "rand", "const")


def _affine(image, matrix, how):
    return image.transform(image.size, Image.AFFINE, matrix, **how)


def _posterize(image, bits, _):
    # ImageOps.posterize of Pillow 13 refuses 0 bits, which make the image black.
    return image.point([i >> (8 - bits) << (8 - bits) for i in range(256)] * 3)


def _solarize_add(image, added, _):
    return image.point([min(255, i + added) if i < 128 else i for i in range(256)] * 3)


def _enhance(kind):
    return lambda image, factor, _: kind(image).enhance(factor)


# Each turns (image, argument, resampling and fill) into an image.
OPERATIONS = {
    "AutoContrast": lambda image, _, how: ImageOps.autocontrast(image),
    "Equalize": lambda image, _, how: ImageOps.equalize(image),
    "Invert": lambda image, _, how: ImageOps.invert(image),
    "Rotate": lambda image, degrees, how: image.rotate(degrees, **how),
    "Posterize": _posterize,
    "Solarize": lambda image, threshold, how: ImageOps.solarize(image, threshold),
    "SolarizeAdd": _solarize_add,
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "ShearX": lambda image, factor, how: _affine(image, (1, factor, 0, 0, 1, 0), how),
    "ShearY": lambda image, factor, how: _affine(image, (1, 0, 0, factor, 1, 0), how),
    "TranslateXRel": lambda image, share, how: _affine(image, (1, 0, share * image.width, 0, 1, 0), how),
    "TranslateYRel": lambda image, share, how: _affine(image, (1, 0, 0, 0, 1, share * image.height), how),
}


def _argument(name, share, sign, increasing):
    """What an operation is called with.

    Args:
        share: of the largest magnitude, 0 to 1.
        sign: +1 or -1, of what goes either way.
        increasing: whether a larger share always changes the image more.
    """
    if name == "Rotate":
        return sign * share * 30.0
    if name == "Posterize":
        bits = int(share * 4)
        return 4 - bits if increasing else bits
    if name == "Solarize":
        threshold = int(share * 256)
        return 256 - threshold if increasing else threshold
    if name == "SolarizeAdd":
        return int(share * 110)
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):  # 1 leaves the image as it is
        return 1.0 + sign * share * 0.9 if increasing else share * 1.8 + 0.1
    if name in ("ShearX", "ShearY"):
        return sign * share * 0.3
    return sign * share * 0.45  # of the width or height


class RandAugment:
    """`num_ops` operations drawn with replacement, each done with `prob` (https://arxiv.org/abs/1909.13719).

    Args:
        text: e.g. rand-m9-mstd0.5-inc1. Sections in any order: m, magnitude (integer, default 10); n, operations (2);
            p, probability of each (0.5); mstd, standard deviation of the magnitude (0), which is clipped to 0..10;
            inc, 1 for severity that increases with the magnitude (0).
        how: `resample` and `fillcolor` of rotation, shear and translation.

    Raises:
        ValueError: another text.
    """

    def __init__(self, text, how):
        options = {"m": 10, "n": 2, "p": 0.5, "mstd": 0.0, "inc": 0}
        form = "expected rand and sections m, n, p, mstd and inc with a number, as rand-m9-mstd0.5-inc1"
        head, *sections = text.split("-") if isinstance(text, str) else [None]
        seen = set()
        for section in sections:
            match = re.fullmatch(r"([mn]|inc)([0-9]+)|(p|mstd)([0-9]+(?:\.[0-9]+)?)", section)
            key = match and (match[1] or match[3])
            if not match or key in seen:
                raise ValueError(f"auto_augment: {form}, each at most once, got {section!r} in {text!r}.")
            seen.add(key)
            options[key] = int(match[2]) if match[1] else float(match[4])
        if head != "rand":
            raise ValueError(f"auto_augment: {form}, got {text!r}.")
        for key, low, high in (("m", 0, 100), ("n", 1, 100), ("p", 0, 1), ("mstd", 0, 100), ("inc", 0, 1)):
            if not low <= options[key] <= high:
                limits = f"expected {key} from {low} to {high}"
                raise ValueError(f"auto_augment: {limits}, got {options[key]} in {text!r}.")
        self.magnitude, self.num_ops, self.prob, self.magnitude_std, self.increasing = options.values()
        self.how = how

    def __call__(self, image, draw):
        """An RGB image of the same size; `draw` gives the uniform number of an operation's name."""
        for layer in range(self.num_ops):
            if draw(f"rand/{layer}/apply") >= self.prob:
                continue
            name = list(OPERATIONS)[_integer(draw(f"rand/{layer}/operation"), len(OPERATIONS))]
            noise = float(_normal(draw, f"rand/{layer}/magnitude")[0])
            share = max(0.0, min(self.magnitude + self.magnitude_std * noise, 10.0)) / 10.0
            sign = -1 if draw(f"rand/{layer}/sign") > 0.5 else 1
            image = OPERATIONS[name](image, _argument(name, share, sign, self.increasing), self.how)
        return image


class TrainTransform:
    """An image to a training sample: random resized crop, flip, RandAugment, normalisation, random erasing.

    Args:
        size: of the result in pixels: an integer or (height, width).
        mean, std: of the normalisation (x / 255 - mean) / std, three each.
        interpolation: nearest, bilinear, bicubic or lanczos of PIL, for the crop and for RandAugment; PIL's affine
            transforms have no lanczos.
        scale: least and largest share of the image's area that is cut out.
        ratio: least and largest width / height of what is cut out.
        hflip: probability of a mirrored image.
        auto_augment: None or the text of RandAugment.
        re_prob: probability of random erasing (https://arxiv.org/abs/1708.04896).
        re_mode: what the boxes hold: pixel, normal noise; rand, one normal colour; const, zeros.
        re_count: most boxes an image; their number is uniform from 1, their areas are divided by it.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    def __init__(
        self,
        size,
        mean,
        std,
        *,
        interpolation="bicubic",
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        auto_augment=None,
        re_prob=0.0,
        re_mode="pixel",
        re_count=1,
    ):
        self.size = pair(size, "size")
        for name, three in (("mean", mean), ("std", std)):
            fits = isinstance(three, (list, tuple)) and len(three) == 3 and all(map(is_finite, three))
            if not fits or (name == "std" and min(three) <= 0):
                above = " above 0" if name == "std" else ""
                raise ValueError(f"{name}: expected three finite numbers{above}, got {three!r}.")
        for name, two in (("scale", scale), ("ratio", ratio)):
            fits = isinstance(two, (list, tuple)) and len(two) == 2 and all(map(is_finite, two))
            if not fits or not 0 < two[0] <= two[1]:
                raise ValueError(f"{name}: expected two positive numbers, the smaller first, got {two!r}.")
        allowed = [name for name in INTERPOLATIONS if auto_augment is None or name != "lanczos"]
        if interpolation not in allowed:
            beside = "" if auto_augment is None else " beside auto_augment"
            raise ValueError(
                f"interpolation: expected one of {', '.join(allowed)}{beside}, got {interpolation!r}."
            )
        if re_mode not in RE_MODES:
            raise ValueError(f"re_mode: expected one of {', '.join(RE_MODES)}, got {re_mode!r}.")
        _check_number("hflip", hflip, 0, 1)
        _check_number("re_prob", re_prob, 0, 1)
        if type(re_count) is not int or re_count < 1:
            raise ValueError(f"re_count: expected an integer of at least 1, got {re_count!r}.")
        self.resample = INTERPOLATIONS[interpolation]
        self.scale, self.ratio, self.hflip = tuple(scale), tuple(ratio), hflip
        self.re_prob, self.re_mode, self.re_count = re_prob, re_mode, re_count
        fill = tuple(max(0, min(255, round(255 * value))) for value in mean)
        how = {"resample": self.resample, "fillcolor": fill}
        self.rand_augment = None if auto_augment is None else RandAugment(auto_augment, how)
        # (256, 3): the normalised value of each byte, the same numbers as of the formula
        levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
        self.normalised = (levels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)

    def __call__(self, image, seed, epoch, index):
        """A PIL RGB image of any size to float32 (3, H, W).

        Args:
            seed, epoch: ints.
            index: the sample's place in the data set.

        Raises:
            ValueError: no RGB image.
        """
        if getattr(image, "mode", None) != "RGB":
            raise ValueError(f"image: expected a PIL image of mode RGB, got {image!r}.")
        draw = partial(uniform, seed, epoch, index)
        left, top, width, height = self.crop_box(*image.size, draw)
        image = image.crop((left, top, left + width, top + height)).resize(self.size[::-1], self.resample)
        if draw("hflip") < self.hflip:
            image = ImageOps.mirror(image)
        if self.rand_augment:
            image = self.rand_augment(image, draw)
        values = np.asarray(image)  # (H, W, 3) uint8
        pixels = np.stack([self.normalised[:, channel][values[:, :, channel]] for channel in range(3)])
        # Each number of an image has a place of its own in the data set, and its noise belongs to that place: the
        # stream of a numpy Generator may change from one NumPy to the next, that of `uniform` cannot.
        first = int(index) * pixels.size
        for box, (left, top, width, height) in enumerate(self.erased_boxes(draw)):
            area = pixels[:, top : top + height, left : left + width]
            if self.re_mode == "const":
                area[...] = 0
                continue
            shape = area.shape if self.re_mode == "pixel" else (3, 1, 1)
            places = first + np.arange((math.prod(shape) + 1) // 2)  # a place makes two normal numbers
            noise = _normal(partial(uniform, seed, epoch, places), f"erase/{box}/noise").reshape(-1)
            area[...] = noise[: math.prod(shape)].reshape(shape)
        return pixels

    def crop_box(self, width, height, draw):
        """(left, top, width, height) in an image: the first try that fits, else the largest centred one."""
        for attempt in range(TRIES):
            name = f"crop/{attempt}/"
            w, h = _box(width * height, self.scale, self.ratio, draw, name)
            if 0 < w <= width and 0 < h <= height:
                top = _integer(draw(name + "top"), height - h + 1)
                return _integer(draw(name + "left"), width - w + 1), top, w, h
        low, high = self.ratio
        w, h = width, height
        if width / height < low:
            h = max(1, round(width / low))
        elif width / height > high:
            w = max(1, round(height * high))
        return (width - w) // 2, (height - h) // 2, w, h

    def erased_boxes(self, draw):
        """[(left, top, width, height)] in the result: none, or `re_count` at most."""
        if draw("erase") >= self.re_prob:
            return []
        height, width = self.size
        count = 1 + _integer(draw("erase/count"), self.re_count)
        boxes = []
        for box in range(count):
            for attempt in range(TRIES):
                name = f"erase/{box}/{attempt}/"
                h, w = _box(height * width / count, ERASED_AREA, ERASED_RATIO, draw, name)
                if w < width and h < height:
                    top = _integer(draw(name + "top"), height - h + 1)
                    boxes.append((_integer(draw(name + "left"), width - w + 1), top, w, h))
                    break
        return boxes


def mix(
    images,
    labels,
    num_classes,
    seed,
    epoch,
    step,
    *,
    mix_up=0.0,
    cutmix=0.0,
    mixup_prob=1.0,
    switch_prob=0.5,
    label_smoothing=0.0,
):
    """A batch mixed with itself in reverse order: mixup (https://arxiv.org/abs/1710.09412) adds the images, cutmix
    (https://arxiv.org/abs/1905.04899) pastes a box of the other into each.

    One lambda a batch: the share of each image in itself. For cutmix the box, of side sqrt(1 - lambda) times the
    image's, is clipped at the border and lambda is taken anew from its area.

    Args:
        images: (B, C, H, W) float32, left as they are.
        labels: (B,) ints in [0, num_classes).
        seed, epoch: ints.
        step: the batch's number in the epoch; batches of other ranks have other numbers.
        mix_up, cutmix: alpha of lambda's Beta(alpha, alpha); 0 for none.
        mixup_prob: probability that a batch is mixed.
        switch_prob: probability of cutmix where both are on.
        label_smoothing: eps; a target has 1 - eps + eps/K in its class and eps/K in the others.

    Returns:
        (images, targets): targets (B, K) float32, lambda of each image's own and 1 - lambda of the other's.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.dtype != np.float32:
        raise ValueError(f"images: expected (B, C, H, W) float32, got {images.shape} {images.dtype}.")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected ({len(images)},) integers, got {labels.shape} {labels.dtype}.")
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels: expected 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}.")
    _check_number("mix_up", mix_up, 0, math.inf)
    _check_number("cutmix", cutmix, 0, math.inf)
    _check_number("mixup_prob", mixup_prob, 0, 1)
    _check_number("switch_prob", switch_prob, 0, 1)
    _check_number("label_smoothing", label_smoothing, 0, 1)

    off = label_smoothing / num_classes
    targets = np.full((len(labels), num_classes), off, np.float32)
    targets[np.arange(len(labels)), labels] = 1 - label_smoothing + off
    draw = partial(uniform, seed, epoch, step)
    if mix_up == cutmix == 0 or draw("mix") >= mixup_prob:
        return images, targets
    if cutmix and (not mix_up or draw("mix/switch") < switch_prob):
        height, width = images.shape[2:]
        side = math.sqrt(1 - _beta(draw, cutmix))
        top, bottom = _cut(height, int(height * side), draw("cutmix/y"))
        left, right = _cut(width, int(width * side), draw("cutmix/x"))
        box = np.s_[:, :, top:bottom, left:right]
        mixed = images.copy()
        mixed[box] = images[::-1][box]
        lam = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        lam = _beta(draw, mix_up)
        mixed = _blend(images, lam)
    return mixed, _blend(targets, lam)


def _blend(batch, lam):
    return batch * np.float32(lam) + batch[::-1] * np.float32(1 - lam)


def _cut(size, cut, u):
    """(from, to) of a stretch of `cut` pixels around a uniform centre, clipped to `size`."""
    centre = _integer(u, size)
    # Odd stretches whole, as timm 1.0.31; its 0.4.12, the official code's, leaves out their last pixel.
    return max(0, centre - cut // 2), min(size, centre + (cut + 1) // 2)


def _check_number(name, value, low, high):
    if not is_finite(value) or not low <= value <= high:
        expected = f"a number from {low} to {high}" if high < math.inf else f"a finite number, at least {low}"
        raise ValueError(f"{name}: expected {expected}, got {value!r}.")


def _integer(u, size):
    """0 to size - 1 of a uniform number."""
    return int(u * size)


def _box(area, scale, ratio, draw, name):
    """Sides (a, b) in pixels: their product a uniform share of `area`, log(a / b) uniform."""
    area *= scale[0] + (scale[1] - scale[0]) * float(draw(name + "area"))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = math.exp(low + (high - low) * float(draw(name + "ratio")))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))


def _normal(draw, operation):
    """(2, *index.shape) float32 independent standard normal numbers (Box and Muller, Ann. Math. Stat. 29, 1958)."""
    radius = np.sqrt(-2 * np.log((1 - draw(operation + "/radius")).astype(np.float32)))
    angle = (2 * np.pi * draw(operation + "/angle")).astype(np.float32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)])


def _beta(draw, alpha):
    """Beta(alpha, alpha) of two uniform numbers, for any alpha and without rejection.

    t = sqrt(2 alpha (u^(-1/alpha) - 1)) cos(2 pi v) is Student's with 2 alpha degrees of freedom (Bailey, Math. Comp.
    62, 1994), and (1 + t / sqrt(2 alpha + t^2)) / 2 is Beta. Written in u^(1/alpha), which may underflow but not
    overflow.
    """
    power = (1 - draw("mix/radius")) ** (1 / alpha)
    cosine = np.cos(2 * np.pi * draw("mix/angle"))
    share = 0.5 + 0.5 * cosine * np.sqrt((1 - power) / (power + (1 - power) * cosine**2))
    return np.clip(share, 0.0, 1.0)  # rounding
