# SPDX-License-Identifier: Apache-2.0
"""What a call of a model is given, judged in constexprs, which graph mode runs while tracing."""

from mindspore.ops import constexpr

from swinv2_kernels.checks import check_tensor


def checked(x, in_channels, image_size, blocks, keep, tables):
    """x, when it, keep and the number of bias tables fit the model."""
    check_tensor("x", x)
    _check_image(x.shape, in_channels, image_size)
    if keep is not None:
        check_tensor("keep", keep)
        _check_keep(keep.shape, blocks, x.shape)
    if tables is not None:
        _check_tables(tables, blocks)
    return x


@constexpr
def _check_keep(shape, blocks, images):
    expected = (blocks, 2, images[0])
    unknown = (None, -1)  # of a dynamic batch
    if len(shape) != 3 or any(
        a != b for a, b in zip(shape, expected) if a not in unknown and b not in unknown
    ):
        raise ValueError(f"keep: expected shape (blocks, 2, B) = {expected}, got {tuple(shape)}")


@constexpr
def _check_tables(tables, blocks):
    if tables != blocks:
        raise ValueError(f"bias_tables: expected one a block, {blocks}, got {tables}")


@constexpr
def _check_image(shape, in_channels, image_size):
    if len(shape) != 4 or tuple(shape[1:]) != (in_channels, *image_size):
        raise ValueError(
            f"x: expected shape (B, {in_channels}, {image_size[0]}, {image_size[1]}), got {tuple(shape)}; "
            "resize() sets another image size"
        )
