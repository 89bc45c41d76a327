"""What goes wrong between the harness and the files, settings and methods of strangers.

Each class has an exit code of its own at the command line.
"""


class BenchError(RuntimeError):
    """A file, setting or method can't be used; the message says what, and what to do."""

    exit_code = 2


class NotComparable(BenchError):
    """Numbers that must not stand in one table: other protocols, data, or networks."""

    exit_code = 3


class VerificationFailed(BenchError):
    """A run holds something else than it says."""

    exit_code = 4
