"""Weights that PyTorch wrote, in cnnlib, and cnnlib's in PyTorch: the same arrays, and the same outputs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import Input, Model, Sequential, layers
from cnnlib.callbacks import Checkpoint
from cnnlib.errors import DataError, FileFormatError
from cnnlib.serialize import save_state
from cnnlib.state import IncompatibleKeys

torch = pytest.importorskip("torch")
nn = torch.nn
load_file, save_file = (getattr(pytest.importorskip("safetensors.torch"), name) for name in ("load_file", "save_file"))

IMAGES = np.random.default_rng(2).standard_normal((6, 3, 16, 16)).astype(np.float32)
# The same arguments make the same names and shapes in both.
ALIKE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Linear", (5, 3), {}),
    ("Linear", (5, 3), {"bias": False}),
    ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}),
    ("Conv1d", (4, 6, 3), {"bias": False}),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "groups": 2}),
    ("ConvTranspose1d", (4, 6, 3), {}),
    ("BatchNorm1d", (5,), {}),
    ("BatchNorm2d", (5,), {"affine": False}),
    ("BatchNorm2d", (5,), {"momentum": 0.3, "eps": 1e-3}),
    ("PReLU", (), {}),
    ("PReLU", (7,), {}),
    ("GroupNorm", (2, 6), {}),
    ("LayerNorm", ([4, 3],), {"bias": False}),
    ("InstanceNorm1d", (5,), {}),
    ("InstanceNorm2d", (5,), {"affine": True}),
]


def chains() -> tuple[Any, Sequential]:
    """A chain with everything that has weights, in both."""

    def build(m: Any) -> list[Any]:
        convolutions = [m.Conv2d(3, 8, 3, padding=1, bias=False), m.BatchNorm2d(8), m.ReLU(), m.MaxPool2d(2)]
        convolutions += [m.Conv2d(8, 8, 3, padding=1, groups=8), m.PReLU(8), m.Conv2d(8, 12, 1), m.BatchNorm2d(12)]
        dense = [m.Linear(12 * 16, 20), m.BatchNorm1d(20), m.Tanh(), m.Dropout(0.2), m.Linear(20, 4)]
        return [*convolutions, m.LeakyReLU(0.1), m.AvgPool2d(2), m.Flatten(), *dense]

    torch.manual_seed(0)
    return nn.Sequential(*build(nn)), Sequential(*build(layers), input_shape=(3, 16, 16))


class Block(nn.Module):  # type: ignore[misc,name-defined]
    """A residual block as torchvision names its parts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(x + y)


class ResNet(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        return self.fc(self.layer1(self.stem(x)).mean((2, 3)))


def graphs() -> tuple[Any, Model]:
    """The same residual net: a layer of the graph has the dotted name of its module."""
    x = Input((3, 16, 16))
    y = layers.Conv2d(3, 8, 3, stride=2, padding=1, name="stem")(x)
    for i in range(2):
        name, z = f"layer1.{i}", y
        for part in ("1", "2"):
            z = layers.Conv2d(8, 8, 3, padding=1, bias=False, name=f"{name}.conv{part}")(z)
            z = layers.BatchNorm2d(8, name=f"{name}.bn{part}")(z)
            z = layers.ReLU()(z if part == "1" else z + y)
        y = z
    pooled = layers.Flatten()(layers.GlobalAvgPool2d()(y))
    torch.manual_seed(1)
    return ResNet(), Model(x, layers.Linear(8, 5, name="fc")(pooled))


def exercise(module: Any, model: Model) -> None:
    """Move all running estimates away from where they began."""
    module.train()
    for _ in range(3):
        module(torch.from_numpy(IMAGES * 2 + 1))
    module.eval()
    model.initialize(7)
    for _ in range(3):
        model.forward(IMAGES * 3 - 1, training=True)


def outputs(module: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        found: np.ndarray[Any, Any] = module.eval()(torch.from_numpy(IMAGES)).numpy()
    return found


def assert_same(module: Any, model: Model) -> None:
    theirs = {name: array.numpy() for name, array in module.state_dict().items() if "num_batches" not in name}
    ours = model.state_dict()
    assert set(theirs) == set(ours)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
        assert array.dtype == theirs[name].dtype
    expected = outputs(module)
    assert np.abs(model.predict(IMAGES) - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("build", [chains, graphs])
def test_from_pytorch(build: Any, tmp_path: Path) -> None:
    module, model = build()
    exercise(module, model)
    save_file(module.state_dict(), tmp_path / "torch.safetensors")
    assert repr(model.load_weights(tmp_path / "torch.safetensors")) == "<All keys matched successfully>"
    assert_same(module, model)
    exercise(module, model)
    assert model.load_state_dict(module.state_dict()) == IncompatibleKeys([], [])
    assert_same(module, model)


@pytest.mark.parametrize("build", [chains, graphs])
def test_to_pytorch(build: Any, tmp_path: Path) -> None:
    module, model = build()
    exercise(module, model)
    model.save(tmp_path / "cnnlib.safetensors")
    found = module.load_state_dict(load_file(tmp_path / "cnnlib.safetensors"))
    assert not found.missing_keys
    assert not found.unexpected_keys
    assert_same(module, model)
    exercise(module, model)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in model.state_dict().items()})
    assert_same(module, model)


@pytest.mark.parametrize(("name", "arguments", "settings"), ALIKE)
def test_names_and_shapes_are_pytorchs(name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
    layer, module = getattr(layers, name)(*arguments, **settings), getattr(nn, name)(*arguments, **settings)
    ours = {key: parameter.data for key, parameter in layer.parameters().items()} | layer.buffers()
    theirs = module.state_dict()
    theirs.pop("num_batches_tracked", None)
    assert {key: array.shape for key, array in ours.items()} == {key: tuple(a.shape) for key, a in theirs.items()}


def test_every_layer_with_weights_that_pytorch_has_is_compared() -> None:
    def has_weights(cls: type) -> bool:
        return any("Parameter(" in inspect.getsource(c) for c in cls.__mro__ if c.__module__.startswith("cnnlib"))

    shared = {name for name, cls in layers.registered().items() if hasattr(nn, name) and has_weights(cls)}
    assert shared == {name for name, _, _ in ALIKE}


def test_a_width_other_than_the_models_is_converted(tmp_path: Path) -> None:
    module, model = chains()
    for kind in (torch.float64, torch.float16):
        save_file(
            {name: a.to(kind) for name, a in module.state_dict().items() if a.is_floating_point()}, tmp_path / "w"
        )
        model.load_weights(tmp_path / "w")
        np.testing.assert_allclose(model.state_dict()["0.weight"], module.state_dict()["0.weight"].numpy(), atol=1e-3)
    save_file({name: a.to(torch.bfloat16) for name, a in module.state_dict().items()}, tmp_path / "w")
    with pytest.raises(FileFormatError, match="BF16"):
        model.load_weights(tmp_path / "w")


def test_a_models_file_and_a_checkpoint_give_their_weights(tmp_path: Path) -> None:
    _, model = chains()
    trainer = cnnlib.Trainer(model, cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.1, 0.9), callbacks=[Checkpoint(tmp_path)])
    trainer.fit((IMAGES, np.arange(6) % 4), verbose=0)
    _, other = chains()
    newest = max(tmp_path.glob("checkpoint-*"))
    other.load_weights(newest)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


def test_differences_are_told_in_full_or_returned(tmp_path: Path) -> None:
    module, model = chains()
    state = {name: array.numpy() for name, array in module.state_dict().items()}
    before = model.state_dict()
    del state["12.bias"]
    state |= {"head.weight": np.zeros((2, 3), np.float32), "0.num_batches_tracked": np.array(3)}
    save_state(state, tmp_path / "state")
    with pytest.raises(DataError, match=r"state: the state does not fit the model") as caught:
        model.load_weights(tmp_path / "state")
    assert sorted(str(caught.value).splitlines()[1:]) == [
        "  missing: 12.bias (20,)",
        "  not in the model: 0.num_batches_tracked ()",
        "  not in the model: head.weight (2, 3)",
    ]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    found = model.load_weights(tmp_path / "state", strict=False)
    assert found.missing_keys == ["12.bias"]
    assert sorted(found.unexpected_keys) == ["0.num_batches_tracked", "head.weight"]
    assert repr(found).startswith("IncompatibleKeys(missing_keys=['12.bias'], unexpected_keys=[")
    np.testing.assert_array_equal(model.state_dict()["15.weight"], state["15.weight"])
    np.testing.assert_array_equal(model.state_dict()["12.bias"], before["12.bias"])
    wrapped = {f"module.{name}": array.numpy() for name, array in module.state_dict().items()}
    with pytest.raises(DataError, match=r"names begin with 'module\.': load \{k\.removeprefix"):
        model.load_state_dict(wrapped)
    turned = {name: array.numpy() for name, array in module.state_dict().items()}
    turned["15.weight"] = turned["15.weight"].T
    with pytest.raises(DataError, match=r"15\.weight: shape \(20, 4\), the model's is \(4, 20\); use its transpose"):
        model.load_state_dict(turned, strict=False)
