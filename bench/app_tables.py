"""What the load of the app is printed as: tables, and which aims hold."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.crowd import Crowd
from bench.idle import Idle
from bench.load import Sample
from bench.usage import Memory

__all__ = ["Aims", "Idles", "Table", "Times"]

AIMED_AT_ONCE = 10
"""The number of visitors at which the aims for time and CPU hold."""

MAX_ADDED_MS = 50
MAX_FRAME_MS = 2
MAX_SLOWEST = 2.0
"""The slowest visitor's time, as a multiple of the median: beyond it, somebody is starved."""

ENOUGH_FRAMES = 5
"""With fewer previews, what one of them costs can't be told from what else a picture costs."""

MAX_GROWTH = 1.2
MAX_IDLE = 0.02


@dataclass(frozen=True, slots=True)
class Idles:
    """The app and an empty Gradio app while nobody uses them, and seconds for one event of each."""

    alone: Idle
    with_page: Idle
    empty: Idle
    event: float
    empty_event: float


@dataclass(frozen=True, slots=True)
class Times:
    """How long a run takes at the Space, and over how long a time those who ask at once begin."""

    run_seconds: float
    spread_seconds: float

    def __str__(self) -> str:
        begun = f", begun within {self.spread_seconds:g} s" if self.spread_seconds else ""
        return f"runs of {self.run_seconds:g} s{begun}"


@dataclass(frozen=True, slots=True)
class Table:
    """So many at once.

    Attributes:
        at_once: so many.
        times: of their runs.
        results: by the name of who was asked; the first is the Space itself.
        sudden: the same with runs that take no time, so that no preview is worth showing: what else
            a picture costs.
        before: the app's memory.
        after: its memory after all have left.

    """

    at_once: int
    times: Times
    results: dict[str, list[Sample]]
    sudden: dict[str, list[Sample]]
    before: Memory
    after: Memory

    def added_ms(self, name: str) -> float | None:
        """What this one adds to the final picture: the median of the rounds' differences."""
        direct = next(iter(self.results.values()))
        pairs = zip(self.results[name], direct, strict=True)
        added = [
            one.final - base.final
            for one, base in pairs
            if one.final is not None and base.final is not None
        ]
        return 1000 * statistics.median(added) if added else None

    def preview_ms(self, name: str) -> tuple[float | None, float | None]:
        """CPU over the number of previews: of all that a picture costs, and of what it costs more for having them."""
        one = Sample.median(self.results[name])
        if not one.cpu_each or not one.frames:
            return None, None
        whole = 1000 * one.cpu_each / one.frames
        if name not in self.sudden:
            return whole, None
        without = Sample.median(self.sudden[name])
        frames = one.frames - without.frames
        return whole, 1000 * (
            one.cpu_each - (without.cpu_each or 0)
        ) / frames if frames >= ENOUGH_FRAMES else None

    def show(self) -> None:
        """Print it."""
        titles = [
            f"{self.at_once} at once, {self.times}",
            "first preview, ms",
            "final picture told, ms",
            "its bytes, ms",
            "added to these, ms",
            "the last one's ÷ median",
            "lost",
            "previews each",
            "CPU a picture, ms",
            "over its previews, ms",
            "less what it costs without, ms",
            "peak memory each, MiB",
            "the visitors' own CPU",
        ]
        print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
        for name in self.results:
            print(f"| {name} | {' | '.join(self._cells(name))} |")
        print(
            f"\nThe app's memory before: {_mib(self.before)}; after they have left: {_mib(self.after)}.\n",
            flush=True,
        )

    def _cells(self, name: str) -> list[str]:
        one, base = (
            Sample.median(self.results[name]),
            Sample.median(next(iter(self.results.values()))),
        )
        added = None if one == base else self.added_ms(name)
        return [
            _ms(one.preview),
            _ms(one.message),
            _ms(one.final)
            + (
                f" ({one.final / base.final:.2f}×)"
                if one.final and base.final and one != base
                else ""
            ),
            "–" if added is None else f"{added:.0f}",
            _figure(one.slowest and one.final and one.slowest / one.final, ".2f"),
            f"{one.lost:.0f}",
            f"{one.frames:.1f}",
            _ms(one.cpu_each),
            *(_figure(each, ".1f") for each in self.preview_ms(name)),
            _figure(one.peak_mib_each, ".2f"),
            f"{one.own_cpu:.0%}",
        ]


@dataclass
class Aims:
    """Prints each part, and at the end whether the aims hold."""

    _said: list[tuple[str, str, bool]] = field(default_factory=list)

    def idle(self, idles: Idles) -> None:
        """Nobody at all."""
        event, empty_event = _ms(idles.event, ".1f"), _ms(idles.empty_event, ".1f")
        print(
            "| nobody asks for a picture | memory, MiB | CPU, of a core | one event, ms |\n|---|---|---|---|"
        )
        print(
            f"| the app, never visited | {_mib(idles.alone.memory)} | {idles.alone.cpu:.1%} | {event} |"
        )
        print(
            f"| the app, one page follows a run | {_mib(idles.with_page.memory)} | {idles.with_page.cpu:.1%} | – |"
        )
        print(
            f"| an empty Gradio app | {_mib(idles.empty.memory)} | {idles.empty.cpu:.1%} | {empty_event} |\n",
            flush=True,
        )
        for words, one in (
            ("never visited", idles.alone),
            ("one page follows a run", idles.with_page),
        ):
            self._add(
                f"idle CPU at most {MAX_IDLE:.0%} of a core, {words}",
                f"{one.cpu:.1%}",
                is_met=one.cpu <= MAX_IDLE,
            )

    def table(self, table: Table, faces: Sequence[str]) -> None:
        """So many at once; the aims are for these faces."""
        table.show()
        for name in faces:
            one, added = Sample.median(table.results[name]), table.added_ms(name)
            slowest = one.slowest / one.final if one.slowest and one.final else float("inf")
            where = f"{name}, {table.at_once} at once"
            said = f"{one.lost:.0f} lost, the last after {slowest:.2f}× the median"
            self._add(
                f"nobody lost or starved: {where}",
                said,
                is_met=one.lost == 0 and slowest <= MAX_SLOWEST,
            )
            if table.at_once != AIMED_AT_ONCE:
                continue
            is_soon = added is not None and added <= MAX_ADDED_MS
            said = _figure(added, ".0f") + " ms"
            self._add(
                f"adds at most {MAX_ADDED_MS} ms to the final picture: {where}",
                said,
                is_met=is_soon,
            )
            for ms, how in zip(
                table.preview_ms(name), ("all of it", "what it costs more"), strict=True
            ):
                aim = f"CPU of a preview of 512² at most {MAX_FRAME_MS} ms, {how}: {where}"
                self._add(
                    aim, _figure(ms, ".1f") + " ms", is_met=ms is not None and ms <= MAX_FRAME_MS
                )

    def crowd(self, crowd: Crowd) -> None:
        """Those who came and went."""
        print(f"| {crowd.visitors} came and went | |\n|---|---|")
        print(
            f"| memory before, MiB | {_mib(crowd.before)} |\n| at the peak, MiB | {crowd.peak_mib:.0f} |"
        )
        print(
            f"| after, MiB | {_mib(crowd.after)} |\n| CPU of a visit, ms | {_ms(crowd.cpu_each)} |"
        )
        print(f"| took, s | {crowd.seconds:.0f} |\n| lost | {crowd.lost} |")
        print(f"| the visitors' own CPU | {crowd.own_cpu:.0%} |\n", flush=True)
        growth = crowd.after.rss / crowd.before.rss
        self._add(
            f"memory within 20 % after {crowd.visitors}",
            f"{growth - 1:+.0%}",
            is_met=growth <= MAX_GROWTH,
        )
        self._add(f"nobody lost of {crowd.visitors}", f"{crowd.lost} lost", is_met=crowd.lost == 0)

    def _add(self, aim: str, said: str, *, is_met: bool) -> None:
        self._said.append((aim, said, is_met))

    def show(self) -> None:
        """Print which aims hold."""
        print("| aim | measured | met |\n|---|---|---|")
        for aim, said, is_met in self._said:
            print(f"| {aim} | {said} | {'yes' if is_met else 'no'} |")


def _mib(memory: Memory) -> str:
    return f"{memory.rss:.0f} (PSS {memory.pss:.0f})"


def _ms(seconds: float | None, form: str = ".0f") -> str:
    return "–" if seconds is None else f"{1000 * seconds:{form}}"


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"
