# SPDX-License-Identifier: Apache-2.0
"""The 1,797 scanned digits that come with scikit-learn, as a small real data set: grey images, ten classes."""

import numpy as np
from PIL import Image

from swinv2_model.randomness import permutation, uniform

NUM_CLASSES = 10
TEST_SIZE = 360
SPLIT_SEED = 2023


def load(image_size):
    """((train images, labels), (test images, labels)): the split is fixed.

    Images are float32 (n, 1, H, W), 8 x 8 scans scaled up bicubically, ink 1 on paper 0; labels int32 (n,).
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    height, width = image_size
    images = np.stack(
        [
            np.asarray(Image.fromarray(scan.astype(np.float32) / 16).resize((width, height), Image.BICUBIC))
            for scan in scans.images
        ]
    )[:, None]
    labels = scans.target.astype(np.int32)
    order = permutation(SPLIT_SEED, 0, len(labels))
    test, train = order[:TEST_SIZE], order[TEST_SIZE:]
    return (images[train], labels[train]), (images[test], labels[test])


def augment(images, seed, epoch, index, max_shift=0.0, max_rotation=0.0, max_scale=0.0):
    """Move, turn and scale each image a little, paper coming in; never mirrored: digits have no mirror images.

    Args:
        images: (B, 1, H, W).
        max_shift: pixels a side. max_rotation: degrees either way. max_scale: 0.1 for 10 % either way.
    """
    batch, _, height, width = images.shape

    def draw(operation, limit):
        return limit * (2 * uniform(seed, epoch, index, operation) - 1)[:, None, None]

    shift_y, shift_x = draw("shift_y", max_shift), draw("shift_x", max_shift)
    angle, factor = np.radians(draw("rotation", max_rotation)), 1 / (1 + draw("scale", max_scale))
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y, x = np.arange(height)[None, :, None] - centre_y, np.arange(width)[None, None, :] - centre_x
    # Where each pixel of the result comes from: (B, H, W).
    source_y = factor * (np.cos(angle) * y - np.sin(angle) * x) + centre_y - shift_y
    source_x = factor * (np.sin(angle) * y + np.cos(angle) * x) + centre_x - shift_x
    paper = np.pad(images[:, 0], ((0, 0), (1, 1), (1, 1)))
    source_y, source_x = np.clip(source_y + 1, 0, height + 1), np.clip(source_x + 1, 0, width + 1)
    top = np.minimum(source_y.astype(np.int64), height)
    left = np.minimum(source_x.astype(np.int64), width)
    down, right, image = source_y - top, source_x - left, np.arange(batch)[:, None, None]
    above = (1 - right) * paper[image, top, left] + right * paper[image, top, left + 1]
    below = (1 - right) * paper[image, top + 1, left] + right * paper[image, top + 1, left + 1]
    return ((1 - down) * above + down * below)[:, None].astype(np.float32)
