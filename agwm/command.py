"""What the small commands share: how a mistake and a failure end."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from agwm.errors import RunError, UserError
from agwm.shown import masked, shown
from agwm.stopping import stoppable, tell_stopped


class Parser(argparse.ArgumentParser):
    """One that tells a mistake in one line, as everything else does."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        self.exit(2, f"error: {message}; --help lists what there is\n")


def exit_code(work: Callable[[], None]) -> int:
    """Do `work`; whatever it raises becomes one line on stderr.

    Returns:
        0, 1 if the work failed, 2 for a mistake of the user, 130 or 143 if it was stopped.
        HYDRA_FULL_ERROR=1 shows the traceback instead.
    """
    try:
        with stoppable(), warnings.catch_warnings():
            # What the libraries advise is for those who write code with them.
            warnings.simplefilter("ignore")
            work()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads our output has had enough: nothing is to be flushed to it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        return tell_stopped(error)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        own = isinstance(error, UserError | RunError)
        text = shown(masked(" ".join(str(error).split())))
        print(f"error: {text if own else f'{type(error).__name__}: {text}'}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    return 0
