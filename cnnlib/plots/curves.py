"""Curves: what one training measured, and what several did side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnlib.errors import ConfigError, DataError
from cnnlib.history import History, format_value
from cnnlib.plots.canvas import COLOURS, Path, canvas, finish, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare", "learning_rates", "training_curves"]

_STYLES = ("-", "--", "-.", ":")
_MARKERS = "os^Dv"
_ASIDE = ("lr", "seconds", "images_per_second")


def training_curves(
    history: Mapping[str, Sequence[float]],
    names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw what training measured over the epochs: a panel each for the loss and every metric, training and validation.

    history: what ``Trainer.fit`` returned. names: which quantities, without ``val_``; default, all but the learning
    rate and the speed. A ring marks the best epoch, of the validation where there is one.

    >>> figure = training_curves(History(loss=[0.9, 0.5, 0.4], val_loss=[0.6, 0.5, 0.7]))
    >>> [line.get_label() for line in figure.axes[1].lines]
    ['training', 'validation', 'best: 0.5000, epoch 2']

    Raises DataError for a history without epochs, ConfigError for a name that was not measured.
    """
    kept = History({name: list(values) for name, values in history.items()})
    if not kept.epochs:
        raise DataError("the history has no epochs: train first")
    if names is None:
        names = list(dict.fromkeys(name.removeprefix("val_") for name in kept if name not in _ASIDE))
    for name in names:
        if name not in kept and f"val_{name}" not in kept:
            raise ConfigError(f"nothing named {name!r} was measured; there are: {', '.join(kept)}")
    figure, ax = canvas(ax, (4.8 * len(names), 3.6))
    for panel, name in zip(panels(ax, 1, len(names)), names, strict=True):
        curves = {"training": name, "validation": f"val_{name}"}
        for (label, key), colour, style in zip(curves.items(), COLOURS, ("-", "--"), strict=False):
            if key in kept:
                epochs = range(1, len(kept[key]) + 1)
                panel.plot(epochs, kept[key], style, color=colour, marker=".", label=label)
        monitor = f"val_{name}" if f"val_{name}" in kept else name
        best = kept.best(monitor)
        label = f"best: {format_value(name, best[monitor])}, epoch {best['epoch']:.0f}"
        panel.plot(best["epoch"], best[monitor], "o", color="#000000", fillstyle="none", markersize=10, label=label)
        panel.set(title=name, xlabel="epoch")
        panel.locator_params(axis="x", integer=True)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    return finish(figure, save)


def compare(
    curves: Mapping[str, Sequence[float]],
    x: Sequence[float] | None = None,
    *,
    xlabel: str = "epoch",
    ylabel: str = "",
    title: str = "",
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw one quantity of several trainings in the same axes, by their names.

    curves: name → values, one an epoch, or one for each of `x`. Lines differ in colour, stroke and mark. Where a value
    is NaN or infinite, such as the loss of a training that failed, the line has a gap.

    >>> figure = compare({"plain": [9.0, 5.0, 4.0], "dropout": [8.0, 3.0]}, ylabel="test error (%)")
    >>> [(line.get_label(), line.get_xdata().tolist()) for line in figure.axes[0].lines]
    [('plain', [1, 2, 3]), ('dropout', [1, 2])]

    Raises DataError without curves, and for a curve with more values than `x`, or without any.
    """
    if not curves:
        raise DataError("there are no curves to compare")
    for name, values in curves.items():
        if not len(values) or (x is not None and len(values) > len(x)):
            most = "at least one value" if x is None else f"1 to {len(x)} values, as many as x has"
            raise DataError(f"curve {name!r} has {len(values)} values: expected {most}")
    figure, ax = canvas(ax, (6.4, 4.0))
    for i, (name, values) in enumerate(curves.items()):
        colour, style, marker = (kinds[i % len(kinds)] for kinds in (COLOURS, _STYLES, _MARKERS))
        places = np.arange(1, len(values) + 1) if x is None else np.asarray(x)[: len(values)]
        heights = np.asarray(values, np.float64)
        heights = np.where(np.isfinite(heights), heights, np.nan)
        ax.plot(places, heights, style, color=colour, marker=marker, markersize=4, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if x is None:
        ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return finish(figure, save)


def learning_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None = None,
    *,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw the loss over learning rates that grow from step to step, with the rate that is suggested.

    What :class:`cnnlib.LRFinder` found: ``finder.plot()`` calls this.

    >>> figure = learning_rates([0.01, 0.1, 1.0], [2.0, 1.0, 4.0], [2.0, 1.9, 2.1], 0.1)
    >>> figure.axes[0].get_xscale()
    'log'

    Raises DataError without rates, or if there is not a loss for each.
    """
    if not len(rates) or not len(rates) == len(losses) == len(smoothed):
        raise DataError(f"expected as many losses as rates, got {len(rates)}, {len(losses)} and {len(smoothed)}")
    figure, ax = canvas(ax, (5.2, 3.6))
    ax.plot(rates, losses, ".", color=COLOURS[0], alpha=0.35, label="each step")
    ax.plot(rates, smoothed, color=COLOURS[0], label="smoothed")
    if suggestion is not None:
        ax.axvline(suggestion, color=COLOURS[1], linestyle="--", label=f"suggested: {suggestion:.2g}")
    low, high = min(smoothed), max(smoothed)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - 0.1 * (high - low), 1.1 * high))
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return finish(figure, save)
