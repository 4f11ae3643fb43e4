# SPDX-License-Identifier: Apache-2.0
"""The recipe's augmentations: by formula, by their statistics, and bit for bit what timm makes of the same numbers."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from swinv2_model.images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from swinv2_model.randomness import uniform
from swinv2_model.training import augment
from swinv2_model.training.augment import OPERATIONS, RandAugment, TrainTransform, mix

RECIPE = {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25}
RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and std that leave x / 255
WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "hflip": 0.0}  # the crop of a square image
FILL = (124, 116, 104)
HOW = {"resample": Image.BICUBIC, "fillcolor": FILL}
MANY = 4000


def photo(width, height, seed=0):
    """A smooth image with every kind of slope."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def applied(name, image, magnitude, sign=1, increasing=True):
    argument = augment._argument(name, magnitude / 10, sign, increasing)
    return np.asarray(OPERATIONS[name](image, argument, HOW)).astype(int)


def ks_distance(samples, cdf):
    """Largest distance of the empirical distribution from `cdf`; 1.95 / sqrt(n) is exceeded once in a thousand."""
    x = np.sort(samples)
    steps = np.arange(len(x) + 1) / len(x)
    return max(np.max(steps[1:] - cdf(x)), np.max(cdf(x) - steps[:-1])) * math.sqrt(len(x))


@pytest.fixture
def drawn(monkeypatch):
    """The uniform numbers by operation, in the order in which they are drawn."""
    numbers = {}

    def recorded(seed, epoch, index, operation):
        numbers[operation] = uniform(seed, epoch, index, operation)
        return numbers[operation]

    monkeypatch.setattr(augment, "uniform", recorded)
    return numbers


# ------------------------------------------------------------------------------------------------ timm


class Replay:
    """Stands for the module `random` in timm: hands out numbers that were drawn here."""

    def __init__(self, numbers):
        self.numbers = list(numbers)

    def random(self):
        return float(self.numbers.pop(0))

    def uniform(self, low, high):
        return low + (high - low) * self.random()

    def randint(self, low, high):
        return low + int(self.random() * (high - low + 1))

    def gauss(self, mean, std):
        return mean + std * self.random()


def timm_data(*modules):
    pytest.importorskip("timm", reason="extra `parity` is not installed")
    import importlib

    return [importlib.import_module(f"timm.data.{module}") for module in modules]


def normal_of(numbers, operation):
    return float(augment._normal(numbers.__getitem__, operation)[0])


@pytest.mark.parametrize(
    "options",
    [
        RECIPE,
        {"auto_augment": "rand-m5-n3-mstd2.5-inc0-p0.8", "re_prob": 1.0, "re_count": 3},
        {
            "re_prob": 0.5,
            "auto_augment": "rand-n4-inc1",
            "interpolation": "bilinear",
            "scale": (0.5, 1.0),
            "ratio": (0.2, 5.0),
        },
    ],
    ids=["recipe", "decreasing", "bilinear"],
)
def test_one_image_is_timm_s(options, drawn, monkeypatch):
    transforms, auto_augment, erasing = timm_data("transforms", "auto_augment", "random_erasing")
    torch = pytest.importorskip("torch")
    posterize = ImageOps.posterize

    def posterize_to_black(image, bits):
        """Pillow 13 refuses 0 bits, which timm asks for at the largest magnitudes."""
        return posterize(image, bits) if bits else image.point([0] * 768)

    monkeypatch.setattr(ImageOps, "posterize", posterize_to_black)
    size = (48, 64)
    transform = TrainTransform(size, IMAGENET_MEAN, IMAGENET_STD, re_mode="const", **options)
    interpolation = options.get("interpolation", "bicubic")
    crop = transforms.RandomResizedCropAndInterpolation(
        size, options.get("scale", (0.08, 1.0)), options.get("ratio", (3 / 4, 4 / 3)), interpolation
    )
    rand_augment = auto_augment.rand_augment_transform(
        options["auto_augment"],
        {
            "translate_const": int(min(size) * 0.45),
            "img_mean": tuple(min(255, round(255 * m)) for m in IMAGENET_MEAN),
            "interpolation": transforms.str_to_pil_interp(interpolation),
        },
    )
    count = options.get("re_count", 1)
    erase = erasing.RandomErasing(options["re_prob"], mode="const", max_count=count, device="cpu")

    def run_layer(operation, layer, image):
        name = f"rand/{layer}/"
        numbers = [drawn[name + "apply"]]
        if name + "sign" in drawn:
            noise = [] if rand_augment.ops[0].magnitude_std == 0 else [normal_of(drawn, name + "magnitude")]
            numbers += [*noise, drawn[name + "sign"]]
        monkeypatch.setattr(auto_augment, "random", Replay(numbers))
        return operation(image)

    def choice(operations, layers, **_):
        places = [int(drawn.get(f"rand/{layer}/operation", 0) * len(operations)) for layer in range(layers)]
        return [partial(run_layer, operations[place], layer) for layer, place in enumerate(places)]

    monkeypatch.setattr(auto_augment, "np", SimpleNamespace(random=SimpleNamespace(choice=choice)))
    mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    used = set()
    for index in range(300):
        image = photo(*((100, 75), (60, 90), (120, 20))[index % 3], seed=index)
        drawn.clear()
        result = transform(image, 3, 1, index)
        monkeypatch.setattr(
            transforms, "random", Replay(v for k, v in drawn.items() if k.startswith("crop/"))
        )
        expected = crop(image)
        if drawn["hflip"] < 0.5:
            expected = ImageOps.mirror(expected)
        expected = rand_augment(expected)
        # As torchvision's ToTensor and Normalize.
        expected = torch.from_numpy(np.array(expected)).permute(2, 0, 1).contiguous().float().div(255)
        expected = expected.sub_(mean).div_(std)
        numbers = [v for k, v in drawn.items() if k.startswith("erase") and (count > 1 or k != "erase/count")]
        monkeypatch.setattr(erasing, "random", Replay(numbers))
        expected = erase(expected).numpy()
        assert np.array_equal(result, expected), index
        used |= {int(v * 15) for k, v in drawn.items() if k.endswith("operation")}
    assert len(used) == 15


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("inc", [0, 1])
def test_an_operation_is_timm_s(name, inc, monkeypatch):
    (auto_augment,) = timm_data("auto_augment")
    increasing = "Increasing" if inc and name + "Increasing" in auto_augment.NAME_TO_OP else ""
    image = photo(50, 37)
    for magnitude in (0.0, 0.7, 3.3, 6.1, 9.0, 9.99):
        for sign, u in ((1, 0.2), (-1, 0.8)):
            monkeypatch.setattr(auto_augment, "random", Replay([u]))
            operation = auto_augment.AugmentOp(
                name + increasing, 1.0, magnitude, {"img_mean": FILL, "interpolation": Image.BICUBIC}
            )
            if name == "Posterize" and not inc and magnitude < 2.5:
                continue  # 0 bits
            expected = np.asarray(operation(image))
            np.testing.assert_array_equal(applied(name, image, magnitude, sign, inc), expected)


@pytest.mark.parametrize("alphas", [(0.8, 1.0), (0.8, 0.0), (0.0, 1.0)], ids=["both", "mixup", "cutmix"])
def test_a_batch_is_timm_s(alphas, drawn, monkeypatch):
    (mixup,) = timm_data("mixup")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    timm_mix = mixup.Mixup(*alphas, prob=0.9, switch_prob=0.4, label_smoothing=0.1, num_classes=7)
    for step in range(100):
        images = rng.standard_normal((6, 3, 23, 31)).astype(np.float32)
        labels = rng.integers(0, 7, 6)
        drawn.clear()
        options = {"mix_up": alphas[0], "cutmix": alphas[1], "mixup_prob": 0.9, "switch_prob": 0.4}
        mixed, targets = mix(images, labels, 7, 2, 1, step, label_smoothing=0.1, **options)
        numbers = Replay(v for k, v in drawn.items() if k not in ("mix/radius", "mix/angle"))
        random = SimpleNamespace(
            rand=numbers.random,
            beta=lambda alpha, _: augment._beta(drawn.__getitem__, alpha),
            randint=lambda low, high, size=None: numbers.randint(low, high - 1),  # noqa: B023
        )
        monkeypatch.setattr(mixup, "np", SimpleNamespace(random=random, sqrt=np.sqrt, clip=np.clip))
        expected, expected_targets = timm_mix(torch.from_numpy(images.copy()), torch.from_numpy(labels))
        assert np.array_equal(mixed, expected.numpy())
        assert np.array_equal(targets, expected_targets.numpy())


# ------------------------------------------------------------------------------------------------ operations


def test_operations_on_levels_are_their_formulas():
    levels = np.arange(256).reshape(16, 16, 1).repeat(3, 2)
    image = Image.fromarray(levels.astype(np.uint8))
    expected = {
        ("Invert", 5, True): 255 - levels,
        ("Solarize", 9, True): np.where(levels < 256 - 230, levels, 255 - levels),
        ("Solarize", 9, False): np.where(levels < 230, levels, 255 - levels),
        ("SolarizeAdd", 9, True): np.where(levels < 128, np.minimum(levels + 99, 255), levels),
        ("Posterize", 9, True): levels & 0b10000000,
        ("Posterize", 4, True): levels & 0b11100000,
        ("Posterize", 10, True): 0 * levels,
        ("Posterize", 9, False): levels & 0b11100000,
        ("AutoContrast", 5, True): levels,
        ("Equalize", 5, True): levels,
    }
    for (name, magnitude, increasing), result in expected.items():
        np.testing.assert_array_equal(
            applied(name, image, magnitude, 1, increasing), result, f"{name} {magnitude}"
        )
    narrow = Image.fromarray((100 + levels // 8).astype(np.uint8)).resize((64, 64), Image.NEAREST)
    for name in ("AutoContrast", "Equalize"):
        assert (applied(name, narrow, 5).min(), applied(name, narrow, 5).max()) == (0, 255)


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_enhancements_blend_with_what_lacks_the_quality(increasing, sign):
    image = photo(40, 30)
    x = np.asarray(image).astype(float)
    factor = 1 + sign * 0.9 * 0.6 if increasing else 0.1 + 1.8 * 0.6
    grey = np.asarray(image.convert("L")).astype(float)[:, :, None]
    for name, without in (("Brightness", 0.0), ("Color", grey), ("Contrast", int(grey.mean() + 0.5))):
        expected = np.clip(without + factor * (x - without), 0, 255)
        assert np.abs(applied(name, image, 6, sign, increasing) - expected).max() < 1.01, name
    slopes = np.abs(np.diff(applied("Sharpness", image, 6, sign, increasing), axis=0)).mean()
    assert (slopes > np.abs(np.diff(x, axis=0)).mean()) == (factor > 1)


def test_geometric_operations_move_where_they_say():
    image = photo(40, 20)
    x = np.asarray(image).astype(int)
    right = applied("TranslateXRel", image, 5, -1)  # 0.225 of 40 pixels
    np.testing.assert_array_equal(right[:, 9:], x[:, :-9])
    np.testing.assert_array_equal(right[:, :9], np.broadcast_to(FILL, (20, 9, 3)))
    up = applied("TranslateYRel", image, 10, 1)  # 0.45 of 20 pixels
    np.testing.assert_array_equal(up[:-9], x[9:])
    np.testing.assert_array_equal(up[-9:], np.broadcast_to(FILL, (9, 40, 3)))

    def centre(name, sign, x, y):
        """Where a white dot at (x, y) off the middle of a black image goes, in pixels."""
        dot = np.zeros((101, 101, 3), np.uint8)
        dot[50 + y - 1 : 50 + y + 2, 50 + x - 1 : 50 + x + 2] = 255
        argument = augment._argument(name, 1.0, sign, True)
        how = {"resample": Image.BICUBIC, "fillcolor": (0, 0, 0)}
        weight = np.asarray(OPERATIONS[name](Image.fromarray(dot), argument, how)).sum(-1).astype(float)
        rows, columns = np.mgrid[-50:51, -50:51]
        return (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()

    assert centre("Rotate", 1, 30, 0) == pytest.approx(
        (30 * math.cos(math.pi / 6), -15), abs=0.3
    )  # anticlockwise
    assert centre("Rotate", -1, 30, 0) == pytest.approx((30 * math.cos(math.pi / 6), 15), abs=0.3)
    assert centre("ShearX", 1, 0, 20) == pytest.approx(
        (-0.3 * 70.5, 20), abs=0.3
    )  # of the distance from the top
    assert centre("ShearY", -1, 0, 20) == pytest.approx((0, 20 + 0.3 * 50.5), abs=0.3)


@pytest.mark.parametrize("name", OPERATIONS)
def test_increasing_magnitudes_change_more(name):
    y, x = np.mgrid[:64, :64]  # a ramp with a little texture: what moves farther differs more
    ramp = np.stack([3.2 * x + 10, 3.2 * y + 10, 1.6 * (x + y) + 10], -1)
    texture = np.random.default_rng(0).integers(0, 25, ramp.shape)
    image = Image.fromarray((ramp + texture).astype(np.uint8))
    for sign in (1, -1):
        changes = [
            np.abs(applied(name, image, magnitude, sign) - np.asarray(image)).mean()
            for magnitude in (1, 4, 7, 10)
        ]
        assert changes == sorted(changes)
        if name not in ("AutoContrast", "Equalize", "Invert"):
            assert changes[0] < changes[-1]


def test_rand_augment_draws_as_it_should(monkeypatch):
    calls = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda image, argument, how: image)
    monkeypatch.setattr(augment, "_argument", lambda *arguments: calls.append(arguments))
    rand_augment = RandAugment("rand-m9-mstd0.5-inc1", HOW)
    per_image = []
    for index in range(MANY):
        before = len(calls)
        rand_augment(None, partial(uniform, 0, 0, index))
        per_image.append(len(calls) - before)
    counts = np.bincount(per_image, minlength=3)
    np.testing.assert_allclose(counts / MANY, [0.25, 0.5, 0.25], atol=0.03)  # two, each with probability 0.5
    names, shares, signs, increasing = zip(*calls)
    for name in OPERATIONS:  # 267 expected, a deviation of 16
        assert abs(names.count(name) - len(calls) / 15) < 65
    shares = np.array(shares)
    assert np.median(shares) == pytest.approx(0.9, abs=0.005)
    assert shares.max() == 1.0
    assert np.mean(shares == 1.0) == pytest.approx(0.0228, abs=0.01)  # clipped beyond two deviations
    assert shares[shares < 0.9].std() == pytest.approx(0.05 * math.sqrt(1 - 2 / math.pi), rel=0.1)
    assert np.mean(np.array(signs) == 1) == pytest.approx(0.5, abs=0.04)
    assert set(signs) == {1, -1} and all(increasing)
    calls.clear()
    for index in range(MANY):
        RandAugment("rand-p1", HOW)(None, partial(uniform, 0, 0, index))
    first, second = np.array([call[0] for call in calls]).reshape(MANY, 2).T
    assert np.mean(first == second) == pytest.approx(1 / 15, abs=0.015)  # drawn with replacement


def test_rand_augment_s_defaults_are_timm_s():
    options = vars(RandAugment("rand", HOW))
    assert options == {
        "magnitude": 10, "num_ops": 2, "prob": 0.5, "magnitude_std": 0.0, "increasing": 0, "how": HOW
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ one image


def test_without_chance_it_is_the_evaluation_s_preprocessing():
    for size in (32, 45):
        transform = TrainTransform(size, IMAGENET_MEAN, IMAGENET_STD, **WHOLE)
        expected = Preprocess((size, size), None)(photo(32, 32))
        result = transform(photo(32, 32), 0, 0, 5)
        assert result.dtype == np.float32 and result.flags.c_contiguous
        np.testing.assert_array_equal(result, expected)
    flipped = TrainTransform(32, IMAGENET_MEAN, IMAGENET_STD, **{**WHOLE, "hflip": 1.0})(
        photo(32, 32), 0, 0, 5
    )
    np.testing.assert_array_equal(flipped, Preprocess((32, 32), None)(photo(32, 32))[:, :, ::-1])


def test_half_of_the_images_are_flipped():
    transform = TrainTransform(8, *RAW, **{**WHOLE, "hflip": 0.5})
    image = photo(8, 8)
    plain = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255)
    flipped = [not np.array_equal(transform(image, 0, 0, index), plain) for index in range(MANY)]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.03)


def test_crops_are_uniform_in_area_and_place_and_log_uniform_in_ratio():
    transform = TrainTransform((24, 32), *RAW, scale=(0.08, 0.5))  # always fits into a square
    boxes = np.array([transform.crop_box(1000, 1000, partial(uniform, 1, 2, i)) for i in range(MANY)])
    left, top, width, height = boxes.T
    assert min(left.min(), top.min()) >= 0 and (left + width).max() <= 1000 and (top + height).max() <= 1000
    assert ks_distance(width * height / 1e6, lambda x: np.clip((x - 0.08) / 0.42, 0, 1)) < 1.95
    limit = math.log(4 / 3)
    ratio = np.log(width / height)
    assert ks_distance(ratio, lambda x: np.clip((x + limit) / (2 * limit), 0, 1)) < 1.95
    free = [left / (1000 - width), top / (1000 - height)]
    for place in free:
        assert ks_distance(place, lambda x: np.clip(x, 0, 1)) < 1.95
    correlations = np.corrcoef([width * height, ratio, *free])
    assert np.abs(correlations - np.eye(4)).max() < 0.07  # 4.4 deviations
    boxes = [TrainTransform(24, *RAW).crop_box(500, 375, partial(uniform, 1, 2, i)) for i in range(MANY)]
    for left, top, width, height in boxes:
        assert min(left, top) >= 0 and left + width <= 500 and top + height <= 375
        assert 0.079 < width * height / (500 * 375) <= 1
        assert 0.74 < width / height < 1.35


def test_crops_reach_every_edge():
    transform = TrainTransform(8, *RAW, scale=(9 / 16, 9 / 16), ratio=(1.0, 1.0))
    boxes = {transform.crop_box(4, 4, partial(uniform, 0, 0, index)) for index in range(100)}
    assert boxes == {(left, top, 3, 3) for left in (0, 1) for top in (0, 1)}


def test_what_comes_in_from_outside_has_the_mean_s_colour():
    transform = TrainTransform(32, IMAGENET_MEAN, IMAGENET_STD, auto_augment="rand-n1-p1", **WHOLE)
    white = Image.new("RGB", (32, 32), (255, 255, 255))
    results = np.stack([transform(white, 0, 0, index) for index in range(100)])
    corners = results[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].transpose(0, 2, 1).reshape(-1, 3)
    assert (np.abs(corners).max(1) < 0.5 / 255 / 0.224).sum() > 40  # a third of the operations move the image


@pytest.mark.parametrize(
    "image, box",
    [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13)), ((5, 4), (0, 0, 5, 4))],
    ids=["wide", "tall", "whole"],
)
def test_a_crop_that_never_fits_is_the_largest_at_the_centre(image, box):
    transform = TrainTransform(24, *RAW, scale=(2.0, 3.0))
    assert transform.crop_box(*image, partial(uniform, 0, 0, 0)) == box


@pytest.mark.parametrize("image", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_images_of_any_size_will_do(image):
    transform = TrainTransform((5, 7), *RAW, auto_augment="rand-n3-inc1-p1", re_prob=1.0, re_count=3)
    for index in range(40):
        result = transform(Image.new("RGB", image, (9, 99, 199)), 0, 0, index)
        assert result.shape == (3, 5, 7) and np.isfinite(result).all()


def test_boxes_are_erased_by_the_rules():
    transform = TrainTransform((80, 100), *RAW, re_prob=0.25)
    boxes = [transform.erased_boxes(partial(uniform, 0, 0, i)) for i in range(MANY)]
    assert np.mean([len(b) for b in boxes]) == pytest.approx(0.25, abs=0.02)
    left, top, width, height = np.array([b for found in boxes for b in found]).T
    assert min(left.min(), top.min()) >= 0 and (left + width).max() <= 100 and (top + height).max() <= 80
    share = width * height / 8000
    assert 0.018 < share.min() < 0.03 and 0.3 < share.max() < 0.345
    assert (height / width).min() > 0.27 and (height / width).max() < 3.6
    # The largest flat boxes do not fit, the others are uniform.
    square = np.abs(np.log(height / width)) < 0.3
    assert ks_distance(share[square], lambda x: np.clip((x - 0.02) / (1 / 3 - 0.02), 0, 1)) < 1.95
    several = TrainTransform((80, 100), *RAW, re_prob=1.0, re_count=4)
    counts = np.bincount(
        [len(several.erased_boxes(partial(uniform, 0, 0, i))) for i in range(1000)], minlength=5
    )
    assert counts[0] == 0 and counts[1:].min() > 200
    for index in range(100):
        found = several.erased_boxes(partial(uniform, 0, 0, index))
        assert sum(w * h for _, _, w, h in found) < 0.36 * 8000


def test_erased_pixels_are_normal_noise_and_the_others_stay():
    image = photo(64, 64)
    plain = TrainTransform(64, *RAW, **WHOLE)(image, 0, 0, 0)
    transform = TrainTransform(64, *RAW, re_prob=1.0, **WHOLE)
    noise, numbers = [], []
    for index in range(200):
        ((left, top, width, height),) = transform.erased_boxes(partial(uniform, 0, 7, index))
        result = transform(image, 0, 7, index)
        box = np.s_[:, top : top + height, left : left + width]
        noise.append(result[box].ravel())
        numbers.append(result[box][:, :5, :5].ravel())
        result[box] = plain[box]
        np.testing.assert_array_equal(result, plain)
    noise = np.concatenate(noise)  # 400,000 numbers
    assert (
        noise.dtype == np.float32 and abs(noise.mean()) < 0.008 and noise.std() == pytest.approx(1, abs=0.006)
    )
    assert ks_distance(noise, np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))) < 1.95
    assert len(np.unique(noise)) > 0.98 * len(noise)  # no number is used twice, but for float32's grain
    correlations = np.corrcoef(np.array(numbers).T)  # (75, 75) between places of a box, over images
    assert np.abs(correlations - np.eye(75)).max() < 0.35


def test_erased_colours_and_zeros():
    image = photo(32, 32)
    colours = []
    for index in range(300):
        for mode in ("rand", "const"):
            transform = TrainTransform(32, *RAW, re_prob=1.0, re_mode=mode, **WHOLE)
            ((left, top, width, height),) = transform.erased_boxes(partial(uniform, 0, 0, index))
            box = transform(image, 0, 0, index)[:, top : top + height, left : left + width].reshape(3, -1)
            assert (box == box[:, :1]).all()
            if mode == "const":
                assert (box == 0).all()
            else:
                colours.append(box[:, 0])
    assert np.std(colours) == pytest.approx(1, abs=0.1) and abs(np.mean(colours)) < 0.15
    assert np.abs(np.corrcoef(np.array(colours).T) - np.eye(3)).max() < 0.2


# ------------------------------------------------------------------------------------------------ one batch

BATCH = np.random.default_rng(0).standard_normal((3, 2, 4, 6)).astype(np.float32)
LABELS = np.array([2, 0, 1], np.int32)


def smooth(labels, classes, eps):
    return np.eye(classes)[labels] * (1 - eps) + eps / classes


def test_mixup_is_the_formula(monkeypatch):
    monkeypatch.setattr(augment, "_beta", lambda draw, alpha: {0.8: 0.75}[alpha])
    before = BATCH.copy()
    images, targets = mix(BATCH, LABELS, 4, 0, 0, 0, mix_up=0.8, label_smoothing=0.1)
    np.testing.assert_array_equal(BATCH, before)
    assert images.dtype == targets.dtype == np.float32
    np.testing.assert_allclose(images, 0.75 * BATCH + 0.25 * BATCH[::-1], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(images[1], BATCH[1], rtol=1e-6)  # the middle of an odd batch meets itself
    expected = [[0.025, 0.25, 0.7, 0.025], [0.925, 0.025, 0.025, 0.025], [0.025, 0.7, 0.25, 0.025]]
    np.testing.assert_allclose(targets, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "y, x, rows, columns",
    [(0.5, 0.5, (1, 3), (1, 4)), (0.0, 0.99, (0, 1), (4, 6)), (0.99, 0.0, (2, 4), (0, 2))],
    ids=["inside", "top-right", "bottom-left"],
)
def test_cutmix_pastes_a_box_and_takes_lambda_from_it(y, x, rows, columns, monkeypatch):
    monkeypatch.setattr(
        augment, "_beta", lambda draw, alpha: {0.7: 0.7}[alpha]
    )  # sides 0.5477: 2 of 4, 3 of 6
    monkeypatch.setattr(augment, "uniform", lambda *key: {"cutmix/y": y, "cutmix/x": x}.get(key[-1], 0.0))
    images, targets = mix(BATCH, LABELS, 3, 0, 0, 0, cutmix=0.7)
    expected = BATCH.copy()
    box = np.s_[:, :, slice(*rows), slice(*columns)]
    if (y, x) == (0.5, 0.5):
        box = np.s_[:, :, 1:3, 2:5]
    expected[box] = BATCH[::-1][box]
    np.testing.assert_array_equal(images, expected)
    lam = 1 - expected[0, 0][box[2:]].size / 24
    np.testing.assert_allclose(
        targets, lam * smooth(LABELS, 3, 0) + (1 - lam) * smooth(LABELS[::-1], 3, 0), rtol=1e-6
    )


@pytest.mark.parametrize(
    "options", [{}, {"mix_up": 0.8, "cutmix": 1.0, "mixup_prob": 0.0}], ids=["off", "never"]
)
def test_without_mixing_targets_are_only_smoothed(options):
    images, targets = mix(BATCH, LABELS, 5, 0, 0, 0, label_smoothing=0.1, **options)
    np.testing.assert_array_equal(images, BATCH)
    np.testing.assert_allclose(targets, smooth(LABELS, 5, 0.1), rtol=1e-6)


def test_how_often_batches_are_mixed_and_how():
    images = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1).repeat(8, 2).repeat(8, 3)
    kinds = {"none": 0, "cutmix": 0, "mixup": 0}
    for step in range(MANY):
        mixed, targets = mix(
            images, [0, 1], 2, 0, 0, step, mix_up=1.0, cutmix=1.0, mixup_prob=0.8, switch_prob=0.3
        )
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
        np.testing.assert_allclose(
            mixed.mean((1, 2, 3)), targets[:, 1], atol=1e-5
        )  # lambda is the share of pixels
        if (targets == np.eye(2)).all():
            kinds["none"] += 1
        else:
            kinds["cutmix" if set(np.unique(mixed)) <= {0.0, 1.0} else "mixup"] += 1
    # Of cutmix' boxes some are empty: those of a side below an eighth.
    assert kinds["mixup"] / MANY == pytest.approx(0.56, abs=0.03)
    assert kinds["cutmix"] / MANY == pytest.approx(0.24 * (1 - 1 / 64), abs=0.03)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8, 1.0, 3.0])
def test_lambda_is_beta(alpha):
    lam = augment._beta(partial(uniform, 0, 0, np.arange(20000)), alpha)
    assert lam.mean() == pytest.approx(0.5, abs=0.015)
    assert lam.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    if alpha == 1.0:
        assert ks_distance(lam, lambda x: x) < 1.95
    if alpha == 0.5:  # the arcsine law
        assert ks_distance(lam, lambda x: 2 / np.pi * np.arcsin(np.sqrt(x))) < 1.95
    stats = pytest.importorskip("scipy.stats")
    assert ks_distance(lam, stats.beta(alpha, alpha).cdf) < 1.95


@pytest.mark.parametrize("alpha", [1e-300, 1e-3, 1e3, 1e300])
def test_lambda_of_extreme_alphas_is_a_share(alpha):
    lam = augment._beta(partial(uniform, 0, 0, np.arange(1000)), alpha)
    assert ((lam >= 0) & (lam <= 1)).all()
    assert lam.mean() == pytest.approx(0.5, abs=0.06)


# ------------------------------------------------------------------------------------------------ all of it


def test_the_result_depends_on_seed_epoch_and_index_alone():
    image = photo(60, 50)
    transform = TrainTransform(32, IMAGENET_MEAN, IMAGENET_STD, **{**RECIPE, "re_prob": 0.6})
    places = [(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1) for index in range(20)]
    alone = {place: transform(image, *place) for place in places}
    copy = pickle.loads(pickle.dumps(transform))  # as another process has it
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda place: copy(image, *place), places[::-1]))
    for place, result in zip(places[::-1], results):
        np.testing.assert_array_equal(result, alone[place])
        np.testing.assert_array_equal(transform(image, *place[:2], np.int32(place[2])), result)
    flat = [result.tobytes() for result in alone.values()]
    assert len(set(flat)) == len(flat)
    assert np.array_equal(np.asarray(image), np.asarray(photo(60, 50)))  # what came in stays as it was


def test_a_batch_depends_on_seed_epoch_and_step_alone():
    options = {"mix_up": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}
    places = [(seed, epoch, step) for seed in (0, 1) for epoch in (0, 1) for step in range(10)]
    alone = {place: mix(BATCH, LABELS, 4, *place, **options)[1] for place in places}
    for place in places[::-1]:
        np.testing.assert_array_equal(mix(BATCH, LABELS, 4, *place, **options)[1], alone[place])
    assert len({targets.tobytes() for targets in alone.values()}) > len(places) / 2


@pytest.mark.parametrize(
    "options, name",
    [
        ({"size": 0}, "size"),
        ({"size": (32, 32, 3)}, "size"),
        ({"size": (32, -1)}, "size"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"mean": (0.5, 0.5, math.nan)}, "mean"),
        ({"mean": 0.5}, "mean"),
        ({"std": (0.5, 0.5, 0.0)}, "std"),
        ({"std": ("a", 0.5, 0.5)}, "std"),
        ({"interpolation": "random"}, "interpolation"),
        ({"interpolation": "lanczos", "auto_augment": "rand"}, "interpolation"),
        ({"scale": (1.0, 0.08)}, "scale"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": 0.5}, "scale"),
        ({"ratio": (-1.0, 1.0)}, "ratio"),
        ({"ratio": (1.0, math.inf)}, "ratio"),
        ({"hflip": 1.1}, "hflip"),
        ({"hflip": math.nan}, "hflip"),
        ({"hflip": "half"}, "hflip"),
        ({"re_prob": -0.1}, "re_prob"),
        ({"re_mode": "pixels"}, "re_mode"),
        ({"re_count": 0}, "re_count"),
        ({"re_count": 1.5}, "re_count"),
        *(
            ({"auto_augment": text}, "auto_augment")
            for text in (
                *("", "augmix-m3", "rand-", "rand-m", "rand-m9-m8", "rand-m9-w0", "rand-m-1", "rand-m9.5"),
                *(
                    "rand-n0",
                    "rand-p1.5",
                    "rand-mstdinf",
                    "rand-mstd101",
                    "rand-inc2",
                    "rand-mmax20",
                    "rand m9",
                    9,
                ),
            )
        ),
    ],
)
def test_bad_options_of_the_transform_are_named(options, name):
    options = {"size": 32, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, **options}
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got ") as error:
        TrainTransform(options.pop("size"), options.pop("mean"), options.pop("std"), **options)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_an_image_of_another_mode_is_an_error():
    with pytest.raises(ValueError, match="^image: expected a PIL image of mode RGB, got "):
        TrainTransform(8, *RAW)(Image.new("L", (9, 9)), 0, 0, 0)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"mix_up": -0.1}, "mix_up"),
        ({"mix_up": math.inf}, "mix_up"),
        ({"cutmix": -1}, "cutmix"),
        ({"mixup_prob": 2}, "mixup_prob"),
        ({"switch_prob": -1}, "switch_prob"),
        ({"label_smoothing": 1.5}, "label_smoothing"),
        ({"labels": [0, 1, 4]}, "labels"),
        ({"labels": [0, 1, -1]}, "labels"),
        ({"labels": [0, 1]}, "labels"),
        ({"labels": [0.0, 1.0, 2.0]}, "labels"),
        ({"images": BATCH[0]}, "images"),
        ({"images": BATCH.astype(np.float64)}, "images"),
    ],
)
def test_bad_options_of_a_batch_are_named(options, name):
    options = {"images": BATCH, "labels": LABELS, **options}
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        mix(options.pop("images"), options.pop("labels"), 4, 0, 0, 0, **options)
