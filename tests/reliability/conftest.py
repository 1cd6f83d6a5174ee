import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest


class Nursery:
    patience = 300

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("nursery.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._line() == "ready"

    def start(self, log, *argv, **limits):
        """Process number of `agwm.train`; `wait` has to follow."""
        order = {"argv": argv, "log": str(log), **limits}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def wait(self):
        """Its exit code."""
        return int(self._line())

    def run(self, *order, **limits):
        self.start(*order, **limits)
        return self.wait()

    def _line(self):
        late = threading.Timer(self.patience, self.process.kill)
        late.start()
        try:
            told = self.process.stdout.readline().strip()
        finally:
            late.cancel()
        return told or pytest.fail(f"it has died, or gave no answer within {self.patience} s")

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture(scope="session")
def nursery():
    made = Nursery()
    yield made
    made.close()
