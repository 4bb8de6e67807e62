"""The benchmark's whole nets: the rivals run the same graph, the definition trains as the trainer does; the summary."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from cnnlib import config, models
from cnnlib.bench import LAYERS, rivals, summary, with_onnx, with_torch
from cnnlib.bench.architectures import NETS, NamedNet
from cnnlib.bench.named import GROUPS
from cnnlib.bench.nets import NetTask
from cnnlib.bench.options import parse
from cnnlib.bench.table import RivalTime, Row
from cnnlib.bench.timing import Pace, Timing
from cnnlib.bench.work import WrongResultError, verify
from cnnlib.errors import ConfigError
from cnnlib.layers import AvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.model import Sequential


def unusual(rng: Any) -> Sequential:
    """Windows that the measured nets have not: groups, dilation, padded pools, other in height than in width."""
    return Sequential(
        Conv2d(2, 6, (3, 5), stride=(1, 2), padding=(2, 1), groups=2, rng=rng),
        ReLU(),
        MaxPool2d(3, stride=2, padding=1),
        Conv2d(6, 4, 3, padding=2, dilation=2, bias=False, rng=rng),
        BatchNorm2d(4),
        AvgPool2d((3, 2), stride=2, padding=1, count_include_pad=False),
        Flatten(),
        Linear(64, 5, rng=rng),
        input_shape=(2, 13, 27),
    )


# Eight channels: with fewer the gradient of a strided 1 × 1 convolution in channels_last writes out of bounds in
# PyTorch 2.13 (https://github.com/uxlfoundation/oneDNN/issues/6035).
SMALL = {
    "lenet5": NETS["lenet5"],
    "residual": NamedNet("residual", "", partial(models.resnet_mini, channels=(8, 16)), (), 2e-2),
    "unusual": NamedNet("unusual", "", unusual, (), 1e-4),
}
PASSES = [(name, which) for name in SMALL for which in ("train", "predict")]


def test_operations_of_lenet5_are_those_of_its_layers() -> None:
    forward = {name: LAYERS[name].flops("forward") for name in ("lenet1", "lenet2", "fc1", "fc2")}
    assert NetTask(NETS["lenet5"], "predict", 64).flops == sum(forward.values())
    assert NetTask(NETS["lenet5"], "train", 64).flops == 3 * sum(forward.values()) - forward["lenet1"]
    assert NetTask(NETS["lenet5"], "predict", 1).flops * 64 == sum(forward.values())


def test_operations_of_resnet18() -> None:
    """1.81 billion multiply-adds an image, as He et al. count them, but for their rounding."""
    assert NetTask(NETS["resnet18"], "predict", 4).flops / 8 == pytest.approx(1.81e9, rel=0.01)


@pytest.mark.parametrize(("name", "which"), [*PASSES, ("cifar", "predict")])
def test_the_nets_are_right(name: str, which: str) -> None:
    task = NetTask({**SMALL, **NETS}[name], which, 2)
    assert 0 < verify(task, "cnnlib", task.contestant("cnnlib")) <= task.tolerance
    assert 0 < verify(task, "reference", task.contestant("reference")) <= task.tolerance


@pytest.mark.parametrize(("name", "which"), PASSES)
def test_torch_runs_the_same_net(name: str, which: str) -> None:
    pytest.importorskip("torch")
    task = NetTask(SMALL[name], which, 3)
    variants = with_torch.contestants(task, 1)
    assert list(variants) == ["contiguous", "channels_last"]
    assert all(verify(task, "torch", contestant) <= task.tolerance for contestant in variants.values())


@pytest.mark.parametrize(("name", "which"), PASSES)
def test_onnx_runtime_runs_the_same_net(name: str, which: str) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    task = NetTask(SMALL[name], which, 3)
    variants = with_onnx.contestants(task, 1)
    assert len(variants) == (which == "predict")
    assert all(verify(task, "onnxruntime", contestant) < 1e-5 for contestant in variants.values())


@pytest.mark.parametrize("name", ["lenet5", "residual"])
def test_the_definition_updates_its_weights_as_the_trainer_does(name: str) -> None:
    task = NetTask(SMALL[name], "train", 3)
    own, definition = (task.contestant(name).run for name in ("cnnlib", "reference"))
    losses = [(own(), definition()[0]) for _ in range(4)]
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-4)
    assert len(set(losses)) == 4


def test_a_layer_that_nobody_knows_is_refused() -> None:
    task = NetTask(NamedNet("mixed", "", models.inception_mini, (), 1e-3), "predict", 1)
    with pytest.raises(ConfigError, match=r"the benchmark has no definition of Concat\("):
        _ = task.expected


def test_a_wrong_gradient_is_refused() -> None:
    task = NetTask(SMALL["residual"], "train", 2)
    contestant = task.contestant("cnnlib")

    def one_gradient_off(value: Any) -> Any:
        loss, first, *others = contestant.results(value)
        return loss, first * 1.1, *others

    with pytest.raises(WrongResultError, match=r"residual train \(2×1×28²\): error 1\.\de-01 against float64"):
        verify(task, "cnnlib", replace(contestant, results=one_gradient_off))


def row(layer: str, which: str, batch: int = 64, **ratios: float) -> Row:
    times = {rival: RivalTime(1.0, 1.0, ratio) for rival, ratio in ratios.items()}
    return Row(layer, which, "", batch, "avx2", 2, 1.0, 1.0, 1, None, None, None, 0.0, times)


def told(rows: list[Row]) -> dict[tuple[str, int], tuple[str, float]]:
    return {(claim.what, claim.threads): (claim.against, pytest.approx(claim.ratio)) for claim in summary.claims(rows)}


def test_the_summary_takes_geometric_means_of_the_layers_that_were_measured() -> None:
    ratios = {("vgg64", "forward"): 1.0, ("res512", "forward"): 4.0, ("vgg64", "backward"): 3.0}
    ratios |= {("pw256", "grad_x"): 0.1, ("fc1", "grad_x"): 0.7, ("lenet1", "forward"): 0.5}
    claims = told([row(*names, torch=ratio) for names, ratio in ratios.items()])
    assert claims == {
        ("3×3 convolutions (vgg64, res512), forward", 2): ("PyTorch", 2.0),
        ("3×3 convolutions (vgg64), backward", 2): ("PyTorch", 3.0),
        ("5×5 convolutions (lenet1), forward", 2): ("PyTorch", 0.5),
        ("slowest convolution: lenet1 forward", 2): ("PyTorch", 0.5),
        ("slowest other layer: fc1 grad_x", 2): ("PyTorch", 0.7),
    }


def test_the_summary_compares_predictions_with_the_faster_rival() -> None:
    train = row("lenet5", "train", torch=3.0)
    predict = (
        row("lenet5", "predict", torch=3.0, onnxruntime=2.0),
        row("lenet5", "predict", 1, torch=2, onnxruntime=2.5),
    )
    others = row("lenet5", "train", 8, torch=9.0), row("cifar", "train", torch=2.0)
    claims = told([train, *predict, replace(train, threads=1), *others])
    assert claims == {
        ("LeNet-5, training step, batch 64", 2): ("PyTorch", 3.0),
        ("LeNet-5, prediction, batch 64", 2): ("ONNX Runtime, the faster", 2.0),
        ("LeNet-5, prediction, one image", 2): ("PyTorch, the faster", 2.0),
        ("LeNet-5, training step, batch 64", 1): ("PyTorch", 3.0),
        ("CIFAR net with BN, training step, batch 64", 2): ("PyTorch", 2.0),
    }


def test_the_summary_says_nothing_without_rivals() -> None:
    assert summary.claims([row("lenet5", "train")]) == []


def test_cnnlib_against_itself() -> None:
    """Two threads against one; another instruction set against the best, which is faster."""
    timings = {
        ("avx512", 2): Timing([[1.0, 0.9, 1.1]]),
        ("avx512", 1): Timing([[1.8]]),
        ("avx2", 2): Timing([[1.25, 1.0, 2.0]]),
    }
    claims = summary.claims_of_itself(timings)
    assert [(claim.isa, claim.threads, claim.against, claim.ratio, claim.best) for claim in claims] == [
        ("avx512", 2, "itself on 1 thread", 1.8, 2.0),
        ("avx2", 2, "itself with avx512", 0.8, 0.9),
    ]
    printed = summary.lines(claims, markdown=True)
    cells = [cell.strip() for cell in printed[-1].split("|")[1:-1]]
    assert cells == ["LeNet-5, training step, batch 64", "avx2", "2", "itself with avx512", "0.800", "0.900"]
    assert len({len(text) for text in "\n".join(printed).splitlines()}) == 1


def test_cnnlib_against_itself_is_timed_in_each_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    verified = summary.verify

    def watched(task: Any, name: str, contestant: Any) -> float:
        seen.append((config.get_isa(), config.get_num_threads()))
        return verified(task, name, contestant)

    monkeypatch.setattr(summary, "verify", watched)
    before, isa = (config.get_isa(), config.get_num_threads()), config.get_isa()
    timings = summary.against_itself([(isa, 2), (isa, 1)], Pace(rounds=1, block=0.0, limit=0.0, fewest=1))
    assert list(timings) == seen == [(isa, 2), (isa, 1)]
    assert (config.get_isa(), config.get_num_threads()) == before


def test_what_runs_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "get_num_threads", lambda: 2)
    monkeypatch.setattr(config, "get_isa", lambda: "avx512")
    monkeypatch.setattr(config, "supported_isas", lambda: ("avx512", "avx2", "baseline"))
    monkeypatch.setattr(rivals, "_installed", lambda package: True)
    options = parse([])
    assert options.names == (*LAYERS, *NETS)
    assert options.against == ("reference", "torch", "onnxruntime")
    assert options.settings("lenet5") == [("avx512", 2), ("avx512", 1)]
    assert options.settings("cifar") == options.settings("fc1") == [("avx512", 2)]
    assert options.own_settings() == [("avx512", 2), ("avx512", 1), ("avx2", 2)]
    assert {net.name for net in NETS.values()} == set(NETS)
    assert {batch for _, batch in NETS["lenet5"].passes} == {1, 8, 16, 37, 64, 256, 1024}
    assert set(summary.HEADLINES["lenet5"]) <= set(NETS["lenet5"].passes)
    assert parse(["--layers", *GROUPS["stems, 3 channels"]]).own_settings() == []
