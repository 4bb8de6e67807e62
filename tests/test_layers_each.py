"""What is particular to one layer: conventions, settings, messages."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib.errors import ConfigError, DTypeError, GraphError, ShapeError
from cnnlib.graph import Input
from cnnlib.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    Dropout,
    Dropout2d,
    GlobalAvgPool2d,
    Layer,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool2d,
    Parameter,
    PReLU,
    ReLU,
    Softmax,
    register,
    registered,
)


def test_messages_name_layer_got_needed_and_fix() -> None:
    cases = {
        (Linear(2450, 10), (50, 7, 7)): ["Linear(2450, 10)", "got an input of N × 50 × 7 × 7", "N × 2450", "Flatten()"],
        (Linear(5, 10), (6,)): ["got an input of N × 6", "needs N × 5", "in_features must be 6"],
        (Conv2d(3, 6, 5), (1, 28, 28)): [
            "Conv2d(3, 6, 5)",
            "N × 1 × 28 × 28",
            "N × 3 × H × W",
            "in_channels must be 1",
        ],
        (Conv2d(3, 6, 5), (28, 28)): ["N × 28 × 28", "channels, height and width"],
        (Conv2d(3, 6, 5), (3, 4, 9)): ["Conv2d(3, 6, 5)", "height 4", "kernel 5", "padding >= 1"],
        (MaxPool2d(3), (3, 2, 9)): ["MaxPool2d(3)", "height 2", "kernel 3"],
        (AvgPool2d(3), (5,)): ["AvgPool2d(3)", "N × C × H × W"],
        (AdaptiveAvgPool2d((3, 7)), (5, 4, 6)): ["AdaptiveAvgPool2d((3, 7))", "N × 5 × 4 × 6", "at most 4 × 6"],
        (GlobalAvgPool2d(), (5,)): ["GlobalAvgPool2d()", "N × C × H × W"],
        (Dropout2d(), (5,)): ["Dropout2d()", "N × C × H × W", "use Dropout"],
        (PReLU(3), (4, 5, 5)): ["PReLU(num_parameters=3)", "N × 4 × 5 × 5", "must be 1 or 4"],
        (Softmax(3), (4, 5)): ["Softmax(dim=3)", "N × 4 × 5", "no dimension 3"],
    }
    for (layer, shape), parts in cases.items():
        with pytest.raises(ShapeError) as caught:
            layer(Input(shape))
        for part in parts:
            assert part in str(caught.value), (part, str(caught.value))
    for merge, shapes in ((Add(), [(2, 3), (3, 2)]), (Concat(), [(2, 3), (2, 4)]), (Concat(axis=2), [(4,), (4,)])):
        with pytest.raises(ShapeError, match=r"got inputs of N × .*, N × "):
            merge.output_shape(*shapes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(0, 1), "in_features = 0"),
        (lambda: Linear(2, True), "out_features = True"),
        (lambda: Linear(2.0, 1), "in_features = 2.0"),
        (lambda: Linear(2, 1, init="he"), "init = 'he'.*he_normal"),
        (lambda: Linear(2, 1, rng=-1), "rng = -1"),
        (lambda: Linear(2, 1, rng="seed"), "rng = 'seed'"),
        (lambda: Linear(2, 1, name=""), "name = ''"),
        (lambda: Conv2d(3, 4, 3, groups=2), "groups = 2"),
        (lambda: Conv2d(3, 4, 0), "kernel_size = 0"),
        (lambda: Conv2d(3, 4, 3, stride=0), "stride = 0"),
        (lambda: Conv2d(3, 4, 3, padding="valid"), "padding = 'valid'"),
        (lambda: Conv2d(3, 4, 4, padding="same"), "odd kernel"),
        (lambda: MaxPool2d(2, padding=2), "half"),
        (lambda: AvgPool2d((2, 2, 2)), "kernel_size"),
        (lambda: Dropout(1), "p = 1"),
        (lambda: Dropout(-0.1), "p = -0.1"),
        (lambda: Dropout("0.5"), "p = '0.5'"),
        (lambda: Concat(0), "axis = 0"),
        (lambda: Softmax(0), "dim = 0"),
        (lambda: LogSoftmax(True), "dim = True"),
        (lambda: LeakyReLU(np.nan), "negative_slope = nan"),
        (lambda: PReLU(0), "num_parameters = 0"),
        (lambda: PReLU(init="he"), "init = 'he'"),
        (lambda: AdaptiveAvgPool2d(0), "output_size = 0"),
    ],
)
def test_impossible_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_parameters_are_float32_or_float64() -> None:
    for dtype in (np.int32, np.float16, "nonsense"):
        with pytest.raises(DTypeError, match="expected float32 or float64"):
            Linear(2, 1, dtype=dtype)
    with pytest.raises(DTypeError, match=r"Linear\(2, 1\).*needs arrays of float32, got float64"):
        Linear(2, 1).forward(np.ones((1, 2)))


def test_repr_shows_what_was_asked_for() -> None:
    assert repr(Conv2d(1, 20, 5, padding=(2, 1), name="c1")) == "Conv2d(1, 20, 5, padding=(2, 1), name='c1')"
    assert repr(Linear(2, 1, bias=False, dtype=np.float64)) == "Linear(2, 1, bias=False, dtype='float64')"
    assert repr(MaxPool2d(2)) == "MaxPool2d(2)"


def test_relu_at_its_kink_and_beyond(dtype: type) -> None:
    relu = ReLU()
    x = np.array([[-1, -0.0, 0, np.nan, np.inf, -np.inf]], dtype)
    np.testing.assert_array_equal(relu.forward(x, training=True), np.array([[0, 0, 0, np.nan, np.inf, 0]], dtype))
    dx = relu.backward(np.full_like(x, 3))
    np.testing.assert_array_equal(dx[0, [0, 1, 2, 4, 5]], [0, 0, 0, 3, 0])


def test_max_pool_gives_the_gradient_to_the_first_of_equals() -> None:
    pool = MaxPool2d(2)
    pool.forward(np.full((1, 1, 2, 4), 7.0), training=True)
    assert pool.backward(np.array([[[[1.0, 2.0]]]]))[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0]]


def test_dropout_zeroes_a_proportion_and_keeps_the_mean(dtype: type) -> None:
    drop = Dropout(0.3, rng=1)
    x = np.ones((100, 1000), dtype)
    y = drop.forward(x, training=True)
    assert abs((y == 0).mean() - 0.3) < 0.01
    assert abs(y.mean() - 1) < 0.01
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    np.testing.assert_array_equal(drop.backward(x), y)
    # Another mask next time; the same ones from the same seed.
    assert (drop.forward(x, training=True) != y).any()
    drop.reseed(1)
    np.testing.assert_array_equal(drop.forward(x, training=True), y)
    np.testing.assert_array_equal(Dropout(0.3, rng=1).forward(x, training=True), y)
    assert drop.forward(x) is x
    np.testing.assert_array_equal(Dropout(0, rng=0).forward(x, training=True), x)


def test_dropout2d_drops_whole_maps_and_keeps_the_mean(dtype: type) -> None:
    drop, x = Dropout2d(0.3, rng=1), np.ones((100, 200, 2, 3), dtype)
    y = drop.forward(x, training=True)
    maps = y.reshape(20000, 6)
    assert (maps == maps[:, :1]).all()
    assert abs((maps[:, 0] == 0).mean() - 0.3) < 0.01
    np.testing.assert_allclose(np.unique(maps), [0, 1 / 0.7], rtol=1e-6)
    np.testing.assert_array_equal(drop.backward(x), y)
    assert drop.forward(x) is x


def test_adaptive_pool_has_overlapping_bins_where_sizes_do_not_divide() -> None:
    x = np.arange(5.0).reshape(1, 1, 1, 5)
    assert AdaptiveAvgPool2d((1, 3)).forward(x).tolist() == [[[[0.5, 2.0, 3.5]]]]  # columns 0-1, 1-3, 3-4
    assert AdaptiveAvgPool2d(1).forward(x).tolist() == [[[[2.0]]]]


def test_dropout_blocks_do_not_repeat() -> None:
    y = Dropout(0.5, rng=0).forward(np.ones((4, 1 << 14), np.float32), training=True)
    assert len({row.tobytes() for row in y}) == 4


def test_the_first_gradient_is_written_into_the_parameters_own_buffer() -> None:
    parameter = Parameter(np.zeros(3))
    slot = parameter.grad_slot()
    assert parameter.grad is None
    parameter.add_grad(slot)
    assert parameter.grad is slot
    parameter.zero_grad()
    assert parameter.grad is None
    assert parameter.grad_slot() is slot
    parameter.grad = np.array([1.0, 2.0, 3.0])
    assert parameter.grad is slot
    parameter.grad *= 2
    assert slot.tolist() == [2, 4, 6]
    second = parameter.grad_slot()
    assert second is not slot
    second[:] = 1
    parameter.add_grad(second)
    assert slot.tolist() == [3, 5, 7]
    assert parameter.grad_slot() is second
    parameter.grad = None
    assert parameter.grad is None
    with pytest.raises(ShapeError, match="expected the parameter's"):
        parameter.grad = np.zeros(2)


def test_a_call_takes_nodes_or_arrays() -> None:
    layer = Linear(2, 3, rng=0)
    x = np.ones((4, 2), np.float32)
    np.testing.assert_array_equal(layer(x), layer.forward(x))
    node = layer(Input(2))
    assert (node.shape, node.layer) == ((3,), layer)
    with pytest.raises(GraphError, match="nodes and arrays together"):
        Add()(node, x)
    with pytest.raises(GraphError, match="two or more input"):
        Add()(node)
    with pytest.raises(GraphError, match=r"ReLU\(\): takes 1 input"):
        ReLU()(node, node)


def test_merges_want_one_batch_size_and_dtype() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ShapeError, match="same N and dtype"):
        Add().forward(x, x[:1])
    with pytest.raises(ShapeError, match="same N and dtype"):
        Concat().forward(x, x.astype(np.float64))


def test_registering_another_class_of_a_taken_name_is_refused() -> None:
    relu = registered()["ReLU"]
    impostor = type("ReLU", (Layer,), {})
    with pytest.raises(ConfigError, match=r"'ReLU' is registered already, by cnnlib\.layers\.activation"):
        register(impostor)
    assert registered()["ReLU"] is relu
    assert register(relu) is relu
