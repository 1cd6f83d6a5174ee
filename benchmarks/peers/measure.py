"""Other ways to the same classifier, on the same texts: time, processor time, accuracy, code.

    python benchmarks/peers/measure.py [PEER ...] [--seeds 3] [--threads 2] [--setfit PYTHON]

Each run is a new process that starts with empty caches; the peers take turns, seed by seed. The
sample files of docs/ are what is learned and predicted. PYTHON is that of an environment that has
setfit; without it SetFit is left out.
"""

import argparse
import ast
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median, stdev

from agwm.compose import compose_config
from agwm.models.package import package_folder

ROOT = Path(__file__).parents[2]
TRAIN, TEST = ROOT / "docs" / "messages.csv", ROOT / "docs" / "later.csv"
AGWM = ["task=file", f"task.train={TRAIN}", f"task.validation={TEST}", "trainer.progress=false"]
# Script or module, and its options. The "recipe" is that of conf/model/minilm.yaml, which was not
# chosen on these texts.
PEERS = {
    "embeddings": ("embeddings.py", []),
    "trainer": ("trainer.py", []),
    "trainer-recipe": ("trainer.py", ["--lr=2e-4", "--epochs=10", "--batch-size=16"]),
    "lora": ("lora.py", []),
    "lora-recipe": ("lora.py", ["--lr=3e-3"]),
    "vanilla": ("agwm.train", ["method=vanilla"]),
    "setfit-20": ("contrastive.py", ["--iterations=20"]),
    "setfit": ("contrastive.py", []),
    "compare": ("agwm.compare", []),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--setfit", metavar="PYTHON")
    given = parser.parse_args()
    if unknown := set(given.peers) - set(PEERS):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    peers = given.peers or list(PEERS)
    if given.setfit is None:
        peers = [peer for peer in peers if not peer.startswith("setfit")]
    found: dict[str, list] = {peer: [] for peer in peers}
    for seed in range(given.seeds):
        for peer in peers:
            if seed and peer in ("embeddings", "compare"):
                continue  # no seed changes it; all seeds in one command
            taken = run(peer, seed, given)
            found[peer].append(taken)
            print(f"# {peer}, seed {seed}: {json.dumps(taken)}", flush=True)
    print("\n| peer | lines | seconds | of a processor | accuracy |\n|---|---|---|---|---|")
    for peer, runs in found.items():
        for name in runs[0]["accuracy"]:
            values = [value for taken in runs for value in taken["accuracy"][name]]
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            wall, busy = (median(r[key] for r in runs) for key in ("seconds", "processor"))
            each = f"{mean(values):.1f}{spread} ({', '.join(f'{v:.0f}' for v in values)})"
            print(f"| {name} | {lines(PEERS[peer][0])} | {wall:.0f} | {busy:.0f} | {each} |")


def run(peer: str, seed: int, given: argparse.Namespace) -> dict:
    """Wall and processor seconds of one process, and the accuracies (percent) it came to."""
    program, options = PEERS[peer]
    with tempfile.TemporaryDirectory() as folder:
        if program.startswith("agwm."):
            seeds = f"seed=range(0,{given.seeds})" if peer == "compare" else f"seed={seed}"
            command = [sys.executable, "-m", program, *AGWM, *options, seeds, f"runs_dir={folder}"]
        else:
            python = given.setfit if peer.startswith("setfit") else sys.executable
            model = package_folder(compose_config("model=minilm").model)
            command = [python, Path(__file__).with_name(program), TRAIN, TEST, model, *options]
            if program != "embeddings.py":
                command.append(f"--seed={seed}")
        environment = os.environ | {
            "OMP_NUM_THREADS": str(given.threads),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": f"{folder}/cache",
        }
        before, started = busy_seconds(), time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{peer} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        accuracy: dict[str, list[float]] = {}
        for file in sorted(Path(folder).rglob("record.json")):
            record = json.loads(file.read_text(encoding="utf-8"))
            values = accuracy.setdefault(f"{peer}: {record['method']}", [])
            values.append(100 * record["metrics"]["accuracy"])
        if not accuracy:
            accuracy[peer] = [float(done.stdout.rpartition("accuracy")[2])]
    return {
        "seconds": round(seconds, 1),
        "processor": round(busy_seconds() - before, 1),
        "accuracy": accuracy,
    }


def busy_seconds() -> float:
    """Processor time of all ended children, whatever else the machine was doing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lines(program: str) -> int:
    """Lines of code of a script, without blank ones, comments and docstring; none of a command."""
    if program.startswith("agwm."):
        return 0
    text = Path(__file__).with_name(program).read_text(encoding="utf-8")
    code = text.splitlines()[ast.parse(text).body[0].end_lineno :]
    return sum(not line.lstrip().startswith("#") for line in code if line.strip())


if __name__ == "__main__":
    main()
