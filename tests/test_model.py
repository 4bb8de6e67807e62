"""Models: what goes in, what comes out, parameters and states, threads, the summary."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from cnnlib.errors import ConfigError, DataError, DTypeError, GraphError, ShapeError, TrainingError
from cnnlib.graph import Input
from cnnlib.layers import Add, AvgPool2d, Concat, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Softmax
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5
from tests.helpers import normal


def small(dtype: type = np.float32) -> Sequential:
    return Sequential(
        Conv2d(1, 2, 3, rng=0, dtype=dtype), ReLU(), Flatten(), Linear(8, 3, rng=1, dtype=dtype), input_shape=(1, 4, 4)
    )


def test_inputs_are_converted_by_one_rule(dtype: type) -> None:
    model = small(dtype)
    pixels = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    expected = model.forward((pixels / 255).astype(dtype))
    assert expected.dtype == dtype
    np.testing.assert_allclose(model.forward(pixels), expected, rtol=1e-6, atol=1e-6)
    whole = model.forward(pixels.astype(dtype))
    for other in (np.int64, np.float64, np.float16, np.int16):
        np.testing.assert_array_equal(model.forward(pixels.astype(other)), whole)
    np.testing.assert_array_equal(model.forward(pixels.tolist()), whole)
    np.testing.assert_array_equal(model.forward(np.asfortranarray(pixels)), model.forward(pixels))
    np.testing.assert_array_equal(model(pixels), model.forward(pixels))


def test_a_model_without_parameters_follows_its_input() -> None:
    model = Sequential(ReLU())
    for dtype, wanted in ((np.float64, np.float64), (np.float32, np.float32), (np.uint8, np.float32)):
        assert model.forward(np.ones((2, 3), dtype)).dtype == wanted
        assert model.predict(np.ones((2, 3), dtype)).dtype == wanted


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 4), r"needs N × 1 × 4 × 4, got shape \(1, 4, 4\): add the batch dimension with x\[None\]"),
        ((7, 4, 4), r"add the channel dimension with x\[:, None\]"),
        ((7, 4, 4, 1), r"channels first with x\.transpose\(0, 3, 1, 2\)"),
        ((7, 16), r"try x\.reshape\(-1, 1, 4, 4\)"),
        ((7, 1, 4, 5), r"needs N × 1 × 4 × 4, got shape \(7, 1, 4, 5\)$"),
        ((), r"got shape \(\)$"),
    ],
)
def test_inputs_of_a_wrong_shape_are_refused_with_a_hint(shape: tuple[int, ...], message: str) -> None:
    for run in (small().forward, small().predict):
        with pytest.raises(ShapeError, match=message):
            run(np.zeros(shape, np.float32))


def test_inputs_that_are_no_batch_of_numbers_are_refused() -> None:
    model = small()
    for run in (model.forward, model.predict):
        with pytest.raises(DataError, match=r"'input' of shape \(0, 1, 4, 4\): the batch is empty"):
            run(np.zeros((0, 1, 4, 4), np.float32))
        with pytest.raises(DTypeError, match="'input' has dtype <U1"):
            run(np.full((1, 1, 4, 4), "7"))
        with pytest.raises(DTypeError, match="complex128"):
            run(np.zeros((1, 1, 4, 4), complex))
    for none in (0, 2.5, "3"):
        with pytest.raises(ConfigError, match=f"batch_size = {none!r}: expected an int of at least 1"):
            model.predict(np.zeros((1, 1, 4, 4)), batch_size=none)  # type: ignore[arg-type]
    a, b = Input(2), Input(2)
    two = Model([a, b], a + b)
    with pytest.raises(ShapeError, match="2 inputs: give a list of 2"):
        two.forward(np.zeros((2, 2)))
    with pytest.raises(ShapeError, match=r"differ in the number of samples: \[2, 3\]"):
        two.forward([np.zeros((2, 2)), np.zeros((3, 2))])


def test_nan_and_infinity_are_numbers() -> None:
    x = np.zeros((2, 1, 4, 4), np.float32)
    x[0, 0, 1, 1] = np.nan
    y = small().forward(x)
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


def test_what_is_returned_is_the_callers_own(rng: np.random.Generator) -> None:
    model = small()
    x = rng.random((2, 1, 4, 4), np.float32)
    y, z = model.forward(x, training=True), model.forward(x)
    dx = model.backward(np.ones_like(y))
    kept = [y.copy(), z.copy(), dx.copy()]
    model.forward(x + 1)
    model.backward(np.ones_like(model.forward(x + 1, training=True)))
    for array, before in zip((y, z, dx), kept, strict=True):
        np.testing.assert_array_equal(array, before)
        array[...] = 0  # and may be written to
    identity = Sequential(Flatten(), input_shape=3)
    x = np.ones((2, 3), np.float32)
    assert not np.shares_memory(identity.forward(x), x)
    assert not np.shares_memory(identity.backward(identity.forward(x, training=True)), x)


def test_predict_is_forward_in_pieces(rng: np.random.Generator) -> None:
    model = small()
    x = rng.integers(0, 256, (11, 1, 4, 4), np.uint8)
    for batch_size in (1, 4, 11, 100):
        np.testing.assert_allclose(model.predict(x, batch_size), model.forward(x), rtol=1e-6, atol=1e-7)
    node = Input(2)
    hidden = ReLU()(node)
    both = Model(node, [hidden, hidden + node]).predict(np.ones((5, 2)), batch_size=2)
    assert [y.tolist() for y in both] == [[[1, 1]] * 5, [[2, 2]] * 5]


def test_training_is_a_mode_or_an_argument() -> None:
    model = Sequential(Dropout(0.5, rng=0), input_shape=100)
    x = np.ones((1, 100), np.float32)
    assert (model.forward(x) == x).all()
    assert (model.forward(x, training=True) != x).any()
    assert model.train() is model
    assert (model.forward(x) != x).any()
    assert (model.forward(x, training=False) == x).all()
    assert (model.predict(x) == x).all()
    assert model.eval() is model
    assert (model.forward(x) == x).all()


def test_backward_needs_a_training_forward_and_a_gradient_that_fits() -> None:
    model = small()
    x = np.zeros((2, 1, 4, 4), np.float32)
    y = model.forward(x)
    with pytest.raises(TrainingError, match=r"forward\(x, training=True\)"):
        model.backward(y)
    model.forward(x, training=True)
    for wrong, error in ((y[:1], ShapeError), (np.zeros((2, 3, 1)), ShapeError), (y.astype(int), DTypeError)):
        with pytest.raises(error, match=r"gradient of output '3' must be floats of shape \(2, 3\)"):
            model.backward(wrong)
    np.testing.assert_array_equal(model.backward(y.astype(np.float64)), model.backward(np.asfortranarray(y)))
    node = Input(2)
    two = Model(node, [node, ReLU()(node)])
    two.forward(np.ones((1, 2)), training=True)
    for none in (np.ones((1, 2)), [np.ones((1, 2))], 1.0):
        with pytest.raises(ShapeError, match="2 outputs: give a list of their gradients"):
            two.backward(none)


def test_gradients_add_up_until_zero_grad(rng: np.random.Generator) -> None:
    model = small(np.float64)
    y = model.forward(normal(rng, 2, 1, 4, 4), training=True)
    model.backward(y)
    once = {name: p.grad.copy() for name, p in model.parameters().items() if p.grad is not None}
    assert once.keys() == model.parameters().keys()
    assert model.backward(y, input_grad=False) is None
    for name, parameter in model.parameters().items():
        np.testing.assert_array_equal(parameter.grad, 2 * once[name])
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters().values())


def test_states_are_copies_that_fit_or_are_refused_whole() -> None:
    model, other = small(), small()
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    state["0.weight"] += 1
    assert (model.state_dict()["0.weight"] != state["0.weight"]).all()
    other.load_state_dict({name: array.astype(np.float64) for name, array in state.items()})
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[name])

    before = model.state_dict()
    wrong = {**state, "3.weight": np.zeros((8, 3)), "3.bias": np.zeros(3, int), "extra": np.zeros(2)}
    del wrong["0.bias"]
    with pytest.raises(DataError) as caught:
        model.load_state_dict(wrong)
    assert str(caught.value).splitlines()[1:] == [
        "  missing: 0.bias (2,)",
        "  not in the model: extra (2,)",
        "  3.weight: shape (8, 3), the model's is (3, 8); use its transpose",
        "  3.bias: dtype int64, the model's is float32",
    ]
    with pytest.raises(DataError, match=r"3\.weight: shape"):
        model.load_state_dict(wrong, strict=False)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    model.load_state_dict({"0.weight": state["0.weight"], "else": np.zeros(1)}, strict=False)
    np.testing.assert_array_equal(model.state_dict()["0.weight"], state["0.weight"])


def test_one_seed_draws_all_weights_and_all_masks() -> None:
    a, b = small(), small()
    a.initialize(5)
    b.initialize(np.random.default_rng(5))
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(array, b.state_dict()[name])
        assert (array != small().state_dict()[name]).all()
    x = np.ones((1, 64), np.float32)
    c = Sequential(Dropout(0.5), Dropout(0.5), input_shape=64)
    c.reseed(3)
    first = c.forward(x, training=True)
    assert (c.forward(x, training=True) != first).any()
    c.reseed(3)
    np.testing.assert_array_equal(c.forward(x, training=True), first)
    # Two layers do not draw the same mask: both keep about a quarter, not a half.
    assert (first != 0).mean() < 0.4


def test_sequential_takes_its_shape_from_the_first_batch() -> None:
    model = Sequential(Conv2d(1, 2, 3, rng=0), ReLU(), Flatten(), Linear(8, 3, rng=0))
    assert list(model.parameters()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    model.load_state_dict(model.state_dict())
    for early in (model.summary, lambda: model.graph):
        with pytest.raises(GraphError, match="input_shape"):
            early()
    with pytest.raises(ShapeError, match=r"layer 3: Linear\(8, 3\): got an input of N × 18"):
        model.forward(np.zeros((2, 1, 5, 5), np.float32))
    with pytest.raises(DataError, match="empty"):
        model.forward(np.zeros((0, 1, 4, 4), np.float32))
    assert model.predict(np.zeros((2, 1, 4, 4), np.float32)).shape == (2, 3)
    with pytest.raises(ShapeError, match="needs N × 1 × 4 × 4"):
        model.forward(np.zeros((2, 1, 5, 5), np.float32))
    convolutions = Sequential(Conv2d(1, 2, 3, rng=0), input_shape=(1, 4, 4))
    assert convolutions.build((1, 6, 5)) is convolutions
    assert convolutions.forward(np.zeros((1, 1, 6, 5))).shape == (1, 2, 4, 3)


def test_a_copied_model_is_its_own(rng: np.random.Generator) -> None:
    model = lenet5(rng=0)
    x = rng.random((2, 1, 28, 28), np.float32)
    y = model.forward(x, training=True)
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin.forward(x), y)
    twin.initialize(1)
    np.testing.assert_array_equal(model.forward(x), y)


def test_repr() -> None:
    assert repr(small()).splitlines()[:2] == ["Sequential(", "  (0): Conv2d(1, 2, 3)"]
    x = Input((1, 4, 4))
    assert repr(Model(x, Flatten()(ReLU()(x)))) == "Model(1 × 4 × 4 → 16, 2 layers)"


def rows(summary: str) -> list[list[str]]:
    """The cells of a summary's lines, which two spaces or more part."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in summary.splitlines()]


def test_summary_of_a_graph_names_nodes_and_what_they_read() -> None:
    x = Input((3, 11, 11))
    shared = Conv2d(3, 3, 3, padding=1, rng=0, name="shared")
    pooled = AvgPool2d(2)(shared(shared(x)))
    both = Concat()(pooled, MaxPool2d(2)(x))
    summary = Model(x, [Softmax()(Flatten()(both)), MaxPool2d((3, 2), 3, (1, 0))(x)]).summary()
    table = rows(summary)
    columns = ["Layer", "Output size", "Weight size", "Parameters", "Multiply-adds"]
    assert table[0] == ["Name", *columns, "Receptive field", "Stride", "Centre", "Reads"]
    conv = ["Conv (C_out=3, K=3, P=1, S=1)", "3 × 11 × 11", "3 × 3 × 3 × 3"]
    assert table[2:] == [
        ["input", "Input", "3 × 11 × 11", "1 × 1", "1", "0"],
        ["shared", *conv, "84", "9,801", "3 × 3", "1", "0", "input"],
        # The same weights work a second time, but are there once.
        ["shared_1", *conv, "9,801", "5 × 5", "1", "0", "shared"],
        ["avgpool2d", "AvgPool (K=2, S=2)", "3 × 5 × 5", "6 × 6", "2", "0.5", "shared_1"],
        ["maxpool2d", "MaxPool (K=2, S=2)", "3 × 5 × 5", "2 × 2", "2", "0.5", "input"],
        ["concat", "Concat", "6 × 5 × 5", "6 × 6", "2", "0.5", "avgpool2d, maxpool2d"],
        ["flatten", "Flatten", "150", "6 × 6", "2", "0.5", "concat"],
        ["softmax", "Softmax", "150", "whole input", "flatten"],
        ["maxpool2d_1", "MaxPool (K=3×2, S=3, P=1×0)", "3 × 4 × 4", "3 × 2", "3", "0, 0.5", "input"],
        table[1],  # the rule
        ["84 parameters (336 bytes as float32), 19,602 multiply-adds a sample"],
        ["note: avgpool2d, AvgPool (K=2, S=2), leaves 1 row and 1 column at the rim of its input unread"],
        ["note: maxpool2d, MaxPool (K=2, S=2), leaves 1 row and 1 column at the rim of its input unread"],
    ]


def test_summary_marks_what_a_convolution_leaves_unread() -> None:
    # L37: 7 × 7 with 3 × 3 at stride 3 gives 2.33, rounded down.
    summary = Sequential(Conv2d(1, 1, 3, stride=3), input_shape=(1, 7, 7)).summary()
    assert "note: 0, Conv (C_out=1, K=3, P=0, S=3), leaves 1 row and 1 column at the rim" in summary
    for stride in (1, 2):
        assert "note" not in Sequential(Conv2d(1, 1, 3, stride=stride), input_shape=(1, 7, 7)).summary()


def test_summary_of_vectors_and_of_branches_without_a_common_stride() -> None:
    assert rows(Sequential(ReLU(), input_shape=3).summary())[2:4] == [["Input", "3", "–"], ["ReLU", "3", "–"]]
    x = Input((1, 4, 4))
    strides = Concat()(MaxPool2d(2)(x), Conv2d(1, 1, 3, rng=0)(x))
    assert rows(Model(x, Add()(strides, strides)).summary())[-3][3] == "–"
