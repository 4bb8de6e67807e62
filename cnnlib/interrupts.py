"""Signals that ask a process to end, held back until it is at a place where it can."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupts", "held"]


class Interrupts:
    """What came meanwhile: the first SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._former: dict[int, Any] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.release()
            raise KeyboardInterrupt(f"a second signal, {signal.Signals(number).name}, did not wait")
        self.received = signal.Signals(number)

    def hold(self) -> None:
        """Take the signals, unless the process ignores them; in another thread than the main one leave all as it is."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            former = signal.getsignal(number)
            if former not in (signal.SIG_IGN, None):
                self._former[number] = former
                signal.signal(number, self._receive)

    def release(self) -> None:
        """Give the signals back to who had them."""
        while self._former:
            signal.signal(*self._former.popitem())


@contextmanager
def held() -> Iterator[Interrupts]:
    """Hold SIGINT and SIGTERM back; a second one raises KeyboardInterrupt at once.

    A SIGTERM that came is sent again at the end, so that it ends the process as it would have.
    """
    interrupts = Interrupts()
    interrupts.hold()
    try:
        yield interrupts
    finally:
        interrupts.release()
        if interrupts.received is signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)
