"""The exception that every reader and writer of this package raises for a file."""


class FormatError(ValueError):
    """A file is not what its reader can take, or can't hold what its writer was given.

    The message names the file, what is wrong, what was got, what was expected and what to do.
    Readers raise it for every damaged, foreign or lying file; a path that can't be opened or
    written stays an `OSError`, and values in memory that break a rule of core stay
    `any3davatar.core.InvalidInput`.
    """
