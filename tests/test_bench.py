"""The benchmark: its table of layers counts right, it refuses wrong results, and its command prints and writes rows.

No test looks at a time: how fast something is belongs to the benchmark itself.
"""

from __future__ import annotations

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
from cnnlib.bench.named import PASSES
from cnnlib.bench.nets import NET_PASSES, NetTask
from cnnlib.bench.table import RivalTime, Row, Table
from cnnlib.bench.timing import Pace, Timing, interleave
from cnnlib.bench.work import KernelTask, error_of, verify
from cnnlib.errors import ConfigError

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


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call a contestant, so that the command can be tested in a moment."""
    monkeypatch.setattr("cnnlib.bench.run.QUICK_PACE", Pace(rounds=1, block=0.0))
    monkeypatch.setattr("cnnlib.bench.run._peak", lambda isa, threads, seconds=0.0: 100.0)


def test_operations_and_bytes_of_lenet2_by_hand() -> None:
    """64 images, 50 filters of 20×5×5, 14×14 outputs."""
    lenet2 = LAYERS["lenet2"]
    assert lenet2.output_shape == (64, 50, 14, 14)
    assert lenet2.flops("forward") == lenet2.flops("grad_w") == 2 * 64 * 50 * 14 * 14 * 20 * 5 * 5 == 627_200_000
    x, w, b, y = 64 * 20 * 14 * 14, 50 * 20 * 5 * 5, 50, 64 * 50 * 14 * 14
    assert lenet2.bytes("forward") == 4 * (x + w + b + y)
    assert lenet2.bytes("grad_x") == 4 * (y + w + x)


def test_operations_of_other_kinds_by_hand() -> None:
    assert LAYERS["fc1"].flops("grad_x") == 2 * 64 * 2450 * 500
    assert LAYERS["stem7"].output_shape == (8, 64, 112, 112)
    assert LAYERS["alex11"].output_shape == (16, 96, 55, 55)
    assert LAYERS["alexpool"].output_shape == (16, 96, 27, 27)
    assert LAYERS["pool1"].flops("forward") == 0
    assert LAYERS["sgd"].bytes("step") == 4 * 500 * 2450 * 5


def test_operations_of_the_net_are_those_of_its_layers() -> None:
    forward = {name: LAYERS[name].flops("forward") for name in ("lenet1", "lenet2", "fc1", "fc2")}
    assert NetTask("predict", 64).flops == sum(forward.values())
    assert NetTask("train", 64).flops == 3 * sum(forward.values()) - forward["lenet1"]
    assert NetTask("predict", 1).flops * 64 == sum(forward.values())


def test_every_kernel_of_functional_has_a_layer() -> None:
    operations = {name.removesuffix("_backward").removesuffix("_step") for name in functional.__all__} - {"as_input"}
    operations -= {"batch_moments"}  # a part of batch_norm
    assert operations == set(PASSES) == {layer.kind for layer in LAYERS.values()}


@pytest.mark.parametrize("name", ["cnnlib", "reference"])
@pytest.mark.parametrize(("layer", "which"), SMALL_PASSES)
def test_contestants_are_right(layer: str, which: str, name: str) -> None:
    task = KernelTask.of(SMALL[layer], which)
    assert verify(task, name, task.contestant(name)) <= task.tolerance


@pytest.mark.parametrize(("which", "batch"), NET_PASSES)
def test_the_net_is_right(which: str, batch: int) -> None:
    task = NetTask(which, batch)
    assert 0 < verify(task, "cnnlib", task.contestant("cnnlib")) < 1e-4
    assert 0 < verify(task, "reference", task.contestant("reference")) < 1e-4


def test_the_reference_net_updates_its_weights_as_the_trainer_does() -> None:
    task = NetTask("train", 3)
    own, definition = (task.contestant(name).run for name in ("cnnlib", "reference"))
    losses = [(own(), definition()[0]) for _ in range(4)]
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-5)
    assert len(set(losses)) == 4


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
    before = config.get_isa(), cnnlib.get_num_threads()
    file = tmp_path / "bench.json"
    arguments = ["--quick", "--layers", "lenet1,fc2", "lenet5", "--threads", "1,2", "--against", "reference"]
    assert main([*arguments, "--json", str(file)]) == 0
    assert (config.get_isa(), cnnlib.get_num_threads()) == before
    printed = capsys.readouterr().out
    assert cnnlib.show_config().splitlines()[0] in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith(("lenet1 ", "fc2 ", "lenet5 "))]
    assert [(row[0], row[1]) for row in rows[::2]] == [
        *(("lenet1", which) for which in ("forward", "grad_x", "grad_w")),
        *(("fc2", which) for which in ("forward", "grad_x", "grad_w")),
        *(("lenet5", which) for which in ("train", "predict", "predict")),
    ]
    report = json.loads(file.read_text(encoding="utf-8"))
    assert len(report["rows"]) == len(rows) == 18
    for row in report["rows"]:
        assert row["threads"] in (1, 2)
        assert row["isa"] == before[0]
        assert 0 < row["min_ms"] <= row["median_ms"]
        assert row["error"] < 1e-4
        assert row["rivals"]["reference"]["ratio"] > 0
    lenet1 = report["rows"][0]
    assert lenet1["gflops"] == pytest.approx(LAYERS["lenet1"].flops("forward") / lenet1["median_ms"] / 1e6)
    assert lenet1["share_of_peak"] == pytest.approx(lenet1["gflops"] / 100)


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
    monkeypatch.setattr("cnnlib.bench.run.QUICK_PACE", Pace(rounds=1, block=0.0))
    monkeypatch.setattr("cnnlib.bench.run._peak", lambda isa, n, seconds=0.0: 100 + 100 * second_thread * (n - 1))
    main([*ALONE, "--layers", "loss", "--threads", "1,2"])
    printed = capsys.readouterr().out
    assert f"on 2 threads, {1 + second_thread:.1f} times one thread's" in printed
    assert ("they share cores" in printed) == (second_thread < 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "lenet3"], "--layers lenet3: unknown; there are lenet1, "),
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
    assert all(3 <= len(timings[name].samples) < called.count(name) for name in calls)  # warm-ups are not counted


def test_slow_contestants_are_called_less() -> None:
    timings = interleave({"slow": lambda: time.sleep(0.002), "fast": lambda: None}, Pace(rounds=4, block=0.001, slow=2))
    assert len(timings["slow"].samples) == 2
    assert len(timings["fast"].samples) > 4
    assert Timing([3.0, 1.0, 2.0]).median == 2.0
    assert Timing([3.0, 1.0, 2.0]).best == 1.0


def test_table_aligns_for_terminals_and_for_markdown() -> None:
    torch = RivalTime(2.0, 1.9, 2.0, variant="channels_last")
    row = Row("fc1", "forward", str(LAYERS["fc1"]), "avx2", 2, 1.0, 0.9, 10, 156.8, 5.65, 0.69, 2e-6, {"torch": torch})
    for markdown in (False, True):
        table = Table(["torch", "onnxruntime"], isas=True, markdown=markdown)
        heading, rule = table.head().splitlines()
        line = table.line(row)
        assert line.index("2.00*") + 5 == heading.index("× torch") + 7
        assert len(heading) == len(rule)
        assert (line.count("|") == heading.count("|") == rule.count("|") == 14) if markdown else "|" not in line
    assert "channels_last" in table.legend()
    assert "channels_last" not in Table(["reference"], isas=False, markdown=False).legend()
