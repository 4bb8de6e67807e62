"""The command line as a user meets it: good runs on the bundled digits, wrong usage, and what fails on the way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cnnlib
from cnnlib import Linear, Sequential, Softmax, serialize
from cnnlib.cli import data, main
from cnnlib.stepping import Stepper

COMMANDS = ("train", "evaluate", "predict", "summary", "export", "bench", "info", "selftest")


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = {"PYTHONPATH": str(Path(cnnlib.__file__).parent.parent), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-m", "cnnlib", *arguments],
        cwd=folder,
        env={**os.environ, **paths, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    """A folder in which the smallest model was trained, and what was printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = run(folder, "train", "mlp", "--data", "sample", "--epochs", "2", "--seed", "1", "--out", "m.safetensors")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder of its own, and no data sets on this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def failure(capsys, *arguments: str) -> str:
    """Run a command that fails for a reason of the user's; return its one message."""
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("cnnlib: error: ")
    assert "Traceback" not in error
    return error.removeprefix("cnnlib: error: ").strip()


def usage(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


# Good runs


def test_training_says_what_it_does(trained) -> None:
    folder, output = trained
    for word in ("machine", "kernels", "threads", "data", "model", "training", "test", "speed", "saved", "next"):
        assert re.search(rf"^{word} ", output, flags=re.M), word
    assert "the bundled MNIST sample: 4,000 images to train, 1,000 to test" in output
    assert output.count("\nepoch ") == 2
    assert "images/s" in output
    right = re.search(r"^test +([\d.]+)% of 1,000 test images right, (\d+) wrong$", output, flags=re.M)
    assert right
    assert float(right[1]) > 88
    assert float(right[1]) == pytest.approx(100 - int(right[2]) / 10)
    assert (folder / "m.safetensors").stat().st_size > 1e6
    assert "cnnlib predict IMAGE.png --model m.safetensors" in output


def test_a_saved_model_is_what_was_tested(trained, elsewhere, capsys) -> None:
    folder, output = trained
    wrong = re.search(r"(\d+) wrong", output)
    assert main(["evaluate", str(folder / "m.safetensors")]) == 0
    evaluated = capsys.readouterr().out
    assert wrong
    assert f", {wrong[0]};" in evaluated
    assert "trained on the bundled MNIST sample" in evaluated
    assert "seed 1" in evaluated
    assert "note" not in evaluated
    assert len(re.findall(r"^\d +100 +\d+ +[\d.]+%$", evaluated, flags=re.M)) == 10
    assert re.search(r"^  \d taken for \d: \d+ times?$", evaluated, flags=re.M)


def test_the_same_seed_gives_the_same_bits(elsewhere, capsys) -> None:
    files = []
    brief = ["train", "mlp", "--epochs", "1", "--batch-size", "500", "--quiet", "--out"]
    for name, *options in (("a", "--threads", "1"), ("b", "--threads", "2"), ("c", "--seed", "1")):
        with cnnlib.config.using():
            assert main([*brief, name, *options]) == 0
        files.append(cnnlib.load(elsewhere / name).state_dict()["1.weight"].tobytes())
    assert files[0] == files[1] != files[2]
    assert "epoch" not in capsys.readouterr().out


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_options_reach_the_trainer(elsewhere, capsys, schedule) -> None:
    options = ["--lr", "0.02", "--momentum", "0.5", "--weight-decay", "0", "--validation", "0.5", "--batch-size", "100"]
    assert main(["train", "mlp", "--epochs", "3", "--schedule", schedule, *options]) == 0
    output = capsys.readouterr().out
    rates = [float(rate) for rate in re.findall(r"  lr ([\d.e-]+)", output)]
    assert rates[0] == pytest.approx(0.02, rel=0.3)
    assert rates[2] == pytest.approx({"cosine": 0, "step": 0.0002, "constant": 0.02}[schedule], abs=1e-4)
    assert output.count("val_accuracy") == 3
    assert (elsewhere / "mlp.safetensors").is_file()
    note = serialize.load_state("mlp.safetensors")[1]["training"]
    assert note.startswith(f"3 epochs, batches of 100, SGD with learning rate 0.02 ({schedule}), momentum 0.5")


def test_auto_takes_the_sample_and_says_how_to_get_the_rest(elsewhere) -> None:
    chosen = data.load_data("auto")
    assert chosen.name == "sample"
    assert "--data mnist downloads it" in chosen.where


def test_auto_takes_the_full_set_where_it_is(elsewhere, monkeypatch) -> None:
    (elsewhere / "data" / "mnist").mkdir(parents=True)
    sample = Path(cnnlib.datasets.__file__).parent / "sample"
    for path in sample.glob("*.gz"):
        (elsewhere / "data" / "mnist" / path.name).write_bytes(path.read_bytes())
    # These files are not MNIST's, and the reader would say so: what it is asked to read is what matters here.
    monkeypatch.setattr(data.datasets, "mnist", cnnlib.datasets.mnist_sample)
    chosen = data.load_data("auto")
    assert chosen.name == "mnist"
    assert str(elsewhere) in chosen.where
    assert "--data sample" in chosen.where


def test_a_damaged_full_set_is_a_message(elsewhere, capsys) -> None:
    (elsewhere / "data" / "mnist").mkdir(parents=True)
    sample = Path(cnnlib.datasets.__file__).parent / "sample"
    for path in sample.glob("*.gz"):
        (elsewhere / "data" / "mnist" / path.name).write_bytes(path.read_bytes())
    assert "not the file of MNIST" in failure(capsys, "train", "mlp")


@pytest.mark.parametrize(
    ("trained_on", "words"),
    [("mnist", "this is no test"), (None, "a model trained on the full MNIST has seen them"), ("sample", "")],
)
def test_evaluate_says_when_the_digits_were_seen(trained, elsewhere, capsys, trained_on, words) -> None:
    model = cnnlib.load(trained[0] / "m.safetensors")
    serialize.save(model, "other", {"trained_on": trained_on} if trained_on else None)
    assert main(["evaluate", "other", "--data", "sample"]) == 0
    output = capsys.readouterr().out
    assert words in output
    assert ("note " in output) == bool(words)


def test_predict_in_every_form(trained, elsewhere, capsys) -> None:
    pillow = pytest.importorskip("PIL.Image")
    (x, _), _ = cnnlib.datasets.mnist_sample()
    model = trained[0] / "m.safetensors"
    digit = x[3, 0]
    expected = cnnlib.load(model).predict(x[3:4]).argmax()
    pillow.fromarray(digit).save("plain.png")
    pillow.fromarray(255 - digit).resize((140, 140)).save("paper.png")
    np.save("array.npy", digit / 255)
    np.savez("several.npz", digits=x[3:5])
    assert main(["predict", "plain.png", "paper.png", "array.npy", "several.npz", "--model", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1:] if "note:" not in line]
    assert [row[0] for row in rows] == [
        "plain.png", "paper.png", "array.npy", "several.npz[digits][0]", "several.npz[digits][1]",
    ]  # fmt: skip
    assert [row[1] for row in rows[:4]] == [str(expected)] * 4
    assert rows[0][2:] == rows[2][2:] == rows[3][2:]
    for row in rows:
        assert sum(map(float, row[2:])) == pytest.approx(100, abs=0.6)
    notes = [line.strip() for line in lines if "note:" in line]
    assert "inverted" in notes[0]
    assert "of 140×140" in notes[1]
    assert len(notes) == 2


def test_predict_takes_probabilities_as_they_are_and_names_clothes(elsewhere, capsys) -> None:
    layers = (cnnlib.Flatten(), Linear(784, 10, rng=0), Softmax())
    model = Sequential(*layers, input_shape=(1, 28, 28))
    serialize.save(model, "clothes", {"trained_on": "fashion-mnist"})
    image = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    np.save("i.npy", image)
    assert main(["predict", "i.npy", "--model", "clothes", "--invert", "never"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert "sneaker" in header
    shown = np.array(row.split()[2:], float)
    np.testing.assert_allclose(shown, 100 * model.predict(image[None, None])[0], atol=0.051)


def test_summary_of_a_name_and_of_a_file(trained, capsys) -> None:
    assert main(["summary", "lenet5"]) == 0
    assert "1,256,080 parameters" in capsys.readouterr().out
    assert main(["summary", str(trained[0] / "m.safetensors")]) == 0
    assert "trained on the bundled MNIST sample: 2 epochs" in capsys.readouterr().out


def test_info_says_where_data_are_looked_for(elsewhere, capsys) -> None:
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert cnnlib.show_config() in output
    assert str(elsewhere / "data" / "mnist") in output
    assert "not found" in output


def test_bench_gets_its_own_arguments(monkeypatch) -> None:
    import cnnlib.bench

    seen = []
    monkeypatch.setattr(cnnlib.bench, "main", lambda argv: seen.append(argv) or 3)
    assert main(["bench", "--help", "lenet1"]) == 3
    assert seen == [["--help", "lenet1"]]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "bench"])
def test_every_command_has_help_with_an_example(command, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"  cnnlib {command}" in capsys.readouterr().out.partition("example")[2]


# Interruption


def test_interrupted_training_keeps_what_was_learned(elsewhere, capsys, monkeypatch) -> None:
    step, calls = Stepper.step, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) > 12:  # 8 batches an epoch
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Stepper, "step", interrupted)
    options = ["train", "mlp", "--epochs", "3", "--batch-size", "500", "--out"]
    assert main([*options, "half"]) == 130
    assert "interrupted after 1 of 3 epochs" in capsys.readouterr().out
    assert "interrupted after 1" in serialize.load_state("half")[1]["training"]
    assert main([*options, "nothing"]) == 130
    assert "nothing was saved" in capsys.readouterr().out
    assert not Path("nothing").exists()


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["train"], "MODEL"),
        (["train", "resnet"], "lenet5"),
        (["train", "mlp", "--data", "cifar"], "fashion-mnist"),
        (["train", "mlp", "--epochs", "0"], "0: expected an integer from 1 up"),
        (["train", "mlp", "--epochs", "many"], "'many': expected an integer"),
        (["train", "mlp", "--lr", "nan"], "nan: expected a number from 0 up"),
        (["train", "mlp", "--lr", "inf"], "inf: expected a number from 0 up"),
        (["train", "mlp", "--momentum", "1"], "1: expected a number from 0 below 1"),
        (["train", "mlp", "--threads", "5000"], "an integer from 1 to 1024"),
        (["train", "mlp", "--seed", "-1"], "expected an integer from 0 up"),
        (["train", "mlp", "--epoch", "3"], "--epoch"),
        (["predict"], "IMAGE"),
        (["predict", "a.png", "--invert", "perhaps"], "always"),
    ],
)
def test_wrong_usage(capsys, arguments, words) -> None:
    assert words in usage(capsys, *arguments)


# What fails on the way


def test_no_output_is_found_out_before_training(elsewhere, capsys, monkeypatch) -> None:
    monkeypatch.setattr(cnnlib.Trainer, "fit", lambda *_, **__: pytest.fail("training began"))
    assert "there is no folder missing" in failure(capsys, "train", "mlp", "--out", "missing/m.safetensors")
    Path("folder").mkdir()
    assert "a folder" in failure(capsys, "train", "mlp", "--out", "folder")
    if sys.platform == "linux":
        assert "cannot write to" in failure(capsys, "train", "mlp", "--out", "/proc/m.safetensors")


def test_a_diverging_run_is_a_message(elsewhere, capsys) -> None:
    message = failure(capsys, "train", "lenet5", "--lr", "1e6", "--epochs", "1", "--batch-size", "500", "--quiet")
    assert "lower the learning rate" in message
    assert not list(elsewhere.glob("*.safetensors"))


@pytest.mark.parametrize("command", [["evaluate"], ["summary"], ["predict", "x.npy", "--model"]])
def test_models_that_are_none(trained, elsewhere, capsys, command) -> None:
    np.save("x.npy", np.zeros((28, 28)))
    assert "missing.safetensors" in failure(capsys, *command, "missing.safetensors")
    Path("text").write_text("not a model")
    assert "text: damaged or not a safetensors file" in failure(capsys, *command, "text")
    Path("half").write_bytes((trained[0] / "m.safetensors").read_bytes()[:10_000])
    assert "half: damaged" in failure(capsys, *command, "half")
    Path("folder").mkdir()
    assert "folder" in failure(capsys, *command, "folder")


def test_models_that_do_not_fit(elsewhere, capsys) -> None:
    np.save("x.npy", np.zeros((28, 28)))
    Sequential(Linear(5, 10), input_shape=5).save("vectors")
    assert "expected one grey image" in failure(capsys, "predict", "x.npy", "--model", "vectors")
    assert "the model takes 5, expected one grey image" in failure(capsys, "evaluate", "vectors")
    Sequential(cnnlib.ReLU(), input_shape=(1, 28, 28)).save("images")
    assert "expected one score for each" in failure(capsys, "predict", "x.npy", "--model", "images")
    Sequential(cnnlib.Flatten(), Linear(784, 3), input_shape=(1, 28, 28)).save("three")
    assert "tells 3 classes apart" in failure(capsys, "evaluate", "three")


def test_a_process_ends_with_the_exit_code(tmp_path) -> None:
    done = run(tmp_path, "evaluate", "nothing.safetensors")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"cnnlib: error: .*nothing\.safetensors.*\n", done.stderr)
    assert run(tmp_path, "--version").stdout == f"cnnlib {cnnlib.__version__}\n"
