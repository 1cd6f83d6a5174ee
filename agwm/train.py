"""Command line: `python -m agwm.train [key=value ...]`; see `--help`."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from agwm.atomic import remove_partial
from agwm.compose import known_keys, quoted, refuse_list, register, to_run_config
from agwm.data.own import settled
from agwm.errors import UserError, one_line
from agwm.hub import settle_offline
from agwm.identity import config_hash, run_dir
from agwm.method import build_method
from agwm.paths import root
from agwm.results.claim import claimed
from agwm.results.record import finished_record
from agwm.stopping import stoppable, tell_stopped
from agwm.sweep import register as register_sweep

_WANTS_TRACEBACK = bool(os.environ.get("HYDRA_FULL_ERROR"))
register()
register_sweep()

_exit_codes: list[int] = []  # of the jobs of this process, which Hydra does not hand back


@hydra.main(config_path=str(root() / "conf"), config_name="train", version_base="1.3")
def job(cfg: DictConfig) -> None:
    """One run. A failure is told and remembered, and does not stop the jobs that follow."""
    with _told(_exit_codes.append):
        _run_once(cfg)


def main() -> None:
    """Run the command line; exits with 0, 1 if a run failed, 2 for a mistake of the user."""
    # Hydra then raises instead of printing lines of its own.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["dry_run=true" if argument == "--dry-run" else argument for argument in sys.argv]
    sys.argv = [sys.argv[0], *map(quoted, sys.argv[1:])]
    # What a job does not tell by itself is a command line that Hydra could not compose.
    with stoppable(), _told(_exit_codes.append, otherwise=2):
        _refuse_unreadable(sys.argv[1:])
        job()
    sys.exit(max(_exit_codes, default=0))


def _refuse_unreadable(arguments: list[str]) -> None:
    """Before Hydra, which would print its usage, or stumble."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; key=value, -m for several runs, or --help")

    parser.error = refuse
    for override in parser.parse_args(arguments).overrides:
        if not override.strip():
            raise UserError("an empty argument; key=value, or leave it out")
        refuse_list(override)


def _run_once(cfg: DictConfig) -> None:
    """Check, skip what is finished already, run, and print what came of it."""
    config = settled(to_run_config(cfg))
    method = build_method(config.method)
    folder, hash_ = run_dir(config), config_hash(config)
    known = None if config.force else finished_record(folder, hash_)
    if known:
        value, name = known["headline"]["value"], known["headline"]["name"]
        without = config.save_model and not (folder / "model").is_dir()
        kept = f"{name} {value:.2f}" + (", no model kept" if without else "")
        print(f"finished already: {folder} ({kept}); force=true runs it again")
        if not config.dry_run:
            _complete(folder)
        return
    if config.dry_run:
        print(f"to do: {folder}")
        return
    settle_offline(config)
    # Seconds of imports, which a mistake in the configuration is not to wait for.
    from agwm.results.summary import print_summary
    from agwm.run import run

    with claimed(folder):
        if not config.force and finished_record(folder, hash_):  # by whoever held it until now
            print(f"finished already: {folder}")
            return
        try:
            record = run(config, method, folder, hash_)
        except UserError:
            raise
        except Exception:
            _describe(folder)
            raise
        _describe(folder)
    print_summary(record, folder)


def _complete(folder: Path) -> None:
    """What a process that was killed behind its record did not come to."""
    if (folder / "page.html").is_file():
        return
    from agwm.training.checkpoints import Checkpoints

    # Another process that holds the folder is about to do it.
    with suppress(UserError), claimed(folder):
        rmtree(folder / Checkpoints.NAME, ignore_errors=True)
        _describe(folder)


def _describe(folder: Path) -> None:
    """Write the model's card and the run's page; the run stands, whatever comes of that."""
    from agwm.report.run_page import PLOTS, write_run_page
    from agwm.results.card import write_card

    remove_partial(folder, folder / "model", folder / PLOTS)
    for name, write in {"model card": write_card, "page": write_run_page}.items():
        try:
            write(folder)
        except Exception as error:
            what = f"{type(error).__name__}: {one_line(error)}"
            print(f"warning: {folder}: its {name} was not written ({what})", file=sys.stderr)


@contextmanager
def _told(remember: Callable[[int], None], otherwise: int = 1) -> Iterator[None]:
    """Turn what is raised inside into one line on stderr and an exit code to `remember`."""
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if _WANTS_TRACEBACK:
            raise
        remember(2)
        print(f"error: {one_line(error, known_keys())}", file=sys.stderr)
    except BrokenPipeError:
        # Whoever reads our output has had enough: nothing is to be flushed to it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt as error:
        sys.exit(tell_stopped(error, "; the same command goes on"))
    except Exception as error:
        if _WANTS_TRACEBACK:
            raise
        remember(otherwise)
        hint = " (traceback: error.txt in the run's directory)" if otherwise == 1 else ""
        name = f"{type(error).__name__}: "
        if otherwise == 2:
            # Hydra tells some mistakes by a plain ValueError, and stumbles over others.
            stumbled = not isinstance(error, ValueError)
            name = "the command line makes no configuration: " if stumbled else ""
        print(f"error: {name}{one_line(error)}{hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
