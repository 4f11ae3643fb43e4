# SPDX-License-Identifier: Apache-2.0
"""One training step as one compiled graph: forward, backward, clipping, AdamW."""

import mindspore as ms
from mindspore import nn, ops

from swinv2_model.training.optimizer import clip_by_global_norm


def soft_cross_entropy(logits, labels, label_smoothing=0.0):
    """Mean over the batch of -sum(target * log softmax(logits)) in float32.

    labels: (B,) int32; the target is 1 - eps + eps/K for the label and eps/K elsewhere.
    """
    classes = logits.shape[-1]
    off = label_smoothing / classes
    target = ops.one_hot(labels, classes) * (1 - label_smoothing) + off
    return -(target * ops.log_softmax(logits.astype(ms.float32), -1)).sum(-1).mean()


class TrainStep(nn.Cell):
    """(images, labels, drop-path factors, optimiser factors) -> (loss, number correct, gradient norm).

    Without clipping the norm is not computed, which would take 6 % of a step of the digits, and is given as 0.
    """

    def __init__(self, model, optimizer, label_smoothing=0.0, clip_global_norm_value=0.0):
        super().__init__(auto_prefix=False)  # parameters keep the model's names
        self.model, self.optimizer = model, optimizer
        self.label_smoothing, self.clip = label_smoothing, clip_global_norm_value
        self.gradients = ms.value_and_grad(self.forward, None, optimizer.parameters, has_aux=True)
        self.set_train()

    def forward(self, images, labels, keep):
        logits = self.model(images, keep)
        return soft_cross_entropy(logits, labels, self.label_smoothing), logits

    @ms.jit
    def construct(self, images, labels, keep, factors):
        (loss, logits), gradients = self.gradients(images, labels, keep)
        norm = ops.zeros((), ms.float32)
        if self.clip > 0:
            gradients, norm = clip_by_global_norm(gradients, self.clip)
        self.optimizer(gradients, factors)
        correct = (logits.argmax(-1).astype(ms.int32) == labels).astype(ms.int32).sum()
        return loss, correct, norm
