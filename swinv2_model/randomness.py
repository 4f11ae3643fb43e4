# SPDX-License-Identifier: Apache-2.0
"""Random numbers as a pure function of (seed, epoch, sample index, operation): nothing to save, nothing to replay."""

import zlib

import numpy as np

_U64 = np.uint64


def _mix(x):
    """The finaliser of splitmix64: a bijection of 64-bit words whose every bit depends on every bit."""
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))


def uniform(seed, epoch, index, operation):
    """float64 in [0, 1), one for each sample.

    Args:
        seed, epoch: ints.
        index: (B,) ints, the samples' places in the data set.
        operation: what the number is for, e.g. "shift_x".
    """
    words = (seed, epoch, zlib.crc32(operation.encode()))
    with np.errstate(over="ignore"):
        state = _U64(0x9E3779B97F4A7C15)
        for word in (*map(_U64, words), np.asarray(index).astype(_U64)):
            state = _mix(state * _U64(0x9E3779B97F4A7C15) + word + _U64(1))
    return (state >> _U64(11)).astype(np.float64) * 2.0**-53


def permutation(seed, epoch, size):
    """The order of the data set in an epoch."""
    return np.argsort(uniform(seed, epoch, np.arange(size), "order"), kind="stable")


def drop_path_factors(rates, seed, epoch, index):
    """(blocks, 2, B) float32 for the attention and MLP branch of every block: 0 with the block's rate, else 1/(1-rate).

    Args:
        rates: (blocks,), each in [0, 1).
    """
    factors = np.empty((len(rates), 2, len(index)), np.float32)
    for block, rate in enumerate(rates):
        for branch in range(2):
            kept = uniform(seed, epoch, index, f"drop_path/{block}/{branch}") >= rate
            factors[block, branch] = kept / (1 - rate)
    return factors
