"""What can go wrong with a data set, by what should happen then."""

from collections.abc import Mapping


class DataError(ValueError):
    """A data set, or a request for one, breaks a rule; work stops.

    The message says what is wrong, what was got, what was expected and what to do.
    """


class Rejected(Exception):
    """A head fails its quality control; the failure is recorded and the next head is built.

    Attributes:
        reason: one sentence.
        scores: what was measured, by name.
    """

    def __init__(self, reason: str, scores: Mapping[str, float] | None = None) -> None:
        super().__init__(reason, dict(scores or {}))
        self.reason = reason
        self.scores = dict(scores or {})

    def __str__(self) -> str:
        return self.reason
