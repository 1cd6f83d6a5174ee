"""Starts commands as forks of itself, imports done: `python nursery.py`, one JSON line a command.

{"argv": [...], "log": FILE, "survived": [NAME...], "file_size": BYTES,
"memory": BYTES} -> the process's number, and
when it is over its exit code (negative: the signal). With `survived` it is gone, as by SIGKILL,
just before it would put a file or folder of another name into its place, and has logged which; with
`file_size` no file can grow beyond that, as on a disk that is full; with `memory` the process gets
no more than that beyond what its imports took.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import agwm.report.run_page
import agwm.results.card
import agwm.run  # noqa: F401
from agwm import train


def die_at_others(survived):
    for name in ("replace", "rename"):
        original = getattr(Path, name)

        def fatal(path, target, original=original):
            if Path(target).name not in survived:
                print(f"dies at {Path(target).name}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(path, target)

        setattr(Path, name, fatal)


def child(order):
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if "survived" in order:
        die_at_others(order["survived"])
    if order.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"], resource.RLIM_INFINITY))
    if order.get("memory"):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + order["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    sys.argv = ["train.py", *order["argv"]]
    try:
        train.main()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code or 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
    print("ready", flush=True)
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            child(json.loads(line))
        print(number, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
