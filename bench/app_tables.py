"""What the load of the app is printed as: tables, and which aims hold."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.crowd import CrowdResult
from bench.idle import IdleUsage
from bench.load import LoadSample
from bench.usage import Memory

__all__ = ["AimReport", "IdleResults", "RunTiming", "Table"]

TARGET_CONCURRENCY = 10
"""The number of visitors at which the aims for time and CPU hold."""

MAX_ADDED_MS = 50
MAX_FRAME_MS = 2
MAX_SLOWEST = 2.0
"""The slowest visitor's time, as a multiple of the median: beyond it, somebody is starved."""

MIN_FRAMES = 5
"""With fewer previews, what one of them costs can't be told from what else a picture costs."""

MAX_GROWTH = 1.2
MAX_IDLE = 0.02


@dataclass(frozen=True, slots=True)
class IdleResults:
    """The app and an empty Gradio app while nobody uses them, and seconds for one event of each."""

    alone: IdleUsage
    with_page: IdleUsage
    empty: IdleUsage
    event: float
    empty_event: float


@dataclass(frozen=True, slots=True)
class RunTiming:
    """How long a run takes at the Space, and over how long a time those who ask at once begin."""

    run_seconds: float
    spread_seconds: float

    def __str__(self) -> str:
        spread_text = f", begun within {self.spread_seconds:g} s" if self.spread_seconds else ""
        return f"runs of {self.run_seconds:g} s{spread_text}"


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

    concurrency: int
    times: RunTiming
    results: dict[str, list[LoadSample]]
    instant_results: dict[str, list[LoadSample]]
    memory_before: Memory
    memory_after: Memory

    def added_ms(self, name: str) -> float | None:
        """What this one adds to the final picture: the median of the rounds' differences."""
        direct = next(iter(self.results.values()))
        pairs = zip(self.results[name], direct, strict=True)
        added = [
            sample.final - base.final
            for sample, base in pairs
            if sample.final is not None and base.final is not None
        ]
        return 1000 * statistics.median(added) if added else None

    def preview_ms(self, name: str) -> tuple[float | None, float | None]:
        """CPU over the number of previews: of all that a picture costs, and of what it costs more for having them."""
        sample = LoadSample.median(self.results[name])
        if not sample.cpu_each or not sample.frames:
            return None, None
        total_ms = 1000 * sample.cpu_each / sample.frames
        if name not in self.instant_results:
            return total_ms, None
        instant_sample = LoadSample.median(self.instant_results[name])
        frames = sample.frames - instant_sample.frames
        return total_ms, 1000 * (
            sample.cpu_each - (instant_sample.cpu_each or 0)
        ) / frames if frames >= MIN_FRAMES else None

    def show(self) -> None:
        """Print it."""
        titles = [
            f"{self.concurrency} at once, {self.times}",
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
            f"\nThe app's memory before: {_format_memory(self.memory_before)}; after they have left: {_format_memory(self.memory_after)}.\n",
            flush=True,
        )

    def _cells(self, name: str) -> list[str]:
        sample, base = (
            LoadSample.median(self.results[name]),
            LoadSample.median(next(iter(self.results.values()))),
        )
        added = None if sample == base else self.added_ms(name)
        return [
            _format_ms(sample.preview),
            _format_ms(sample.message),
            _format_ms(sample.final)
            + (
                f" ({sample.final / base.final:.2f}×)"
                if sample.final and base.final and sample != base
                else ""
            ),
            "–" if added is None else f"{added:.0f}",
            _format_number(
                sample.slowest and sample.final and sample.slowest / sample.final, ".2f"
            ),
            f"{sample.lost_count:.0f}",
            f"{sample.frames:.1f}",
            _format_ms(sample.cpu_each),
            *(_format_number(value, ".1f") for value in self.preview_ms(name)),
            _format_number(sample.peak_mib_each, ".2f"),
            f"{sample.own_cpu:.0%}",
        ]


@dataclass
class AimReport:
    """Prints each part, and at the end whether the aims hold."""

    _results: list[tuple[str, str, bool]] = field(default_factory=list)

    def idle(self, idles: IdleResults) -> None:
        """Nobody at all."""
        event, empty_event = _format_ms(idles.event, ".1f"), _format_ms(idles.empty_event, ".1f")
        print(
            "| nobody asks for a picture | memory, MiB | CPU, of a core | one event, ms |\n|---|---|---|---|"
        )
        print(
            f"| the app, never visited | {_format_memory(idles.alone.memory)} | {idles.alone.cpu:.1%} | {event} |"
        )
        print(
            f"| the app, one page follows a run | {_format_memory(idles.with_page.memory)} | {idles.with_page.cpu:.1%} | – |"
        )
        print(
            f"| an empty Gradio app | {_format_memory(idles.empty.memory)} | {idles.empty.cpu:.1%} | {empty_event} |\n",
            flush=True,
        )
        for label, idle_usage in (
            ("never visited", idles.alone),
            ("one page follows a run", idles.with_page),
        ):
            self._add(
                f"idle CPU at most {MAX_IDLE:.0%} of a core, {label}",
                f"{idle_usage.cpu:.1%}",
                is_met=idle_usage.cpu <= MAX_IDLE,
            )

    def table(self, table: Table, targets: Sequence[str]) -> None:
        """So many at once; the aims are for these faces."""
        table.show()
        for name in targets:
            sample, added = LoadSample.median(table.results[name]), table.added_ms(name)
            slowest = (
                sample.slowest / sample.final if sample.slowest and sample.final else float("inf")
            )
            condition = f"{name}, {table.concurrency} at once"
            figure = f"{sample.lost_count:.0f} lost, the last after {slowest:.2f}× the median"
            self._add(
                f"nobody lost or starved: {condition}",
                figure,
                is_met=sample.lost_count == 0 and slowest <= MAX_SLOWEST,
            )
            if table.concurrency != TARGET_CONCURRENCY:
                continue
            is_soon = added is not None and added <= MAX_ADDED_MS
            figure = _format_number(added, ".0f") + " ms"
            self._add(
                f"adds at most {MAX_ADDED_MS} ms to the final picture: {condition}",
                figure,
                is_met=is_soon,
            )
            for ms, scope in zip(
                table.preview_ms(name), ("all of it", "what it costs more"), strict=True
            ):
                aim = f"CPU of a preview of 512² at most {MAX_FRAME_MS} ms, {scope}: {condition}"
                self._add(
                    aim,
                    _format_number(ms, ".1f") + " ms",
                    is_met=ms is not None and ms <= MAX_FRAME_MS,
                )

    def crowd(self, crowd: CrowdResult) -> None:
        """Those who came and went."""
        print(f"| {crowd.visitors} came and went | |\n|---|---|")
        print(
            f"| memory before, MiB | {_format_memory(crowd.memory_before)} |\n| at the peak, MiB | {crowd.peak_mib:.0f} |"
        )
        print(
            f"| after, MiB | {_format_memory(crowd.memory_after)} |\n| CPU of a visit, ms | {_format_ms(crowd.cpu_each)} |"
        )
        print(f"| took, s | {crowd.seconds:.0f} |\n| lost | {crowd.lost_count} |")
        print(f"| the visitors' own CPU | {crowd.own_cpu:.0%} |\n", flush=True)
        growth = crowd.memory_after.rss / crowd.memory_before.rss
        self._add(
            f"memory within 20 % after {crowd.visitors}",
            f"{growth - 1:+.0%}",
            is_met=growth <= MAX_GROWTH,
        )
        self._add(
            f"nobody lost of {crowd.visitors}",
            f"{crowd.lost_count} lost",
            is_met=crowd.lost_count == 0,
        )

    def _add(self, aim: str, figure: str, *, is_met: bool) -> None:
        self._results.append((aim, figure, is_met))

    def show(self) -> None:
        """Print which aims hold."""
        print("| aim | measured | met |\n|---|---|---|")
        for aim, figure, is_met in self._results:
            print(f"| {aim} | {figure} | {'yes' if is_met else 'no'} |")


def _format_memory(memory: Memory) -> str:
    return f"{memory.rss:.0f} (PSS {memory.pss:.0f})"


def _format_ms(seconds: float | None, form: str = ".0f") -> str:
    return "–" if seconds is None else f"{1000 * seconds:{form}}"


def _format_number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"
