"""The exception that core and render raise at their border."""


class InvalidInput(ValueError):
    """A value that the caller handed over breaks a stated rule.

    The message says what is wrong, what was got, what was expected and what to do.
    It is the only exception that building a core type, validating one, or rendering
    raises because of its arguments.
    """
