# SPDX-License-Identifier: Apache-2.0
"""Times of several implementations, taken in turn so that their ratios survive a noisy machine."""

import gc
import time

PAUSE = 0.005  # seconds: worker threads of the one before stop spinning
FIRST_CALLS, FIRST_SECONDS = 16, 3


def interleave(runs, seconds, max_rounds=25, min_rounds=3):
    """{name: [seconds of each timed call]} of A B A B ..., for about `seconds` in all.

    Args:
        runs: {name: function that returns when its work is done}; each has been called before (compiled).
        seconds: the number of rounds follows from it, between min_rounds and max_rounds.
    """
    once = {name: _timed(run) for name, run in runs.items()}
    calls = {name: _calls(t) for name, t in once.items()}
    cost = sum(PAUSE + once[name] * sum(calls[name]) for name in runs)
    rounds = max(min_rounds, min(max_rounds, int(seconds / cost)))
    samples = {name: [] for name in runs}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()  # as timeit does: a collection goes through all that MindSpore and PyTorch have imported
    try:
        for _ in range(rounds):
            for name, run in runs.items():
                time.sleep(PAUSE)
                warm, timed = calls[name]
                for _ in range(warm):
                    run()
                samples[name] += [_timed(run) for _ in range(timed)]
    finally:
        if collects:
            gc.enable()
    return samples


def settled(run):
    """run, after calls enough (or some seconds of them) for MindSpore to have chosen how to dispatch its graph.

    From its 5th to about its 14th call a graph runs with a thread that spins beside it, three times as long at worst on
    two cores; a user's graph is past that at once, a median of a few calls is not.
    """
    start = time.perf_counter()
    for _ in range(FIRST_CALLS):
        run()
        if time.perf_counter() - start > FIRST_SECONDS:
            break
    return run


def _calls(once):
    """(untimed, timed) calls in a row: a short call needs a few to have its caches and its threads back."""
    return (10, 10) if once < 0.01 else (4, 5) if once < 0.04 else (1, 3) if once < 0.15 else (0, 1)


def _timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
