"""A disk that is full, read-only or limited while a checkpoint is saved costs that checkpoint, nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cnnlib.callbacks import Checkpoint
from cnnlib.errors import ConfigError
from cnnlib.selftest import nets

_FAILING = """
import os, resource, sys, warnings
import cnnlib
from cnnlib import checkpoint
from cnnlib.callbacks import Checkpoint, LambdaCallback
from cnnlib.selftest import nets
folder, how = sys.argv[1:]
def fail(trainer, epoch, logs):
    if epoch == 1 and how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    if epoch == 1 and how == "readonly":
        os.chmod(folder, 0o555)
        if os.getuid() == 0:
            os.setuid(65534)
    if epoch == 1 and how == "full":
        with open(folder + "/filler", "wb", buffering=0) as file:
            try:
                while True: file.write(bytes(4096))
            except OSError: pass
os.chmod(folder, 0o777)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    model = nets.build("normalized")
    trainer = nets.trainer(model, LambdaCallback(on_epoch_end=fail), Checkpoint(folder, every=2))
    history = trainer.fit(nets.images(64), epochs=3, batch_size=16, verbose=0)
assert history.epochs == 3
path, state, damaged = checkpoint.newest(folder)
print(state["run"]["position"], len(damaged), len(told), {str(w.message).partition(" could not")[0] for w in told})
print(told[0].message)
"""


@pytest.mark.parametrize("how", ["limit", "readonly", "full"])
def test_a_failing_disk_leaves_the_former_checkpoint_and_training_goes_on(how: str) -> None:
    with tempfile.TemporaryDirectory() as outer:  # not pytest's folder: nobody else may enter that
        os.chmod(outer, 0o755)
        folder = Path(outer) / "run"
        folder.mkdir()
        _fail(folder, how)


def _fail(folder: Path, how: str) -> None:
    if how == "full":
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", folder], check=False)
        if mounted.returncode:
            pytest.skip("needs the right to mount a small disk")
    try:
        command = [sys.executable, "-c", _FAILING, str(folder), how]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        leftovers = [name for name in os.listdir(folder) if name.endswith(".tmp")]
    finally:
        if how == "full":
            subprocess.run(["umount", folder], check=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("[1, 4, 4] 0 "), result.stdout  # after the batch before the disk failed
    assert "checkpoint-00000004.safetensors stands" in result.stdout
    assert leftovers == []


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="no folder for checkpoints can be made there"):
        nets.trainer(nets.build("normalized"), Checkpoint(tmp_path / "file" / "run")).fit(nets.images(9), verbose=0)
