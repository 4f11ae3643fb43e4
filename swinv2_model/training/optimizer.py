# SPDX-License-Identifier: Apache-2.0
"""AdamW with bias correction, the official weight-decay groups and the learning-rate schedule."""

import math

import mindspore as ms
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops

NO_DECAY = ("absolute_pos_embed", "cpb_mlp", "logit_scale", "relative_position_bias_table")


def decays(name, shape):
    """Whether weight decay applies: not to vectors, biases and what the official code exempts by name."""
    return len(shape) > 1 and not name.endswith("bias") and not any(word in name for word in NO_DECAY)


class AdamW(nn.Cell):
    """Decoupled weight decay (arXiv 1711.05101) with bias-corrected moments:

        m = b1 m + (1-b1) g,  v = b2 v + (1-b2) g^2
        p = p - lr ( (m/c1) / (sqrt(v/c2) + eps) + wd p ),  c = 1 - b^step

    MindSpore's AdamWeightDecay kernel has no c1, c2. With the factor lr sqrt(c2)/c1, eps sqrt(c2) and
    wd c1/sqrt(c2) in place of lr, eps and wd it computes the same.
    """

    def __init__(self, parameters, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__()
        self.parameters = ParameterTuple(parameters)
        self.moment1 = self.parameters.clone("adamw.m", "zeros")
        self.moment2 = self.parameters.clone("adamw.v", "zeros")
        self.betas, self.eps, self.weight_decay = tuple(betas), eps, weight_decay
        self.decayed = tuple(decays(p.name, p.shape) for p in self.parameters)
        self.update = ops.AdamWeightDecay()

    def factors(self, lr, step):
        """What `construct` takes for the step of this number, from 1: (3,) float32 tensor."""
        c1, root_c2 = 1 - self.betas[0] ** step, math.sqrt(1 - self.betas[1] ** step)
        values = (lr * root_c2 / c1, self.eps * root_c2, self.weight_decay * c1 / root_c2)
        return Tensor(np.array(values, np.float32))

    def construct(self, gradients, factors):
        lr, eps, decay = factors[0], factors[1], factors[2]
        beta1, beta2 = self.betas
        done = ()
        for i in range(len(self.parameters)):
            wd = decay if self.decayed[i] else ops.zeros_like(decay)
            done += (
                self.update(
                    self.parameters[i],
                    self.moment1[i],
                    self.moment2[i],
                    lr,
                    beta1,
                    beta2,
                    eps,
                    wd,
                    gradients[i],
                ),
            )
        return done


def global_norm(gradients):
    """The norm of all gradients together, float32; Inf or NaN where one of them is."""
    total = ops.zeros((), ms.float32)
    for gradient in gradients:
        flat = gradient.astype(ms.float32).reshape(-1)
        total += ops.matmul(flat, flat)
    return ops.sqrt(total)


def clip_by_global_norm(gradients, limit):
    """(gradients scaled so that their joint norm is at most `limit`, the norm before)."""
    norm = global_norm(gradients)
    factor = ops.minimum(limit / (norm + 1e-6), 1.0)
    return [gradient * factor for gradient in gradients], norm


def learning_rates(
    epochs, steps_per_epoch, base_lr, min_lr, warmup_length=0, warmup_lr=0.0, cool_length=0, cool_lr=0.0
):
    """The rate of every step: linear warm-up, cosine min + (base-min)/2 (1 + cos(pi t)), constant tail.

    `epochs` counts all three.
    """
    warmup = warmup_length * steps_per_epoch
    cosine = (epochs - warmup_length - cool_length) * steps_per_epoch
    rates = [warmup_lr + (base_lr - warmup_lr) * step / warmup for step in range(warmup)]
    for step in range(cosine):
        rates.append(min_lr + 0.5 * (base_lr - min_lr) * (1 + math.cos(math.pi * step / cosine)))
    return np.array(rates + [cool_lr] * (cool_length * steps_per_epoch))
