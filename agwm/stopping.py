"""Polite ways of being stopped: Ctrl-C, SIGTERM and a hang-up."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """By the signal `number`; passes wherever Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Held:
    """Whether a stop has come while stops are held back."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._handlers = {n: own for n in _SIGNALS if (own := signal.getsignal(n)) is not None}

    def listen(self) -> None:
        """Take back the signals that a library has put handlers of its own in front of."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether one has come."""
        return self.number is not None

    def stop(self) -> None:
        """Stop now, if one has come."""
        if self.number is not None:
            raise Stopped(self.number)


_held: Held | None = None
_raised: int | None = None  # the last stop; Python swallows what is raised while an object goes


@contextmanager
def held_back() -> Iterator[Held]:
    """Inside, the first stop waits until `Held.stop` or the end; a second one does not wait.

    Raises:
        Stopped: also at the beginning, for a stop that has gone unheard before.
    """
    global _held
    if _raised is not None:
        raise Stopped(_raised)
    _held = held = Held()
    try:
        yield held
    finally:
        _held = None
    held.stop()


def _stop(number: int, _: Any) -> None:
    global _raised
    if _held is None or _held.asked:
        _raised = number
        raise Stopped(number)
    _held.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Every polite way of being stopped raises `Stopped` inside, where a thread may say so."""
    global _raised
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    # What is ignored, as a hang-up is under nohup, stays so.
    heard = [n for n in _SIGNALS if signal.getsignal(n) not in (None, signal.SIG_IGN)]
    before = {number: signal.signal(number, _stop) for number in heard}
    try:
        yield
    finally:
        _raised = None
        for number, handler in before.items():
            signal.signal(number, handler)


def tell_stopped(error: KeyboardInterrupt, advice: str = "") -> int:
    """Say that the work was stopped; the exit code that a shell would give it."""
    number = getattr(error, "number", signal.SIGINT)
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    print(f"error: interrupted{by}{advice}", file=sys.stderr)
    return 128 + number
