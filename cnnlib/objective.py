"""Objective: what a Trainer minimises and measures, for a model of one output or of several named ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnlib.errors import ConfigError
from cnnlib.losses import Loss
from cnnlib.metrics import Metric, resolve_metric

if TYPE_CHECKING:
    from cnnlib.model import Model

__all__ = ["Losses", "Metrics", "Objective"]

Losses = Loss | Mapping[str, Loss]
Metrics = Sequence[str | Metric]


class Objective:
    """One loss for a model's only output, or the weighted sum of a loss for each named output (lecture: L33).

    J = Σ_k weight_k · J_k        ∂J/∂output_k = weight_k · ∂J_k/∂output_k

    What belongs to a named output is reported with its name before: ``main_loss``, ``aux_accuracy``. Raises ConfigError
    or GraphError, listing the names, where losses, weights or metrics do not fit the outputs.
    """

    def __init__(
        self,
        model: Model,
        loss: Losses,
        loss_weights: Mapping[str, float] | None,
        metrics: Metrics | Mapping[str, Metrics] | None,
    ) -> None:
        names = model.output_names
        self._model = model
        self.loss = loss
        #: The metrics by the names under which they are reported, each with the output that it measures.
        self.metrics: dict[str, tuple[str | None, Metric]] = {}
        self._losses: dict[str, Loss] = {}
        #: What each named output's loss counts; empty for an output without a name.
        self.weights: dict[str, float] = {}
        #: What the mean of each loss of the last `forward` was divided by (:attr:`cnnlib.losses.Loss.total_weight`).
        self.total_weights: dict[str, float] = {}
        if names is None:
            if isinstance(loss, Mapping) or isinstance(metrics, Mapping) or loss_weights is not None:
                raise ConfigError(
                    "the model's output has no name: give one loss and a list of metrics, or name the outputs when "
                    "the model is built: Model(inputs, {'main': node, …})"
                )
            if not hasattr(loss, "default_metrics"):
                raise ConfigError(f"the loss is a {type(loss).__name__}: expected one such as CrossEntropyLoss()")
            self._only: Loss | None = loss
            self._measure(None, loss.default_metrics if metrics is None else metrics)
            return
        self._only = None
        # Copies: the same object may be the loss of several outputs, and keeps the gradient of one.
        self._losses = {name: copy.copy(part) for name, part in model.by_output(loss, "loss").items()}
        self.weights = dict.fromkeys(names, 1.0)
        for name, weight in (loss_weights or {}).items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
                raise ConfigError(f"loss_weights[{name!r}] = {weight!r}: expected a number of at least 0")
            self.weights[name] = float(weight)
        model.by_output(self.weights, "loss_weights")
        if isinstance(metrics, Mapping):
            metrics = model.by_output(dict.fromkeys(names, ()) | dict(metrics), "metrics")
        for name in names:
            chosen = metrics[name] if isinstance(metrics, Mapping) else metrics
            self._measure(name, self._losses[name].default_metrics if chosen is None else chosen)

    def _measure(self, output: str | None, metrics: Metrics) -> None:
        if not isinstance(metrics, (str, list, tuple)):
            raise ConfigError(f"metrics are a {type(metrics).__name__}: expected a list of names or metrics")
        for given in (metrics,) if isinstance(metrics, str) else metrics:
            # A metric that is given for several outputs counts for each of them apart.
            metric = copy.deepcopy(resolve_metric(given)) if output is not None else resolve_metric(given)
            self.metrics[_joined(output, metric.name)] = output, metric

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> dict[str, float]:
        """Return J as ``loss``, and for named outputs each J_k as ``{name}_loss``; `backward` then has the gradient.

        target: an array; for named outputs a dict of arrays, or one array that is the target of all of them.
        sample_weight: how much each sample counts in the means, shape (N,), the same for all outputs; 1 if None.
        """
        weight = () if sample_weight is None else (sample_weight,)
        if self._only is not None:
            if isinstance(prediction, tuple):
                raise ConfigError(
                    f"the model has {len(prediction)} outputs without names: name them, "
                    "Model(inputs, {'main': node, …}), and give a loss for each"
                )
            value = self._only.forward(prediction, target, *weight)
            self.total_weights = {"loss": _total_weight(self._only, prediction)}
            return {"loss": value}
        targets = self._targets(target)
        values, totals = {}, {}
        for name, loss in self._losses.items():
            values[_joined(name, "loss")] = loss.forward(prediction[name], targets[name], *weight)
            totals[_joined(name, "loss")] = _total_weight(loss, prediction[name])
        self.total_weights = totals
        return self.with_total(values)

    def with_total(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the values, or means, of the losses with J as ``loss`` before them."""
        if self._only is not None:
            return dict(values)
        total = sum(weight * values[_joined(name, "loss")] for name, weight in self.weights.items())
        return {"loss": total, **values}

    @property
    def total_weight(self) -> float:
        """What the last forward's means were divided by. Raises ConfigError where the losses differ in it."""
        weights = set(self.total_weights.values())
        if len(weights) > 1:
            raise ConfigError(
                f"the losses weigh this batch differently ({self.total_weights}), so that the gradients of several "
                "batches cannot be added up: give accumulate=1, or sample_weight instead of class weights of one loss"
            )
        return weights.pop()

    def backward(self, scale: float = 1.0) -> Any:
        """Return `scale` times the gradient of the last forward's J, an array or a dict as the prediction was."""
        if self._only is not None:
            return _times(self._only.backward(), scale)
        return {name: _times(loss.backward(), self.weights[name] * scale) for name, loss in self._losses.items()}

    def copy(self) -> Objective:
        """Return an objective that counts and keeps gradients for itself, of the same model."""
        other = copy.copy(self)
        other.metrics = {name: (output, copy.deepcopy(metric)) for name, (output, metric) in self.metrics.items()}
        other._losses = {name: copy.copy(loss) for name, loss in self._losses.items()}
        return other

    def reset_metrics(self) -> None:
        """Let all metrics forget what they counted."""
        for _, metric in self.metrics.values():
            metric.reset()

    def measure(self, prediction: Any, target: Any) -> None:
        """Count a batch in all metrics."""
        targets = self._targets(target) if self._losses else {}
        for output, metric in self.metrics.values():
            if output is None:
                metric.update(prediction, target)
            else:
                metric.update(prediction[output], targets[output])

    def measured(self) -> dict[str, float]:
        """Return what the metrics came to, by name."""
        return {name: metric.compute() for name, (_, metric) in self.metrics.items()}

    def _targets(self, target: Any) -> dict[str, Any]:
        return self._model.by_output(
            target if isinstance(target, Mapping) else dict.fromkeys(self._losses, target), "targets"
        )


def _times(gradient: Any, factor: float) -> Any:
    return gradient if factor == 1.0 else gradient * gradient.dtype.type(factor)


def _joined(output: str | None, name: str) -> str:
    return name if output is None else f"{output}_{name}"


def _total_weight(loss: Loss, prediction: Any) -> float:
    """Return the denominator of a loss's mean; N for one that does not tell, as somebody's own may not."""
    total: float | None = getattr(loss, "total_weight", None)
    return float(len(prediction)) if total is None else total
