# SPDX-License-Identifier: Apache-2.0
"""One training step as one compiled graph: forward, backward, clipping, AdamW; and the scale of float16's loss."""

import mindspore as ms
from mindspore import nn, ops

from swinv2_model.training.optimizer import clip_by_global_norm, global_norm


def soft_cross_entropy(logits, labels, label_smoothing=0.0):
    """Mean over the batch of -sum(target * log softmax(logits)) in float32.

    labels: the targets (B, K) themselves, or (B,) int32; then the target is 1 - eps + eps/K for the label and eps/K
    elsewhere.
    """
    target = labels
    if labels.ndim == 1:
        classes = logits.shape[-1]
        target = ops.one_hot(labels, classes) * (1 - label_smoothing) + label_smoothing / classes
    return -(target * ops.log_softmax(logits.astype(ms.float32), -1)).sum(-1).mean()


class TrainStep(nn.Cell):
    """(images, labels, drop-path factors, optimiser factors) -> (loss, number correct, gradient norm).

    Labels as in `soft_cross_entropy`; of a soft target the likeliest class is the right one. Without clipping the norm
    is not computed, which would take 6 % of a step of the digits, and is given as 0.

    `scaled`: a fifth input multiplies the loss before the backward and divides the gradients after it. Where one of
    them is not finite, neither is the norm, and the step changes nothing.

    `ranks`: of more than one, each with its part of the batch, gradients and loss are averaged, correct added up.
    """

    def __init__(
        self, model, optimizer, label_smoothing=0.0, clip_global_norm_value=0.0, scaled=False, ranks=1
    ):
        super().__init__(auto_prefix=False)  # parameters keep the model's names
        self.model, self.optimizer, self.scaled, self.ranks = model, optimizer, scaled, ranks
        self.all_reduce = ops.AllReduce() if ranks > 1 else None
        self.label_smoothing, self.clip = label_smoothing, clip_global_norm_value
        self.gradients = ms.value_and_grad(self.forward, None, optimizer.parameters, has_aux=True)
        self.set_train()

    def forward(self, images, labels, keep, scale):
        logits = self.model(images, keep)
        loss = soft_cross_entropy(logits, labels, self.label_smoothing)
        return loss * scale if self.scaled else loss, loss, logits

    @ms.jit
    def construct(self, images, labels, keep, factors, scale=None):
        (_, loss, logits), gradients = self.gradients(images, labels, keep, scale)
        norm = ops.zeros((), ms.float32)
        if self.scaled:
            gradients = [gradient / scale for gradient in gradients]
        if self.ranks > 1:
            gradients = [self.all_reduce(gradient) / self.ranks for gradient in gradients]
        if self.clip > 0:
            gradients, norm = clip_by_global_norm(gradients, self.clip)
        elif self.scaled:
            norm = global_norm(gradients)
        if not self.scaled or ops.isfinite(norm):
            self.optimizer(gradients, factors)
        labels = labels if labels.ndim == 1 else labels.argmax(-1).astype(ms.int32)
        correct = (logits.argmax(-1).astype(ms.int32) == labels).astype(ms.int32).sum()
        if self.ranks > 1:
            loss = self.all_reduce(loss) / self.ranks
            correct = self.all_reduce(correct.astype(ms.float32))
        return loss, correct, norm


class LossScale:
    """The factor that keeps float16 gradients from vanishing: halved where one overflowed, doubled after 2000 steps
    without, as PyTorch's GradScaler has it (arXiv 1710.03740, section 3.2)."""

    def __init__(self, value=2.0**16, growth_interval=2000):
        self.value, self.growth_interval, self.good_steps = value, growth_interval, 0

    def update(self, finite):
        """After a step, whose gradients were finite or not.

        Raises:
            FloatingPointError: they are not with any scale.
        """
        if not finite:
            if self.value <= 2.0**-14:
                raise FloatingPointError(
                    f"gradients are not finite even where the loss is scaled by {self.value}."
                )
            self.value, self.good_steps = self.value / 2, 0
            return
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.value, self.good_steps = self.value * 2, 0
