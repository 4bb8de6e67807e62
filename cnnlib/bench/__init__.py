"""The benchmark behind ``cnnlib bench``: a table in which every speed stands beside its error and its rivals.

How a row is made
-----------------
*Verified, then timed.* The first call of every contestant is compared with the definition in float64; a result that is
wrong raises WrongResultError and no time is shown.

*In turn, in one process.* Contestants take turns in many rounds of short blocks. A contestant's time is the median of
its rounds, each of which is a median of calls. A ratio is the median of the ratios within each round: what slows the
machine for longer than a round slows all, and cancels. Above 1 cnnlib is faster. Absolute times do not travel between
machines or days. The definition in NumPy is only a scale: where it is slow it runs in the first rounds alone.

*Thread pools apart.* NumPy's BLAS, PyTorch and ONNX Runtime have threads of their own that spin for a while after a
call, and cnnlib's share the cores with them: next to each other they may be several times slower than alone. So a
block starts only when the process has stopped using the processor, then warms up its own pool with calls that are not
counted. Nobody's spinning is switched off: each runs as it does alone.

*The same number of threads*, set through each library's own interface. NumPy's BLAS has none; it is held to that number
where `threadpoolctl` is installed, and the header says if not.

What is compared
----------------
Layers: arrays are hot in cache where they fit. cnnlib reads and writes NCHW arrays, conversions to and from its inner
layout included, into buffers that exist already, as the plan of a model calls it. PyTorch gets its tensors in the
layout at hand, conversions excluded, and takes memory from its allocator, as in a model; the better one of contiguous
and channels_last counts (for optimizers, of plain and fused). Its max-pool remembers indices on the way forward,
cnnlib's reads x again on the way back. A convolution's "backward" is all of its gradients in one call, for PyTorch as
well; "grad_x" and "grad_w" are one of them alone. NumPy writes into a buffer where the definition is one NumPy call,
and takes memory for its intermediate results where it is an expression. ONNX Runtime only infers, from NumPy arrays to
NumPy arrays.

Whole nets: NumPy arrays go in, and out come the loss as a float or the logits as an array, for everybody. A training
step is `Trainer.train_step`; PyTorch's is eager, with the fused SGD, in the better layout, and works in place where it
may. The rivals run the same graph from the same weights.

Operations are those of the definition, two for each multiply-add, padding included: skipping padding, or a fast
algorithm, can exceed 100 % of the peak. Bytes are each array once, in or out. The peak is that of multiply-adds in
registers (`cnnlib.config.measure_peak`) with the row's instruction set and threads, measured in the same run. The
error is the largest deviation from float64 over the largest value; for a convolution every algorithm's stands in a
table of its own. A training step's is that of its worst gradient, the length of the deviation over the gradient's:
gradients are not continuous where a ReLU's input is 0, and single elements of a deep net's may be far off.

The summary at the end compares what a reader asks for first, as ratios: geometric means over kinds of convolutions, the
slowest layers, the nets, and cnnlib against itself on one thread and with another instruction set, in turn as well.
"""

from cnnlib.bench.named import LAYERS, NamedLayer
from cnnlib.bench.run import main
from cnnlib.bench.work import WrongResultError

__all__ = ["LAYERS", "NamedLayer", "WrongResultError", "main"]
