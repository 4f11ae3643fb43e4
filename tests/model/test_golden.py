# SPDX-License-Identifier: Apache-2.0
"""A whole SwinV2 against the official implementation in float64: features, logits, loss, every gradient."""

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from swinv2_model.inference import Inference
from swinv2_model.model import SwinTransformerV2
from swinv2_model.training.step import soft_cross_entropy
from swinv2_model.weights import keys
from swinv2_model.weights.pth import read_pth

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "model_w8_64px.npz")


def load(backend, **options):
    config = json.loads((GOLDEN / "model_w8_64px.json").read_text())
    config["image_size"] = config.pop("img_size")
    model = SwinTransformerV2(**config, backend=backend, **options)
    arrays = keys.from_official(keys.drop_buffers(read_pth(GOLDEN / "model_w8_64px.pth")), "mindspore")
    parameters = dict(model.parameters_and_names())
    assert parameters.keys() == arrays.keys()
    for name, parameter in parameters.items():
        assert parameter.name == name and parameter.shape == arrays[name].shape
        parameter.set_data(Tensor(arrays[name]))
    return model


def near(actual, exact, share=2e-5):
    np.testing.assert_allclose(actual, exact, rtol=0, atol=share * np.abs(exact).max())


@pytest.mark.parametrize("backend", ["cpu", "reference"])  # those with a backward
def test_features_logits_loss_and_every_gradient(backend, golden):
    model = load(backend)
    images, labels = Tensor(golden["x"]), Tensor(golden["label"].astype(np.int32))

    def loss(images, labels):
        features = model.forward_features(images)
        logits = model.head(features)
        return soft_cross_entropy(logits, labels), features, logits

    grad = ms.value_and_grad(loss, None, model.trainable_params(), has_aux=True)
    (value, features, logits), gradients = ms.jit(grad)(images, labels)
    near(features.asnumpy(), golden["features"], 2e-6)
    near(logits.asnumpy(), golden["logits"], 2e-6)
    near(value.asnumpy(), golden["loss"], 3e-6)
    names = [parameter.name for parameter in model.trainable_params()]
    ours = keys.to_official({n: g.asnumpy() for n, g in zip(names, gradients)}, "mindspore")
    expected = {name[5:]: golden[name] for name in golden.files if name.startswith("grad/")}
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        near(ours[name], gradient)
    near(Inference(model, batch_size=3)(golden["x"]), golden["logits"], 2e-6)


def test_pynative_agrees(golden):
    near(load("cpu")(Tensor(golden["x"])).asnumpy(), golden["logits"], 2e-6)


def test_graph_mode_with_dynamic_batch(golden):
    ms.set_context(mode=ms.GRAPH_MODE)
    model = load("cpu")
    model.set_inputs(Tensor(shape=[None, 3, 64, 64], dtype=ms.float32))
    for images in (golden["x"], golden["x"][:1], np.concatenate([golden["x"]] * 2)):
        logits = model(Tensor(images)).asnumpy()
        near(logits[: len(golden["x"])], golden["logits"][: len(images)], 2e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_half_compute_stays_near(golden, dtype, tolerance, training):
    logits = ms.jit(load("cpu", compute_dtype=dtype).set_train(training))(Tensor(golden["x"]))
    assert logits.dtype == ms.float32
    near(logits.asnumpy(), golden["logits"], tolerance)
