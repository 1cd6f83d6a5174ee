"""The tables of README.md, computed from the records that lie beside it.

    python docs/study/tables.py

Scores are in percent, mean ± standard deviation over seeds, with their number in brackets where it
is not five. Differences are of the seeds that both sides have, with their 95 % interval and the p
of the paired t-test, and their number where it is below five. On stsb the bias of the head starts
at the labels' mean, save in "at 0".
"""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev

from agwm.report.records import Run, read_names, read_records
from agwm.report.statistics import compare

HERE = Path(__file__).parent
FIVE = range(5)
TASKS = ("stsb", "sst2", "mrpc", "rte", "cola")
AGWM, QUICK, FROZEN = "agwm first_order", "agwm, quick alpha", "agwm, alpha frozen at 1"
ALONE = "agwm, quick alpha alone"
JOINT, QUICK_JOINT = "joint", "joint, quick alpha"
REFIT = f"{QUICK_JOINT}, refit"
EVERYWHERE = (
    *("vanilla", "re_init", "lora", QUICK_JOINT, REFIT),
    *(f"{QUICK}, one search", FROZEN, AGWM, QUICK, ALONE, "vanilla_long"),
)
ALPHA = (
    *("vanilla", f"{FROZEN}, one search", FROZEN),
    *("agwm, alpha frozen where drawn", "agwm, alpha frozen at 0.935"),
    *(JOINT, QUICK_JOINT, REFIT, f"{QUICK}, one search", AGWM, QUICK, ALONE),
)
TEN = ("vanilla", "re_init", ALONE, REFIT, QUICK_JOINT, "lora", f"{QUICK}, one search")
EXCHANGED = "alpha exchanged"
ANOTHER, OF_JOINT = "alpha of another seed", "alpha of joint"
GIVEN = (
    *("alpha of the same seed", OF_JOINT, f"{OF_JOINT} as a start"),
    *(ANOTHER, f"{ANOTHER} as a start", f"{ANOTHER} as rates", "alpha of sst2", EXCHANGED),
)
Scores = dict[int, float]  # seed -> percent


class Study:
    """The runs at one number of training examples, by task, method and seed."""

    def __init__(self, runs: Iterable[Run], n_train: int = 300, seeds: Iterable[int] = FIVE):
        self.cells: dict[tuple[str, str], dict[int, Run]] = {}
        for run in runs:
            if run.cell.n_train == n_train and run.seed in seeds:
                self.cells.setdefault((run.cell.task, run.cell.method), {})[run.seed] = run

    def methods(self) -> list[str]:
        """All of them, vanilla first, without what is said of the head."""
        names = {name.removesuffix(", prior bias") for _, name in self.cells}
        return sorted(names, key=lambda name: (name != "vanilla", name))

    def runs(self, task: str, method: str, at_zero: bool = False) -> dict[int, Run]:
        prior = task == "stsb" and not at_zero
        return self.cells.get((task, f"{method}, prior bias" if prior else method), {})

    def scores(self, task: str, method: str, at_zero: bool = False) -> Scores:
        return {seed: run.value for seed, run in self.runs(task, method, at_zero).items()}

    def mean(self, method: str, tasks: Iterable[str] = TASKS) -> Scores:
        """Mean over tasks, of the seeds that each of them has."""
        each = [self.scores(task, method) for task in tasks]
        common = sorted(set.intersection(*map(set, each)))
        return {seed: fmean(scores[seed] for scores in each) for seed in common}

    def passes(self, method: str, tasks: Iterable[str] = TASKS) -> str:
        """Forward and backward passes, vanilla's = 1, as a mean over the tasks."""
        ratios = []
        for task in tasks:
            ours, plain = (self.runs(task, name) for name in (method, "vanilla"))
            if ours:
                ratios.append(_passes(ours) / _passes(plain))
        return f"{fmean(ratios):.2f}" if ratios else ""


def _passes(runs: dict[int, Run]) -> float:
    return fmean(run.record["cost"]["backward_passes"] for run in runs.values())


def shown(scores: Scores) -> str:
    if len(scores) < 2:
        return "".join(f"{value:.2f} (1)" for value in scores.values())
    count = "" if len(scores) == len(FIVE) else f" ({len(scores)})"
    return f"{fmean(scores.values()):.2f} ± {stdev(scores.values()):.2f}{count}"


def gain(ours: Scores, base: Scores) -> str:
    """The difference, its interval and p; nothing for the same or too few."""
    found = compare(ours, base)
    if ours == base or not found.interval:
        return ""
    low, high = found.interval
    p = "" if found.p_paired is None else f", p = {found.p_paired:.2g}"
    few = f" ({found.seeds})" if found.seeds < len(FIVE) else ""
    return f"{found.difference:+.2f}, [{low:.2f}, {high:.2f}]{p}{few}"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("".join(f"| {cell} " if cell else "| " for cell in row) + "|" for row in lines)


def five_tasks(study: Study) -> str:
    """What has run on all tasks, and what is nearest in cost."""
    base = study.mean("vanilla")
    rows = []
    for method in EVERYWHERE:
        scores = [shown(study.scores(task, method)) for task in TASKS]
        mean = study.mean(method)
        rows.append([method, *scores, shown(mean), gain(mean, base), study.passes(method)])
    return table(["300 examples", *TASKS, "mean", "from vanilla", "passes"], rows)


def all_methods(study: Study) -> str:
    """Every method, the best on the two tasks that tell methods apart first."""
    pair = TASKS[:2]
    base = study.mean("vanilla", pair)
    rows = []
    for method in study.methods():
        mean = study.mean(method, pair)
        scores = [shown(study.scores(task, method)) for task in TASKS[:3]]
        where = fmean(mean.values()) if mean else 0
        rows.append(
            (where, [method, *scores[:2], gain(mean, base), scores[2], study.passes(method)])
        )
    ordered = [row for _, row in sorted(rows, key=lambda entry: -entry[0])]
    head = ["300 examples", *pair, "mean of both, from vanilla", "mrpc", "passes"]
    return table(head, ordered)


def head_start(study: Study) -> str:
    """The bias of the regression head at 0, as usual, and at the labels' mean."""
    rows = []
    for method in study.methods():
        sides = [study.scores("stsb", method, at_zero) for at_zero in (True, False)]
        if all(sides):
            rows.append([method, *map(shown, sides), gain(sides[1], sides[0])])
    return table(["stsb, bias of the head", "at 0", "at the mean", "difference"], rows)


def alpha(study: Study) -> str:
    """How alpha is learned, or not."""
    rows = []
    base, frozen = (study.scores("stsb", method) for method in ("vanilla", FROZEN))
    for method in ALPHA:
        ours = study.scores("stsb", method)
        gains = [gain(ours, frozen), gain(ours, base)]
        rows.append([method, shown(ours), *gains, study.passes(method, ["stsb"])])
    return table(["stsb", "score", "from alpha frozen at 1", "from vanilla", "passes"], rows)


def ten_seeds(study: Study) -> str:
    """Seeds 5 to 9, which nothing was chosen on, by themselves and with the first five."""
    rows = []
    base = study.scores("stsb", "vanilla")
    for method in TEN:
        ours = study.scores("stsb", method)
        late = {seed: ours[seed] for seed in ours if seed not in FIVE}
        late_base = {seed: base[seed] for seed in late}
        rows.append([method, shown(late), gain(late, late_base), shown(ours), gain(ours, base)])
    head = ["stsb", "seeds 5 to 9", "from vanilla", "seeds 0 to 9", "from vanilla"]
    return table(head, rows)


def given_alpha(study: Study, given: Study) -> str:
    """Fine-tuning with an alpha that is there from the first step, and what its entries know."""
    rows = []
    for name in GIVEN:
        row = [name]
        for task in TASKS[:2]:
            ours = given.scores(task, name)
            row += [
                shown(ours),
                gain(ours, study.scores(task, "vanilla")),
                gain(ours, given.scores(task, EXCHANGED)),
            ]
        rows.append(row)
    columns = [
        f"{task}{of}" for task in TASKS[:2] for of in ("", ", from vanilla", ", from exchanged")
    ]
    return table(["alpha is fixed at", *columns], rows)


def quick_elsewhere(study: Study) -> str:
    """Ten times the rate, on every task: what it gains with five searches, one and none."""
    pairs = [(QUICK, AGWM)]
    singles = (f"{QUICK}, one search", QUICK_JOINT, ALONE, REFIT)
    pairs += [(method, "vanilla") for method in singles]
    rows = [
        [task, *(gain(study.scores(task, ours), study.scores(task, base)) for ours, base in pairs)]
        for task in TASKS
    ]
    rows.append(["mean", *(gain(study.mean(ours), study.mean(base)) for ours, base in pairs)])
    head = [f"{ours}, from {base}" for ours, base in pairs]
    return table(["300 examples", *head], rows)


def thousand(study: Study) -> str:
    """Three tasks at 1,000 examples."""
    rows = []
    tasks = ("stsb", "sst2", "cola")
    for method in ("vanilla", "re_init", "lora", AGWM):
        mean = study.mean(method, tasks)
        scores = [shown(study.scores(task, method)) for task in tasks]
        rows.append([method, *scores, shown(mean), gain(mean, study.mean("vanilla", tasks))])
    return table(["1,000 examples", *tasks, "mean", "from vanilla"], rows)


def options(study: Study) -> str:
    """Scores of the two seeds that options were chosen on."""
    rows = []
    for method in study.methods():
        cells = [study.scores("sst2", method), study.scores("stsb", method, at_zero=True)]
        cells.append(study.scores("stsb", method))
        each = [", ".join(f"{scores[seed]:.1f}" for seed in sorted(scores)) for scores in cells]
        rows.append([method, *each])
    return table(["seeds 20, 21", "sst2", "stsb, bias at 0", "stsb, at the mean"], rows)


def read(folder: str) -> list[Run]:
    """The finished runs of a folder beside this file."""
    names = read_names(HERE / "names.yaml")
    grouped = "optim.group_by_length=True"
    for name in GIVEN:  # given_alpha.py, which is no method of the sweep
        names[f"{name}+{grouped}"] = name
        names[f"{name}+model.output_bias=prior+{grouped}"] = f"{name}, prior bias"
    return read_records([HERE / folder], names).ok


def all_tables() -> list[str]:
    """In the order of README.md."""
    runs = read("records")
    study = Study(runs)
    return [
        five_tasks(study),
        thousand(Study(runs, n_train=1000)),
        all_methods(study),
        head_start(study),
        alpha(study),
        ten_seeds(Study(runs, seeds=range(10))),
        given_alpha(study, Study(read("given"))),
        quick_elsewhere(study),
        options(Study(read("options/records"), seeds=(20, 21))),
    ]


if __name__ == "__main__":
    print("\n\n".join(all_tables()))
