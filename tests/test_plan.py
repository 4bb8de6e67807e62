"""Plans: buffers that are shared and reused, work that is not done twice or in vain, plans that are lent."""

from __future__ import annotations

import copy
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from cnnlib.errors import ShapeError, TrainingError
from cnnlib.graph import Graph, Input, Node
from cnnlib.layers import Add, AvgPool2d, Concat, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU
from cnnlib.lowering import Task
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5
from cnnlib.operations import lanes
from cnnlib.plan import Plan, PlanCache
from tests.helpers import Array, normal

F64 = np.dtype(np.float64)


class Spy(Layer):
    """The identity, which counts how often it is used and says which gradients were wanted; it may misbehave."""

    def __init__(self, returns: str = "out") -> None:
        super().__init__()
        self.returns = returns
        self.forwards = 0
        self.needs: list[tuple[bool, ...]] = []

    def output_shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        self.forwards += 1
        return self._result(x, out), None

    def gradients(self, dy: Array, saved: Any, needs: Any = (True,), outs: Any = (None,)) -> Any:
        self.needs.append(needs)
        return (self._result(dy, outs[0]),)

    def _result(self, x: Array, out: Array | None) -> Array:
        if self.returns == "out" and out is not None:
            np.copyto(out, x)
            return out
        return x[:1] if self.returns == "short" else x  # x itself: a view that was not declared


def random_graph(rng: np.random.Generator) -> Graph:
    """Return a graph of twelve random layers, whose nodes are read by any number of others."""
    nodes = [Input((2, 4, 4)), Input((2, 4, 4))]
    while len(nodes) < 14:
        a, b = (nodes[i] for i in rng.integers(len(nodes), size=2))
        seed = int(rng.integers(1000))
        narrow = Conv2d(4, 2, 3, padding=1, rng=seed, dtype=F64)
        nodes.append(
            [
                lambda a=a, s=seed: Conv2d(2, 2, 3, padding=1, rng=s, dtype=F64)(a),
                lambda a=a: ReLU()(a),
                lambda a=a, b=b: a + b,
                lambda a=a, b=b, narrow=narrow: narrow(Concat()(a, b)),
                lambda a=a: MaxPool2d(3, 1, 1)(a),
                lambda a=a, s=seed: Dropout(0.5, rng=s)(a),
                lambda a=a: Spy("view")(a),
                lambda a=a, b=b: Add()(a, b, a),
            ][rng.integers(8)]()
        )
    flat = Flatten()(nodes[-1])
    head = Linear(flat.shape[0], 3, rng=0, dtype=F64)(Flatten()(nodes[-2]))
    outputs = [nodes[-1], flat, head, nodes[-3], nodes[0], nodes[1]]
    return Graph(nodes[:2], outputs)


def naive(graph: Graph, xs: list[Array], dys: list[Array], training: bool) -> tuple[list[Array], list[Array]]:
    """Run a graph with a fresh array for everything: what a plan must agree with."""
    values: dict[Node, Array] = {}
    saved: dict[Node, Any] = {}
    given = iter(xs)
    for node in graph.nodes:
        if node.layer is None:
            values[node] = next(given)
        else:
            y, saved[node] = node.layer.apply(*(values[i] for i in node.inputs), training=training)
            values[node] = y.copy()
    gradients = {node: np.zeros_like(values[node]) for node in graph.nodes}
    for node, dy in zip((graph.nodes[i] for i in graph.outputs), dys, strict=True):
        gradients[node] += dy
    for node in reversed(graph.nodes):
        if node.layer is not None and training:
            n = len(node.inputs)
            dxs = node.layer.gradients(gradients[node], saved[node], (True,) * n, (None,) * n)
            for source, dx in zip(node.inputs, dxs, strict=True):
                gradients[source] = gradients[source] + dx
    return [values[graph.nodes[i]] for i in graph.outputs], [gradients[graph.nodes[i]] for i in graph.inputs]


def reset(graph: Graph) -> None:
    for layer in graph.layers.values():
        layer.reseed(7)
        for parameter in layer.parameters().values():
            parameter.zero_grad()


@pytest.mark.parametrize("seed", range(25))
def test_random_graphs_agree_with_a_naive_run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    parameters = [p for layer in graph.layers.values() for p in layer.parameters().values()]
    batch = (3, 8, 13)[seed % 3]
    plan, inference = Plan(graph, batch, F64, True), Plan(graph, batch, F64, False)
    for needs_input_grad in (True, False, True):
        xs = [normal(rng, batch, 2, 4, 4) for _ in graph.inputs]
        dys = [normal(rng, batch, *graph.nodes[i].shape) for i in graph.outputs]
        given = [array.copy() for array in (*xs, *dys)]

        reset(graph)
        ys, dxs = naive(graph, xs, dys, training=True)
        expected = [p.grad.copy() for p in parameters if p.grad is not None]
        reset(graph)
        for y, wanted in zip(plan.forward(xs), ys, strict=True):
            np.testing.assert_array_equal(y, wanted)
        for dx, wanted in zip(plan.backward(dys, needs_input_grad), dxs, strict=True):
            if needs_input_grad:
                np.testing.assert_allclose(dx, wanted, rtol=1e-12, atol=1e-12)
            else:
                assert dx is None
        for parameter, wanted in zip(parameters, expected, strict=True):
            np.testing.assert_allclose(parameter.grad, wanted, rtol=1e-12, atol=1e-12)
        for y, wanted in zip(inference.forward(xs), naive(graph, xs, dys, training=False)[0], strict=True):
            np.testing.assert_array_equal(y, wanted)
        for array, untouched in zip((*xs, *dys), given, strict=True):
            np.testing.assert_array_equal(array, untouched)


def memory_of(plan: Plan) -> int:
    roots = {}
    for step in plan.steps:
        if step.out is not None:
            base = step.out if step.out.base is None else step.out.base
            roots[id(base)] = base.nbytes
    return sum(roots.values())


def test_buffers_serve_again_and_are_shared_in_inference() -> None:
    graph = lenet5(rng=0).graph
    training, inference = Plan(graph, 4, np.dtype(np.float32), True), Plan(graph, 4, np.dtype(np.float32), False)
    # What a convolution gives after its ReLU and its pool, and the linear layers.
    assert memory_of(inference) == 4 * 4 * (20 * 14 * 14 + 50 * 7 * 7)
    everything = 20 * 14 * 14 + 50 * 7 * 7 + 500 + 10
    unfused = everything + 2 * (20 * 28 * 28 + 50 * 14 * 14)  # of few images, ReLUs and pools stand alone
    in_lanes = lanes(np.dtype(np.float32)) < 2 * 4
    assert memory_of(training) == 4 * 4 * (everything if in_lanes else unfused)
    x = np.zeros((4, 1, 28, 28), np.float32)
    for plan in (training, inference):
        first, second = plan.forward([x])[0], plan.forward([x])[0]
        assert first.ctypes.data == second.ctypes.data


def test_gradients_take_turns_in_two_buffers(rng: np.random.Generator) -> None:
    seen = set()

    class Watch(Spy):
        def gradients(self, dy: Array, saved: Any, needs: Any = (True,), outs: Any = (None,)) -> Any:
            seen.add(outs[0].ctypes.data)
            return super().gradients(dy, saved, needs, outs)

    model = Sequential(*(Watch() for _ in range(8)), input_shape=3)
    x = normal(rng, 2, 3)
    for _ in range(2):
        model.forward(x, training=True)
        np.testing.assert_array_equal(model.backward(x), x)
    assert len(seen) == 2


@pytest.mark.parametrize("element", [np.float32, np.uint8, np.float64])
def test_nothing_is_allocated_after_the_first_training_step(element: type) -> None:
    x = Input((3, 64, 64))
    a = ReLU()(Conv2d(3, 8, 3, padding=1, rng=0)(x))
    b = Dropout(0.5, rng=0)(a) + MaxPool2d(3, 1, 1)(a)
    c = AvgPool2d(2)(Concat()(b, a, b))
    model = Model(x, Linear(24 * 32 * 32, 10, rng=0)(Flatten()(c)))
    images = np.ones((8, 3, 64, 64), element)
    dy = np.ones((8, 10), np.float32)

    def step() -> None:
        model.zero_grad()
        model.forward(images, training=True, copy=False)
        model.backward(dy, input_grad=False)

    step()
    tracemalloc.start()
    try:
        step()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        step()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The smallest array that is no bias, the images as float32, has 393,216 bytes.
    assert peak - before < 250_000
    assert after - before < 10_000


def test_inputs_are_converted_into_the_plans_own_buffers() -> None:
    a, b = Input(3), Input(3)
    plan = Plan(Model([a, b], [a, b, a + b]).graph, 2, F64, True)
    pixels, ready = np.array([[0, 51, 255]] * 2, np.uint8), np.ones((2, 3))
    first, same, total = plan.forward([pixels, ready])
    assert first.tolist() == [[0, 0.2, 1]] * 2
    assert same is ready
    assert total.tolist() == [[1, 1.2, 2]] * 2
    again, second, _ = plan.forward([pixels[::-1] // 51, pixels])
    assert again is first
    assert (again * 255 == [[0, 1, 5]] * 2).all()
    assert second.tolist() == [[0, 0.2, 1]] * 2
    assert (ready == 1).all()  # what was not converted is the caller's, and is never written to
    assert plan.forward([pixels, ready.T.copy().T])[1] is second


def test_each_node_runs_once_a_pass_and_only_where_it_is_needed() -> None:
    x = Input(3)
    below, between, above = Spy(), Spy(), Spy()
    learned = Linear(3, 3, rng=0, dtype=F64)
    middle = between(learned(below(x)))
    model = Model(x, above(middle + middle) + middle)
    batch = np.ones((2, 3))
    model.forward(batch, training=True)
    assert model.backward(batch, input_grad=False) is None
    assert [spy.forwards for spy in (below, between, above)] == [1, 1, 1]
    # Nothing is learned below the linear layer, so no gradient goes there.
    assert [spy.needs for spy in (below, between, above)] == [[], [(True,)], [(True,)]]
    model.backward(batch)
    assert [len(spy.needs) for spy in (below, between, above)] == [1, 2, 2]


@pytest.mark.parametrize("seed", range(5))
def test_a_step_goes_up_the_graph_and_back_down(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # L05, L11: a node's backward runs when all that it feeds are done, and once.
    graph = random_graph(np.random.default_rng(seed))
    order: list[tuple[str, int]] = []

    def trace(task: Task, method: str) -> None:
        original = getattr(task.run, method)

        def traced(*arguments: Any, **options: Any) -> Any:
            order.append((method, task.value))
            return original(*arguments, **options)

        monkeypatch.setattr(task.run, method, traced)

    plan = Plan(graph, 1, F64, True)
    tasks = plan.lowered.tasks
    for task in tasks:
        trace(task, "apply")
        trace(task, "gradients")
    plan.forward([np.ones((1, 2, 4, 4))] * 2)
    plan.backward([np.ones((1, *graph.nodes[i].shape)) for i in graph.outputs])
    upwards = [task.value for task in tasks]
    readers = {task.value: {other.value for other in tasks if task.value in other.sources} for task in tasks}
    downwards = [value for method, value in order if method == "gradients"]
    assert order[: len(upwards)] == [("apply", value) for value in upwards]
    assert len(downwards) == len(set(downwards)) == len(upwards)
    for position, layer in enumerate(downwards):
        assert readers[layer] <= set(downwards[:position])


def test_gradients_are_not_asked_for_where_no_parameter_is() -> None:
    a, b = Input(2, name="a"), Input(2, name="b")
    seen = []

    class Watched(Linear):
        def gradients(self, dy: Array, saved: Any, needs: Any = (True,), outs: Any = (None,)) -> Any:
            seen.append((needs, outs[0] is None))
            return super().gradients(dy, saved, needs, outs)

    spy = Spy()
    model = Model([a, b], Watched(2, 2, rng=0, dtype=F64)(a) + spy(b))
    model.forward([np.ones((1, 2)), np.ones((1, 2))], training=True)
    model.backward(np.ones((1, 2)), input_grad=False)
    assert seen == [((False,), True)]
    assert spy.needs == []


def test_a_layer_that_breaks_its_promise_is_named() -> None:
    model = Sequential(Spy("short"), input_shape=3)
    with pytest.raises(ShapeError, match=r"Spy\(.*apply returned shape \(1, 3\), output_shape promised \(2, 3\)"):
        model.forward(np.ones((2, 3)))


def test_an_inference_plan_has_no_backward() -> None:
    plan = Plan(lenet5(rng=0).graph, 1, np.dtype(np.float32), False)
    plan.forward([np.zeros((1, 1, 28, 28), np.float32)])
    with pytest.raises(TrainingError, match="training=True"):
        plan.backward([np.zeros((1, 10), np.float32)])


def test_the_cache_lends_and_forgets() -> None:
    graph = Sequential(ReLU(), input_shape=3).graph
    cache = PlanCache(limit=2)
    keys = [(n, F64, False) for n in (1, 2, 3)]
    plans = [cache.take(graph, key) for key in keys]
    assert cache.take(graph, keys[0]) is not plans[0]  # that one is out on loan
    for plan in plans:
        cache.give_back(plan)
    assert cache.take(graph, keys[2]) is plans[2]
    assert cache.take(graph, keys[1]) is plans[1]
    assert cache.take(graph, keys[0]) is not plans[0]  # dropped: only two are kept
    with cache.borrowed(graph, keys[0]) as plan:
        pass
    assert cache.take(graph, keys[0]) is plan


def test_threads_predict_the_serial_bits(rng: np.random.Generator) -> None:
    model = lenet5(rng=0)
    batches = [rng.random((n, 1, 28, 28), np.float32) for n in (1, 5, 5, 8, 8, 16, 3, 2)]
    expected = [model.predict(x, batch_size=6) for x in batches]
    results: dict[int, list[bytes]] = {}
    barrier = threading.Barrier(len(batches))

    def work(i: int) -> None:
        barrier.wait()
        results[i] = [model.predict(batches[i], batch_size=6).tobytes() for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, y in enumerate(expected):
        assert results[i] == [y.tobytes()] * 5


def test_batch_sizes_may_alternate(rng: np.random.Generator) -> None:
    model, fresh = lenet5(rng=0, dtype=np.float64), lenet5(rng=0, dtype=np.float64)
    for n in (1, 5, 16, 5, 1, 16, 2, 5):
        x = rng.random((n, 1, 28, 28))
        dy = rng.normal(size=(n, 10))
        results = []
        for each in (model, copy.deepcopy(fresh)):
            each.zero_grad()
            y = each.forward(x, training=True)
            results.append([y, each.predict(x), each.backward(dy), *(p.grad for p in each.parameters().values())])
        for array, expected in zip(*results, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_two_models_train_in_two_threads_as_one_after_the_other() -> None:
    def train(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        model = Sequential(*lenet5(rng=seed).layers.values(), Dropout(0.3, rng=seed), input_shape=(1, 28, 28))
        for n in (4, 7, 4, 1, 7, 4):
            model.zero_grad()
            model.forward(rng.random((n, 1, 28, 28), np.float32), training=True, copy=False)
            model.backward(rng.normal(size=(n, 10)), input_grad=False)
            for parameter in model.parameters().values():
                parameter.data -= 0.01 * parameter.grad
        return b"".join(array.tobytes() for array in model.state_dict().values())

    expected = {seed: train(seed) for seed in (0, 1)}
    results: dict[int, bytes] = {}
    threads = [threading.Thread(target=lambda seed=seed: results.update({seed: train(seed)})) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == expected
    assert expected[0] != expected[1]
