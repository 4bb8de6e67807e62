"""What a classifier takes for what: the confusion matrix, and the images that it gets wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.plots.canvas import Array, Path, canvas, finish, pixels, show_mosaic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_counts", "confusion_matrix", "misclassified"]


def confusion_counts(prediction: ArrayLike, target: ArrayLike, num_classes: int | None = None) -> Array:
    """Return the matrix C × C of how many samples of class i (row) were taken for class j (column).

    prediction: N × C scores or N classes; target: N classes. num_classes: default, as many as occur or have scores.

    >>> confusion_counts([0, 1, 1, 0], [0, 1, 0, 0]).tolist()
    [[2, 1], [0, 1]]

    Raises ShapeError if they do not fit, DataError for classes out of range.
    """
    classes, labels, scored = _labels(prediction, target)
    count = max(num_classes or 0, scored, int(max(classes.max(), labels.max())) + 1)
    if num_classes is not None and count > num_classes:
        raise DataError(f"num_classes = {num_classes}: there are scores or labels of {count} classes")
    return np.bincount(labels * count + classes, minlength=count * count).reshape(count, count)


def confusion_matrix(
    prediction: ArrayLike,
    target: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw which classes are taken for which: counts, with the share of the row as the colour.

    prediction, target: as in :func:`confusion_counts`. names: of the classes; default, their numbers.

    Raises ShapeError or DataError if they do not fit, ConfigError for too few or too many names.
    """
    counts = confusion_counts(prediction, target, None if names is None else len(names))
    size = len(counts)
    names = [str(i) for i in range(size)] if names is None else list(names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.52 * size + 1.2)
    figure, ax = canvas(ax, (side + 1, side))
    image = ax.imshow(share, cmap="viridis", norm=_spread())
    for (i, j), count in np.ndenumerate(counts):
        if count:
            colour = "black" if share[i, j] > 0.3 else "white"
            ax.text(j, i, f"{count}", ha="center", va="center", color=colour, fontsize=9)
    ax.set_xticks(range(size), names)
    ax.set_yticks(range(size), names)
    if max(map(len, names)) > 3:
        ax.tick_params(axis="x", labelrotation=45)
    right = np.trace(counts) / counts.sum()
    ax.set(xlabel="taken for", ylabel="is", title=f"{right:.2%} of {counts.sum():,} right")
    figure.colorbar(image, ax=ax, label="share of the row", shrink=0.8)
    return finish(figure, save)


def misclassified(
    x: Any,
    prediction: ArrayLike,
    target: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    limit: int = 25,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw the images that are taken for another class, each under "is → taken for".

    Given scores, the worst come first: those whose score falls farthest below that of the class it is taken for.

    x: images N × 1 × H × W or N × 3 × H × W; prediction, target, names: as in :func:`confusion_matrix`.
    limit: at most so many.

    Raises ShapeError or DataError if they do not fit, ConfigError for a limit below 1.
    """
    if limit < 1:
        raise ConfigError(f"limit = {limit}: expected at least 1")
    images = pixels(x)
    classes, labels, scored = _labels(prediction, target)
    if len(images) != len(labels):
        raise ShapeError(f"{len(images)} images, {len(labels)} targets: expected as many")
    wrong = np.flatnonzero(classes != labels)
    if scored:
        scores = np.asarray(prediction)
        margin = scores[wrong, classes[wrong]] - scores[wrong, labels[wrong]]
        wrong = wrong[np.argsort(-margin, kind="stable")]
    shown = wrong[:limit]
    columns = max(1, min(len(shown), math.ceil(math.sqrt(limit))))
    rows = max(1, math.ceil(len(shown) / columns))
    figure, ax = canvas(ax, (max(4.0, 1.15 * columns), 1.3 * rows + 0.6))
    ax.set_title(
        f"{len(wrong):,} of {len(labels):,} wrong" + (f", {len(shown)} shown" if len(shown) < len(wrong) else "")
    )
    if not len(shown):
        ax.set_axis_off()
        return finish(figure, save)
    height, width = images.shape[1:3]
    # Each tile gets a strip on top of it for its caption.
    strip = max(4, round(0.28 * height))
    tiles = np.full((len(shown), height + strip, *images.shape[2:]), np.nan)
    tiles[:, strip:] = images[shown]
    show_mosaic(ax, tiles, columns, vmin=0, vmax=max(1.0, float(images.max())))
    for place, i in enumerate(shown):
        names_of = [str(label) if names is None else names[label] for label in (labels[i], classes[i])]
        at = place % columns * (width + 1) + (width - 1) / 2, place // columns * (height + strip + 1) + strip / 2 - 0.5
        ax.text(*at, " → ".join(names_of), ha="center", va="center", fontsize=10)
    return finish(figure, save)


def _spread() -> Any:
    # A good classifier's errors are a few percent, which would all be of one dark colour.
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, 0, 1)


def _labels(prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array, int]:
    """Return the predicted and the true classes, and over how many classes there are scores: 0 for none."""
    given, labels = np.asarray(prediction), np.asarray(target)
    if labels.ndim != 1 or given.ndim not in (1, 2) or len(given) != len(labels):
        raise ShapeError(f"prediction {given.shape}, target {labels.shape}: expected N × C or N, and N")
    if not len(labels):
        raise DataError("there are no samples")
    classes = given.argmax(axis=1) if given.ndim == 2 else given
    for what, array in (("prediction", classes), ("target", labels)):
        if array.dtype.kind not in "iu" or array.min() < 0:
            raise DataError(f"{what}: expected classes as ints from 0 on, got {array.dtype}, smallest {array.min()}")
    return classes.astype(np.int64), labels.astype(np.int64), given.shape[1] if given.ndim == 2 else 0
