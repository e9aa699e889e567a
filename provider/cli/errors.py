"""What a person is told about an error: one line that names the cause and the next step, without secrets."""

from __future__ import annotations

import sys

from provider.exceptions import AcceleratorError
from provider.texts import one_line

#: Longest line of an error; a text of ours that is on one line already is told whole.
_LONGEST = 2000


def describe(error: Exception) -> str | None:
    """
    Return the line to show for an error.

    :return: None for an error that is a defect of this package, whose traceback is needed.
    """
    if isinstance(error, AcceleratorError):
        text = str(error)
        return one_line(text, _LONGEST) if "\n" in text else text
    # Only who has imported SQLAlchemy can have raised one of its errors; importing it here would be for nothing.
    if "sqlalchemy.exc" in sys.modules:
        from provider.cli.database_errors import describe_database_error

        return describe_database_error(error)
    return None
