"""Shape arithmetic: the only Python home of output sizes, padding, receptive fields and multiply-adds.

Height and width are independent everywhere: what may be given as one integer may be given as a pair (height, width).
Shapes are tuples of ints, with or without the leading batch dimension N; results have the rank of what came in.
"""

from cnnlib.shapes.convolution import (
    Padding,
    conv2d_multiply_adds,
    conv2d_output_shape,
    conv_transpose2d_output_shape,
    linear_multiply_adds,
    resolve_padding,
    same_padding,
)
from cnnlib.shapes.pooling import PoolAxis, PoolPadding, pool2d_output_shape, pool2d_windows
from cnnlib.shapes.rearranged import (
    BLOCK_ORDERS,
    PAD_MODES,
    PadPairs,
    block_order,
    depth_to_space_shape,
    pad_mode,
    pad_output_shape,
    pad_pairs,
    resize_axes,
    resize_settings,
    space_to_depth_shape,
)
from cnnlib.shapes.receptive_field import ReceptiveField
from cnnlib.shapes.sizes import MOST_ELEMENTS, IntPair, IntSingle, output_size, pair, single

__all__ = [
    "BLOCK_ORDERS",
    "MOST_ELEMENTS",
    "PAD_MODES",
    "IntPair",
    "IntSingle",
    "PadPairs",
    "Padding",
    "PoolAxis",
    "PoolPadding",
    "ReceptiveField",
    "block_order",
    "conv2d_multiply_adds",
    "conv2d_output_shape",
    "conv_transpose2d_output_shape",
    "depth_to_space_shape",
    "linear_multiply_adds",
    "output_size",
    "pad_mode",
    "pad_output_shape",
    "pad_pairs",
    "pair",
    "pool2d_output_shape",
    "pool2d_windows",
    "resize_axes",
    "resize_settings",
    "resolve_padding",
    "same_padding",
    "single",
    "space_to_depth_shape",
]
