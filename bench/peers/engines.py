# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules in ONNX Runtime and OpenVINO, by way of ONNX: functions of NumPy arrays."""

import contextlib
import io
import logging
import warnings

import numpy as np
import torch


def export(module, arguments, path):
    """Write `module` at the shapes of `arguments` (tensors) as ONNX; returns path."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(arguments),
            path,
            dynamo=True,
            external_data=False,
            optimize=True,
            input_names=[f"x{i}" for i in range(len(arguments))],
        )
    return path


def onnxruntime_session(path, arguments, threads):
    """() -> [output] on the CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {f"x{i}": np.ascontiguousarray(a.numpy()) for i, a in enumerate(arguments)}
    return lambda: session.run(None, feed)


def openvino_precisions():
    """What the CPU plug-in computes in here: f32, and bf16 where the CPU has instructions for it."""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("f32", "bf16") if "BF16" in capabilities else ("f32",)


def openvino_model(path, arguments, threads, precision):
    """() -> [output], one stream, tuned for latency; precision "f32" or "bf16"."""
    import openvino

    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = openvino.Core().compile_model(path, "CPU", config)
    request = compiled.create_infer_request()
    feed = [openvino.Tensor(np.ascontiguousarray(a.numpy()), shared_memory=True) for a in arguments]

    def call():
        request.infer(feed, share_inputs=True)
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return call
