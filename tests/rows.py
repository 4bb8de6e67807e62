"""A row for each layer, of sizes that are odd: what tests of all layers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cnnlib.layers import (
    ELU,
    GELU,
    SELU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    Add,
    Affine,
    ArgMax,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Bias,
    Cast,
    CircularPad2d,
    Concat,
    ConstantPad2d,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    DepthToSpace,
    Divide,
    Dropout,
    Dropout2d,
    Expand,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    GroupNorm,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    InstanceNorm1d,
    InstanceNorm2d,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    LPPool1d,
    LPPool2d,
    MatMul,
    Max,
    MaxPool1d,
    MaxPool2d,
    Mean,
    Mish,
    Multiply,
    Pad,
    Permute,
    PixelShuffle,
    PixelUnshuffle,
    Power,
    PReLU,
    Reciprocal,
    ReflectionPad2d,
    ReLU,
    ReLU6,
    ReplicationPad2d,
    Reshape,
    Resize,
    Scale,
    Sigmoid,
    SiLU,
    Slice,
    Softmax,
    Softplus,
    Softsign,
    SpaceToDepth,
    Standardize,
    Subtract,
    Take,
    Tanh,
    Upsample,
    ZeroPad2d,
)


class Row(NamedTuple):
    make: Callable[..., Layer]  # called with dtype where the layer has parameters
    shapes: tuple[tuple[int, ...], ...]  # inputs, without N
    output: tuple[int, ...]
    parameters: dict[str, tuple[int, ...]]


def row(make: Callable[..., Layer], *shapes: tuple[int, ...], output: tuple[int, ...], **parameters: Any) -> Row:
    return Row(make, shapes, output, parameters)


ROWS = {
    "linear": row(lambda **k: Linear(5, 3, rng=0, **k), (5,), output=(3,), weight=(3, 5), bias=(3,)),
    "linear-no-bias": row(lambda **k: Linear(1, 2, bias=False, rng=0, **k), (1,), output=(2,), weight=(2, 1)),
    "conv2d": row(lambda **k: Conv2d(2, 3, 3, rng=0, **k), (2, 5, 4), output=(3, 3, 2), weight=(3, 2, 3, 3), bias=(3,)),
    "conv2d-same": row(
        lambda **k: Conv2d(1, 2, (3, 5), padding="same", rng=0, **k),
        (1, 4, 3),
        output=(2, 4, 3),
        weight=(2, 1, 3, 5),
        bias=(2,),
    ),
    "conv2d-general": row(
        lambda **k: Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2, bias=False, rng=0, **k),
        (4, 5, 6),
        output=(6, 3, 8),
        weight=(6, 2, 3, 2),
    ),
    "conv1d": row(
        lambda **k: Conv1d(4, 6, 3, 2, 1, 2, groups=2, rng=0, **k), (4, 7), output=(6, 3), weight=(6, 2, 3), bias=(6,)
    ),
    "conv_transpose2d": row(
        lambda **k: ConvTranspose2d(2, 3, 3, rng=0, **k), (2, 3, 2), output=(3, 5, 4), weight=(2, 3, 3, 3), bias=(3,)
    ),
    "conv_transpose2d-general": row(
        lambda **k: ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, False, (1, 2), rng=0, **k),
        (4, 3, 2),
        output=(6, 6, 8),
        weight=(4, 3, 3, 2),
    ),
    "conv_transpose1d": row(
        lambda **k: ConvTranspose1d(2, 3, 3, 2, 1, 1, rng=0, **k), (2, 4), output=(3, 8), weight=(2, 3, 3), bias=(3,)
    ),
    "max_pool2d": row(lambda: MaxPool2d(2), (2, 5, 4), output=(2, 2, 2)),
    "max_pool2d-overlapping": row(lambda: MaxPool2d(3, stride=2, padding=1), (1, 5, 7), output=(1, 3, 4)),
    "max_pool2d-rounded-up": row(lambda: MaxPool2d(3, 2, (0, 1, 1, 0), ceil_mode=True), (2, 6, 6), output=(2, 3, 3)),
    "max_pool2d-dilated": row(lambda: MaxPool2d((2, 3), 1, 1, (2, 1)), (2, 5, 4), output=(2, 5, 4)),
    "max_pool1d": row(lambda: MaxPool1d(3, 2, (1, 0), ceil_mode=True), (2, 7), output=(2, 4)),
    "avg_pool1d": row(lambda: AvgPool1d(3, 2, 1, True, False), (2, 6), output=(2, 4)),
    "avg_pool2d-rounded-up": row(lambda: AvgPool2d(3, 2, (0, 1, 1, 1), ceil_mode=True), (2, 6, 5), output=(2, 3, 3)),
    "avg_pool2d-dilated": row(lambda: AvgPool2d(2, 1, 1, False, dilation=2), (2, 4, 5), output=(2, 4, 5)),
    "lp_pool2d": row(lambda: LPPool2d(3, 2, padding=1, ceil_mode=True), (2, 4, 5), output=(2, 3, 3)),
    "lp_pool2d-dilated": row(lambda: LPPool2d(1.5, 2, 1, dilation=(1, 2)), (2, 4, 5), output=(2, 3, 3)),
    "lp_pool1d": row(lambda: LPPool1d(2, 3, 1, padding=(2, 0)), (2, 5), output=(2, 5)),
    "adaptive_max_pool2d": row(lambda: AdaptiveMaxPool2d((3, 2)), (2, 5, 6), output=(2, 3, 2)),
    "adaptive_max_pool2d-even": row(lambda: AdaptiveMaxPool2d(2), (2, 4, 6), output=(2, 2, 2)),
    "global_max_pool2d": row(GlobalMaxPool2d, (2, 3, 5), output=(2,)),
    "avg_pool2d": row(lambda: AvgPool2d((2, 3)), (2, 5, 6), output=(2, 2, 2)),
    "avg_pool2d-inside": row(
        lambda: AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (1, 5, 7), output=(1, 3, 4)
    ),
    "adaptive_avg_pool2d": row(lambda: AdaptiveAvgPool2d((3, 2)), (2, 5, 6), output=(2, 3, 2)),
    "adaptive_avg_pool2d-even": row(lambda: AdaptiveAvgPool2d(2), (2, 4, 6), output=(2, 2, 2)),
    "global_avg_pool2d": row(GlobalAvgPool2d, (2, 3, 5), output=(2,)),
    "pad": row(lambda: Pad(((2, -1), (0, 0), (1, 3)), "constant", 0.5), (2, 3, 4), output=(3, 3, 8)),
    "pad-features": row(lambda: Pad(((3, 5),), "circular"), (2,), output=(10,)),
    "zero_pad2d": row(lambda: ZeroPad2d((1, 2, -1, 3)), (2, 3, 4), output=(2, 5, 7)),
    "constant_pad2d": row(lambda: ConstantPad2d(1, 2.5), (2, 3, 4), output=(2, 5, 6)),
    "reflection_pad2d": row(lambda: ReflectionPad2d((1, 3, 2, 0)), (2, 3, 4), output=(2, 5, 8)),
    "replication_pad2d": row(lambda: ReplicationPad2d([1, 0, 2, -1]), (2, 3, 4), output=(2, 4, 5)),
    "circular_pad2d": row(lambda: CircularPad2d((1, 4, 3, 2)), (2, 3, 4), output=(2, 8, 9)),
    "resize": row(lambda: Resize((5, 3), mode="linear"), (2, 3, 4), output=(2, 5, 3)),
    "resize-all": row(
        lambda: Resize(
            (6, 3), (1.7, 0.6), "linear", "tf_crop_and_resize", "floor", True, True, ((-0.2, 0.9), (0.8, 0.1)), 1.5
        ),
        (2, 4, 5),
        output=(2, 6, 3),
    ),
    "resize-nearest": row(lambda: Resize(scale_factor=1.6), (2, 5), output=(2, 8)),
    "upsample": row(lambda: Upsample(scale_factor=(2, 3)), (2, 3, 4), output=(2, 6, 12)),
    "upsample-aligned": row(lambda: Upsample(None, 1.5, "bilinear", True), (2, 3, 4), output=(2, 4, 6)),
    "depth_to_space": row(lambda: DepthToSpace(2), (8, 2, 3), output=(2, 4, 6)),
    "depth_to_space-crd": row(lambda: DepthToSpace(2, "CRD"), (8, 2, 3), output=(2, 4, 6)),
    "space_to_depth": row(lambda: SpaceToDepth(3), (2, 3, 6), output=(18, 1, 2)),
    "pixel_shuffle": row(lambda: PixelShuffle(2), (8, 2, 3), output=(2, 4, 6)),
    "pixel_unshuffle": row(lambda: PixelUnshuffle(2), (2, 4, 6), output=(8, 2, 3)),
    "dropout2d": row(lambda: Dropout2d(0.3, rng=0), (4, 2, 3), output=(4, 2, 3)),
    "flatten": row(Flatten, (2, 3, 4), output=(24,)),
    "relu": row(ReLU, (2, 3, 4), output=(2, 3, 4)),
    "sigmoid": row(Sigmoid, (2, 3, 4), output=(2, 3, 4)),
    "tanh": row(Tanh, (2, 3, 4), output=(2, 3, 4)),
    "leaky_relu": row(lambda: LeakyReLU(0.2), (2, 3, 4), output=(2, 3, 4)),
    **{
        f"{make.__name__}-{i}": row(lambda m=make, a=arguments: m(*a), (2, 3, 4), output=(2, 3, 4))
        for i, (make, *arguments) in enumerate(
            [
                (ELU, 0.7),
                (SELU,),
                (SELU, 1.5, 0.8),
                (Softplus,),
                (Softplus, 2.0, 1.0),
                (Softsign,),
                (GELU,),
                (GELU, "tanh"),
                (SiLU,),
                (Mish,),
                (Hardswish,),
                (Hardtanh, -0.5, None),
                (Hardtanh,),
                (ReLU6,),
                (Hardsigmoid,),
                (Hardsigmoid, 0.2, 0.4),
            ]
        )
    },
    "prelu": row(lambda **k: PReLU(**k), (2, 3, 4), output=(2, 3, 4), weight=(1,)),
    "prelu-channels": row(lambda **k: PReLU(3, 0.1, **k), (3, 2, 2), output=(3, 2, 2), weight=(3,)),
    "prelu-features": row(lambda **k: PReLU(5, **k), (5,), output=(5,), weight=(5,)),
    "batch_norm1d": row(lambda **k: BatchNorm1d(5, **k), (5,), output=(5,), weight=(5,), bias=(5,)),
    "batch_norm1d-series": row(lambda **k: BatchNorm1d(2, **k), (2, 4), output=(2, 4), weight=(2,), bias=(2,)),
    "batch_norm2d": row(lambda **k: BatchNorm2d(2, **k), (2, 3, 2), output=(2, 3, 2), weight=(2,), bias=(2,)),
    "group_norm": row(lambda **k: GroupNorm(2, 4, **k), (4, 3, 2), output=(4, 3, 2), weight=(4,), bias=(4,)),
    "group_norm-vectors": row(lambda **k: GroupNorm(2, 6, **k), (6,), output=(6,), weight=(6,), bias=(6,)),
    "group_norm-plain": row(lambda **k: GroupNorm(1, 4, affine=False, **k), (4, 3), output=(4, 3)),
    "instance_norm1d": row(lambda **k: InstanceNorm1d(2, **k), (2, 5), output=(2, 5)),
    "instance_norm2d": row(
        lambda **k: InstanceNorm2d(2, affine=True, **k), (2, 3, 2), output=(2, 3, 2), weight=(2,), bias=(2,)
    ),
    "layer_norm": row(lambda **k: LayerNorm(5, **k), (2, 5), output=(2, 5), weight=(5,), bias=(5,)),
    "layer_norm-images": row(
        lambda **k: LayerNorm([2, 3, 2], bias=False, **k), (2, 3, 2), output=(2, 3, 2), weight=(2, 3, 2)
    ),
    "layer_norm-plain": row(lambda **k: LayerNorm(5, 0.1, elementwise_affine=False, **k), (5,), output=(5,)),
    "softmax": row(Softmax, (5,), output=(5,)),
    **{f"softmax-{dim}": row(lambda d=dim: Softmax(d), (2, 3, 4), output=(2, 3, 4)) for dim in (1, 2, -1)},
    **{
        f"local_response_norm-{size}": row(
            lambda n=size: LocalResponseNorm(n, 0.7, 0.6, 1.5), (5, 2, 3), output=(5, 2, 3)
        )
        for size in (1, 2, 3, 20)
    },
    "log_softmax": row(LogSoftmax, (5,), output=(5,)),
    **{f"log_softmax-{dim}": row(lambda d=dim: LogSoftmax(d), (2, 3), output=(2, 3)) for dim in (1, -2, 2)},
    "standardize": row(lambda: Standardize((2, 3, 4)), (2, 3, 4), output=(2, 3, 4)),
    "standardize-channels": row(lambda: Standardize([2, 3, 4], per_channel=True, eps=0.1), (2, 3, 4), output=(2, 3, 4)),
    "dropout": row(lambda: Dropout(0.3, rng=0), (2, 3, 4), output=(2, 3, 4)),
    "add": row(Add, (2, 3), (2, 3), (2, 3), output=(2, 3)),
    "subtract": row(Subtract, (2, 3), (2, 3), output=(2, 3)),
    "multiply": row(Multiply, (2, 3), (2, 3), output=(2, 3)),
    "multiply-three": row(Multiply, (4,), (4,), (4,), output=(4,)),
    "divide": row(Divide, (2, 3), (2, 3), output=(2, 3)),
    "affine": row(lambda: Affine(-1.5, 0.25), (2, 3), output=(2, 3)),
    "reciprocal": row(lambda: Reciprocal(2.5), (2, 3), output=(2, 3)),
    "concat": row(Concat, (2, 3, 3), (1, 3, 3), output=(3, 3, 3)),
    "concat-axis": row(lambda: Concat(axis=2), (2, 1), (2, 4), (2, 2), output=(2, 7)),
    "reshape": row(lambda: Reshape((4, -1)), (2, 3, 2), output=(4, 3)),
    "permute": row(lambda: Permute((3, 1, 2)), (2, 3, 4), output=(4, 2, 3)),
    "expand": row(lambda: Expand((2, 3, 4)), (3, 1), output=(2, 3, 4)),
    "slice": row(lambda: Slice([None, (1, None), (None, None, -2)]), (2, 3, 4), output=(2, 2, 2)),
    "take": row(lambda: Take([[2, 0], [-1, 2]], 2), (2, 3, 2), output=(2, 2, 2, 2)),
    "mean": row(lambda: Mean((1, 3)), (2, 3, 4), output=(3,)),
    "mean-kept": row(lambda: Mean(2, True), (2, 3, 4), output=(2, 1, 4)),
    "max": row(lambda: Max([3, 1]), (2, 3, 4), output=(3,)),
    "max-kept": row(lambda: Max(2, keepdims=True), (2, 3), output=(2, 1)),
    "argmax": row(lambda: ArgMax(2, True, True), (2, 3), output=(2, 1)),
    "scale": row(lambda **k: Scale((2, 1, 4), **k), (2, 3, 4), output=(2, 3, 4), weight=(2, 1, 4)),
    "bias": row(lambda **k: Bias((3, 1), **k), (2, 3, 4), output=(2, 3, 4), bias=(3, 1)),
    "matmul": row(MatMul, (2, 3, 4), (2, 4, 5), output=(2, 3, 5)),
    "power": row(lambda: Power(3), (2, 3), output=(2, 3)),
    "cast": row(lambda: Cast("float64"), (2, 3), output=(2, 3)),
}
