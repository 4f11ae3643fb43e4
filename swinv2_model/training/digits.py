# SPDX-License-Identifier: Apache-2.0
"""The 1,797 scanned digits that come with scikit-learn, as a small real data set: grey images, ten classes."""

import numpy as np
from PIL import Image

from swinv2_model.randomness import integers, permutation

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


def augment(images, seed, epoch, index, max_shift):
    """Move each image by up to `max_shift` pixels a side, paper coming in: digits have no mirror images."""
    if not max_shift:
        return images
    height, width = images.shape[2:]
    padded = np.pad(images, ((0, 0), (0, 0), (max_shift,) * 2, (max_shift,) * 2))
    top = integers(seed, epoch, index, "shift_y", 0, 2 * max_shift)
    left = integers(seed, epoch, index, "shift_x", 0, 2 * max_shift)
    return np.stack([p[:, y : y + height, x : x + width] for p, y, x in zip(padded, top, left)])
