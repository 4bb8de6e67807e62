"""Back-propagation through the lecture's scalar graph: u = b c, v = a + u, J = 3 v (L05).

    python examples/lecture/scalar_graph.py           a second; --full: a longer chain

Every node takes the derivative of J by itself, multiplies it with its own local derivatives, and hands the products to
the nodes that it reads: once each, from J back to the inputs, and nothing is computed twice.
"""

import numpy as np
from common import options

from cnnlib import Input, Model, plots
from cnnlib.drawing import node_gradients

args = options(__doc__)

a, b, c = (Input((), name) for name in "abc")
u = (b * c).named("u")
v = (a + u).named("v")
J = (3 * v).named("J")
model = Model([a, b, c], J)
graph, numbers = model.graph, (5, 3, 2)

values, derivatives = node_gradients(graph, numbers)
print("node   reads   value  dJ/dnode")
for name, sources, value, derivative in zip(graph.names, graph.sources, values, derivatives, strict=True):
    print(f"{name:<6} {', '.join(graph.names[i] for i in sources):<6} {value[0]:6g} {derivative[0]:9g}")

# A model does the same on a batch: N numbers for each input, N derivatives come back.
model.forward([np.array([5.0, 1.0]), np.array([3.0, 1.0]), np.array([2.0, 1.0])], training=True)
print("for (a, b, c) = (5, 3, 2) and (1, 1, 1): dJ/da, dJ/db, dJ/dc =", *model.backward(np.ones(2)))

# Why once each: in a chain of v ← v + v, every link doubles the number of paths that lead from v back to a.
links = 1000 if args.full else 50
node = start = Input((), "a")
for _ in range(links):
    node = node + node
chain = Model(start, node)
chain.forward(np.array([1.0]), training=True)
derivative = chain.backward(np.ones(1))[0]
print(f"{links} links v ← v + v, {2.0**links:.4g} paths: dv/da = {derivative:.4g} after {links} steps back")

plots.graph(model, numbers, save=args.save)
