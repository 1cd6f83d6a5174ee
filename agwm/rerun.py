"""Command line: `python -m agwm.rerun RUN`; see `--help`."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from agwm.command import Parser, exit_code
from agwm.compose import compose_config
from agwm.config import Logger, RunConfig
from agwm.errors import RunError, UserError
from agwm.hub import settle_offline
from agwm.method import build_method
from agwm.results.claim import claimed
from agwm.results.record import FILE, read_record

if TYPE_CHECKING:
    from agwm.results.comparison import Finding
    from agwm.results.record import Record

_DESCRIPTION = """\
Run a finished run once more, from its record.json and config.yaml, and compare the two.

Weights are compared bit for bit, then predictions and metrics; what differs in versions, machine
and code is listed. RUN stays as it is. Exit code 0: equal. 1: not equal. 2: RUN is no finished
run, or its data is not there or has changed.
"""
CONFIG = "config.yaml"


def main(arguments: list[str] | None = None) -> int:
    """Run again and compare; 0 if equal, 1 if not, 2 for a mistake of the user."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _rerun(options.run, options.keep))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m agwm.rerun",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run's directory")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="new folder for the second run (none is kept)"
    )
    return parser


def _rerun(folder: Path, keep: Path | None) -> None:
    record = _finished(folder)
    config = saved_config(folder)
    method = build_method(config.method)
    if keep is not None and (keep.exists() or folder.resolve() in keep.resolve().parents):
        raise UserError(f"--keep={keep}: there is something already, or it is in RUN; name another")
    threads = config.trainer.threads or (record.get("machine") or {}).get("threads")
    # Bits depend on the number of threads; whoever watches curves has seen these.
    config = replace(config, trainer=replace(config.trainer, threads=threads), logger=Logger())
    compose_config()  # so that Hydra knows the choices' defaults, as it does in agwm.train
    settle_offline(config)
    _require_data(folder, config, record)
    # Seconds of imports, which a mistake is not to wait for.
    from agwm.results.comparison import compare_runs, environment_differences
    from agwm.run import run

    with _place(keep) as place, claimed(place):
        again = run(config, method, place, record["config_hash"])
        if keep is not None:
            _same_cell(again, record).write(place)
        records = (record, asdict(again))
        findings = compare_runs(folder, place, records)
    _show(folder, findings, environment_differences(records))
    if keep is not None:
        print(f"kept: {keep}")
    if unequal := [finding.what for finding in findings if not finding.equal]:
        raise RunError(f"{folder}: came out otherwise this time: {', '.join(unequal)}")


def _finished(folder: Path) -> dict[str, Any]:
    """Record of the run; raises `UserError` unless there is one of a finished run."""
    record = read_record(folder)
    if record is None:
        raise UserError(f"RUN={folder}: no {FILE} that can be read; give a finished run's folder")
    if record.get("status") != "ok":
        reason = " ".join(str(record.get("error")).split())
        raise UserError(
            f"RUN={folder}: has failed ({reason}); python -m agwm.train runs it on to its end"
        )
    for name in ("headline", "metrics", "config_hash"):
        if not record.get(name):
            raise UserError(f"RUN={folder}: its {FILE} has no {name}; it cannot be compared")
    return record


def saved_config(folder: Path) -> RunConfig:
    """The configuration in a run's `config.yaml`.

    Raises:
        UserError: there is none, or none of this version.
    """
    file = folder / CONFIG
    try:
        # Unresolved: a label's name is no interpolation, whatever stands in it.
        plain = OmegaConf.to_container(OmegaConf.load(file))
        parts = {f.name: f.type(**plain[f.name]) for f in fields(RunConfig) if is_dataclass(f.type)}
        return RunConfig(**(plain | parts))
    except UserError:
        raise
    except Exception as error:  # whatever YAML, OmegaConf and our own types have against it
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file}: is no configuration of this version of agwm ({reason}); give the folder that "
            "a run has written, and the version in its record.json"
        ) from error


def _require_data(folder: Path, config: RunConfig, record: dict[str, Any]) -> None:
    """Raise `UserError` unless the data that the run has read is there, as it was."""
    from agwm.data.datamodule import GlueDataModule

    try:
        data = GlueDataModule(
            config.task, config.optim, config.seed, config.n_train, config.data_dir
        )
    except UserError as error:
        told = f"{error} (data of {folder}; relative paths begin where it was started)"
        raise UserError(told) from error
    for name, found in {"subsample": data.train.digest(), "data": data.digest()}.items():
        known = record.get(f"{name}_hash")  # older records have one alone
        if known not in (None, found):
            raise UserError(
                f"RUN={folder}: its data has changed: {name}_hash was {known}, is {found}; put the "
                "files back as they were"
            )


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    with TemporaryDirectory(prefix="agwm-rerun-") as temporary:
        yield Path(temporary)


def _same_cell(again: "Record", record: dict[str, Any]) -> "Record":
    """`config.yaml` spells out what the first command left to presets; the cell is the same."""
    return replace(again, variant=record.get("variant") or [], cell_hash=record.get("cell_hash"))


def _show(folder: Path, findings: "list[Finding]", environment: list[tuple[str, str, str]]) -> None:
    from agwm.console import PlainConsole
    from agwm.report.table import Column, Table
    from agwm.report.terminal import print_table

    console = PlainConsole()
    rows = [[what, "equal" if equal else "DIFFERENT", told] for what, equal, told in findings]
    columns = [Column("what"), Column("is"), Column("found")]
    print_table(Table("rerun", f"{folder}, run again", columns, rows), console)
    if environment:
        columns = [Column("what"), Column("then"), Column("now")]
        found = list(map(list, environment))
        print_table(
            Table("environment", "made with, where it is not as it was", columns, found), console
        )
    elif not all(finding.equal for finding in findings):
        print("versions, code, machine and examples are those of the first run")


if __name__ == "__main__":
    sys.exit(main())
