"""What every optimizer is: settings, learning rate, and state by the parameters' names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlib.arrays import number
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.schedules import Schedule

if TYPE_CHECKING:
    from cnnlib.layers.parameter import Parameter

__all__ = ["Optimizer", "Update", "Updates"]

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
    #: Whether the step is one of ``cnn_update``; said by the class itself, as a subclass may do something else.
    _fused: ClassVar[bool] = False

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
        if isinstance(lr, (Mapping, list, tuple)):
            raise ConfigError(
                f"{type(self).__name__}: lr must be a number or a schedule, got a {type(lr).__name__}: parameters are "
                "not given here; the Trainer has them from the model, step(model.parameters()) is told"
            )
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
        if not isinstance(parameters, Mapping):
            raise ConfigError(f"step takes a dict, model.parameters(), got a {type(parameters).__name__}")
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
        if not vars(type(self)).get("_fused"):
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
