"""Hydra's sweeper with a memory: finished runs stay as they are, and the end is one table."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from agwm.errors import one_line
from agwm.stopping import tell_stopped
from agwm.sweep.plan import expand, plan


class CellSweeper(Sweeper):
    """Plans, launches by whichever launcher was chosen, and accounts for every run.

    Args:
        params: as in Hydra's own sweeper.
        also: further blocks of runs; see `agwm.sweep.plan.expand`.
    """

    def __init__(self, params: Mapping[str, str], also: Sequence[Mapping[str, str | None]]) -> None:
        self.params = params
        self.also = also

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra."""
        self.config = config
        self.loader = hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run what is not finished.

        Raises:
            UserError: before anything is launched; see `agwm.sweep.plan.plan`.
            SystemExit: 1 if a run failed or has no record at the end, 130 after an interrupt.
        """
        # A single run, which passes through this file too, need not wait for rich.
        from agwm.sweep.outcome import print_outcome, print_plan

        parser = OverridesParser.create(config_loader=self.loader)
        runs = expand(self.params, self.also, arguments, parser.parse_overrides)
        planned = plan(runs, lambda line: self.loader.load_sweep_config(self.config, line))
        todo = [run for run in planned if not run.finished]
        if planned[0].config.dry_run:
            print_plan(planned)
            return
        code = 0
        if todo:
            try:
                self._launch([run.overrides for run in todo])
            except KeyboardInterrupt as error:
                code = tell_stopped(error, "; the same command goes on")
            except SystemExit as left:  # a run of this process was interrupted, and has told it
                code = left.code
        missing = print_outcome(planned)
        if code or missing:
            raise SystemExit(code or 1)

    def _launch(self, runs: list[Sequence[str]]) -> None:
        # Hydra's own launcher holds on to every configuration until it has done them all.
        basic = self.config.hydra.runtime.choices["hydra/launcher"] == "basic"
        parts = [[run] for run in runs] if basic else [runs]
        for index, part in enumerate(parts):
            try:
                self.launcher.launch(part, initial_job_idx=index)
            except Exception as error:
                # A launcher that has lost a job: the records say what became of the others.
                print(f"error: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
