"""The two ways a run can end badly, and how each is told."""


class UserError(Exception):
    """A mistake that the user can mend: one line that names the value and the way out, exit 2."""


class RunError(Exception):
    """The run itself failed, for instance on a loss that is not finite: exit 1."""
