"""Fetching a file from the first mirror that serves it whole: retries, progress, nothing half-done left on disk."""

from __future__ import annotations

import http.client
import os
import secrets
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from cnnlib.errors import DataError, DataNotFoundError

__all__ = ["fetch"]

CHUNK = 1 << 16
TIMEOUT = 10.0


def fetch(
    name: str,
    mirrors: Sequence[str],
    folder: Path,
    *,
    max_bytes: int,
    verify: Callable[[Path], object],
    progress: bool = True,
    rounds: int = 3,
    pause: float = 1.0,
) -> str:
    """Download ``name`` into ``folder`` from the first of ``mirrors`` that has it right; return that mirror.

    All mirrors are tried in turn, ``rounds`` times, waiting ``pause``, 2 ``pause``, 4 ``pause``, … seconds in between.
    A download goes to a temporary file in the same folder, at most ``max_bytes`` long. Only when it is complete, synced
    to disk and not refused by ``verify(path)`` with a :class:`DataError`, it is renamed: the file is whole or absent.

    Raises :class:`DataNotFoundError` with what went wrong at each mirror.
    """
    failures: dict[str, str] = {}
    for attempt in range(rounds):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        for mirror in mirrors:
            url = mirror.rstrip("/") + "/" + name
            # In the same folder, because a rename is atomic only within a file system.
            part = folder / f".{name}.{secrets.token_hex(4)}.part"
            try:
                _save(url, part, max_bytes, progress)
                verify(part)
                os.replace(part, folder / name)
                return mirror
            # urllib.error.URLError and time-outs are OSErrors.
            except (OSError, http.client.HTTPException, DataError) as error:
                failures[url] = f"{type(error).__name__}: {error}".replace(str(part), "the download")
            finally:
                part.unlink(missing_ok=True)
    reasons = "".join(f"\n  {url}: {reason}" for url, reason in failures.items())
    raise DataNotFoundError(f"{name} could not be downloaded to {folder}:{reasons}")


def _save(url: str, part: Path, max_bytes: int, progress: bool) -> None:
    from tqdm.auto import tqdm

    request = urllib.request.Request(url, headers={"User-Agent": "cnnlib"})
    # The bar comes first, so that who waits for a dead mirror sees for what.
    with (
        tqdm(desc=url, unit="B", unit_scale=True, disable=not progress) as bar,
        urllib.request.urlopen(request, timeout=TIMEOUT) as response,
        part.open("xb") as file,
    ):
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        bar.reset(total)
        done = 0
        while block := response.read(CHUNK):
            done += len(block)
            if done > max_bytes:
                raise DataError(f"longer than the {max_bytes:,} bytes that the file can have")
            file.write(block)
            bar.update(len(block))
        # Reading in blocks, http.client ends a cut connection as if it were the end of the file.
        if total is not None and done != total:
            raise DataError(f"the connection ended after {done:,} of {total:,} bytes")
        file.flush()
        os.fsync(file.fileno())
