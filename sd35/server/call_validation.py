"""Calls of Gradio's functions: those that aren't valid never reach Gradio.

Gradio looks for files at every depth of a call's values, whatever their component, and downloads
them before it calls the function (`async_move_files_to_cache`): any visitor could make this server
fetch any URL. No function here takes a file, so an argument is a text, a number, a boolean or null.

For other calls that can't succeed, Gradio logs a traceback or the caller's own text.
"""

from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sd35.server.security import replay_body

__all__ = ["API_PREFIX", "CallValidator"]

API_PREFIX: Final = "/gradio_api/"

# Limits of `event_data`. The page's own events have one level, of at most 2,000 ids.
MAX_DEPTH: Final = 16
MAX_VALUES: Final = 10_000

# Gradio puts the session's hash into names of tasks, and splits these at `<gradio-sep>`: with that
# in a hash, every visitor's cancellation would fail.
_Id = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_-]{1,64}\z")]

_STRICT: Final = ConfigDict(strict=True, extra="ignore")


class _CallBody(BaseModel):
    """Body of `call/{name}`. Gradio's other fields would change how it reads these."""

    model_config = _STRICT

    data: list[Any]
    session_hash: _Id | None = None


class _RunBody(_CallBody):
    """Body of `run/{name}`; with an index, the name has no meaning."""

    fn_index: int | None = None
    trigger_id: int | None = None
    event_data: Any = None


class _JoinBody(_RunBody):
    """Body of `queue/join`."""

    fn_index: int
    session_hash: _Id


class _CancelBody(BaseModel):
    """Body of `cancel`."""

    model_config = _STRICT

    session_hash: _Id
    event_id: _Id
    fn_index: int


class _InvalidCallError(Exception):
    """The call can't succeed; the message is for the caller."""

    def __init__(self, message: str, status: int = HTTPStatus.UNPROCESSABLE_ENTITY) -> None:
        super().__init__(message)
        self.status = status


class CallValidator:
    """Innermost ASGI middleware of Gradio's app: refuses invalid calls, and rewrites the others.

    Gradio gets what was checked, in the only encoding that was accepted: its own parser reads more
    encodings, and may read duplicate keys differently.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the body of a POST request below `API_PREFIX`."""
        path = scope.get("path", "")
        if scope.get("method") != "POST" or not path.startswith(API_PREFIX):
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        try:
            payload = _valid_payload(scope["app"], path.removeprefix(API_PREFIX).strip("/"), body)
        except ValidationError as error:
            names = sorted({str(detail["loc"][0]) for detail in error.errors() if detail["loc"]})
            await _error_response(f"Invalid: {', '.join(names)}.")(scope, receive, send)
        except _InvalidCallError as error:
            await _error_response(str(error), error.status)(scope, receive, send)
        else:
            receive = replay_body(orjson.dumps(payload), receive)
            await self._app(scope, receive, send)


def _error_response(text: str, status: int = HTTPStatus.UNPROCESSABLE_ENTITY) -> Response:
    return PlainTextResponse(text, status)


def _valid_payload(app: Any, path: str, body: bytes) -> dict[str, Any]:  # noqa: ANN401  # Gradio's
    """Return what Gradio may read of a body."""
    payload = _parse_json(body)
    match path.split("/"):
        case ["cancel"]:
            return _CancelBody.model_validate(payload).model_dump()
        case ["queue", "join"]:
            join_body = _JoinBody.model_validate(payload)
            _check_event_data(join_body.event_data)
            _check_function(app.blocks.fns.get(join_body.fn_index), join_body.data)
            return join_body.model_dump()
        case ["run", name]:
            run_body = _RunBody.model_validate(payload)
            _check_event_data(run_body.event_data)
            function = _function_by_name(app, name)
            if run_body.fn_index is not None:
                function = app.blocks.fns.get(run_body.fn_index)
            _check_function(function, run_body.data)
            return run_body.model_dump()
        case ["call", name]:
            call_body = _CallBody.model_validate(payload)
            _check_function(_function_by_name(app, name), call_body.data)
            return call_body.model_dump()
        case ["call", "v2", name]:
            names = _argument_names(app, name, payload)
            data = [payload.get(argument_name) for argument_name in names]
            _check_function(_function_by_name(app, name), data)
            return payload
        case _:  # not a call: Gradio answers that the method isn't allowed
            return {}


def _parse_json(body: bytes) -> dict[str, Any]:
    # orjson is strict: no NaN, no lone surrogates, no byte order mark, no encoding but UTF-8.
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    if not isinstance(payload, dict):
        raise _InvalidCallError("The body isn't a JSON object.", HTTPStatus.BAD_REQUEST)
    return payload


def _check_event_data(event_data: object) -> None:
    """Check that this is small, and has no file in it: it isn't a value, but may become one."""
    # A loop, because a recursion has a limit, too, at which Gradio would fail.
    level = [event_data]
    for _ in range(MAX_DEPTH):
        if any(isinstance(value, dict) and _is_file(value) for value in level):
            raise _InvalidCallError("Files aren't accepted here.")
        level = [child for value in level for child in _children(value)]
        if not level:
            return
        if len(level) > MAX_VALUES:
            break
    raise _InvalidCallError("`event_data` is too large.")


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_file(value: dict[str, Any]) -> bool:
    # More than what Gradio recognizes now: a path, and `meta` with the type of a file.
    return "path" in value and not value.keys().isdisjoint({"meta", "url"})


def _function_by_name(app: Any, name: str) -> Any:  # noqa: ANN401  # Gradio's
    return next((fn for fn in app.blocks.fns.values() if fn.api_name == name), None)


def _check_function(function: Any, data: list[Any]) -> None:  # noqa: ANN401  # Gradio's
    """Check that the function exists, not only in the browser, and takes these arguments."""
    if function is None or function.fn is None:
        raise _no_function_error()
    inputs = function.inputs
    # Programs leave out the values of components such as gr.State, and the page sends them all.
    public_inputs = [component for component in inputs if not component.skip_api]
    if len(data) not in {len(inputs), len(public_inputs)}:
        raise _InvalidCallError(f"`data` must be a list of {len(public_inputs)} values.")
    if any(isinstance(value, dict | list) for value in data):
        raise _InvalidCallError("A value must be a text, a number, true, false or null.")
    # Gradio's own checks compare the value, whatever its type, with the component's range. The
    # functions without them check all values themselves.
    components = inputs if len(data) == len(inputs) else public_inputs
    for component, value in zip(components, data, strict=True):
        if function.preprocess and not _has_type_of(component, value):
            raise _InvalidCallError(f"{component.label}: the value has the wrong type.")


def _has_type_of(component: Any, value: object) -> bool:  # noqa: ANN401  # Gradio's
    is_number = component.api_info().get("type") in {"number", "integer"}
    return not is_number or isinstance(value, int | float)


def _argument_names(app: Any, name: str, arguments: dict[str, Any]) -> list[str]:  # noqa: ANN401  # Gradio's
    """Return the names of the function's arguments, among which these must be."""
    # Gradio reads the names of arguments here, too, and keeps the description.
    endpoints = (app.api_info or app.blocks.get_api_info())["named_endpoints"]
    if f"/{name}" not in endpoints:
        raise _no_function_error()
    parameters = endpoints[f"/{name}"]["parameters"]
    names = [parameter["parameter_name"] for parameter in parameters]
    if arguments.keys() - set(names):
        raise _InvalidCallError(f"The arguments are {', '.join(names)}.")
    for parameter in parameters:
        if not parameter["parameter_has_default"] and parameter["parameter_name"] not in arguments:
            raise _InvalidCallError(f"`{parameter['parameter_name']}` is missing.")
    return names


def _no_function_error() -> _InvalidCallError:
    return _InvalidCallError("There is no such function.", HTTPStatus.NOT_FOUND)
