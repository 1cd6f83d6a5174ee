"""One process of a sweep: started, watched, and told to stop."""

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable


class Job:
    """A run in a process of its own.

    Args:
        overrides: of the run.
        command: that starts it.
    """

    def __init__(self, overrides: list[str], command: list[str]) -> None:
        self.overrides = overrides
        self.command = command
        self.label = ""  # of its overrides, those that other runs do not share
        self.slot = -1
        self.code: int | None = None
        self._process: subprocess.Popen[str] | None = None
        self.seconds = 0.0
        self.lines: deque[str] = deque(maxlen=20)  # the last it printed

    @property
    def kind(self) -> str:
        """What runs of about the same length have in common."""
        return " ".join(o for o in self.overrides if not o.startswith("seed="))

    def start(self, slot: int, environment: Callable[[int], dict[str, str]]) -> None:
        """Start in `slot`; in a process group of its own, so that Ctrl-C reaches us alone."""
        self.slot = slot
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self.command,
            env=environment(slot),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            if line.strip():
                self.lines.append(line.rstrip())

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def ended(self) -> bool:
        """Whether the process is over; its exit code is known then."""
        if self._process.poll() is None:
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Wait for the end."""
        if self._process is None:
            return
        self.code = self._process.wait()
        self.seconds = self.elapsed
        # What it left running may hold the pipe open.
        self._reader.join(timeout=1)

    def interrupt(self) -> None:
        """Tell it to stop; it writes its record first."""
        if self._process is not None:
            self._process.terminate()  # SIGINT is ignored in what a script starts in the background

    def kill(self) -> None:
        """End it at once; the next start of the run goes on from its checkpoints."""
        if self._process is not None:
            self._process.kill()
