"""What can't be answered, refused before Gradio prints it, with a traceback or a stranger's own words, into the log."""

from http import HTTPStatus
from typing import Any

from starlette.responses import PlainTextResponse, Response

__all__ = ["unanswerable"]


def unanswerable(app: Any, path: str, asked: dict[str, Any] | None) -> Response | None:  # noqa: ANN401  # Gradio's
    """Return the answer to a request for what isn't there, or with more or less than it takes; `None` if it is fine.

    Args:
        app: Gradio's, which has its functions as `blocks.fns`: with `api_name`, `inputs`, and of each `skip_api`.
        path: what is asked, below Gradio's prefix.
        asked: the body.

    """
    functions = getattr(getattr(app, "blocks", None), "fns", None)
    what, _, name = path.strip("/").removeprefix("call/v2/").partition("/")
    is_by_name = path.startswith("call/v2/")
    if functions is None or asked is None or not (is_by_name or what in {"run", "call", "queue"}):
        return None
    named = (each for each in functions.values() if each.api_name == (what if is_by_name else name))
    number = asked.get("fn_index")
    wanted = functions.get(number) if isinstance(number, int) and not is_by_name else next(named, None)
    if wanted is None:
        return PlainTextResponse("There is no such function here.", HTTPStatus.NOT_FOUND)
    return None if is_by_name else _amiss(wanted.inputs, asked.get("data"))


def _amiss(inputs: list[Any], data: object) -> Response | None:
    most, public = len(inputs), sum(not getattr(each, "skip_api", False) for each in inputs)
    if isinstance(data, list) and len(data) in {most, public}:
        return None
    return PlainTextResponse(f"As `data`, a list of {public} values is wanted.", HTTPStatus.UNPROCESSABLE_ENTITY)
