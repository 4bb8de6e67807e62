"""A convolutional net for scikit-learn's digits: a Pipeline, and a GridSearchCV that trains nets in two processes.

    python examples/sklearn_digits.py

Needs the extra: pip install 'cnnlib[sklearn]'.
"""

from __future__ import annotations

import argparse

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from cnnlib.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.model import Sequential
from cnnlib.sklearn import CNNClassifier


def small_cnn(input_shape, n_outputs, rng):
    """A net of one's own: 1×8×8 to the logits of the classes."""
    return Sequential(
        Conv2d(1, 16, 3, padding=1, rng=rng),
        ReLU(),
        Conv2d(16, 32, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Dropout(0.3),
        Linear(32 * 4 * 4, n_outputs, rng=rng),
        input_shape=input_shape,
    )


def main() -> None:
    """Search, then say how good the best net is on digits that nobody has seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=30)
    epochs = parser.parse_args().epochs
    # 1797 digits, each a row of 64 grey values.
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    net = CNNClassifier(input_shape=(1, 8, 8), max_iter=epochs, batch_size=32, tol=None, random_state=0)
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), net),
        {"cnnclassifier__model": ["mlp", small_cnn], "cnnclassifier__learning_rate_init": [0.0003, 0.003]},
        cv=3,
        n_jobs=2,
    )
    search.fit(x_train, y_train)
    for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"{score:.3f}", *(getattr(value, "__name__", value) for value in parameters.values()))
    print(f"test accuracy: {100 * search.score(x_test, y_test):.2f}% of {len(y_test)} digits")


if __name__ == "__main__":
    main()
