"""The fields of the form, and the request that they describe."""

from dataclasses import replace
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.account import HubQuota
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range
from sd35.core.request import GenerationRequest
from sd35.jobs.limits import RemainingQuota
from sd35.prompts.styles import Style, StyleBook
from sd35.prompts.wildcards import NO_WILDCARDS
from sd35.ui.create.dropped_file import DroppedFileReader
from sd35.ui.create.form import (
    FormValues,
    error_messages,
    plan_form,
    updated_defaults,
)
from sd35.ui.create.grid_form import dump_grid_plan, parse_axis_inputs, plan_grid_form
from sd35.ui.create.plan_view import dump_plan, gpu_quota_warning, limit_warning

TURBO_LIMITS = replace(
    PUBLIC_LIMITS,
    guidance_scale=Range(0, 7.5, 0.1, 0),
    num_inference_steps=Range(1, 50, 1, 4),
)

FORM_VALUES = FormValues("a cat", "", "1:1", 1024, 1024, 4.5, 40, 7, True, "")  # noqa: FBT003


def plan_request(values: FormValues, limits: Limits = PUBLIC_LIMITS) -> GenerationRequest:
    """Return the only image that a press of this form makes."""
    plan = plan_form(values, limits)
    assert not plan.field_errors
    [planned] = plan.images
    return planned.request


def test_request_has_the_values_of_the_form() -> None:
    """Each field of the form reaches the request."""
    values = FormValues("  a cat\n", "dog", "custom", 512, 768, 3.5, 20, 7, False, "")  # noqa: FBT003
    assert plan_request(values) == GenerationRequest(
        "a cat", "dog", 512, 768, 3.5, 20, 7, randomize_seed=False
    )


def test_grid_of_a_form_is_described_before_the_press() -> None:
    """A grid has its labels and its size, or the axis that is wrong; foreign axes are no grid."""
    values = replace(FORM_VALUES, seed="7", randomize_seed=False)
    book = StyleBook((Style("Ink", "ink of {prompt}"),))

    def describe(*axes: object, values: FormValues = values) -> dict[str, Any]:
        inputs = parse_axis_inputs(list(axes))
        plan = plan_grid_form(values, inputs, PUBLIC_LIMITS, book, NO_WILDCARDS)
        text = dump_grid_plan(
            plan, estimate="about 2 min", warning="", style_names=["Ink"], request_id=3
        )
        payload: dict[str, Any] = orjson.loads(text)
        return payload

    styles = {"kind": "style", "text": "all, none"}
    plan = describe(styles, {"kind": "steps", "text": "1-50"})
    assert (plan["image_count"], plan["summary"]) == (100, "2 × 50 = 100 images, about 2 min")
    assert plan["axes"][0] == {"name": "Style", "count": 2, "labels": ["Ink", "No style"]}
    assert plan["axes"][1]["count"] == 50 > len(plan["axes"][1]["labels"])
    assert describe(styles, {"kind": "steps", "text": "x"})["error"]["field"] == "rows"
    assert describe(styles, values=replace(values, prompt=" "))["error"]["field"] == "prompt"
    lines = replace(values, prompt="a\nb", batch_options='{"one_per_line": true}')
    assert "of one prompt" in describe(styles, values=lines)["error"]["message"]
    assert parse_axis_inputs(None) == parse_axis_inputs([styles] * 3) == ()
    for axis in ({"kind": [], "text": "1"}, {"kind": "seed", "text": 1}, 3, None):
        assert parse_axis_inputs([styles, axis]) == ()


def test_preset_overrides_the_custom_size() -> None:
    """The sliders of the custom size count only while it is chosen."""
    request = plan_request(replace(FORM_VALUES, size="9:16", width=512, height=512))
    assert (request.width, request.height) == (576, 1024)


@pytest.mark.parametrize("seed", [None, -1, -1.0])
def test_empty_seed_is_random(seed: float | None) -> None:
    """A seed that was cleared counts as a random one, as does the -1 of other tools."""
    values = replace(FORM_VALUES, seed=seed, randomize_seed=False)
    seeds = {plan_form(values, PUBLIC_LIMITS).images[0].request.seed for _ in range(9)}
    assert len(seeds) > 1


def test_empty_number_is_the_default_of_the_space() -> None:
    """A number that was cleared is the Space's default, never its minimum."""
    values = replace(
        FORM_VALUES, size="custom", width=None, guidance_scale=None, num_inference_steps=None
    )
    request = plan_request(values, TURBO_LIMITS)
    assert (request.width, request.guidance_scale, request.num_inference_steps) == (1024, 0, 4)


@pytest.mark.parametrize(
    ("changes", "field", "expected_message"),
    [
        ({"prompt": "  "}, "prompt", "Enter a prompt."),
        ({"prompt": None}, "prompt", "Enter a prompt."),
        ({"size": "21:9"}, "size", "at least 512 px per side"),
        ({"size": "100:1"}, "size", "at least 512 px per side"),
        ({"size": None}, "size", "such as 16:9"),
        ({"size": "custom", "width": 520}, "width", "multiple of 16, such as 512"),
        ({"size": "custom", "height": "tall"}, "height", "Enter a height."),
        ({"seed": 1.5, "randomize_seed": False}, "seed", "whole number"),
        ({"seed": 2**31, "randomize_seed": False}, "seed", "0 to 2,147,483,647"),
        ({"seed": "seven", "randomize_seed": False}, "seed", "whole number"),
        ({"num_inference_steps": "40"}, "num_inference_steps", "Enter the number of steps."),
        ({"guidance_scale": 10**400}, "guidance_scale", "Enter a guidance scale."),
        ({"guidance_scale": True}, "guidance_scale", "Enter a guidance scale."),
    ],
)
def test_errors_belong_to_a_field(
    changes: dict[str, Any], field: str, expected_message: str
) -> None:
    """An invalid value gives no request, and one message, at the field to change."""
    values = replace(FORM_VALUES, **changes)
    plan = plan_form(values, PUBLIC_LIMITS)
    assert not plan.images
    field_messages = error_messages(plan.field_errors, values)
    assert list(field_messages) == [field]
    assert expected_message in field_messages[field]


def test_all_errors_of_a_form_are_told_at_once() -> None:
    """An empty prompt hides no other mistake, nor does one of several prompts."""
    values = replace(FORM_VALUES, prompt="", size="21:9", seed="-5", randomize_seed=False)
    lines = replace(values, prompt="a\nb", batch_options='{"one_per_line": true}')
    errors = {error.field: error.message for error in plan_form(values, PUBLIC_LIMITS).field_errors}
    assert errors["prompt"] == "Enter a prompt."
    assert set(errors) == {"prompt", "aspect_ratio", "seed"}
    errors = {error.field: error.message for error in plan_form(lines, PUBLIC_LIMITS).field_errors}
    assert set(errors) == {"aspect_ratio", "seed"}


any_value = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers())
)


@given(st.lists(any_value, min_size=10, max_size=10))
def test_forged_values_give_errors(raw_values: list[Any]) -> None:
    """Whatever a browser sends is a plan of images, or has an error at a field."""
    values = FormValues(*raw_values)
    plan = plan_form(values, PUBLIC_LIMITS)
    messages = error_messages(plan.field_errors, values)
    assert (not plan.images) == bool(plan.field_errors) == bool(messages)
    payload = orjson.loads(dump_plan(plan, values))
    assert payload["image_count"] == len(payload["items"]) == len(plan.images)


def test_plan_is_told_before_the_press() -> None:
    """The page shows how many images there will be, of which prompts, and what is in the way."""
    quota = RemainingQuota(5, 30, 1, 8)
    lines = replace(FORM_VALUES, prompt="a cat\na (dog:1.3)", seed="7", randomize_seed=False)
    for batch, expected_summary, expected_warning in (
        ('{"one_per_line": true}', "2 prompts = 2 images", ""),
        (
            '{"one_per_line": true, "count": 3}',
            "2 prompts × 3 = 6 images",
            "5 images you have left",
        ),
        ('{"count": 8}', "8 images", "5 images you have left"),
        ('{"count": 2, "seeds": "fixed"}', "2 images", "These 2 would be the same"),
        ('{"count": 9, "seeds": 1}', "1 image", ""),
    ):
        values = replace(lines, batch_options=batch)
        plan = plan_form(values, PUBLIC_LIMITS)
        warning = limit_warning(len(plan.images), quota, is_anonymous=False)
        payload = orjson.loads(dump_plan(plan, values, warning, "about 6 min"))
        assert payload["summary"] == f"{expected_summary}, about 6 min"
        assert payload["warning"].count(expected_warning)
        assert bool(payload["warning"]) == bool(expected_warning)
        assert payload["items"][0]["seed"] == "7"
        assert [syntax["text"] for syntax in payload["syntaxes"]] == ["(dog:1.3)"]
    assert "room for 7" in limit_warning(8, replace(quota, remaining=None), is_anonymous=False)
    assert "has 2 min left" in gpu_quota_warning(HubQuota(120), 360)
    assert not gpu_quota_warning(HubQuota(400), 360)
    assert "cookies" in limit_warning(2, None, is_anonymous=True)


def test_plan_marks_what_is_wrong_or_not_read() -> None:
    """Errors have a place in the text, on any line, and so have the parts beyond a limit."""
    values = replace(FORM_VALUES, prompt=" a 🦊\n\n b {c|", batch_options='{"one_per_line": true}')
    payload = orjson.loads(dump_plan(plan_form(values, PUBLIC_LIMITS), values))
    assert values.prompt[payload["error"]["position"]] == "{"
    assert payload["error"]["message"].startswith("“b {c|”: The brace is never closed")
    values = replace(FORM_VALUES, prompt="{a|b}" * 9, batch_options='{"combinations": true}')
    payload = orjson.loads(dump_plan(plan_form(values, PUBLIC_LIMITS), values))
    assert payload["error"]["message"] == "That would be 512 images; the limit is 500."
    assert payload["is_too_large"]
    book = StyleBook((Style("Ink", "an ink drawing of {prompt}, black"),))
    values = replace(FORM_VALUES, prompt=f" 🦊 {'fox ' * 300}", batch_options='{"styles": ["ink"]}')
    payload = orjson.loads(dump_plan(plan_form(values, PUBLIC_LIMITS, book), values))
    clip, t5 = payload["tokens"]["unread"]
    assert (clip[2], t5[2]) == ("clip", "t5")
    assert (
        77 - 9 <= len(values.prompt[: clip[0]].split()) < 77 < len(values.prompt[: t5[0]].split())
    )


def test_changed_fields_keep_their_values() -> None:
    """The Space's defaults go into the fields that the visitor hasn't changed."""
    turbo = replace(
        PUBLIC_LIMITS, guidance_scale=Range(0, 7.5, 0.1, 0), num_inference_steps=Range(1, 50, 1, 4)
    )
    defaults = {"guidance_scale": 0, "num_inference_steps": 4}
    assert updated_defaults(FORM_VALUES, turbo, {}) == defaults
    assert updated_defaults(replace(FORM_VALUES, num_inference_steps=12), turbo, {}) == {
        "guidance_scale": 0
    }


def test_values_outlive_another_space_if_they_were_chosen_and_fit() -> None:
    """The former Space's defaults, and what is out of range, become the defaults of the next."""
    values = replace(FORM_VALUES, guidance_scale=0, num_inference_steps=12, width=1440)
    turbo_defaults = {"guidance_scale": 0.0, "num_inference_steps": 4}
    public_limits = replace(PUBLIC_LIMITS, width=Range(512, 1344, 16, 1024))
    assert updated_defaults(values, public_limits, turbo_defaults) == {
        "guidance_scale": 4.5,
        "width": 1024,
    }


@pytest.mark.anyio
async def test_dropped_images_are_read_in_turn() -> None:
    """A visitor who drops a hundred images waits for them; another visitor's comes next."""
    reader = DroppedFileReader()
    visitors: list[str] = []

    async def read(visitor: str) -> None:
        await reader.read({"texts": {"parameters": "a fox"}}, visitor)
        visitors.append(visitor)

    async with anyio.create_task_group() as tasks:
        for visitor in ["ann"] * 100 + ["bob"]:
            tasks.start_soon(read, visitor)
    assert visitors.index("bob") <= 1
