"""Command line: `python -m agwm.doctor [key=value ...]`; see `--help`."""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from agwm.command import Parser
from agwm.compose import compose_config, known_keys
from agwm.config import RunConfig
from agwm.doctor import machine, sources
from agwm.doctor.finding import NOTE, OK, PROBLEM, Finding
from agwm.errors import UserError, one_line
from agwm.method import build_method

CHECKS: tuple[Callable[[RunConfig], Iterable[Finding]], ...] = (
    machine.check_packages,
    machine.check_device,
    machine.check_memory,
    sources.check_model,
    sources.check_data,
    sources.check_hub,
    sources.check_logger,
    sources.check_clusters,
    machine.check_runs_dir,
    machine.check_encoding,
)
_STYLES = {OK: "green", NOTE: "yellow", PROBLEM: "bold red"}


def main(arguments: list[str] | None = None) -> int:
    """Check and print; 0, 1 if something is a problem, or 2 for a mistake of the user."""
    overrides = _parser().parse_args(arguments).overrides
    try:
        config = compose_config(*overrides)
        build_method(config.method)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error, known_keys())}", file=sys.stderr)
        return 2
    # A path that the terminal cannot show is no reason to say nothing.
    sys.stdout.reconfigure(errors="backslashreplace")
    problems = sum(finding.state == PROBLEM for finding in _show(config))
    print(f"problems: {problems}" if problems else "no problem found")
    return 1 if problems else 0


def _parser() -> Parser:
    parser = Parser(
        prog="python -m agwm.doctor",
        description="Whether a run of agwm.train with these overrides would find what it needs.",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="as for agwm.train: data_dir=FOLDER ..."
    )
    return parser


def _show(config: RunConfig) -> list[Finding]:
    # Half a second of imports, which a mistake need not wait for.
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from agwm.console import PlainConsole

    console = PlainConsole()
    with console.status("checking ..."):
        findings = findings_of(config)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "checked", "found, and what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        style = _STYLES[finding.state]
        text = Text(finding.found)
        if finding.remedy:
            text.append(f"\n-> {finding.remedy}", style)
        table.add_row(Text(finding.state, style), Text(finding.about), text)
    console.print(table)
    return findings


def findings_of(config: RunConfig) -> list[Finding]:
    """What all checks find, in their order; they run side by side, as most of them wait."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        found = pool.map(lambda check: _findings(check, config), CHECKS)
        return [finding for findings in found for finding in findings]


def _findings(check: Callable[[RunConfig], Iterable[Finding]], config: RunConfig) -> list[Finding]:
    """A check that fails is a finding itself: a broken package shows by its import, for one."""
    try:
        return list(check(config))
    except Exception as error:
        about = check.__name__.removeprefix("check_")
        found = f"{type(error).__name__}: {one_line(error)}"
        return [Finding(about, PROBLEM, found, "mend or reinstall what the message names")]


if __name__ == "__main__":
    sys.exit(main())
