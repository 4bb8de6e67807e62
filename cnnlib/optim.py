"""Optimizers: the update rules, the same as PyTorch's.

``optimizer.step(model.parameters())`` applies one update in place; state (velocities, moments) is kept per
parameter name and allocated when a parameter is first updated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.arrays import flag, number
from cnnlib.errors import ConfigError, ShapeError, TrainingError
from cnnlib.schedules import Schedule

if TYPE_CHECKING:
    from cnnlib.layers.parameter import Parameter

__all__ = ["SGD", "Adam", "AdamW", "MaxNorm", "Optimizer", "Update", "Updates", "clip_grad_norm"]

Array = NDArray[Any]


class Update(NamedTuple):
    """One parameter's step, for a kernel that takes it itself: ``cnn_update`` of csrc/cnn.h and its arrays."""

    #: The values, and the arrays that the optimizer keeps for them.
    state: tuple[Array, Array | None, Array | None]
    #: The fields of the C struct in their order.
    fields: tuple[float, ...]


#: Begins the step of a parameter; None for one that must wait for `Optimizer.step`.
Updates = Callable[["Parameter"], Update | None]


class Optimizer:
    """Base of the optimizers: validation, learning rate, and state per parameter name.

    A subclass names its state arrays in ``slots`` and updates one parameter in ``_update``.

    lr: a positive number, or a schedule ``epoch -> lr`` (:mod:`cnnlib.schedules`).
    epoch: where training is, counted fractionally from 0; a Trainer sets it before every step.
    """

    #: Names of the arrays that are kept for every parameter.
    slots: tuple[str, ...] = ()
    #: From how many bytes of a parameter on its step is best taken with its gradient: those that, with gradient and
    #: state, outgrow a second-level cache. A smaller one's gradient is still there when its turn comes.
    large = 1 << 20

    def __init__(self, lr: float | Schedule, weight_decay: float = 0.0) -> None:
        self.epoch = 0.0
        self.lr = lr
        self.weight_decay = self._number("weight_decay", weight_decay)
        self._state: dict[str, dict[str, Array]] = {}
        self._steps: dict[str, int] = {}

    @property
    def lr(self) -> float | Schedule:
        """The learning rate, or the schedule that gives it; may be assigned at any time."""
        return self._lr

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        self._lr = lr if callable(lr) else self._number("lr", lr)

    @property
    def current_lr(self) -> float:
        """The learning rate at ``epoch``: what the next step takes, and what the last one took."""
        if not callable(self._lr):
            return self._lr
        return self._number(f"the schedule {self._lr} at epoch {self.epoch:g}", self._lr(self.epoch))

    def step(self, parameters: Mapping[str, Parameter]) -> None:
        """Update every parameter that has a gradient, in place; those whose ``grad`` is None or that are frozen stay.

        Before the first update, raises ShapeError if a parameter changed its shape or dtype since its state was made,
        and MemoryError if there is no room for a state.
        """
        lr = self.current_lr
        ready = [
            (name, p.data, p.grad, self._slots(name, p))
            for name, p in parameters.items()
            if p.grad is not None and not p.frozen
        ]
        for name, data, grad, state in ready:
            self._update(data, grad, state, self._count(name), lr)

    def during_backward(self, parameters: Mapping[str, Parameter], check: bool = False) -> Updates | None:
        """Return what lets ``model.backward(updates=…)`` take the step of `large` parameters itself; those have no
        gradient afterwards, so that ``step`` passes them by. None for a subclass, which may do something else.

        check: backward raises NonFiniteError for a gradient that is not finite, and spares its rows of the weight.

        Parameters that share their values must wait for ``step``: a backward pass needs the old values to its end.
        """
        if type(self) not in (SGD, Adam, AdamW):
            return None
        lr, users = self.current_lr, Counter(id(parameter.data) for parameter in parameters.values())
        large = {name: p for name, p in parameters.items() if p.data.nbytes >= self.large}
        names = {id(p): name for name, p in large.items() if users[id(p.data)] == 1 and not p.frozen}

        def update(parameter: Parameter) -> Update | None:
            name = names.get(id(parameter))
            if name is None:
                return None
            first, second = (*self._slots(name, parameter).values(), None, None)[:2]
            return Update((parameter.data, first, second), (check, *self._fields(self._count(name), lr)))

        return update

    def _count(self, name: str) -> int:
        """Return the number of the parameter's next step, and count it."""
        self._steps[name] = self._steps.get(name, 0) + 1
        return self._steps[name]

    def _slots(self, name: str, parameter: Parameter) -> dict[str, Array]:
        """Return the parameter's state, which is zeros at first."""
        state = self._state.get(name)
        if state is None:
            state = self._state[name] = {slot: np.zeros_like(parameter.data) for slot in self.slots}
        for slot, array in state.items():
            if array.shape != parameter.data.shape or array.dtype != parameter.data.dtype:
                raise ShapeError(
                    f"{self!r}: {slot} of parameter {name!r} is {array.dtype} {array.shape}, the parameter "
                    f"{parameter.data.dtype} {parameter.data.shape}; use a new optimizer for another model"
                )
        return state

    def zero_grad(self, parameters: Mapping[str, Parameter]) -> None:
        """Forget the gradients, so that the next backward pass starts from nothing."""
        for parameter in parameters.values():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array | float | int]:
        """Return what training changed, as a flat dict of copied arrays and numbers.

        Keys: ``epoch``; for every parameter ``<name>.steps`` and ``<name>.<slot>``. The settings (learning rate,
        momentum, …) are not in it: they belong to the call that makes the optimizer.
        """
        flat: dict[str, Array | float | int] = {"epoch": self.epoch}
        for name, state in self._state.items():
            flat[f"{name}.steps"] = self._steps[name]
            flat.update({f"{name}.{slot}": array.copy() for slot, array in state.items()})
        return flat

    def load_state_dict(self, state: Mapping[str, Array | float | int]) -> None:
        """Take up training where ``state_dict`` left it; the arrays are copied, the next step has the same bits.

        Raises ConfigError, and changes nothing, if the state is not of this kind of optimizer.
        """
        found: dict[str, dict[str, Array | float | int]] = {}
        for key, value in state.items():
            name, _, field = key.rpartition(".")
            if name:
                found.setdefault(name, {})[field] = value
        for name, fields in found.items():
            if set(fields) != {"steps", *self.slots}:
                raise ConfigError(
                    f"{self!r}: the state of parameter {name!r} should have {['steps', *self.slots]}, "
                    f"it has {list(fields)}; was it saved by another optimizer?"
                )
        if "epoch" not in state:
            raise ConfigError(f"{self!r}: the state lacks 'epoch'; is it an optimizer's state_dict()?")
        self.epoch = float(state["epoch"])
        self._steps = {name: int(fields["steps"]) for name, fields in found.items()}
        self._state = {name: {s: np.array(fields[s]) for s in self.slots} for name, fields in found.items()}

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        """Apply one update to ``data`` in place; ``step`` counts the updates of this parameter from 1."""
        raise NotImplementedError

    def _fields(self, step: int, lr: float) -> tuple[float, ...]:
        """Return the same update as the fields of ``cnn_update``: adam, nesterov, decoupled, lr, decay, momentum, step,
        beta1, beta2, eps."""
        raise NotImplementedError

    def _number(self, name: str, value: float, below: float = math.inf) -> float:
        """Return a setting as a float, or raise if it is not in 0 <= value < below."""
        try:
            return number(value, name, 0, below)
        except ConfigError:
            limit = "finite" if below == math.inf else f"below {below:g}"
            raise ConfigError(
                f"{type(self).__name__}: {name} must be a number, at least 0 and {limit}, got {value!r}"
            ) from None

    def _betas(self, betas: tuple[float, float]) -> tuple[float, float]:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ConfigError(f"{type(self).__name__}: betas must be two numbers, got {betas!r}")
        return self._number("betas[0]", betas[0], below=1.0), self._number("betas[1]", betas[1], below=1.0)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak's or Nesterov's) and weight decay.

    With gradient g, parameter w, velocity v (0 at first)::

        g ← g + weight_decay · w
        v ← momentum · v + g
        w ← w - lr · v                       nesterov:  w ← w - lr · (g + momentum · v)

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013, in the
    form of ``torch.optim.SGD`` (dampening 0).

    Raises ConfigError for negative settings, momentum >= 1, and nesterov without momentum.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -1.0])
    >>> SGD(lr=0.5).step({"w": w})
    >>> w.data
    array([0.75, 2.5 ])
    """

    def __init__(
        self, lr: float | Schedule, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = self._number("momentum", momentum, below=1.0)
        self.nesterov = flag(nesterov, "nesterov")
        self.slots = ("velocity",) if momentum else ()
        if self.nesterov and not momentum:
            raise ConfigError("SGD: nesterov=True needs a momentum above 0, such as 0.9")

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        functional.sgd_step(data, grad, state.get("velocity"), lr, self.momentum, self.weight_decay, self.nesterov)

    def _fields(self, step: int, lr: float) -> tuple[float, ...]:
        return 0, self.nesterov, 0, lr, self.weight_decay, self.momentum, step, 0, 0, 0

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr}, momentum={self.momentum}, weight_decay={self.weight_decay}, nesterov={self.nesterov})"
        )


class Adam(Optimizer):
    """Adam: steps scaled by running estimates of the gradient's mean and uncentred variance.

    With gradient g, parameter w, step t from 1, moments m and s (0 at first)::

        g ← g + weight_decay · w
        m ← β₁ m + (1 - β₁) g                s ← β₂ s + (1 - β₂) g²
        w ← w - lr · m̂ / (√ŝ + eps)          m̂ = m / (1 - β₁ᵗ), ŝ = s / (1 - β₂ᵗ)

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, in the form of ``torch.optim.Adam``.

    Raises ConfigError for negative settings and for betas outside 0 <= β < 1.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -1.0])
    >>> Adam(lr=0.5).step({"w": w})
    >>> w.data.round(6)
    array([0.5, 2.5])
    """

    slots = ("m", "v")
    #: Roots and quotients take longer than memory, unless this is the main memory.
    large = 1 << 25
    _decoupled = False

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.betas = self._betas(betas)
        self.eps = self._number("eps", eps)

    def _update(self, data: Array, grad: Array, state: dict[str, Array], step: int, lr: float) -> None:
        functional.adam_step(
            data, grad, state["m"], state["v"], step, lr, *self.betas, self.eps, self.weight_decay, self._decoupled
        )

    def _fields(self, step: int, lr: float) -> tuple[float, ...]:
        return 1, 0, self._decoupled, lr, self.weight_decay, 0, step, *self.betas, self.eps

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lr={self.lr}, betas={self.betas}, eps={self.eps}, weight_decay={self.weight_decay})"
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: the weights shrink by lr · weight_decay, the gradient is left alone.

    w ← (1 - lr · weight_decay) w, then the update of :class:`Adam` without its first line.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, in the form of ``torch.optim.AdamW``.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.0, 0.0])
    >>> AdamW(lr=0.5, weight_decay=0.1).step({"w": w})
    >>> w.data
    array([0.95, 1.9 ])
    """

    _decoupled = True

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay)


def clip_grad_norm(parameters: Mapping[str, Parameter], max_norm: float) -> float:
    """Scale all gradients down together, in place, if their common norm is above `max_norm`; return what it was.

    With ‖g‖ the root of the sum of squares over all parameters::

        g ← g · min(1, max_norm / (‖g‖ + 1e-6))

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, in the form of
    ``torch.nn.utils.clip_grad_norm_``. To be called between backward and the optimizer's step; a Trainer does it with
    ``clip_norm=``.

    Raises ConfigError for a max_norm that is not positive; TrainingError, and changes nothing, if the norm is NaN or
    infinite.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([0.0, 0.0]))
    >>> w.grad = np.array([30.0, 40.0])
    >>> clip_grad_norm({"w": w}, max_norm=1.0), w.grad.round(6)
    (50.0, array([0.6, 0.8]))
    """
    max_norm = _positive("clip_grad_norm: max_norm", max_norm)
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None and not p.frozen}
    # einsum adds in one order, where BLAS would split a long sum among its threads.
    squares = {
        n: float(np.einsum("i,i->", g.reshape(-1), g.reshape(-1), dtype=np.float64)) for n, g in gradients.items()
    }
    norm = math.sqrt(sum(squares.values()))
    if not math.isfinite(norm):
        bad = [name for name, square in squares.items() if not math.isfinite(square)]
        raise TrainingError(f"clip_grad_norm: the gradient of {', '.join(bad)} has NaN, infinite or huge elements")
    if norm > max_norm:
        for gradient in gradients.values():
            gradient *= min(1.0, max_norm / (norm + 1e-6))
    return norm


class MaxNorm:
    """A constraint: the weights that come into one neuron have a norm of at most `c`.

    For each row w of a Linear layer's weight, and each filter w of a convolution's::

        w ← w · min(1, c / ‖w‖)

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014, section 5.1,
    where c is tuned between 3 and 4 beside dropout and a high learning rate. To be applied after each step of the
    optimizer; a Trainer does it with ``constraint=MaxNorm(c)``.

    Biases and all else that has no rows are left alone, and so are frozen parameters.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([[3.0, 4.0], [0.3, 0.4]]))
    >>> MaxNorm(1.0).apply({"weight": w})
    >>> w.data
    array([[0.6, 0.8],
           [0.3, 0.4]])

    Raises ConfigError for a `c` that is not positive.
    """

    def __init__(self, c: float) -> None:
        self.c = _positive("MaxNorm: c", c)

    def apply(self, parameters: Mapping[str, Parameter]) -> None:
        """Shorten, in place, the rows that are too long."""
        for parameter in parameters.values():
            if parameter.data.ndim < 2 or parameter.frozen:
                continue
            rows = parameter.data.reshape(len(parameter.data), -1)
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            long = norms > self.c
            if long.any():
                rows[long] *= (self.c / norms[long])[:, None]

    def __repr__(self) -> str:
        return f"MaxNorm({self.c:g})"


def _positive(name: str, value: float) -> float:
    found = number(value, name)
    if not 0 < found < math.inf:
        raise ConfigError(f"{name} = {value!r}: expected a positive number")
    return found
