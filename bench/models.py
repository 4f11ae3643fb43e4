# SPDX-License-Identifier: Apache-2.0
"""Whole SwinV2-T: inference and a training step, in graph mode, fused against reference."""

import mindspore as ms
import numpy as np
from mindspore import Tensor

from bench.measure import interleave, settled
from bench.operators import IMPLEMENTATIONS, compare, finish
from swinv2_model.model import SwinTransformerV2
from swinv2_model.ranks import graph_mode

IMAGE = 256
CLASSES = 1000
TOLERANCE = 1e-4
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 0.05


def images(batch, size=IMAGE):
    return np.random.default_rng(2).standard_normal((batch, 3, size, size), np.float32)


def labels(batch):
    return np.random.default_rng(3).integers(0, CLASSES, batch).astype(np.int32)


def parameters(window, **options):
    """{official name: array} of a SwinV2-T in mid-training, as it were: norms that let every block through."""
    rng = np.random.default_rng(4)
    found = {}
    for name, parameter in _build(window, "reference", **options).parameters_and_names():
        value = parameter.asnumpy().copy()
        if value.ndim == 1:
            value += 0.2 * rng.standard_normal(value.shape, np.float32)
            value += np.float32(0.5) if name.endswith(("norm1.gamma", "norm2.gamma")) else np.float32(0)
        found[name] = value
    return found


def _build(window, backend, **options):
    return SwinTransformerV2(
        window_size=window, drop_path_rate=0.0, num_classes=CLASSES, backend=backend, **options
    )


def model(window, backend, values, **options):
    built = _build(window, backend, **options)
    for name, parameter in built.parameters_and_names():
        parameter.set_data(Tensor(values[name]))
    return built


def inference(window, backend, values, x, **options):
    """() -> [logits]. The position bias depends on parameters only: computed once, as in evaluation."""
    graph_mode()
    built = model(window, backend, values, **options).set_train(False)
    if options.get("compute_dtype") == "bfloat16":
        built.round_weights()
    tables = tuple(Tensor(table.asnumpy()) for table in built.bias_tables())
    x = Tensor(x)

    @ms.jit
    def call(x, tables):
        return built(x, None, tables)

    return lambda: finish(call(x, tables))


def training_step(window, backend, values, x, y, **options):
    """() -> [loss] of one step: forward, backward, AdamW; parameters move on from call to call."""
    from swinv2_model.training.optimizer import AdamW
    from swinv2_model.training.step import TrainStep

    graph_mode()
    built = model(window, backend, values, **options)
    optimizer = AdamW(built.trainable_params(), weight_decay=WEIGHT_DECAY)
    step = TrainStep(built, optimizer)
    x, y, count = Tensor(x), Tensor(y), 0

    def call():
        nonlocal count
        count += 1
        loss, _, _ = step(x, y, None, optimizer.factors(LEARNING_RATE, count))
        float(loss.asnumpy())
        # The loss is there before the update: wait for a parameter too.
        return finish([loss, optimizer.parameters[-1]])[:1]

    return call


def measure_inference(machine, window, batch, seconds, values=None, **options):
    name = f"SwinV2-T w{window} inference"
    values = parameters(window, **options) if values is None else values
    x = images(batch, options.get("image_size", IMAGE))
    runs = {
        i: settled(inference(window, backend, values, x, **options)) for i, backend in IMPLEMENTATIONS.items()
    }
    compare(name, *(runs[impl]() for impl in ("reference", "fused")), tolerance=TOLERANCE)
    return _rows(machine, name, batch, interleave(runs, seconds))


def measure_training(machine, window, batch, seconds, **options):
    name = f"SwinV2-T w{window} training step"
    values, size = parameters(window, **options), options.get("image_size", IMAGE)
    call = training_step(
        window, IMPLEMENTATIONS["fused"], values, images(batch, size), labels(batch), **options
    )
    call()
    return _rows(machine, name, batch, interleave({"fused": call}, seconds))


def _rows(machine, name, batch, samples):
    return [machine.row(name, impl, "ms", [t * 1e3 for t in s], batch=batch) for impl, s in samples.items()]
