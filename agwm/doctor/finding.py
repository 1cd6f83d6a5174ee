"""What a check hands back."""

from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"
PATIENCE = 4  # seconds that what is not on this machine gets to answer


@dataclass(frozen=True)
class Finding:
    """One row of the table; a note is worth knowing, a problem stops a run or spoils it."""

    about: str
    state: str  # OK, NOTE or PROBLEM
    found: str
    remedy: str = ""  # what to do about it
