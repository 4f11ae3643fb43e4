# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a model: compiled forward, position bias computed once, fixed batch shape."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

BIAS_PARAMETERS = ("cpb_mlp", "relative_position_bias_table")


class Inference:
    """Logits of NumPy images, `batch_size` at a time.

    The position-bias tables depend on parameters only, so they are computed once and kept. They are kept together
    with the values of the parameters they came from and computed again when those have changed, by training,
    loading or hand: a stale table is never used.

    Args:
        model: a `SwinTransformerV2`; its training flag is left alone. It chooses how the MLP computes (see
            `layers.Mlp`), not what: logits differ by rounding at most.
        batch_size: smaller batches are filled up with zero images, so that one graph is compiled.
    """

    def __init__(self, model, batch_size=64):
        self.model, self.batch_size = model, batch_size
        self._forward, self._compiled = None, None
        self._tables, self._made_from = None, None

    def bias_tables(self):
        """The tables of every block for the parameters and windows as they are now."""
        parameters = self.model.get_parameters()
        values = [p.asnumpy() for p in parameters if any(word in p.name for word in BIAS_PARAMETERS)]
        windows = [(block.attn.geometry, block.attn.pretrained_window_size) for block in self.model.blocks]
        if self._made_from is None or not (
            windows == self._made_from[0] and all(map(np.array_equal, values, self._made_from[1]))
        ):
            self._tables = self.model.bias_tables()
            self._made_from = windows, [value.copy() for value in values]
        return self._tables

    def __call__(self, images):
        """(n, channels, H, W) float32 array -> (n, num_classes) float32 array, any n."""
        # A compiled graph keeps reading the memory a parameter had when it was compiled, whatever set_data or
        # load_param_into_net put in its place since.
        stores = [parameter.data_ptr() for parameter in self.model.get_parameters()]
        current = (stores, [block.attn.geometry for block in self.model.blocks])
        if current != self._compiled:
            self._forward, self._compiled = _Forward(self.model), current
        tables, logits = self.bias_tables(), []
        # No image takes a batch too: it tells the number of classes.
        for start in range(0, max(len(images), 1), self.batch_size):
            batch = images[start : start + self.batch_size]
            missing = self.batch_size - len(batch)
            filled = (
                np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)])
                if missing
                else batch
            )
            logits.append(self._forward(Tensor(filled), *tables).asnumpy()[: len(batch)])
        return np.concatenate(logits)


class _Forward(nn.Cell):
    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    @ms.jit
    def construct(self, images, *tables):
        return self.model(images, None, tables)


def confusion(labels, predictions, classes):
    """(classes, classes) counts: rows are labels, columns predictions."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, predictions), 1)
    return table
