"""Pictures: what is in the axes is what they say they show."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib import plots
from cnnlib.drawing import draw
from cnnlib.errors import ConfigError, DataError, GraphError, MissingExtraError, ShapeError
from cnnlib.graph import Input
from cnnlib.history import History
from cnnlib.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5, mlp
from cnnlib.plots.canvas import COLOURS, canvas, mosaic, panels
from cnnlib.plots.features import principal_components

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _no_warnings() -> Any:
    # A layout that does not fit, or a letter that the font lacks, is a warning of matplotlib.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sheet(ax: Any) -> Array:
    """Return what an image in the axes shows, NaN where nothing is."""
    return np.ma.filled(ax.images[0].get_array(), np.nan)


def small_net() -> Sequential:
    return Sequential(
        Conv2d(1, 4, 3, padding=1, rng=0),
        ReLU(),
        MaxPool2d(2),
        Conv2d(4, 6, 3, rng=1),
        Flatten(),
        Linear(24, 3, rng=2),
        input_shape=(1, 8, 8),
    )


def test_training_curves_hold_the_history() -> None:
    history = History(loss=[0.9, 0.5, 0.4], accuracy=[0.5, 0.7, 0.8], val_loss=[0.8, 0.6, 0.7], lr=[1, 1, 1])
    _, loss, accuracy = plots.training_curves(history).axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    training, validation, best = loss.lines
    assert training.get_xydata().tolist() == [[1, 0.9], [2, 0.5], [3, 0.4]]
    assert validation.get_ydata().tolist() == [0.8, 0.6, 0.7]
    assert best.get_xydata().tolist() == [[2, 0.6]]
    assert accuracy.lines[-1].get_xydata().tolist() == [[3, 0.8]]
    (rate,) = plots.training_curves(history, ["lr"]).axes[1:]
    assert rate.lines[0].get_ydata().tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="no epochs"):
        plots.training_curves({})
    with pytest.raises(ConfigError, match=r"nothing named 'top5' .* loss, accuracy"):
        plots.training_curves(history, ["top5"])


def test_compared_curves_differ_in_more_than_colour() -> None:
    curves = {"plain": [3.0, 2.0, float("inf")], "dropout": [2.0, 1.5]}
    (axes,) = plots.compare(curves, ylabel="test error (%)").axes
    plain, dropout = axes.lines
    np.testing.assert_array_equal(plain.get_xydata(), [[1, 3.0], [2, 2.0], [3, np.nan]])
    assert dropout.get_xydata().tolist() == [[1, 2.0], [2, 1.5]]
    for differs in ("color", "linestyle", "marker"):
        assert getattr(plain, f"get_{differs}")() != getattr(dropout, f"get_{differs}")()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["plain", "dropout"]
    (axes,) = plots.compare({"loss": [3.0, 2.0]}, [0.1, 0.2], xlabel="learning rate").axes
    assert axes.lines[0].get_xydata().tolist() == [[0.1, 3.0], [0.2, 2.0]]
    for wrong, x, message in (({}, None, "no curves"), ({"a": []}, None, "'a' has 0"), ({"a": [1, 2]}, [1], "1 to 1")):
        with pytest.raises(DataError, match=message):
            plots.compare(wrong, x)


def test_filters_of_one_channel_are_tiles() -> None:
    model = lenet5(rng=0)
    figure = plots.filters(model, columns=5)
    weight = model.layers["0"].parameters()["weight"].data
    shown = sheet(figure.axes[0])
    assert shown.shape == (4 * 6 - 1, 5 * 6 - 1)
    np.testing.assert_array_equal(shown[6:11, 12:17], weight[7, 0])
    assert np.isnan(shown[5]).all()
    low, high = figure.axes[0].images[0].get_clim()
    assert -low == high == np.abs(weight).max()  # white is 0


def test_filters_of_many_channels_are_rows() -> None:
    model = lenet5(rng=0)
    shown = sheet(plots.filters(model, "3", limit=60).axes[0])
    weight = model.layers["3"].parameters()["weight"].data
    assert shown.shape == (3 * 6 - 1, 20 * 6 - 1)
    np.testing.assert_array_equal(shown[6:11, 18:23], weight[1, 3])


def test_filters_over_three_channels_are_colours() -> None:
    model = Sequential(Conv2d(3, 2, 5, rng=0), input_shape=(3, 8, 8))
    weight = model.layers["0"].parameters()["weight"].data
    shown = sheet(plots.filters(model, columns=2).axes[0])
    expected = 0.5 + 0.5 * weight[1].transpose(1, 2, 0) / np.abs(weight).max()
    np.testing.assert_allclose(shown[:, 6:, :3], expected, atol=1e-6)
    assert not shown[:, 5, 3].any()  # nothing between the tiles


def test_rows_of_a_linear_layer_take_the_shape_of_the_image() -> None:
    model = mlp([784, 9, 3], input_shape=(1, 28, 28), rng=0)
    shown = sheet(plots.filters(model, columns=3).axes[0])
    np.testing.assert_array_equal(shown[29:57, :28], model.layers["1"].parameters()["weight"].data[3].reshape(28, 28))
    with pytest.raises(ShapeError, match=r"layer '3': its 9 weights a unit are not the pixels"):
        plots.filters(model, "3")
    with pytest.raises(ConfigError, match=r"no layer named '2' has weights; those that have: 1, 3"):
        plots.filters(model, "2")


def test_feature_maps_are_what_the_layers_compute(rng: np.random.Generator) -> None:
    model = small_net()
    x = rng.integers(0, 256, (1, 8, 8), np.uint8)
    panels = plots.feature_maps(model, x, limit=3).axes[1:]
    assert [ax.get_title(loc="left").split(":")[0] for ax in panels] == ["input", "0", "1", "2", "3", "5"]  # no Flatten
    pooled = model.features(x[None], at="2")[0]
    np.testing.assert_array_equal(sheet(panels[3])[:, 5:9], pooled[1])
    assert sheet(panels[3]).shape == (4, 3 * 5 - 1)
    np.testing.assert_array_equal(sheet(panels[5]), model.predict(x[None]))
    with pytest.raises(ShapeError, match="expected one image"):
        plots.feature_maps(model, np.zeros((2, 1, 8, 8)))
    with pytest.raises(GraphError, match="nowhere"):
        plots.feature_maps(model, x, at=["nowhere"])


def test_top_patches_are_found_where_they_were_put() -> None:
    # One filter that is the pattern itself: its best patches are the images that hold it, the strongest first.
    pattern = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.float32)
    conv = Conv2d(1, 2, 3, padding=1, bias=False, rng=0)
    conv.weight.data[:] = [[pattern], [-pattern]]
    model = Sequential(conv, ReLU(), input_shape=(1, 10, 10))
    x = np.zeros((5, 1, 10, 10), np.float32)
    x[3, 0, 2:5, 6:9] = pattern
    x[1, 0, 7:10, 0:3] = 0.5 * pattern
    x[2, 0, 0:2, 0:2] = 0.3  # at the corner, where the field reaches into the padding
    ax = plots.top_patches(model, x, "1", units=[0], k=3).axes[0]
    shown = sheet(ax)
    np.testing.assert_array_equal(shown[:, 0:3], pattern)
    np.testing.assert_array_equal(shown[:, 4:7], 0.5 * pattern)
    corner = np.zeros((3, 3), np.float32)
    corner[1:, 1:] = 0.3
    np.testing.assert_array_equal(shown[:, 8:11], corner)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["unit 0"]
    assert "3 × 3" in ax.get_title()


def test_top_patches_of_a_vector_are_whole_images(rng: np.random.Generator) -> None:
    model = small_net()
    x = rng.random((6, 1, 8, 8), np.float32)
    shown = sheet(plots.top_patches(model, x, "5", units=[2, 0], k=2).axes[0])
    scores = model.predict(x)
    np.testing.assert_array_equal(shown[:8, :8], x[scores[:, 2].argmax(), 0])
    np.testing.assert_array_equal(shown[9:, 9:], x[np.argsort(-scores[:, 0])[1], 0])
    with pytest.raises(ConfigError, match=r"expected units of 0 to 2, k of 1 to 6"):
        plots.top_patches(model, x, "5", units=[3])
    with pytest.raises(ConfigError, match=r"k = 7"):
        plots.top_patches(model, x, "5", k=7)


def test_projection_shows_the_principal_components(rng: np.random.Generator) -> None:
    model = small_net()
    x, y = rng.random((40, 1, 8, 8), np.float32), np.arange(40) % 4
    panels = plots.projection(model, x, y, at=["input", "5"]).axes[1:]
    features = model.predict(x)
    points, share = principal_components(features)
    for label, drawn in enumerate(panels[1].collections):
        np.testing.assert_allclose(drawn.get_offsets(), points[y == label])
    assert panels[1].get_title() == f"5: separability {plots.separability(features, y):.1%}"
    assert panels[1].get_xlabel().startswith(f"first two components: {share.sum():.0%}")
    assert len(plots.projection(model, x, y).axes) == 1 + 6  # input and three layers; two places stay empty


@pytest.mark.parametrize("shape", [(30, 5), (5, 30)])
def test_principal_components_are_those_of_the_covariance(shape: tuple[int, int], rng: np.random.Generator) -> None:
    x = rng.normal(size=shape) * np.arange(1, shape[1] + 1)
    points, share = principal_components(x, 3)
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[:3])
    np.testing.assert_allclose(share, values[:3] / values.sum())
    np.testing.assert_allclose(points.T @ points, np.diag(np.diag(points.T @ points)), atol=1e-6)
    assert principal_components(np.ones((3, 1)))[0].tolist() == [[0, 0]] * 3


def test_separability_is_accuracy_on_samples_not_seen(rng: np.random.Generator) -> None:
    y = np.arange(300) % 3
    centres = np.array([[4, 0], [0, 4], [-4, -4]])
    assert plots.separability(centres[y] + rng.normal(size=(300, 2)), y) > 0.98
    # With more features than samples any labels can be fitted; on the other half noise stays noise.
    assert plots.separability(rng.normal(size=(300, 500)), y) < 0.5
    # A ring around a disc: no line will do, its radius will.
    radius, angle = np.where(y == 0, 1.0, 3.0), rng.uniform(0, 2 * np.pi, 300)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    inside = (y == 0).astype(int)
    assert plots.separability(np.hypot(*ring.T)[:, None], inside) == 1 > 0.75 > plots.separability(ring, inside)
    with pytest.raises(DataError, match="at least two samples"):
        plots.separability(np.zeros((3, 2)), [0, 1, 1])
    with pytest.raises(ShapeError, match="of one length"):
        plots.separability(np.zeros((3, 2)), [0, 1])


def test_confusion_matrix_counts() -> None:
    scores = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    target = [0, 0, 1, 1, 2, 2]
    assert plots.confusion_counts(scores, target).tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 2]]
    ax = plots.confusion_matrix(scores, target, ["a", "b", "cat food"]).axes[0]
    np.testing.assert_allclose(sheet(ax), [[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1]])
    assert {(text.get_position(), text.get_text()) for text in ax.texts} == {
        ((0, 0), "2"),
        ((1, 1), "1"),
        ((2, 1), "1"),
        ((2, 2), "2"),
    }
    assert ax.get_title() == "83.33% of 6 right"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "cat food"]
    for prediction, wrong in (([0, 1], [0]), ([[[0]]], [0])):
        with pytest.raises(ShapeError):
            plots.confusion_counts(prediction, wrong)
    for wrong in ([-1], [0.5]):
        with pytest.raises(DataError):
            plots.confusion_counts([0], wrong)
    with pytest.raises(DataError, match="num_classes = 2"):
        plots.confusion_matrix(scores, target, ["a", "b"])


def test_misclassified_shows_the_worst_first(rng: np.random.Generator) -> None:
    x = rng.random((4, 1, 6, 6), np.float32)
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9]])
    ax = plots.misclassified(x, scores, [0, 1, 0, 1], ["zero", "one"]).axes[0]
    assert [text.get_text() for text in ax.texts] == ["zero → one", "one → zero"]
    np.testing.assert_array_equal(sheet(ax)[-6:, :6], x[2, 0])
    np.testing.assert_array_equal(sheet(ax)[-6:, 7:13], x[1, 0])
    assert ax.get_title() == "2 of 4 wrong"
    assert plots.misclassified(x, scores, [0, 1, 0, 1], limit=1).axes[0].get_title() == "2 of 4 wrong, 1 shown"
    assert plots.misclassified(x, [0, 1, 0, 1], [0, 1, 0, 1]).axes[0].get_title() == "0 of 4 wrong"
    with pytest.raises(ShapeError, match="3 images, 4 targets"):
        plots.misclassified(x[:3], scores, [0, 1, 0, 1])


def test_graph_is_the_drawing_and_texts_stay_in_their_boxes() -> None:
    x = Input((1, 28, 28), "image")
    hidden = Conv2d(1, 20, 5, padding=2, rng=0, name="first")(x)
    model = Model(x, hidden + ReLU()(hidden))
    figure = plots.graph(model)
    ax, drawing = figure.axes[0], draw(model)
    expected = [text for box in drawing.boxes for _, text in box.lines] + [e.label for e in drawing.edges if e.label]
    assert [text.get_text() for text in ax.texts] == expected
    # In a panel, whose size the layout finds, the texts take as much of their boxes as in a figure of their own.
    _, place = canvas(None, (9, 9))
    panel = panels(place, 2)[0]
    plots.graph(model, ax=panel)
    shares = []
    for shown in (ax, panel):
        shown.figure.draw_without_rendering()
        extents = [t.get_window_extent().transformed(shown.transData.inverted()) for t in shown.texts]
        widths = [box.width for box in drawing.boxes for _ in box.lines]
        shares.append([extent.width / width for extent, width in zip(extents, widths, strict=False)])
        assert max(shares[-1]) <= 1
    np.testing.assert_allclose(shares[1], shares[0], rtol=0.15)  # hinted letters of small sizes are wider
    values = plots.graph(Model([a := Input((), "a"), b := Input((), "b")], a + b), x=(5, 3)).axes[0]
    assert "∂add/∂a = 1" in [text.get_text() for text in values.texts]


def test_decision_regions_are_what_the_model_answers() -> None:
    # Class 1 lies right of x₁ = 1, class 2 never: its score is below that of class 0 everywhere.
    linear = Linear(2, 3)
    linear.weight.data[:], linear.bias.data[:] = [[0, 0], [1, 0], [0, 0]], [0, -1, -1]
    model = Sequential(linear, input_shape=2)
    x, y = np.array([[-1.0, 0.0], [3.0, 0.0], [2.0, 5.0], [0.0, 4.0]]), np.array([0, 1, 0, 2])
    (ax,) = plots.decision_regions(model, x, y).axes
    region, (left, right, bottom, top) = ax.images[0].get_array(), ax.images[0].get_extent()
    np.testing.assert_allclose((left, right, bottom, top), (-1.32, 3.32, -0.4, 5.4))
    np.testing.assert_array_equal(region, np.tile(np.linspace(left, right, 301) > 1, (301, 1)))
    samples = [collection.get_offsets().tolist() for collection in ax.collections]
    assert samples == [[[-1, 0], [2, 5]], [[3, 0]], [[0, 4]], [[2, 5], [0, 4]]]  # the last: the wrong ones
    assert ax.get_title() == "50.0% right"
    assert len({collection.get_paths()[0].vertices.tobytes() for collection in ax.collections[:3]}) == 3
    for bad, error, match in (
        ((small_net(), x, y), ShapeError, "makes 3 of 1 × 8 × 8: expected scores of 2 to 10 classes, of 2 numbers"),
        ((model, x[:, :1], y), ShapeError, r"x has shape \(4, 1\), y \(4,\)"),
        ((model, x, y + 1), DataError, "ints from 0 to 2, got int64 1 to 3"),
        ((model, x, y * 1.0), DataError, "got float64"),
    ):
        with pytest.raises(error, match=match):
            plots.decision_regions(*bad)


def test_panels_share_the_place_and_the_colours() -> None:
    figure, ax = canvas(None, (6, 4))
    small, large = panels(ax, 1, 2, widths=[1, 3])
    figure.draw_without_rendering()
    assert large.get_position().width > 2 * small.get_position().width
    for axes in (small, large):
        assert [axes.plot([0, 1])[0].get_color() for _ in range(2)] == list(COLOURS[:2])


def calls() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    model, x, y = small_net(), rng.random((9, 1, 8, 8), np.float32), np.arange(9) % 3
    return {
        "curves": lambda **o: plots.training_curves({"loss": [1.0, 0.5]}, **o),
        "filters": lambda **o: plots.filters(model, **o),
        "feature_maps": lambda **o: plots.feature_maps(model, x[0], **o),
        "top_patches": lambda **o: plots.top_patches(model, x, "0", k=2, **o),
        "projection": lambda **o: plots.projection(model, x, y, at=["5"], **o),
        "confusion_matrix": lambda **o: plots.confusion_matrix(model.predict(x), y, **o),
        "misclassified": lambda **o: plots.misclassified(x, model.predict(x), y, **o),
        "graph": lambda **o: plots.graph(model, **o),
        "decision_regions": lambda **o: plots.decision_regions(mlp([2, 3], rng=0), x[:, 0, 0, :2], y, **o),
    }


@pytest.mark.parametrize("name", calls())
def test_pictures_go_into_given_axes_and_files(name: str, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    path = tmp_path / "picture.png"
    assert calls()[name](ax=right, save=path) is figure
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not left.has_data()
    assert calls()[name](save=tmp_path / "picture.svg") is not figure
    assert b"<svg" in (tmp_path / "picture.svg").read_bytes()


def test_mosaics_are_about_square_and_end_in_nothing() -> None:
    shown = mosaic(np.ones((5, 2, 2)))
    assert shown.shape == (8, 5)
    assert np.isnan(shown[6:, 3:]).all()


def test_pyplot_stays_untouched_and_matplotlib_is_imported_on_use() -> None:
    code = """
import sys
import cnnlib
assert "cnnlib.plots" not in sys.modules and not hasattr(cnnlib, "picture")
plots = cnnlib.plots
assert "matplotlib" not in sys.modules
plots.training_curves({"loss": [1.0]})
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"'cnnlib\[plot\]'"):
        plots.training_curves({"loss": [1.0]})
