"""Markdown tables on the standard output, and the cells in them."""

from collections.abc import Iterable, Sequence

__all__ = ["NO_VALUE", "format_ms", "format_number", "print_table"]

NO_VALUE = "–"


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table and an empty line, each row as soon as it is known."""
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print(flush=True)


def format_number(value: float | None, decimals: int) -> str:
    """Return a number with so many decimals."""
    return NO_VALUE if value is None else f"{value:,.{decimals}f}"


def format_ms(seconds: float | None, decimals: int = 0) -> str:
    """Return seconds as a number of milliseconds."""
    return format_number(None if seconds is None else 1000 * seconds, decimals)
