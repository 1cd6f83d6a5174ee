"""Polite ways of being stopped: Ctrl-C, SIGTERM and a hang-up."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """By the signal `number`; passes wherever Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Every polite way of being stopped raises `Stopped` inside."""

    def stop(number: int, _: Any) -> None:
        raise Stopped(number)

    # What is ignored, as a hang-up is under nohup, stays so.
    heard = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped(error: KeyboardInterrupt, advice: str = "") -> int:
    """Say that the work was stopped; the exit code that a shell would give it."""
    number = getattr(error, "number", signal.SIGINT)
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    print(f"error: interrupted{by}{advice}", file=sys.stderr)
    return 128 + number
