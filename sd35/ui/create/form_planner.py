"""Planning of what a press makes, in threads: templates and their files take their time."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.service import JobService
from sd35.prompts.catalog import PromptCatalog
from sd35.prompts.grids import AxisInput
from sd35.prompts.styles import StyleBook
from sd35.ui.create.form import FormPlan, FormValues, plan_form
from sd35.ui.create.grid_form import plan_grid_form

__all__ = ["FormPlanner"]

Result = TypeVar("Result")


class FormPlanner:
    """Planner of the forms of all visitors, one at a time, and each visitor in turn."""

    def __init__(self, job_service: JobService, catalog: PromptCatalog) -> None:
        self._job_service = job_service
        self._catalog = catalog
        self._limiter = anyio.CapacityLimiter(1)
        self._locks: WeakValueDictionary[Hashable, anyio.Lock] = WeakValueDictionary()

    async def plan(
        self,
        values: FormValues,
        visitor: Visitor,
        draw: int | None = None,
        grid_axes: tuple[AxisInput, ...] = (),
    ) -> FormPlan:
        """Return what a press of this visitor would make, or what is wrong with the form.

        With axes, it is a grid over them.
        """
        return await self.run(partial(self._plan, values, visitor, draw, grid_axes), visitor)

    async def run(self, function: Callable[[], Result], visitor: Visitor) -> Result:
        """Return what a function returns, when it is this visitor's turn."""
        lock = self._locks.setdefault(visitor.rate_limit_key, anyio.Lock())
        async with lock:
            return await anyio.to_thread.run_sync(function, limiter=self._limiter)

    def _plan(
        self,
        values: FormValues,
        visitor: Visitor,
        draw: int | None,
        grid_axes: tuple[AxisInput, ...],
    ) -> FormPlan:
        limits = self._job_service.connection.value.limits
        style_book = self.style_book(visitor)
        wildcards = self._catalog.wildcards(is_owner=visitor is LOCAL_VISITOR)
        if grid_axes:
            return plan_grid_form(values, grid_axes, limits, style_book, wildcards)
        return plan_form(values, limits, style_book, wildcards, draw)

    def style_book(self, visitor: Visitor) -> StyleBook:
        """Return the styles that a visitor may use."""
        return self._catalog.style_book(is_owner=visitor is LOCAL_VISITOR)
