"""What is fused and how it lies: the same numbers as layer by layer, and no more is computed or converted than said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_plan import F64, naive, reset

from cnnlib.graph import Graph, Input
from cnnlib.layers import AvgPool2d, BatchNorm2d, Concat, Conv2d, Flatten, Linear, MaxPool2d, PReLU, ReLU, Sigmoid
from cnnlib.lowering import lower
from cnnlib.operations import lanes
from cnnlib.plan import Plan
from tests.helpers import Array, normal

L = lanes(F64)


def conv(c: int, k: int, size: int = 3, **settings: Any) -> Conv2d:
    return Conv2d(c, k, size, padding=size // 2, rng=c + k, dtype=F64, **settings)


def norm(c: int) -> BatchNorm2d:
    layer = BatchNorm2d(c, dtype=F64)
    rng = np.random.default_rng(c)
    for array in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
        array[:] = rng.uniform(0.5, 2, c)
    return layer


def chain(*layers: Any) -> Graph:
    first = node = Input((3, 9, 8))
    for layer in layers:
        node = layer(node)
    return Graph([first], [node])


def residual() -> Graph:
    image = Input((3, 8, 8))
    stem = ReLU()(norm(6)(conv(3, 6)(image)))
    branch = norm(6)(conv(6, 6)(PReLU(6, dtype=F64)(conv(6, 6, 1)(stem))))
    joined = Concat()(ReLU()(branch + stem), Sigmoid()(stem), conv(3, 2)(image))
    pooled = MaxPool2d(2)(ReLU()(conv(14, 5, 5)(joined)))
    return Graph([image], [Linear(5 * 16, 4, rng=0, dtype=F64)(Flatten()(pooled)), stem])


def flattened() -> Graph:
    """Vectors from lanes, read by linear layers and by layers that need them as rows."""
    image = Input((3, 9, 8))
    flat = Flatten()(MaxPool2d(2)(ReLU()(conv(3, 6)(image))))
    prelu = PReLU(6 * 16, dtype=F64)(flat)
    heads = [Linear(6 * 16, k, rng=k, dtype=F64) for k in (5, 7)]
    return Graph([image], [ReLU()(heads[0](flat)), Concat()(prelu, heads[1](flat)), flat])


GRAPHS = {
    "lenet": lambda: chain(conv(3, 5), ReLU(), MaxPool2d(2), conv(5, 7), ReLU(), MaxPool2d(2), Flatten()),
    "pool first": lambda: chain(conv(3, 8, 5), MaxPool2d(2), ReLU(), conv(8, 4)),
    "normalised": lambda: chain(conv(3, 6, bias=False), norm(6), ReLU(), conv(6, 6), norm(6), MaxPool2d(2)),
    "strided": lambda: chain(conv(3, 6, stride=2), ReLU(), conv(6, 8, groups=2), Sigmoid(), AvgPool2d(2)),
    "other pools": lambda: chain(conv(3, 6), ReLU(), MaxPool2d(3, 2, 1), conv(6, 6), MaxPool2d(2, 1)),
    "pools in a row": lambda: chain(conv(3, 6), AvgPool2d(2), MaxPool2d(3, 1, 1), AvgPool2d(3, 2, 1, False), Flatten()),
    "residual": residual,
    "flattened": flattened,
    "averaged": lambda: chain(conv(3, 6), Sigmoid(), AvgPool2d(8), Flatten(), Linear(6, 4, rng=0, dtype=F64), ReLU()),
}


@pytest.mark.parametrize("batch", sorted({1, 2, L - 1, L, L + 1, 3 * L}))
@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_plan_gives_what_its_layers_give(build: Any, batch: int, rng: np.random.Generator) -> None:
    graph = build()
    x = normal(rng, batch, *graph.nodes[graph.inputs[0]].shape)
    dys = [normal(rng, batch, *graph.nodes[i].shape) for i in graph.outputs]
    inferred = naive(graph, [x], dys, training=False)[0]
    for y, right in zip(Plan(graph, batch, F64, False).forward([x]), inferred, strict=True):
        np.testing.assert_allclose(y, right, rtol=1e-11, atol=1e-11)

    def trained(run: Any) -> list[Array]:
        reset(graph)
        ys, dxs = run()
        gradients = [p.grad for layer in graph.layers.values() for p in layer.parameters().values()]
        return [array.copy() for array in (*ys, *dxs, *gradients)]

    plan = Plan(graph, batch, F64, True)
    planned = trained(lambda: (plan.forward([x]), plan.backward(dys)))
    for array, right in zip(planned, trained(lambda: naive(graph, [x], dys, training=True)), strict=True):
        np.testing.assert_allclose(array, right, rtol=1e-9, atol=1e-9)


def runs(graph: Graph, batch: int, training: bool) -> list[str]:
    return [repr(task.run).split("(")[0] for task in lower(graph, batch, F64, training).tasks]


def test_what_is_fused() -> None:
    lenet, normalised = GRAPHS["lenet"](), GRAPHS["normalised"]()
    assert runs(lenet, L, True) == runs(lenet, 1, False)
    assert runs(lenet, L, True) == ["Conv2d 3→5 + ReLU + MaxPool2d 2", "Conv2d 5→7 + ReLU + MaxPool2d 2", "Flatten"]
    assert runs(normalised, 1, False) == ["Conv2d 3→6 + BatchNorm2d + ReLU", "Conv2d 6→6 + BatchNorm2d + MaxPool2d 2"]
    if L > 1:  # few images to train with are cut into patches, each direction in its own way
        assert runs(lenet, 1, True)[:4] == ["Conv2d 3→5", "ReLU", "MaxPool2d", "Conv2d 5→7"]
    # Training normalises by the batch, in lanes as long as these are full.
    alone = ["Conv2d 3→6", "BatchNorm2d + ReLU", "Conv2d 6→6", "BatchNorm2d"]
    assert runs(normalised, L, True) == [*alone, "MaxPool2d", "lanes → NCHW"]
    assert runs(normalised, L + 1, True) == [*alone, "MaxPool2d"]


def test_vectors_stay_in_lanes_into_a_linear_layer() -> None:
    plan = ["Conv2d 3→6 + ReLU + MaxPool2d 2", "Flatten", "Linear 96→5 + ReLU", "PReLU", "Linear 96→7", "Concat"]
    if L > 1:
        # What is read as rows, too, is a copy.
        assert runs(flattened(), L + 1, True) == [*plan[:3], "lanes → NCHW", *plan[3:]]
        assert lower(flattened(), L + 1, F64, True).laid == {3, 4}


def test_what_others_read_is_not_fused_away() -> None:
    image = Input((3, 8, 8))
    before = conv(3, 4)(image)
    graph = Graph([image], [ReLU()(before), before])
    assert runs(graph, 1, False) == ["Conv2d 3→4", "ReLU"]


def test_a_subclass_is_left_as_it_is() -> None:
    class Doubled(ReLU):
        pass

    assert runs(chain(conv(3, 4), Doubled()), 1, False) == ["Conv2d 3→4", "Doubled"]


def test_the_statistics_of_the_batch_are_not_folded() -> None:
    graph = GRAPHS["normalised"]()
    plan = Plan(graph, 2, F64, False)
    assert plan.serves(graph, plan.key)
    for layer in graph.layers.values():
        if isinstance(layer, BatchNorm2d):
            layer.test_statistics = "batch"
    assert not plan.serves(graph, plan.key)
    assert runs(graph, 2, False)[:2] == ["Conv2d 3→6", "BatchNorm2d + ReLU"]
