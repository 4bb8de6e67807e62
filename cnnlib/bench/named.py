"""The layers that are measured, by name, with their operations and bytes: the only place that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from cnnlib.shapes import conv2d_multiply_adds, conv2d_output_shape, linear_multiply_adds, pool2d_output_shape

__all__ = ["GROUPS", "LAYERS", "PASSES", "NamedLayer"]

# The passes of each kind, and the arrays that a pass reads and writes: x, w, b, y stand for their gradients as well,
# which have the same sizes; what is updated in place counts twice. "backward" is all gradients in one call.
PASSES = {
    "conv2d": {"forward": "x w b y", "backward": "y x w x w b", "grad_x": "y w x", "grad_w": "y x w b"},
    "max_pool2d": {"forward": "x y", "grad_x": "y x"},
    "avg_pool2d": {"forward": "x y", "grad_x": "y x"},
    "linear": {"forward": "x w b y", "grad_x": "y w x", "grad_w": "y x w b"},
    "relu": {"forward": "x y", "grad_x": "y x x"},
    "sigmoid": {"forward": "x y", "grad_x": "y x x"},
    "tanh": {"forward": "x y", "grad_x": "y x x"},
    "leaky_relu": {"forward": "x y", "grad_x": "y x x"},
    "prelu": {"forward": "x w y", "grad": "y x w x w"},
    "batch_norm": {"train": "x w b y", "infer": "x w b y", "grad": "y x w x w b"},
    "add": {"forward": "x w y"},
    "subtract": {"forward": "x w y"},
    "multiply": {"forward": "x w y"},
    "divide": {"forward": "x w y", "grad": "y w x x w"},  # x: the quotient on the way back
    "affine": {"forward": "x y"},
    "reciprocal": {"forward": "x y"},
    "softmax": {"forward": "x y", "grad_x": "y x x"},
    "cross_entropy": {"value": "x x"},
    "mse_loss": {"value": "x w x"},  # w: the target
    "l1_loss": {"value": "x w x"},
    "binary_cross_entropy": {"value": "x w x"},
    "sgd": {"step": "w w w w w"},
    "adam": {"step": "w w w w w w w"},
}

FLOAT_BYTES = 4


@dataclass(frozen=True)
class NamedLayer:
    """One layer of a real net at a fixed batch.

    x: the input's shape with the batch; w: the weight's shape, the kernel (KH, KW) of a pool, or the second operand's
    shape.

    >>> lenet2 = LAYERS["lenet2"]
    >>> lenet2.output_shape, lenet2.flops("forward"), str(lenet2)
    ((64, 50, 14, 14), 627200000, '64×20×14² → 50 5/1/2')
    """

    name: str
    net: str
    kind: str
    x: tuple[int, ...] = ()
    w: tuple[int, ...] = ()
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of what is measured."""
        return tuple(PASSES[self.kind])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The output's shape, with the batch."""
        if self.kind == "conv2d":
            return conv2d_output_shape(self.x, self.w, self.stride, self.padding, groups=self.groups)
        if "pool" in self.kind:
            return pool2d_output_shape(self.x, (self.w[0], self.w[1]), self.stride, self.padding)
        return (self.x[0], self.w[0]) if self.kind == "linear" else self.x

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the batch, the same forward and for each gradient; 0 where they are not what counts."""
        if self.kind == "conv2d":
            return conv2d_multiply_adds(self.x, self.w, self.stride, self.padding, groups=self.groups)
        return self.x[0] * linear_multiply_adds(self.w[1], self.w[0]) if self.kind == "linear" else 0

    def flops(self, which: str) -> int:
        """Return the floating-point operations of a pass: two for each multiply-add, those of both gradients."""
        return (4 if which == "backward" else 2) * self.multiply_adds if which in self.passes else 0

    def bytes(self, which: str) -> int:
        """Return the bytes that a pass has to move, each array once in and once out."""
        sizes = {"x": prod(self.x), "w": prod(self.w), "b": self.w[0] if self.w else 0, "y": prod(self.output_shape)}
        return FLOAT_BYTES * sum(sizes[array] for array in PASSES[self.kind][which].split())

    def __str__(self) -> str:
        image = "" if len(self.x) < 4 or self.x[2] != self.x[3] else f"{self.x[0]}×{self.x[1]}×{self.x[2]}²"
        x = image or "×".join(map(str, self.x))
        if self.kind == "conv2d":
            groups = f" /{self.groups}" if self.groups > 1 else ""
            return f"{x} → {self.w[0]} {self.w[2]}/{self.stride}/{self.padding}{groups}"
        if "pool" in self.kind:
            return f"{x} {self.w[0]}/{self.stride}/{self.padding}"
        return f"{x} → {self.w[0]}" if self.kind == "linear" else x or "×".join(map(str, self.w))


def _conv(
    name: str,
    net: str,
    x: tuple[int, ...],
    outputs: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> NamedLayer:
    return NamedLayer(name, net, "conv2d", x, (outputs, x[1] // groups, kernel, kernel), stride, padding, groups)


IMAGES = (64, 64, 56, 56)

LAYERS: dict[str, NamedLayer] = {
    layer.name: layer
    for layer in (
        _conv("lenet1", "LeNet-5", (64, 1, 28, 28), 20, 5, 1, 2),
        _conv("lenet2", "LeNet-5", (64, 20, 14, 14), 50, 5, 1, 2),
        NamedLayer("pool1", "LeNet-5", "max_pool2d", (64, 20, 28, 28), (2, 2), 2),
        NamedLayer("pool2", "LeNet-5", "max_pool2d", (64, 50, 14, 14), (2, 2), 2),
        NamedLayer("fc1", "LeNet-5", "linear", (64, 2450), (500, 2450)),
        NamedLayer("fc2", "LeNet-5", "linear", (64, 500), (10, 500)),
        NamedLayer("relu1", "LeNet-5", "relu", (64, 20, 28, 28)),
        NamedLayer("sigmoid1", "LeNet-5", "sigmoid", (64, 20, 28, 28)),
        NamedLayer("tanh1", "LeNet-5", "tanh", (64, 20, 28, 28)),
        NamedLayer("leaky1", "LeNet-5", "leaky_relu", (64, 20, 28, 28)),
        NamedLayer("softmax", "LeNet-5", "softmax", (64, 10)),
        NamedLayer("loss", "LeNet-5", "cross_entropy", (64, 10)),
        NamedLayer("sgd", "LeNet-5", "sgd", w=(500, 2450)),
        NamedLayer("adam", "LeNet-5", "adam", w=(500, 2450)),
        _conv("cifar32", "CIFAR", (64, 32, 32, 32), 32, 3, 1, 1),
        _conv("vgg64", "VGG", (8, 64, 56, 56), 64, 3, 1, 1),
        _conv("res128", "ResNet", (16, 128, 28, 28), 128, 3, 1, 1),
        _conv("res256s2", "ResNet", (16, 128, 28, 28), 256, 3, 2, 1),
        _conv("res512", "ResNet", (16, 512, 7, 7), 512, 3, 1, 1),
        _conv("pw256", "ResNet", (16, 256, 28, 28), 256, 1),
        _conv("stem7", "ResNet", (8, 3, 224, 224), 64, 7, 2, 3),
        _conv("depth3", "MobileNet", (16, 128, 56, 56), 128, 3, 1, 1, groups=128),
        _conv("group32", "ResNeXt", (16, 128, 56, 56), 128, 3, 1, 1, groups=32),
        *(
            NamedLayer(f"{name}56", "ResNet", kind, IMAGES, w)
            for name, kind, w in (
                ("relu", "relu", ()),
                ("sigm", "sigmoid", ()),
                ("tanh", "tanh", ()),
                ("leaky", "leaky_relu", ()),
                ("prelu", "prelu", IMAGES[1:2]),
                ("bn", "batch_norm", IMAGES[1:2]),
                ("add", "add", IMAGES),
                ("sub", "subtract", IMAGES),
                ("mul", "multiply", IMAGES),
                ("div", "divide", IMAGES),
                ("affine", "affine", ()),
                ("recip", "reciprocal", ()),
                ("mse", "mse_loss", IMAGES),
                ("abs", "l1_loss", IMAGES),
                ("bce", "binary_cross_entropy", IMAGES),
            )
        ),
        NamedLayer("avg7", "ResNet", "avg_pool2d", (16, 512, 7, 7), (7, 7), 7),
        _conv("alex11", "AlexNet", (16, 3, 227, 227), 96, 11, 4),
        NamedLayer("alexpool", "AlexNet", "max_pool2d", (16, 96, 55, 55), (3, 3), 2),
    )
}

#: What the summary takes together: convolutions of one kind.
GROUPS: dict[str, tuple[str, ...]] = {
    "3×3 convolutions": ("vgg64", "res128", "res512", "cifar32"),
    "5×5 convolutions": ("lenet1", "lenet2"),
    "stems, 3 channels": ("stem7", "alex11"),
    "1×1, and stride 2": ("pw256", "res256s2"),
    "depthwise, grouped": ("depth3", "group32"),
}
