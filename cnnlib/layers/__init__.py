"""The layers, one family a file; `base` has the contract that all of them keep."""

from cnnlib.layers.activation import ReLU
from cnnlib.layers.adaptive import AdaptiveAvgPool2d, GlobalAvgPool2d
from cnnlib.layers.adaptive_max import AdaptiveMaxPool2d, GlobalMaxPool2d
from cnnlib.layers.arithmetic import Divide, Multiply, Subtract
from cnnlib.layers.base import Layer, Parameter
from cnnlib.layers.bounded import Hardsigmoid, Hardtanh, ReLU6
from cnnlib.layers.constants import Affine, Cast, Power, Reciprocal
from cnnlib.layers.conv import Conv1d, Conv2d
from cnnlib.layers.conv_transpose import ConvTranspose1d, ConvTranspose2d
from cnnlib.layers.curves import ELU, SELU, Softplus, Softsign
from cnnlib.layers.dropout import Dropout, Dropout2d
from cnnlib.layers.gates import GELU, Hardswish, Mish, SiLU
from cnnlib.layers.group_norm import GroupNorm
from cnnlib.layers.instance_norm import InstanceNorm1d, InstanceNorm2d
from cnnlib.layers.layer_norm import LayerNorm
from cnnlib.layers.learned import Bias, Scale
from cnnlib.layers.linear import Linear
from cnnlib.layers.local_response import LocalResponseNorm
from cnnlib.layers.lp_pooling import LPPool1d, LPPool2d
from cnnlib.layers.merge import Add, Concat
from cnnlib.layers.normalization import BatchNorm1d, BatchNorm2d
from cnnlib.layers.padding import Pad
from cnnlib.layers.padding2d import CircularPad2d, ConstantPad2d, ReflectionPad2d, ReplicationPad2d, ZeroPad2d
from cnnlib.layers.pooling import AvgPool2d, MaxPool2d
from cnnlib.layers.pooling1d import AvgPool1d, MaxPool1d
from cnnlib.layers.product import MatMul
from cnnlib.layers.rectifier import LeakyReLU, PReLU
from cnnlib.layers.reduce import ArgMax, Max, Mean
from cnnlib.layers.registry import register, registered
from cnnlib.layers.reshape import Expand, Flatten, Permute, Reshape
from cnnlib.layers.resize import Resize
from cnnlib.layers.select import Slice, Take
from cnnlib.layers.shuffle import DepthToSpace, PixelShuffle, PixelUnshuffle, SpaceToDepth
from cnnlib.layers.smooth import Sigmoid, Tanh
from cnnlib.layers.softmax import LogSoftmax, Softmax
from cnnlib.layers.standardize import Standardize
from cnnlib.layers.upsample import Upsample

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "Add",
    "Affine",
    "ArgMax",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Bias",
    "Cast",
    "CircularPad2d",
    "Concat",
    "ConstantPad2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "DepthToSpace",
    "Divide",
    "Dropout",
    "Dropout2d",
    "Expand",
    "Flatten",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "LPPool1d",
    "LPPool2d",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool1d",
    "MaxPool2d",
    "Mean",
    "Mish",
    "Multiply",
    "PReLU",
    "Pad",
    "Parameter",
    "Permute",
    "PixelShuffle",
    "PixelUnshuffle",
    "Power",
    "ReLU",
    "ReLU6",
    "Reciprocal",
    "ReflectionPad2d",
    "ReplicationPad2d",
    "Reshape",
    "Resize",
    "Scale",
    "SiLU",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Standardize",
    "Subtract",
    "Take",
    "Tanh",
    "Upsample",
    "ZeroPad2d",
    "register",
    "registered",
]
