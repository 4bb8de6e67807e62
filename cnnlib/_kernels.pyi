from collections.abc import Callable
from typing import Any, Literal

class _Instances:
    def __getitem__(self, element: Literal["float", "double"]) -> Callable[..., Any]: ...

conv2d_forward: _Instances
conv2d_backward: _Instances
to_lanes: _Instances
from_lanes: _Instances
max_pool2d_forward: _Instances
max_pool2d_grad: _Instances
avg_pool2d_forward: _Instances
avg_pool2d_grad: _Instances
linear_forward: _Instances
linear_backward: _Instances
arithmetic: _Instances
divide_grad_b: _Instances
affine: _Instances
reciprocal: _Instances
relu_forward: _Instances
relu_grad: _Instances
sigmoid_forward: _Instances
sigmoid_grad: _Instances
tanh_forward: _Instances
tanh_grad: _Instances
leaky_relu_forward: _Instances
leaky_relu_grad: _Instances
prelu_forward: _Instances
prelu_grad: _Instances
batch_moments: _Instances
batch_norm_forward: _Instances
batch_norm_grad: _Instances
softmax_forward: _Instances
softmax_grad: _Instances
cross_entropy: _Instances
dropout: _Instances
loss: _Instances
all_finite: _Instances
sgd_step: _Instances
adam_step: _Instances
rmsprop_step: _Instances
adagrad_step: _Instances
lion_step: _Instances

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
def conv2d_way(
    x: tuple[int, ...], w: tuple[int, ...], options: tuple[int, ...], layout: tuple[int, ...], gradient: bool
) -> str: ...
