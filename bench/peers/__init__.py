# SPDX-License-Identifier: Apache-2.0
"""The same mathematics and weights in other libraries: `python -m bench --peers`."""

from importlib.util import find_spec

EXTRA = "pip install -e '.[peers]'"
# What each library is for, and the modules it takes.
LIBRARIES = {
    "PyTorch": ("torch",),
    "ONNX Runtime": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "OpenVINO": ("torch", "onnx", "onnxscript", "openvino"),
    "mindcv": ("mindcv",),
}


def missing():
    """{library: modules it lacks here}, without those that are complete."""
    lacks = {name: [m for m in modules if find_spec(m) is None] for name, modules in LIBRARIES.items()}
    return {name: modules for name, modules in lacks.items() if modules}
