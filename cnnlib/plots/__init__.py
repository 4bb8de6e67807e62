"""Pictures of training, weights, features and errors, drawn by matplotlib (the extra `plot`).

Every function returns its figure, draws into `ax=` if it is given one, and writes the figure to `save=` (PNG, PDF or
SVG, by the name's ending). None of them touches pyplot's state, so that they work in scripts, servers and threads;
in a notebook the returned figure shows itself.

Colours are told apart by colour-blind readers, too: Okabe and Ito's for categories, viridis for amounts, blue to red
for signed numbers.
"""

from cnnlib.plots.classes import confusion_counts, confusion_matrix, misclassified
from cnnlib.plots.curves import compare, learning_rates, training_curves
from cnnlib.plots.features import projection, separability
from cnnlib.plots.graphs import graph
from cnnlib.plots.maps import feature_maps, filters
from cnnlib.plots.patches import top_patches
from cnnlib.plots.plane import decision_regions

__all__ = [
    "compare",
    "confusion_counts",
    "confusion_matrix",
    "decision_regions",
    "feature_maps",
    "filters",
    "graph",
    "learning_rates",
    "misclassified",
    "projection",
    "separability",
    "top_patches",
    "training_curves",
]
