"""Command line: `python -m agwm.compare task=file task.train=FILE ...`; see `--help`."""

import os
import sys
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from agwm import train
from agwm.compose import compose_config, known_keys, quoted
from agwm.config import RunConfig
from agwm.data.own import settled
from agwm.errors import RunError, UserError, one_line
from agwm.hub import settle_offline
from agwm.identity import config_hash, differences, run_dir
from agwm.stopping import stoppable, tell_stopped

_DEFAULTS = {"method": "vanilla,agwm", "seed": "range(0,5)", "sweep": "compare"}
_HELP = """\
usage: python -m agwm.compare task=file task.train=reviews.csv [key=value ...]

Run several methods on the same data with the same seeds, print the report, and say which to use.

  method=vanilla,agwm   methods; the first is what the others are compared with
  seed='range(0,5)'     seeds
  key=value             any other key of python -m agwm.train, the same for all runs
  --dry-run             only look at the data and list what would be run

Finished runs are kept: the same command goes on after an interrupt, more seeds or methods add to
what is there.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run, report and judge; 0, 1 if a run failed, 2 for a mistake of the user."""
    given = sys.argv[1:] if arguments is None else arguments
    given = ["dry_run=true" if argument == "--dry-run" else argument for argument in given]
    if not given or "-h" in given or "--help" in given:
        print(_HELP, end="")
        return 0
    try:
        with stoppable():
            return _compare(given)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error, known_keys())}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        return tell_stopped(error, "; the same command goes on")
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"error: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
        return 1


def _compare(given: list[str]) -> int:
    if option := next((argument for argument in given if argument.startswith("-")), None):
        raise UserError(f"{option}: no such option; --dry-run, --help or key=value")
    values = dict(argument.partition("=")[::2] for argument in given)
    methods = values.get("method", _DEFAULTS["method"]).split(",")
    if len(set(methods)) < 2:
        raise UserError(f"method={methods[0]}: name two or more, method=vanilla,agwm")
    # One run of each method, to find the data and what its runs are called in the report.
    shared = [argument for argument in given if not argument.startswith(("method=", "seed="))]
    _refuse_several(shared)
    shared.append(f"sweep={values.get('sweep', _DEFAULTS['sweep'])}")
    configs = [settled(compose_config(*shared, f"method={method}")) for method in methods]
    config = configs[0]
    settle_offline(config)
    if config.task.train is not None:
        _print_data(config)
    defaults = [f"{key}={value}" for key, value in _DEFAULTS.items() if key not in values]
    code = _run(["-m", *defaults, *given])
    if config.dry_run or code not in (0, 1):
        return code
    _report(configs)
    return code


def _refuse_several(arguments: list[str]) -> None:
    for override in OverridesParser.create().parse_overrides([*map(quoted, arguments)]):
        if override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: several values; methods and seeds alone are compared, "
                "python -m agwm.train -m runs whatever else differs"
            )


def _print_data(config: RunConfig) -> None:
    """What was found in the file, before hours are spent on it."""
    from agwm.data.datamodule import GlueDataModule
    from agwm.data.summary import print_data, summarize
    from agwm.models.pretrained import load_tokenizer
    from agwm.training.silence import silence

    silence()
    data = GlueDataModule(config.task, config.optim, config.seed, config.n_train, config.data_dir)
    data.tokenize_with(load_tokenizer(config.model))
    print_data(summarize(data), config.task.train)


def _run(arguments: list[str]) -> int:
    """Exit code of `agwm.train` with these arguments, in this process."""
    traceback = os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["agwm.train", *arguments]
    try:
        train.main()
    except SystemExit as left:
        return left.code or 0
    finally:
        if traceback is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
    return 0


def _folders(config: RunConfig) -> list[Path]:
    """Runs of `config` with any seed; those of a file before it was edited lie among them."""
    from agwm.results.record import read_record

    cell = config_hash(config, "seed")
    found = sorted(run_dir(config).parent.glob("seed*"))
    return [folder for folder in found if (read_record(folder) or {}).get("cell_hash") == cell]


def _report(configs: list[RunConfig]) -> None:
    from agwm.console import PlainConsole
    from agwm.report.build import report_on_runs
    from agwm.report.output import write_report
    from agwm.report.plots import make_plots
    from agwm.report.records import read_records
    from agwm.report.terminal import print_report
    from agwm.report.verdict import judge
    from agwm.results.card import write_card

    config = configs[0]
    baseline = "+".join([config.method["name"], *differences(config)])
    folder = Path(config.runs_dir, config.sweep, config.task.name)
    found = [run for config in configs for run in _folders(config)]
    records = read_records(found) if found else None
    if records is None or not records.ok:
        raise RunError(f"{folder}: no run has finished, so there is nothing to compare")
    report = report_on_runs(records, baseline, published=False)
    console = PlainConsole()
    print_report(report, console)
    for file in write_report(report, make_plots(report.blocks, baseline), folder / "report"):
        console.print(f"{file}", soft_wrap=True)
    for run in records.ok:
        write_card(run.folder)  # with the spread over the seeds, known only now
    verdict = judge(records.ok, baseline, config.task)
    console.print(f"\n{verdict.text}")
    chosen = min(
        (r for r in records.ok if r.cell.method == verdict.method), key=lambda run: run.seed
    )
    if (chosen.folder / "model").is_dir():
        console.print(f"model: {chosen.folder / 'model'}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
