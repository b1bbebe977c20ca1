"""The log on the terminal."""

import logging

from sd35.core.text import printable

__all__ = ["PrintableFormatter", "configure_logging"]


class PrintableFormatter(logging.Formatter):
    """Formatter whose entries begin with their level, and hold no control characters.

    A file name or a Space's message could otherwise forge another entry, or hide one.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the entry without its traceback, in one line."""
        return super().formatMessage(record).replace("\n", " ")

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry with its traceback."""
        return printable(super().format(record))


def configure_logging(level: int) -> None:
    """Write log entries of this level and above to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
