"""Results of the app under load as tables, and which targets they meet."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.churn import ChurnResult
from bench.idle import IdleUsage
from bench.load import LoadSample
from bench.tables import NO_VALUE, format_ms, format_number, print_table
from bench.usage import Memory

__all__ = ["IdleResults", "LoadResults", "Report", "RunTiming"]

TARGET_CONCURRENCY = 10  # at which the targets for time and CPU hold
MAX_ADDED_MS = 50
MAX_PREVIEW_MS = 2
MAX_SLOWEST = 2.0  # the slowest visitor's time to the median: beyond it, somebody is starved
MIN_PREVIEWS = 5  # with fewer, their CPU can't be told from the rest
MAX_GROWTH = 1.3
MAX_IDLE = 0.02


@dataclass(frozen=True, slots=True)
class IdleResults:
    """Usage of the app and of an empty Gradio app when idle, and seconds for one event of each."""

    alone: IdleUsage
    with_page: IdleUsage
    empty: IdleUsage
    event: float
    empty_event: float


@dataclass(frozen=True, slots=True)
class RunTiming:
    """Duration of a run at the Space, and the time over which concurrent visitors begin."""

    run_seconds: float
    spread_seconds: float

    def __str__(self) -> str:
        spread_text = f", begun within {self.spread_seconds:g} s" if self.spread_seconds else ""
        return f"runs of {self.run_seconds:g} s{spread_text}"


@dataclass(frozen=True, slots=True)
class LoadResults:
    """Results of so many concurrent visitors.

    Attributes:
        samples: by the endpoint's name; the first is the Space itself.
        instant_samples: the same with runs that take no time, so hardly any preview is shown.
        memory_before: of the app, as is `memory_after`, when all visitors have left.
    """

    concurrency: int
    timing: RunTiming
    samples: dict[str, list[LoadSample]]
    instant_samples: dict[str, list[LoadSample]]
    memory_before: Memory
    memory_after: Memory

    @property
    def space_samples(self) -> list[LoadSample]:
        """Samples of the Space itself."""
        return next(iter(self.samples.values()))

    def added_ms(self, name: str) -> float | None:
        """Return what an endpoint adds to the Space's time: the median over the rounds."""
        added = [
            sample.final - base.final
            for sample, base in zip(self.samples[name], self.space_samples, strict=True)
            if sample.final is not None and base.final is not None
        ]
        return 1000 * statistics.median(added) if added else None

    def preview_ms(self, name: str) -> tuple[float | None, float | None]:
        """Return the CPU per preview: of the whole generation, and of what the previews add."""
        sample = LoadSample.median(self.samples[name])
        if not sample.cpu_each or not sample.previews:
            return None, None
        total_ms = 1000 * sample.cpu_each / sample.previews
        if name not in self.instant_samples:
            return total_ms, None
        instant = LoadSample.median(self.instant_samples[name])
        previews = sample.previews - instant.previews
        if previews < MIN_PREVIEWS:
            return total_ms, None
        return total_ms, 1000 * (sample.cpu_each - (instant.cpu_each or 0)) / previews

    def print(self) -> None:
        """Print the table."""
        titles = [
            f"{self.concurrency} at once, {self.timing}",
            "first preview, ms",
            "message with final image, ms",
            "final image, ms",
            "added to the Space's, ms",
            "slowest ÷ median",
            "lost",
            "previews each",
            "CPU per image, ms",
            "CPU per preview, ms",
            "without the image's own, ms",
            "peak memory each, MiB",
            "CPU of the visitors",
        ]
        print_table(titles, ([name, *self._cells(name)] for name in self.samples))
        print(f"Memory before: {self.memory_before}; after: {self.memory_after}.\n", flush=True)

    def _cells(self, name: str) -> list[str]:
        sample = LoadSample.median(self.samples[name])
        base = LoadSample.median(self.space_samples)
        final_text = format_ms(sample.final)
        added = None
        if sample != base:
            added = self.added_ms(name)
            if sample.final and base.final:
                final_text += f" ({sample.final / base.final:.2f}×)"
        return [
            format_ms(sample.preview),
            format_ms(sample.message),
            final_text,
            format_number(added, 0),
            format_number(_slowest_ratio(sample), 2),
            f"{sample.lost_count:.0f}",
            f"{sample.previews:.1f}",
            format_ms(sample.cpu_each),
            *(format_number(value, 1) for value in self.preview_ms(name)),
            format_number(sample.peak_mib_each, 2),
            f"{sample.own_cpu:.0%}",
        ]


@dataclass
class Report:
    """Prints each part of the results, and at the end which targets they meet."""

    _targets: list[list[str]] = field(default_factory=list)

    def add_idle(self, idle: IdleResults) -> None:
        """Print the usage of idle apps."""
        rows = (
            ("the app, before its first visitor", idle.alone, format_ms(idle.event, 1)),
            ("the app, one page follows a run", idle.with_page, NO_VALUE),
            ("an empty Gradio app", idle.empty, format_ms(idle.empty_event, 1)),
        )
        print_table(
            ["idle", "memory, MiB", "CPU, of a core", "one event, ms"],
            [[name, str(idle.memory), f"{idle.cpu:.1%}", event] for name, idle, event in rows],
        )
        for name, usage, _ in rows[:2]:
            target = f"idle CPU at most {MAX_IDLE:.0%} of a core: {name}"
            self._add_target(target, f"{usage.cpu:.1%}", is_met=usage.cpu <= MAX_IDLE)

    def add_load(self, results: LoadResults, names: Sequence[str]) -> None:
        """Print the results; the targets are for the endpoints with these names."""
        results.print()
        for name in names:
            sample = LoadSample.median(results.samples[name])
            slowest = _slowest_ratio(sample)
            condition = f"{name}, {results.concurrency} at once"
            self._add_target(
                f"nobody lost or starved: {condition}",
                f"{sample.lost_count:.0f} lost, slowest ÷ median {format_number(slowest, 2)}",
                is_met=not sample.lost_count and slowest is not None and slowest <= MAX_SLOWEST,
            )
            if results.concurrency != TARGET_CONCURRENCY:
                continue
            target = f"at most {MAX_ADDED_MS} ms added to the Space's time: {condition}"
            self._add_limit(target, results.added_ms(name), MAX_ADDED_MS, 0)
            target = f"CPU per preview of 512² at most {MAX_PREVIEW_MS} ms"
            total_ms, added_ms = results.preview_ms(name)
            self._add_limit(f"{target}: {condition}", total_ms, MAX_PREVIEW_MS, 1)
            condition += ", without the image's own"
            self._add_limit(f"{target}: {condition}", added_ms, MAX_PREVIEW_MS, 1)

    def add_churn(self, churn: ChurnResult) -> None:
        """Print the cost of visitors who came and went."""
        rows = [
            ["memory before, MiB", str(churn.memory_before)],
            ["at the peak, MiB", f"{churn.peak_mib:.0f}"],
            ["after, MiB", str(churn.memory_after)],
            ["CPU per visit, ms", format_ms(churn.cpu_each)],
            ["duration, s", f"{churn.seconds:.0f}"],
            ["lost", str(churn.lost_count)],
            ["CPU of the visitors", f"{churn.own_cpu:.0%}"],
        ]
        print_table([f"{churn.visitors} came and went", ""], rows)
        growth = churn.memory_after.rss / churn.memory_before.rss
        target = f"memory within {MAX_GROWTH - 1:.0%} after {churn.visitors} visitors"
        self._add_target(target, f"{growth - 1:+.0%}", is_met=growth <= MAX_GROWTH)
        target = f"nobody lost of {churn.visitors}"
        self._add_target(target, f"{churn.lost_count} lost", is_met=not churn.lost_count)

    def print_targets(self) -> None:
        """Print which targets are met."""
        print_table(["target", "measured", "met"], self._targets)

    def _add_limit(self, target: str, value_ms: float | None, limit: float, decimals: int) -> None:
        is_met = value_ms is not None and value_ms <= limit
        self._add_target(target, f"{format_number(value_ms, decimals)} ms", is_met=is_met)

    def _add_target(self, target: str, figure: str, *, is_met: bool) -> None:
        self._targets.append([target, figure, "yes" if is_met else "no"])


def _slowest_ratio(sample: LoadSample) -> float | None:
    if not sample.slowest or not sample.final:
        return None
    return sample.slowest / sample.final
