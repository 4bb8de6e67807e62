"""What a plan runs besides plain layers: layers fused into one pass over the data, and changes of layout.

An operation is used as a layer is, by `apply` and `gradients`, but belongs to one plan: it knows the batch and how its
arrays lie, and may keep buffers.

Lane layout: L images side by side, ⌈N/L⌉ × C × H × W × L, held as an array ⌈N/L⌉ × C × H × (W·L). To a layer that
treats every channel, or every number, alike (`Layer.by_channel`), that is a batch of ⌈N/L⌉ wider images. Flattened, it
is the lane layout of vectors, ⌈N/L⌉ × (C·H·W·L).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import _kernels
from cnnlib.arrays import ELEMENTS
from cnnlib.errors import NonFiniteError
from cnnlib.functional import MOST_POSITIONS
from cnnlib.functional.pooling import pool_options
from cnnlib.graph import Shape
from cnnlib.layers import AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Layer, Linear, MaxPool2d
from cnnlib.layers.base import Needs, Outs
from cnnlib.layers.parameter import add_grads, grad_slots

if TYPE_CHECKING:
    from cnnlib.optim import Updates

__all__ = ["Convolution", "Dense", "Normalization", "Operation", "Pooling", "Relaid", "lane_shape", "lanes"]

Array = NDArray[Any]


def lanes(dtype: np.dtype[Any]) -> int:
    """Return L, the elements of a vector on the instruction set in use."""
    return max(1, _kernels.lanes() * 4 // dtype.itemsize)


def lane_shape(batch: int, shape: Shape, dtype: np.dtype[Any]) -> Shape:
    """Return the shape in which images or vectors of `shape` lie in lanes."""
    size = lanes(dtype)
    return -(-batch // size), *shape[:-1], shape[-1] * size


class Operation:
    """Base of the operations: what a plan asks of a layer."""

    shares_gradient = False
    #: The layers that it stands for.
    layers: tuple[Layer, ...] = ()

    def shares_input(self, training: bool) -> bool:
        """Whether `apply` returns its input or a view of it."""
        return False

    def apply(self, x: Array, *, training: bool, out: Any) -> tuple[Array, Any]:
        """Return `out`, which receives the value, and what `gradients` needs."""
        raise NotImplementedError

    def gradients(self, dy: Array, saved: Any, needs: Needs, outs: Outs) -> Outs:
        """Return the input's gradient, in `outs`, and add those of the parameters to the parameters."""
        raise NotImplementedError


class Convolution(Operation):
    """A convolution and what follows it: at inference batch normalisation; ReLU; 2×2 max-pooling.

        y = pool(relu(s · (W * x) + t))        s = γ/√(σ² + ε), t = β + s (b - μ); without normalisation s = 1, t = b

    Backward needs x and, with ReLU alone, y; with pooling where each window's maximum was, one byte each.
    """

    def __init__(
        self,
        conv: Conv2d,
        norm: BatchNorm2d | None,
        relu: bool,
        pool: bool,
        layout: tuple[int, Shape, bool, bool],
        training: bool,
    ) -> None:
        self.conv, self.norm, self.relu, self.pool = conv, norm, relu, pool
        batch, (height, width), self.x_lanes, self.y_lanes = layout
        self.layers = (conv,) if norm is None else (conv, norm)
        (_, stride_h, pad_h, dilation_h), (_, stride_w, pad_w, dilation_w) = conv.windows()
        self.options = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, conv.groups)
        self.layout = (batch, height, width, int(self.x_lanes), int(self.y_lanes), int(relu), int(pool))
        dtype = conv.weight.data.dtype
        self._instance = ELEMENTS[dtype]
        self._winner: NDArray[np.uint8] | None = None
        if pool and training:
            pooled = lane_shape(batch, (conv.out_channels, height // 2, width // 2), dtype)
            self._winner = np.empty(pooled, np.uint8)

    def apply(self, x: Array, *, training: bool, out: Any) -> tuple[Array, Any]:
        conv = self.conv
        bias = conv.bias.data if conv.bias is not None else None
        scale = None
        if self.norm is not None:
            scale, bias = self._folded(self.norm, bias)
        _kernels.conv2d_forward[self._instance](
            out, self._winner, x, conv.weight.data, bias, scale, self.options, self.layout
        )
        return out, (x, out) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs, outs: Outs) -> Outs:
        x, y = saved
        conv = self.conv
        learned = conv.weight, conv.bias
        dw, db = grad_slots(*learned)
        dx = outs[0] if needs[0] else None
        _kernels.conv2d_backward[self._instance](
            dx, dw, db, dy, y if self.relu else None, self._winner, x, conv.weight.data, self.options, self.layout
        )
        add_grads(learned, (dw, db))
        return (dx,)

    @staticmethod
    def _folded(norm: BatchNorm2d, bias: Array | None) -> tuple[Array, Array]:
        """Return s and t, by channel."""
        scale = 1 / np.sqrt(norm.running_var + norm.eps)
        shift = -norm.running_mean if bias is None else bias - norm.running_mean
        if norm.affine:
            scale = scale * norm.weight.data
        shift = shift * scale
        if norm.affine:
            shift = shift + norm.bias.data
        dtype = norm.running_mean.dtype
        return scale.astype(dtype, copy=False), shift.astype(dtype, copy=False)

    def way(self, x: Shape) -> str:
        """Return how an N × C × H × W is convolved, such as "direct", "pointwise", "tiles 7×7"."""
        return _kernels.conv2d_way(x, self.conv.weight.data.shape, self.options, self.layout, False)

    def __repr__(self) -> str:
        parts = [f"Conv2d {self.conv.in_channels}→{self.conv.out_channels}"]
        parts += ["BatchNorm2d"] * (self.norm is not None) + ["ReLU"] * self.relu + ["MaxPool2d 2"] * self.pool
        return " + ".join(parts)


class Dense(Operation):
    """A fully-connected layer and the ReLU after it: y = relu(W x + b). Backward needs x and, with ReLU, y.

    x_lanes: x lies in lanes, and so does its gradient. steps: backward may take the optimizer's step of the weight;
    its gradient is then nowhere kept.
    """

    def __init__(self, linear: Linear, relu: bool, batch: int, x_lanes: bool, steps: bool) -> None:
        self.linear, self.relu = linear, relu
        self.layers = (linear,)
        self.options = (batch, x_lanes, False, relu)
        self._steps = steps
        self._instance = ELEMENTS[linear.weight.data.dtype]

    def apply(self, x: Array, *, training: bool, out: Any) -> tuple[Array, Any]:
        bias = self.linear.bias.data if self.linear.bias is not None else None
        weight = self.linear.weight.data
        _kernels.linear_forward[self._instance](out.reshape(-1), x.reshape(-1), weight, bias, self.options)
        return out, (x, out) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs, outs: Outs, updates: Updates | None = None) -> Outs:
        x, y = saved
        linear, dx = self.linear, outs[0] if needs[0] else None
        update = updates(linear.weight) if updates is not None and self._steps and linear.weight.grad is None else None
        learned = None if update else linear.weight, linear.bias
        dw, db = grad_slots(*learned)
        finite = _kernels.linear_backward[self._instance](
            None if dx is None else dx.reshape(-1),
            dw,
            db,
            dy.reshape(-1),
            x.reshape(-1),
            linear.weight.data,
            y.reshape(-1),
            self.options,
            *(update or ()),
        )
        if not finite:
            raise NonFiniteError("the gradient of a Linear layer's weight is NaN or infinite", parameter=linear.weight)
        add_grads(learned, (dw, db))
        return (dx,)

    def __repr__(self) -> str:
        return f"Linear {self.linear.in_features}→{self.linear.out_features}" + " + ReLU" * self.relu


class Normalization(Operation):
    """Batch normalisation and the ReLU after it: y = relu(γ x̂ + β). Backward needs x, μ, σ²; y's sign it finds anew."""

    def __init__(self, norm: BatchNorm1d | BatchNorm2d) -> None:
        self.norm, self.layers = norm, (norm,)
        self._instance = ELEMENTS[norm.running_mean.dtype]

    def apply(self, x: Array, *, training: bool, out: Any) -> tuple[Array, Any]:
        norm, shape = self.norm, (len(x), x.shape[1], -1)
        mean, var = norm.statistics(x, training)
        _kernels.batch_norm_forward[self._instance](
            out.reshape(shape), x.reshape(shape), mean, var, *self._affine(), norm.eps, True
        )
        return out, (x, mean, var) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs, outs: Outs) -> Outs:
        x, mean, var = saved
        norm, shape = self.norm, (len(x), x.shape[1], -1)
        learned = (norm.weight, norm.bias) if norm.affine else (None, None)
        dw, db = grad_slots(*learned)
        dx = outs[0] if needs[0] else None
        _kernels.batch_norm_grad[self._instance](
            None if dx is None else dx.reshape(shape),
            np.empty_like(mean) if dw is None else dw,
            np.empty_like(mean) if db is None else db,
            dy.reshape(shape),
            x.reshape(shape),
            mean,
            var,
            *self._affine(),
            norm.eps,
            True,
        )
        add_grads(learned, (dw, db))
        return (dx,)

    def _affine(self) -> tuple[Array | None, Array | None]:
        return (self.norm.weight.data, self.norm.bias.data) if self.norm.affine else (None, None)

    def __repr__(self) -> str:
        return f"{type(self.norm).__name__} + ReLU"


class Pooling(Operation):
    """Max- or average-pooling, in lane layout or not; training keeps the winners of a maximum, a byte each."""

    def __init__(
        self, pool: MaxPool2d | AvgPool2d, batch: int, x: Shape, dtype: np.dtype[Any], laid: bool, training: bool
    ) -> None:
        self.pool, self.layers = pool, (pool,)
        counts = isinstance(pool, AvgPool2d) and pool.count_include_pad
        self._options = pool_options(pool.geometry, counts, laid)
        self._instance = ELEMENTS[dtype]
        self._maximum = isinstance(pool, MaxPool2d)
        self._winners: NDArray[np.uint8] | None = None
        if self._maximum and training and pool.geometry[0].kernel * pool.geometry[1].kernel <= MOST_POSITIONS:
            channels, height, width = pool.output_shape(x)
            size = lanes(dtype)
            planes = -(-batch // size) * channels if laid else -(-batch * channels // size)
            self._winners = np.empty(planes * size * height * width, np.uint8)

    def apply(self, x: Array, *, training: bool, out: Any) -> tuple[Array, Any]:
        if self._maximum:
            _kernels.max_pool2d_forward[self._instance](out, self._winners, x, self._options)
        else:
            _kernels.avg_pool2d_forward[self._instance](out, x, self._options)
        return out, x if training and self._maximum and self._winners is None else None

    def gradients(self, dy: Array, saved: Any, needs: Needs, outs: Outs) -> Outs:
        if not needs[0]:
            return (None,)
        dx = outs[0]
        assert dx is not None
        if self._maximum:
            _kernels.max_pool2d_grad[self._instance](dx, dy, saved, self._winners, self._options)
        else:
            _kernels.avg_pool2d_grad[self._instance](dx, dy, self._options)
        return (dx,)

    def __repr__(self) -> str:
        return type(self.pool).__name__


class Relaid(Operation):
    """Images or vectors from N × … to lane layout, or back."""

    def __init__(self, to_lanes: bool) -> None:
        self.to_lanes = to_lanes

    def apply(self, x: Array, *, training: bool, out: Any) -> tuple[Array, Any]:
        _relay(out, x, self.to_lanes)
        return out, None

    def gradients(self, dy: Array, saved: Any, needs: Needs, outs: Outs) -> Outs:
        assert outs[0] is not None
        _relay(outs[0], dy, not self.to_lanes)
        return (outs[0],)

    def __repr__(self) -> str:
        return "NCHW → lanes" if self.to_lanes else "lanes → NCHW"


def _relay(y: Array, x: Array, to_lanes: bool) -> None:
    x = np.ascontiguousarray(x)
    if to_lanes:
        _kernels.to_lanes[ELEMENTS[x.dtype]](y.reshape(-1), x.reshape(len(x), -1))
    else:
        _kernels.from_lanes[ELEMENTS[x.dtype]](y.reshape(len(y), -1), x.reshape(-1))
