"""The benchmark: its table of layers counts right, it refuses wrong results, and its command prints and writes rows.

No test looks at a time: how fast something is belongs to the benchmark itself.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import time
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import config, functional, reference
from cnnlib.bench import LAYERS, WrongResultError, main, rivals, with_onnx, with_torch
from cnnlib.bench.named import GROUPS, PASSES
from cnnlib.bench.table import RivalTime, Row, Table, error_lines
from cnnlib.bench.timing import Pace, Timing, interleave
from cnnlib.bench.work import KernelTask, error_of, verify
from cnnlib.errors import ConfigError
from cnnlib.selftest.kernels import CURVES

NAMES = ("lenet1", "pool1", "fc2", "relu1", "sigmoid1", "tanh1", "leaky1", "softmax", "loss", "sgd", "adam", "avg7")
SMALL = {name: LAYERS[name] for name in NAMES}
# Those of the largest layers are measured in full, tested on two images.
SMALL |= {
    name: replace(layer, x=(2, *layer.x[1:]), w=(2, *layer.w[1:]) if layer.w == layer.x else layer.w)
    for name, layer in LAYERS.items()
    if name.endswith("56") and layer.kind not in {kind.kind for kind in SMALL.values()}
}
SMALL_PASSES = [(layer, which) for layer in SMALL for which in SMALL[layer].passes]
ALONE = ["--quick", "--against", "none"]
HURRIED = Pace(rounds=1, block=0.0, limit=0.0, fewest=1)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call a contestant, so that the command can be tested in a moment."""
    monkeypatch.setattr("cnnlib.bench.options.QUICK_PACE", HURRIED)
    monkeypatch.setattr("cnnlib.bench.run._peak", lambda isa, threads, seconds=0.0: 100.0)


def test_operations_and_bytes_of_lenet2_by_hand() -> None:
    """64 images, 50 filters of 20×5×5, 14×14 outputs."""
    lenet2 = LAYERS["lenet2"]
    assert lenet2.output_shape == (64, 50, 14, 14)
    assert lenet2.flops("forward") == lenet2.flops("grad_w") == 2 * 64 * 50 * 14 * 14 * 20 * 5 * 5 == 627_200_000
    x, w, b, y = 64 * 20 * 14 * 14, 50 * 20 * 5 * 5, 50, 64 * 50 * 14 * 14
    assert lenet2.bytes("forward") == 4 * (x + w + b + y)
    assert lenet2.bytes("grad_x") == 4 * (y + w + x)
    assert lenet2.flops("backward") == lenet2.flops("grad_x") + lenet2.flops("grad_w")
    assert lenet2.bytes("backward") == 4 * (y + x + w + x + w + b)  # y is read once


def test_operations_of_other_kinds_by_hand() -> None:
    assert LAYERS["fc1"].flops("grad_x") == 2 * 64 * 2450 * 500
    assert LAYERS["depth3"].w == (128, 1, 3, 3)
    assert LAYERS["depth3"].flops("forward") == 2 * 16 * 128 * 56 * 56 * 9
    assert LAYERS["group32"].flops("backward") == 4 * 16 * 128 * 56 * 56 * 9 * (128 // 32)
    assert LAYERS["stem7"].output_shape == (8, 64, 112, 112)
    assert LAYERS["alex11"].output_shape == (16, 96, 55, 55)
    assert LAYERS["alexpool"].output_shape == (16, 96, 27, 27)
    assert LAYERS["pool1"].flops("forward") == 0
    assert LAYERS["sgd"].bytes("step") == 4 * 500 * 2450 * 5


def test_every_convolution_is_in_one_group_of_the_summary() -> None:
    convolutions = [name for name, layer in LAYERS.items() if layer.kind == "conv2d"]
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(convolutions)


def test_every_kernel_of_functional_has_a_layer() -> None:
    operations = {name.removesuffix("_backward").removesuffix("_step") for name in functional.__all__} - {"as_input"}
    operations -= {"batch_moments"}  # a part of batch_norm
    operations -= {"dropout"}  # in NumPy, its definition makes random numbers as nobody would to be fast
    operations -= {"rmsprop", "adagrad", "lion"}  # what sgd and adam are timed for: they move as much, or less
    operations -= {*CURVES, "log_softmax"}  # one kernel with sigmoid and tanh; softmax's loop
    operations -= {"group_norm", "layer_norm"}  # batch_norm's kernels
    operations -= {"local_response_norm"}  # not timed yet
    operations -= {"conv_transpose2d"}  # conv2d's kernels with their roles changed
    operations -= {"lp_pool2d", "pad", "resize", "depth_to_space", "space_to_depth"}  # in NumPy or around other kernels
    assert operations == set(PASSES) == {layer.kind for layer in LAYERS.values()}


@pytest.mark.parametrize("name", ["cnnlib", "reference"])
@pytest.mark.parametrize(("layer", "which"), SMALL_PASSES)
def test_contestants_are_right(layer: str, which: str, name: str) -> None:
    task = KernelTask.of(SMALL[layer], which)
    assert verify(task, name, task.contestant(name)) <= task.tolerance


@pytest.mark.parametrize(("layer", "which"), SMALL_PASSES)
def test_torch_does_the_same_work(layer: str, which: str) -> None:
    pytest.importorskip("torch")
    task = KernelTask.of(SMALL[layer], which)
    variants = with_torch.contestants(task, 1)
    assert all(verify(task, "torch", contestant) < 1e-5 for contestant in variants.values())
    assert len(variants) == (2 if which == "step" or len(SMALL[layer].x) == 4 else 1)


@pytest.mark.parametrize(("layer", "which"), SMALL_PASSES)
def test_onnx_runtime_does_the_same_work_forward(layer: str, which: str) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    task = KernelTask.of(SMALL[layer], which)
    variants = with_onnx.contestants(task, 1)
    assert all(verify(task, "onnxruntime", contestant) < 1e-5 for contestant in variants.values())
    assert len(variants) == (which == "forward" and SMALL[layer].kind not in with_onnx.MISSING)


def test_wrong_results_are_not_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def slightly_wrong(*arguments: Any, out: Any = None, **settings: Any) -> Any:
        return reference.conv2d(*arguments, **settings) * np.float32(1.001)

    monkeypatch.setattr(functional, "conv2d", slightly_wrong)
    with pytest.raises(
        WrongResultError,
        match=r"cnnlib, lenet1 forward \(64×1×28² → 20 5/1/2\): error .*e-03 against float64, expected",
    ):
        main([*ALONE, "--layers", "lenet1"])
    assert "\nlenet1 " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("result", "error"), [(1.5, 0.25), (np.nan, np.inf), (-np.inf, np.inf)], ids=["off", "nan", "infinite"]
)
def test_error_is_the_worst_of_all_results(result: float, error: float) -> None:
    right = np.array([1.0, -2.0])
    assert error_of((right, np.array([result, -2.0])), (right, right)) == error


def test_a_result_of_another_shape_is_wrong() -> None:
    assert error_of((np.ones((2, 1)),), (np.ones(2),)) == np.inf


@pytest.mark.usefixtures("hurried")
def test_the_command_prints_rows_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = config.get_isa(), cnnlib.get_num_threads(), config.get_algorithm()
    file = tmp_path / "bench.json"
    arguments = ["--quick", "--layers", "lenet1,fc2", "lenet5", "--batches", "1", "--threads", "1,2"]
    assert main([*arguments, "--against", "reference", "--json", str(file)]) == 0
    assert (config.get_isa(), cnnlib.get_num_threads(), config.get_algorithm()) == before
    printed = capsys.readouterr().out
    assert cnnlib.show_config().splitlines()[0] in printed
    report = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["layer"], row["which"]) for row in report["rows"][::2]] == [
        *(("lenet1", which) for which in ("forward", "backward", "grad_x", "grad_w")),
        *(("fc2", which) for which in ("forward", "grad_x", "grad_w")),
        *(("lenet5", which) for which in ("train", "predict")),
    ]
    for row in report["rows"]:
        assert f"\n{row['layer']:<8} {row['which']:<8} {row['shape']:<27}   {row['threads']} " in printed
        assert row["isa"] == before[0]
        assert row["batch"] == (1 if row["layer"] == "lenet5" else 64)
        assert 0 < row["min_ms"] <= row["median_ms"]
        assert row["error"] < 1e-4
        assert row["rivals"]["reference"]["ratio"] > 0
        assert list(row["errors"]) == (list(config.ALGORITHMS) if row["layer"] == "lenet1" else [])
    lenet1 = report["rows"][0]
    assert lenet1["gflops"] == pytest.approx(LAYERS["lenet1"].flops("forward") / lenet1["median_ms"] / 1e6)
    assert lenet1["share_of_peak"] == pytest.approx(lenet1["gflops"] / 100)
    [claim] = [claim for claim in report["claims"] if claim["against"] == "itself on 1 thread"]
    assert (claim["what"], claim["threads"]) == ("LeNet-5, training step, batch 64", 2)
    assert claim["what"] in printed


@pytest.mark.usefixtures("hurried")
def test_passes_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    main([*ALONE, "--layers", "lenet1,fc2", "--passes", "backward,grad_x"])
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith(("lenet1 ", "fc2 "))]
    assert rows[:3] == [["lenet1", "backward"], ["lenet1", "grad_x"], ["fc2", "grad_x"]]


def test_errors_of_algorithms_stand_beside_the_plain_sums() -> None:
    errors = {"direct": 1e-6, "accurate": 2e-6, "fast": 5e-6}
    row = Row("a", "forward", "", 1, "avx2", 1, 1.0, 1.0, 1, None, None, None, 2e-6, {}, errors)
    others = replace(row, threads=2), replace(row, which="backward"), replace(row, layer="b", errors={})
    heading, rule, *rows = "\n".join(error_lines([row, *others], markdown=False)).splitlines()
    assert heading.split() == ["layer", "pass", "isa", "direct", "accurate", "×", "direct", "fast", "×", "direct"]
    assert len(rule) == len(heading)
    assert [line.split() for line in rows] == [
        ["a", which, "avx2", "1.0e-06", "2.0e-06", "2.00", "5.0e-06", "5.00"] for which in ("forward", "backward")
    ]
    assert error_lines([others[-1]], markdown=False) == []


@pytest.mark.usefixtures("hurried")
def test_instruction_sets_have_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    isas = config.supported_isas()
    main([*ALONE, "--layers", "loss", "--threads", "1", "--isa", ",".join(isas), "baseline"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("loss ")]
    assert [row[3] for row in rows] == [*isas, "baseline"]


@pytest.mark.parametrize("second_thread", [1.0, 0.1])
def test_threads_that_share_a_core_are_reported(
    second_thread: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cnnlib.bench.options.QUICK_PACE", HURRIED)
    monkeypatch.setattr("cnnlib.bench.run._peak", lambda isa, n, seconds=0.0: 100 + 100 * second_thread * (n - 1))
    main([*ALONE, "--layers", "loss", "--threads", "1,2"])
    printed = capsys.readouterr().out
    assert f"on 2 threads, {1 + second_thread:.1f} times one thread's" in printed
    assert ("they share cores" in printed) == (second_thread < 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "lenet3"], "--layers lenet3: unknown; there are lenet1, "),
        (["--passes", "grad_b"], "--passes grad_b: unknown; there are forward, "),
        (["--batches", "all"], "--batches all: expected numbers"),
        (["--layers", "cifar", "--batches", "3"], "nothing to measure"),
        (["--rounds", "0"], "--rounds 0: expected at least 1"),
        (["--threads", "two"], "--threads two: expected numbers"),
        (["--threads", "0"], "the number of threads"),
        (["--isa", "sse9"], "sse9"),
        (["--against", "numpy"], "--against numpy: expected none, or some of reference, torch"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main([*ALONE[:1], *arguments])


def test_rivals_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "_installed", lambda package: package != "onnx")
    assert rivals.chosen(None) == ["reference", "torch"]
    with pytest.raises(ConfigError, match=r"--against onnxruntime: not installed here; pip install onnx$"):
        rivals.chosen(["torch", "onnxruntime"])


def test_contestants_take_turns() -> None:
    called: list[str] = []
    calls = {name: lambda name=name: called.append(name) for name in "abc"}
    timings = interleave(calls, Pace(rounds=3, block=0.001))
    assert [name for name, _ in groupby(called)] == [*"abc", *"bca", *"cab"]
    assert all(3 <= timings[name].calls < called.count(name) for name in calls)  # warm-ups are not counted


@pytest.mark.parametrize(("limit", "rounds"), [(0.0, [4, 1]), (1e9, [6, 6])])
def test_contestants_that_have_used_their_time_drop_out(limit: float, rounds: list[int]) -> None:
    calls = {"any": lambda: None, "spared": lambda: None}
    timings = interleave(calls, Pace(rounds=6, block=0.001, limit=limit, fewest=4), sparing=["spared"])
    assert [len(timing.rounds) for timing in timings.values()] == rounds
    assert all(timing.calls > len(timing.rounds) for timing in timings.values())


def test_slow_contestants_are_called_once_a_round() -> None:
    timing = interleave({"slow": lambda: time.sleep(0.002)}, Pace(rounds=3, block=0.001))["slow"]
    assert timing.calls == len(timing.rounds) == 3


def test_times_are_medians_of_rounds_and_ratios_of_the_same_round() -> None:
    """A machine that is three times slower in the second round, a single call that is disturbed."""
    own = Timing([[1.0, 1.0, 9.0], [3.0, 3.0, 3.0], [1.0]])
    rival = Timing([[2.0, 2.0], [6.0]])
    assert (own.median, own.best, own.calls) == (1.0, 1.0, 7)
    assert rival.median == 4.0
    assert rival.ratios_to(own) == [2.0, 2.0]


def test_table_aligns_for_terminals_and_for_markdown() -> None:
    torch = RivalTime(2.0, 1.9, 2.0, variant="channels_last")
    measured = (1.0, 0.9, 10, 156.8, 5.65, 0.69, 2e-6)
    row = Row("fc1", "forward", str(LAYERS["fc1"]), 64, "avx2", 2, *measured, {"torch": torch})
    for markdown in (False, True):
        table = Table(["torch", "onnxruntime"], isas=True, markdown=markdown)
        heading, rule = table.head().splitlines()
        line = table.line(row)
        assert line.index("2.00*") + 5 == heading.index("× torch") + 7
        assert len(heading) == len(rule)
        assert (line.count("|") == heading.count("|") == rule.count("|") == 14) if markdown else "|" not in line
    assert "channels_last" in table.legend()
    assert "channels_last" not in Table(["reference"], isas=False, markdown=False).legend()


@pytest.fixture
def peak_memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that measures memory, on the sample instead of MNIST."""
    monkeypatch.setattr("cnnlib.datasets.mnist", cnnlib.datasets.mnist_sample)
    file = Path(__file__).parent.parent / "bench" / "peak_memory.py"
    spec = importlib.util.spec_from_file_location("peak_memory", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_memory_is_measured_of_nets_that_train(peak_memory: Any) -> None:
    assert peak_memory.train_cnnlib(epochs=1, images=2000, threads=1) > 0.5
    assert 20 < peak_memory.peak() < 20_000


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_memory_is_measured_of_torch_doing_the_same(layout: str, suffix: str, peak_memory: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for part, (x, y) in zip(("train", "t10k"), cnnlib.datasets.mnist_sample(), strict=True):
        for name, header, array in (("images-idx3", 16, x), ("labels-idx1", 8, y)):
            content = bytes(header) + array.astype(np.uint8).tobytes()
            content = gzip.compress(content, 1) if suffix else content
            (tmp_path / f"{part}-{name}-ubyte{suffix}").write_bytes(content)
    assert peak_memory.train_torch(1, 2000, 1, layout, tmp_path) > 0.5
