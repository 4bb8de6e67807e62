"""Downloads, against a server on this machine that can fail in every way a mirror does."""

from __future__ import annotations

import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cnnlib import datasets
from cnnlib.datasets import download, mnist_family, sources
from cnnlib.datasets.download import fetch
from cnnlib.datasets.idx import idx_digest, write_idx
from cnnlib.datasets.sources import FILES, Source, load
from cnnlib.errors import DataError, DataNotFoundError


class Server(ThreadingHTTPServer):
    """Serves ``files`` under /good, /cut (half of it), /cut-once, /endless, /wrong; logs the paths."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.log = files, []

    def mirror(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        _, kind, name = self.path.split("/")
        first = self.path not in self.server.log
        self.server.log.append(self.path)
        content = self.server.files.get(name)
        if content is None or kind == "none":
            self.send_error(404)
            return
        if kind == "wrong":
            content = next(file for other, file in self.server.files.items() if other != name)
        self.send_response(200)
        if kind != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "cut" or (kind == "cut-once" and first):
            content = content[: len(content) // 2]
        self.wfile.write(content * (1000 if kind == "endless" else 1))

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the four files of ``server.source``; downloads go to tmp_path / "data" / "tiny"."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("CNNLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    rng = np.random.default_rng(0)
    files, digests = {}, []
    for file, shape in zip(FILES, ((3, 4, 4), (3,), (2, 4, 4), (2,)), strict=True):
        array = rng.integers(0, 10, shape, np.uint8)
        write_idx(tmp_path / "file.gz", array)
        files[f"{file}.gz"] = (tmp_path / "file.gz").read_bytes()
        digests.append(idx_digest(array))
    server = Server(files)
    server.source = Source("tiny", "Tiny", tuple(digests), mirrors=(server.mirror("good"),))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def folder_of(tmp_path):
    return tmp_path / "data" / "tiny"


def download_one(server, tmp_path, *kinds, verify=lambda path: None, **options):
    return fetch(
        f"{FILES[0]}.gz",
        [server.mirror(k) for k in kinds],
        tmp_path,
        max_bytes=5000,
        verify=verify,
        progress=False,
        **options,
    )


def test_whole_set_is_fetched_once(server, tmp_path, monkeypatch):
    monkeypatch.setitem(mnist_family.SOURCES, "tiny", server.source)
    (x_train, _), (_, y_test) = load(server.source, progress=False)
    assert x_train.shape == (3, 1, 4, 4)
    assert y_test.shape == (2,)
    assert sorted(path.name for path in folder_of(tmp_path).iterdir()) == sorted(server.files)
    assert datasets.find("tiny") == folder_of(tmp_path)
    load(server.source, progress=False)
    assert len(server.log) == 4


def test_without_cnnlib_data_it_goes_to_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.delenv("CNNLIB_DATA")
    monkeypatch.setattr(sources, "_cache", lambda: tmp_path / "cache")
    load(server.source, progress=False)
    assert len(list((tmp_path / "cache" / "tiny").iterdir())) == 4


def test_only_the_missing_file_is_fetched(server, tmp_path):
    load(server.source, progress=False)
    (folder_of(tmp_path) / f"{FILES[2]}.gz").unlink()
    server.log.clear()
    load(server.source, progress=False)
    assert server.log == [f"/good/{FILES[2]}.gz"]


def test_dead_mirrors_are_passed_over_and_the_good_one_kept(server, tmp_path):
    dead = "http://127.0.0.1:9/nobody"
    load(replace(server.source, mirrors=(dead, server.mirror("none"), server.mirror("good"))), progress=False)
    assert [path for path in server.log if path.startswith("/none")] == [f"/none/{FILES[0]}.gz"]
    assert len([path for path in server.log if path.startswith("/good")]) == 4


def test_cut_download_is_retried(server, tmp_path):
    download_one(server, tmp_path, "cut-once")
    assert (tmp_path / f"{FILES[0]}.gz").read_bytes() == server.files[f"{FILES[0]}.gz"]


@pytest.mark.parametrize(
    ("kind", "reason"), [("cut", "ended after"), ("none", "404"), ("endless", "longer than"), ("wrong", "SHA-256")]
)
def test_failed_download_leaves_nothing_and_says_why(server, tmp_path, kind, reason):
    def verify(path):
        sources._check(path, server.source.sha256[0], server.source)

    (tmp_path / "to").mkdir()
    with pytest.raises(DataNotFoundError) as error:
        download_one(server, tmp_path / "to", kind, verify=verify, rounds=2)
    assert reason in str(error.value)
    assert server.mirror(kind) in str(error.value)
    assert len(server.log) == 2
    assert list((tmp_path / "to").iterdir()) == []


def test_wait_between_rounds_grows(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    with pytest.raises(DataNotFoundError):
        download_one(server, tmp_path, "none", rounds=4, pause=0.5)
    assert waits == [0.5, 1.0, 2.0]


def test_interruption_leaves_nothing(server, tmp_path):
    def interrupt(path):
        assert path.parent == tmp_path / "to"
        assert path.exists()
        raise KeyboardInterrupt

    (tmp_path / "to").mkdir()
    with pytest.raises(KeyboardInterrupt):
        download_one(server, tmp_path / "to", "good", verify=interrupt)
    assert list((tmp_path / "to").iterdir()) == []


def test_file_appears_only_when_synced_and_verified(server, tmp_path, monkeypatch):
    events = []
    fsync, rename = download.os.fsync, download.os.replace
    monkeypatch.setattr(download.os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(download.os, "replace", lambda a, b: (events.append("rename"), rename(a, b)))
    download_one(server, tmp_path, "good", verify=lambda path: events.append("verify"))
    assert events == ["fsync", "verify", "rename"]


def test_offline_error_of_a_set_has_reasons_and_advice(server, tmp_path):
    source = replace(server.source, mirrors=(server.mirror("none"),), advice="Ask a friend.")
    with pytest.raises(DataNotFoundError) as error:
        load(source, progress=False)
    for part in ("404", "Ask a friend.", str(folder_of(tmp_path)), *FILES):
        assert part in str(error.value)


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(DataNotFoundError, match=r"Put these four files"):
        load(server.source, progress=False)
    assert server.log == []


def test_progress_bar_can_be_silenced(server, tmp_path, capsys):
    load(server.source, progress=False)
    assert capsys.readouterr().err == ""
    (folder_of(tmp_path) / f"{FILES[0]}.gz").unlink()
    load(server.source, progress=True)
    assert f"{FILES[0]}.gz" in capsys.readouterr().err


def test_damaged_file_on_disk_is_an_error_not_a_download(server, tmp_path):
    load(server.source, progress=False)
    path = folder_of(tmp_path) / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-4])
    server.log.clear()
    with pytest.raises(DataError, match=FILES[0]):
        load(server.source, progress=False)
    assert server.log == []
