"""PyTorch doing the work of a task, in both of its memory formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from cnnlib.bench import nets, torch_net
from cnnlib.bench.nets import NetTask
from cnnlib.bench.work import (
    ADAM_STEP,
    LEARNING_RATE,
    MOMENTUM,
    OFFSET,
    SCALE,
    WEIGHT_DECAY,
    Contestant,
    KernelTask,
    Results,
    Task,
)

__all__ = ["contestants"]

EPS = 1e-5  # batch normalisation's default


def contestants(task: Task, threads: int) -> dict[str, Contestant]:
    """Return the variants: memory formats where there are images, plain and fused where there is an optimizer."""
    torch = _torch()

    torch.set_num_threads(threads)
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    if isinstance(task, NetTask):
        return {variant: _net(task, format_) for variant, format_ in formats.items()}
    assert isinstance(task, KernelTask)
    if task.which == "step":
        return {"plain": _optimizer(task, fused=False), "fused": _optimizer(task, fused=True)}
    if len(task.named.x) != 4:
        del formats["channels_last"]
    return {variant: _kernel(task, format_) for variant, format_ in formats.items()}


def _torch() -> Any:
    """Return the package, untyped, so that types do not depend on its being installed."""
    return import_module("torch")


def _arrays(results: Sequence[Any]) -> Results:
    return tuple(result.detach().numpy() if hasattr(result, "detach") else result for result in results)


def _kernel(task: KernelTask, format_: Any) -> Contestant:
    torch = _torch()

    def laid_out(tensor: Any) -> Any:
        return tensor.contiguous(memory_format=format_ if tensor.dim() == 4 else torch.contiguous_format)

    tensors = {name: laid_out(torch.from_numpy(array.copy())) for name, array in task.arrays.items()}
    # Backward functions take the array whose gradient they give, too, of which only the shape counts.
    tensors.setdefault("x", laid_out(torch.empty(task.named.x)))
    tensors.setdefault("w", laid_out(torch.empty(task.named.w)))
    call = _call(task, tensors)

    def run() -> Any:
        with torch.no_grad():
            return call()

    return Contestant(run, _arrays)


def _call(task: KernelTask, t: dict[str, Any]) -> Callable[[], Sequence[Any]]:
    torch = _torch()
    F = torch.nn.functional
    aten, layer, forward = torch.ops.aten, task.named, task.which == "forward"
    x, w = t["x"], t["w"]
    y: Any = t.get("y")
    b = t.get("b")
    stride, padding, kernel = [layer.stride] * 2, [layer.padding] * 2, list(layer.w)
    match layer.kind:
        case "conv2d" if forward:
            return lambda: (F.conv2d(x, w, b, stride, padding, 1, layer.groups),)
        case "conv2d":
            needs = [task.which != "grad_w", *[task.which != "grad_x"] * 2]
            options = ([layer.w[0]], stride, padding, [1, 1], False, [0, 0], layer.groups, needs)
            return lambda: [grad for grad in aten.convolution_backward(y, x, w, *options) if grad is not None]
        case "max_pool2d" if forward:
            return lambda: (F.max_pool2d(x, kernel, stride, padding),)
        case "max_pool2d":
            indices = aten.max_pool2d_with_indices(x, kernel, stride, padding)[1]
            pool = (kernel, stride, padding, [1, 1], False, indices)
            return lambda: (aten.max_pool2d_with_indices_backward(y, x, *pool),)
        case "avg_pool2d" if forward:
            return lambda: (F.avg_pool2d(x, kernel, stride, padding),)
        case "avg_pool2d":
            return lambda: (aten.avg_pool2d_backward(y, x, kernel, stride, padding, False, True, None),)
        case "linear" if forward:
            return lambda: (F.linear(x, w, b),)
        case "linear" if task.which == "grad_x":
            return lambda: (y @ w,)
        case "linear":
            return lambda: (y.t() @ x, y.sum(0))
        case "relu":
            return lambda: (F.relu(x) if forward else aten.threshold_backward(y, x, 0),)
        case "sigmoid":
            return lambda: (torch.sigmoid(x) if forward else aten.sigmoid_backward(y, x),)
        case "tanh":
            return lambda: (torch.tanh(x) if forward else aten.tanh_backward(y, x),)
        case "leaky_relu":
            return lambda: (F.leaky_relu(x) if forward else aten.leaky_relu_backward(y, x, 0.01, False),)
        case "prelu" if forward:
            return lambda: (F.prelu(x, w),)
        case "prelu":

            def prelu_gradients() -> Sequence[Any]:
                grad_x, grad_w = aten._prelu_kernel_backward(y, x, w.reshape(-1, 1, 1))
                return grad_x, grad_w.sum((0, 2, 3))

            return prelu_gradients
        case "batch_norm" if task.which == "train":

            def train() -> Sequence[Any]:
                result, mean, inverse = aten.native_batch_norm(x, w, b, None, None, True, 0.1, EPS)
                return result, mean, inverse**-2 - EPS

            return train
        case "batch_norm":
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
            if task.which == "infer":
                return lambda: (F.batch_norm(x, mean, var, w, b),)
            saved = (None, None, mean, 1 / (var + EPS).sqrt(), True, EPS, [True] * 3)
            return lambda: aten.native_batch_norm_backward(y, x, w, *saved)
        case "add":
            return lambda: (x + w,)
        case "subtract":
            return lambda: (x - w,)
        case "multiply":
            return lambda: (x * w,)
        case "divide" if forward:
            return lambda: (x / w,)
        case "divide":

            def divide_gradients() -> Sequence[Any]:
                grad = y / w
                return grad, -grad * x

            return divide_gradients
        case "affine":
            return lambda: (x * SCALE + OFFSET,)
        case "reciprocal":
            return lambda: (SCALE / x,)
        case "softmax":
            return lambda: (F.softmax(x, 1) if forward else aten._softmax_backward_data(y, x, 1, torch.float32),)
    x.requires_grad_()
    costs = {
        "cross_entropy": lambda: F.cross_entropy(x, t["labels"]),
        "mse_loss": lambda: F.mse_loss(x, w, reduction="sum") / (2 * len(x)),
        "l1_loss": lambda: F.l1_loss(x, w, reduction="sum") / len(x),
        "binary_cross_entropy": lambda: F.binary_cross_entropy_with_logits(x, w, reduction="sum") / len(x),
    }

    def value_and_gradient() -> Sequence[Any]:
        with torch.enable_grad():
            loss = costs[layer.kind]()
            return loss.item(), torch.autograd.grad(loss, x)[0]

    return value_and_gradient


def _optimizer(task: KernelTask, fused: bool) -> Contestant:
    torch = _torch()

    t = {name: torch.from_numpy(array.copy()) for name, array in task.arrays.items()}
    parameter = torch.nn.Parameter(t["w"])
    parameter.grad = t["dw"]
    options: dict[str, Any] = {"lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "fused": fused}
    if task.named.kind == "sgd":
        optimizer = torch.optim.SGD([parameter], momentum=MOMENTUM, **options)
        optimizer.state[parameter]["momentum_buffer"] = t["m"]
        results = [parameter, t["m"]]
    else:
        optimizer = torch.optim.Adam([parameter], **options)
        step = torch.tensor(float(ADAM_STEP - 1))
        optimizer.state[parameter].update(step=step, exp_avg=t["m"], exp_avg_sq=t["v"])
        results = [parameter, t["m"], t["v"]]
    return Contestant(optimizer.step, lambda _: _arrays(results))


def _net(task: NetTask, format_: Any) -> Contestant:
    """The same net from the same weights, NumPy arrays in and out, with the fused SGD."""
    torch = _torch()
    net = torch_net.module(task.model.graph, task.state).to(memory_format=format_)
    x, labels = task.data

    def images() -> Any:
        return torch.from_numpy(x).contiguous(memory_format=format_)

    if task.which == "predict":
        net.eval()

        def predict() -> Results:
            with torch.inference_mode():
                return (net(images()).numpy(),)

        return Contestant(predict)
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), nets.LEARNING_RATE, momentum=nets.MOMENTUM, fused=True)

    def train_step() -> float:
        optimizer.zero_grad()
        value = loss(net(images()), torch.from_numpy(labels))
        value.backward()
        optimizer.step()
        return float(value.item())

    parameters = torch_net.parameters(net, task.model.graph)
    grads = [parameters[name] for name in task.model.parameters()]
    return Contestant(train_step, lambda value: (value, *_arrays([parameter.grad for parameter in grads])))
