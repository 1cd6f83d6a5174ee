"""What is shown of a run on the way: a bar in a terminal, a line for each fit elsewhere."""

import io
import re

import pytest

from agwm.method import Phase
from agwm.training.progress import RunProgress

PHASES = [Phase("search 1/1", epochs=1, passes=4), Phase("finetune", epochs=1, passes=1)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def written(monkeypatch):
    """`written(stream)`: what a run of 4 steps of search and 8 of 16 of its fine-tuning writes."""

    def run(stream):
        monkeypatch.setattr("sys.stderr", stream)
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        with RunProgress(PHASES, [4, 16]) as progress:
            for steps in ([1, 2, 3, 4], range(1, 9)):
                progress.begin()
                for step in steps:
                    progress.advance(step)
                progress.bar.refresh()
                if step == 4:
                    progress.end()
        return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", stream.getvalue())

    return run


def test_a_bar_shows_the_fit_its_steps_and_the_share_of_all_passes(written):
    shown = written(Terminal())
    # 16 of 32 passes when the search is over, though it has 4 of the 20 steps; then 24 of 32.
    assert re.search(r"search 1/1 +step +4/4 .* 50% .* left", shown)
    assert re.search(r"finetune +step +8/16 .* 75% .* left", shown)


def test_without_a_terminal_each_fit_that_is_over_is_a_line(written):
    lines = written(io.StringIO()).splitlines()
    assert len(lines) == 1
    assert re.fullmatch(r"search 1/1: 4 steps in \d+\.\d s, 1 more to come", lines[0])
