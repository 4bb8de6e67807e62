"""The benchmark behind ``cnnlib bench``: a table in which every speed stands beside its error and its rivals.

How a row is made
-----------------
*Verified, then timed.* The first call of every contestant is compared with the definition in float64; a result that is
wrong raises WrongResultError and no time is shown.

*In turn, in one process.* Contestants take turns in blocks of about 0.1 s, several rounds, so that a machine that slows
down slows all of them. Ratios are medians of all samples; a ratio above 1 means that cnnlib is faster. Absolute
times do not travel between machines or days.

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
cnnlib's reads x again on the way back. NumPy writes into a
buffer where the definition is one NumPy call, and takes memory for its intermediate results where it is an expression.
ONNX Runtime only infers, from NumPy arrays to NumPy arrays.

Whole nets: NumPy arrays go in, and out come the loss as a float or the logits as an array, for everybody.

Operations are those of the definition, two for each multiply-add, padding included: skipping padding, or a fast
algorithm, can exceed 100 % of the peak. Bytes are each array once, in or out. The peak is that of multiply-adds in
registers (`cnnlib.config.measure_peak`) with the row's instruction set and threads, measured in the same run. The
error is the largest deviation from float64 over the largest value.
"""

from cnnlib.bench.named import LAYERS, NamedLayer
from cnnlib.bench.run import main
from cnnlib.bench.work import WrongResultError

__all__ = ["LAYERS", "NamedLayer", "WrongResultError", "main"]
