"""Planning of what a press makes, in threads: templates and their files take their time."""

from functools import partial

from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.service import JobService
from sd35.prompts.catalog import PromptCatalog
from sd35.prompts.grids import AxisInput
from sd35.prompts.styles import StyleBook
from sd35.server.fair_worker import FairWorker
from sd35.ui.create.form import FormPlan, FormValues, plan_form
from sd35.ui.create.grid_form import plan_grid_form

__all__ = ["FormPlanner"]


class FormPlanner:
    """Planner of the forms of all visitors.

    Attributes:
        worker: the thread in which forms are planned.
    """

    def __init__(self, job_service: JobService, catalog: PromptCatalog) -> None:
        self._job_service = job_service
        self._catalog = catalog
        self.worker = FairWorker()

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
        plan = partial(self._plan, values, visitor, draw, grid_axes)
        return await self.worker.run(plan, visitor.rate_limit_key)

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
