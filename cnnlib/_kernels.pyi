"""What _kernels.pyx defines, for type checkers. tests/test_packaging.py compares names, arguments and defaults."""

from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from numpy.typing import NDArray

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Array = NDArray[Any]
_Sizes = tuple[int, ...]

class _Instances(Generic[_P, _R]):
    """One function for each element type; all its arrays are C-contiguous and of that type, winners are uint8.

    `warp` has one for images of uint8, too; in each of them maps are float64 and shifts float32.
    """

    def __getitem__(self, element: Literal["float", "double", "uint8_t"]) -> Callable[_P, _R]: ...

def _fused(function: Callable[_P, _R]) -> _Instances[_P, _R]: ...
@_fused
def conv2d_forward(
    y: _Array,
    winner: _Array | None,
    x: _Array,
    w: _Array,
    b: _Array | None,
    scale: _Array | None,
    options: _Sizes,
    layout: _Sizes,
) -> None: ...
@_fused
def conv2d_backward(
    dx: _Array | None,
    dw: _Array | None,
    db: _Array | None,
    dy: _Array,
    y: _Array | None,
    winner: _Array | None,
    x: _Array,
    w: _Array,
    options: _Sizes,
    layout: _Sizes,
) -> None: ...
def conv2d_way(x: _Sizes, w: _Sizes, options: _Sizes, layout: _Sizes, gradient: bool) -> str: ...
@_fused
def to_lanes(y: _Array, x: _Array) -> None: ...
@_fused
def from_lanes(x: _Array, y: _Array) -> None: ...
@_fused
def max_pool2d_forward(y: _Array, at: _Array | None, x: _Array, options: _Sizes) -> None: ...
@_fused
def max_pool2d_grad(dx: _Array, dy: _Array, x: _Array | None, at: _Array | None, options: _Sizes) -> None: ...
@_fused
def avg_pool2d_forward(y: _Array, x: _Array, options: _Sizes) -> None: ...
@_fused
def avg_pool2d_grad(dx: _Array, dy: _Array, options: _Sizes) -> None: ...
@_fused
def linear_forward(y: _Array, x: _Array, w: _Array, b: _Array | None, options: _Sizes) -> None: ...
@_fused
def linear_backward(
    dx: _Array | None,
    dw: _Array | None,
    db: _Array | None,
    dy: _Array,
    x: _Array,
    w: _Array,
    y: _Array | None,
    options: _Sizes,
    state: tuple[Any, ...] | None = None,
    update: tuple[Any, ...] | None = None,
) -> bool: ...
@_fused
def arithmetic(y: _Array, a: _Array, b: _Array, operation: int) -> None: ...
@_fused
def divide_grad_b(db: _Array, dy: _Array, b: _Array, y: _Array) -> None: ...
@_fused
def affine(y: _Array, x: _Array, scale: float, offset: float) -> None: ...
@_fused
def reciprocal(y: _Array, x: _Array, numerator: float) -> None: ...
@_fused
def relu_forward(y: _Array, x: _Array) -> None: ...
@_fused
def relu_grad(dx: _Array, dy: _Array, x: _Array) -> None: ...
@_fused
def activation(y: _Array, dy: _Array | None, x: _Array, kind: int, a: float, b: float) -> None: ...
@_fused
def prelu_forward(y: _Array, x: _Array, a: _Array) -> None: ...
@_fused
def prelu_grad(dx: _Array | None, da: _Array | None, dy: _Array, x: _Array, a: _Array) -> None: ...
@_fused
def batch_moments(mean: _Array, var: _Array, x: _Array) -> None: ...
@_fused
def batch_norm_forward(
    y: _Array, x: _Array, mean: _Array, var: _Array, w: _Array | None, b: _Array | None, eps: float, relu: bool
) -> None: ...
@_fused
def batch_norm_grad(
    dx: _Array | None,
    dw: _Array,
    db: _Array,
    dy: _Array,
    x: _Array,
    mean: _Array,
    var: _Array,
    w: _Array | None,
    b: _Array | None,
    eps: float,
    relu: bool,
) -> None: ...
@_fused
def local_response(
    y: _Array, t: _Array | None, dy: _Array | None, x: _Array, options: tuple[int, int, float, float, float]
) -> None: ...
@_fused
def softmax_forward(y: _Array, x: _Array, log: bool) -> None: ...
@_fused
def softmax_grad(dx: _Array, dy: _Array, y: _Array, log: bool) -> None: ...
@_fused
def cross_entropy(dx: _Array, x: _Array, labels: _Array | None, target: _Array | None) -> float: ...
@_fused
def dropout(y: _Array, x: _Array, p: float, seed: int) -> None: ...
@_fused
def loss(dx: _Array, x: _Array, target: _Array, n: int, kind: int) -> float: ...
@_fused
def all_finite(x: _Array) -> bool: ...
@_fused
def warp(y: _Array, x: _Array, matrix: _Array, shift: _Array | None, fill: float) -> None: ...
@_fused
def sgd_step(
    w: _Array, v: _Array | None, g: _Array, lr: float, momentum: float, decay: float, nesterov: bool
) -> None: ...
@_fused
def adam_step(
    w: _Array,
    m: _Array,
    v: _Array,
    g: _Array,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    decoupled: bool,
) -> None: ...
@_fused
def rmsprop_step(
    w: _Array,
    v: _Array,
    m: _Array | None,
    velocity: _Array | None,
    g: _Array,
    lr: float,
    alpha: float,
    eps: float,
    decay: float,
    momentum: float,
) -> None: ...
@_fused
def adagrad_step(
    w: _Array, total: _Array, g: _Array, step: float, lr: float, lr_decay: float, eps: float, decay: float
) -> None: ...
@_fused
def lion_step(w: _Array, m: _Array, g: _Array, lr: float, beta1: float, beta2: float, decay: float) -> None: ...

ELU: int
GELU: int
GELU_TANH: int
HARDSIGMOID: int
HARDSWISH: int
HARDTANH: int
LEAKY_RELU: int
MISH: int
SIGMOID: int
SILU: int
SOFTPLUS: int
SOFTSIGN: int
TANH: int
ADD: int
SUBTRACT: int
MULTIPLY: int
DIVIDE: int
SQUARED: int
ABSOLUTE: int
BINARY: int
BINARY_LOGITS: int

def isa_built() -> tuple[str, ...]: ...
def isa_supported() -> tuple[str, ...]: ...
def isa_active() -> str: ...
def set_isa(name: str) -> None: ...
def set_algorithm(name: str) -> None: ...
def get_algorithm() -> str: ...
def lanes() -> int: ...
def set_num_threads(threads: int) -> None: ...
def get_num_threads() -> int: ...
def compiler() -> str: ...
def fma_peak(n: int, double_precision: bool = False) -> float: ...
def release_workspace() -> None: ...
