# SPDX-License-Identifier: Apache-2.0
"""Whole SwinV2-T in other libraries, with our parameters."""

import tempfile
from pathlib import Path

from bench import models
from bench.measure import interleave, settled
from bench.operators import compare, finish

# Of the largest logit. bf16: every product rounded to 8 bits. mindcv: GELU's tanh form, epsilon 1e-6 in its norms.
TOLERANCES = {"ours bfloat16": 5e-2, "OpenVINO bf16": 5e-2, "mindcv": 5e-2}
TOLERANCE = 1e-4


def torch_inference(window, values, x, compile_it=False, mode="eager"):
    """() -> [logits]; position bias cached."""
    import torch

    module = _torch_model(window, values, mode).cache_bias().eval()
    if compile_it:
        torch.compiler.reset()
        module = torch.compile(module, dynamic=False)
    x = torch.from_numpy(x)

    def call():
        with torch.inference_mode():
            return [module(x).numpy()]

    return call


def _torch_model(window, values, mode="eager"):
    from bench.peers.torch_swinv2 import SwinTransformerV2

    return SwinTransformerV2(window, mode).load(values)


def torch_training_step(window, values, x, y):
    """() -> [loss] of one step of eager PyTorch: forward, backward, its own (for-each) AdamW."""
    import torch
    from torch.nn import functional as F

    from swinv2_model.training.optimizer import decays

    module = _torch_model(window, values).train()
    groups = {True: [], False: []}
    for name, parameter in module.named_parameters():
        groups[decays(name, parameter.shape)].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": models.WEIGHT_DECAY},
            {"params": groups[False], "weight_decay": 0},
        ],
        lr=models.LEARNING_RATE,
    )
    x, y = torch.from_numpy(x), torch.from_numpy(y).long()

    def call():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        return [loss.detach().numpy()]

    return call


def engine_inferences(window, values, x, threads, wanted):
    """{impl: () -> [logits]} of ONNX Runtime and OpenVINO, as far as they are wanted."""
    import torch

    from bench.peers import engines

    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        arguments = (torch.from_numpy(x),)
        path = engines.export(
            _torch_model(window, values).cache_bias(), arguments, str(Path(folder) / "model.onnx")
        )
        if "ONNX Runtime" in wanted:
            runs["ONNX Runtime"] = engines.onnxruntime_session(path, arguments, threads)
        if "OpenVINO" in wanted:
            for precision, suffix in (("f32", "fp32"), ("bf16", "bf16")):
                if precision in engines.openvino_precisions():
                    run = engines.openvino_model(path, arguments, threads, precision)
                    runs[f"OpenVINO {suffix}"] = run
    return runs


def mindcv_inference(window, values, x):
    """() -> [logits] of mindcv's own model, in graph mode."""
    import mindspore as ms
    from mindcv import create_model
    from mindspore import Tensor

    from swinv2_model.weights.keys import from_official, to_official

    model = create_model(f"swinv2_tiny_window{window}", num_classes=models.CLASSES).set_train(False)
    theirs = from_official(to_official(values, "mindspore"), "mindcv")
    own = {p.name: p for p in model.get_parameters() if p.requires_grad}  # the names of its checkpoints
    if set(own) != set(theirs):
        raise RuntimeError(
            f"mindcv's parameters are others than expected: {sorted(set(own) ^ set(theirs))[:4]}"
        )
    for name, parameter in own.items():
        parameter.set_data(Tensor(theirs[name]))
    x = Tensor(x)

    @ms.jit
    def call(x):
        return model(x)

    return lambda: finish(call(x))


def inferences(window, batch, values, x, threads, installed):
    """{impl: run}, ours first."""
    runs = {
        impl: settled(models.inference(window, "cpu", values, x, compute_dtype=dtype))
        for impl, dtype in (("ours", "float32"), ("ours bfloat16", "bfloat16"))
    }
    if "PyTorch" in installed:
        runs["PyTorch eager"] = torch_inference(window, values, x)
        runs["PyTorch SDPA"] = torch_inference(window, values, x, mode="sdpa")
        runs["torch.compile"] = torch_inference(window, values, x, compile_it=True)
    if {"ONNX Runtime", "OpenVINO"} & installed:
        runs |= engine_inferences(window, values, x, threads, installed)
    if "mindcv" in installed and batch == 1:
        runs["mindcv"] = mindcv_inference(window, values, x)
    return runs


def measure_inference(machine, window, batch, seconds, installed):
    """[Row], ours first, after each peer's logits have been compared with ours."""
    name = f"SwinV2-T w{window} inference"
    values, x = models.parameters(window), models.images(batch)
    runs = inferences(window, batch, values, x, machine.threads, installed)
    expected = [a.copy() for a in runs["ours"]()]
    for impl in list(runs)[1:]:
        compare(f"{name}, {impl}", runs[impl](), expected, TOLERANCES.get(impl, TOLERANCE))
    return _rows(machine, name, batch, interleave(runs, seconds, max_rounds=10))


def measure_training(machine, window, batch, seconds):
    """[Row] of a training step, ours and eager PyTorch; the losses of the first two steps agree."""
    name = f"SwinV2-T w{window} training step"
    values, x, y = models.parameters(window), models.images(batch), models.labels(batch)
    runs = {
        "ours": models.training_step(window, "cpu", values, x, y),
        "PyTorch eager": torch_training_step(window, values, x, y),
    }
    for _ in range(2):
        ours, theirs = (run() for run in runs.values())
        compare(name, theirs, ours, 1e-3)
    return _rows(machine, name, batch, interleave(runs, seconds, max_rounds=10))


def _rows(machine, name, batch, samples):
    rows = []
    for impl, times in samples.items():
        dtype = "bfloat16" if impl.endswith(("bf16", "bfloat16")) else "float32"
        rows.append(machine.row(name, impl, "ms", [t * 1e3 for t in times], batch=batch, dtype=dtype))
    return rows
