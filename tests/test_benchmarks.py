"""The benchmark of the steps runs where torch and transformers are all there is."""

import subprocess
import sys

from agwm.paths import root

# What a bare machine with a GPU lacks; None makes an import fail.
_ALONE = """
import runpy, sys
for name in ("lightning", "hydra", "omegaconf", "datasets", "torchmetrics", "wandb", "rich"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
sys.argv[1:] = sys.argv[2:]
runpy.run_path(sys.path[0] + "/steps.py", run_name="__main__")
"""


def test_every_side_steps_and_the_error_is_printed_beside():
    given = ["--lengths", "4", "--repetitions", "1"]
    printed = subprocess.run(
        [sys.executable, "-c", _ALONE, str(root() / "benchmarks"), *given],
        check=True, capture_output=True, text=True, timeout=300,
    ).stdout  # fmt: skip
    rows = {line.split()[1]: line.split() for line in printed.splitlines()[2:]}
    sides = ["vanilla", "mixed", "paper", "one_sided", "first_order", "released"]
    assert list(rows) == sides
    assert float(rows["vanilla"][3]) == 1
    assert 0 < float(rows["paper"][4]) < 1e-3
    assert 0 < float(rows["one_sided"][4]) < 1e-2


def test_a_step_of_another_method_is_timed():
    given = ["--methods", "mixout", "--length", "4", "--repetitions", "1"]
    command = [sys.executable, str(root() / "benchmarks" / "method_step.py"), *given]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert printed.stdout.startswith("mixout")
