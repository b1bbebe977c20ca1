"""Target `web`: HTTP requests of strangers, to the page, to one with logins, and to the demo Space.

An input is the head and the body of a request. It may contain `@NAME@` for the index of a function.
"""

import io
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sd35.server.accounts import CredentialStore
from sd35.server.auth import Authenticator
from sd35.space.server import DemoSpace
from tests.app_server import CHEAP_HASHER, serve_app
from tests.browsers import FORM_VALUES
from tests.fuzz.mutation import mutations
from tests.fuzz.target import Check, Target
from tests.test_app import HOSTILE_REQUESTS

LIMIT_SECONDS: Final = 30.0
STREAM_SECONDS: Final = 0.3

# An address at which Gradio would fetch a file, and which no machine has: of carriers' networks.
_FILE: Final = {"path": "http://100.64.0.1/x", "meta": {"_type": "gradio.FileData"}}

_INFER: Final[list[Any]] = ["a cat", "", 7, False, 512, 512, 4.5, 1]

_EVENT: Final = {
    "action": "open",
    "ids": ["a"],
    "position": "newer:1",
    "text": "a",
    "filter": "All",
}

# Data and event of the page's functions.
_LISTENERS: Final[dict[str, tuple[list[Any], Any]]] = {
    "watch_jobs": (["=a"], None),
    "poll_jobs": (["a"], None),
    "load_page": (["a"], None),
    "poll_connection": ([], None),
    "submit": ([""], {"submissions": [{"key": "a" * 32, "values": FORM_VALUES}]}),
    "validate_form": (FORM_VALUES, None),
    "plan": (["{a|b} __season__", *FORM_VALUES[1:]], {"draw": 7, "batch": '{"count": 2}'}),
    "run_queue_action": (["a"], {"action": "stop", "id": "a"}),
    "create_variation": (["a"], {"id": "a", "variation": "adjacent"}),
    "import_from_library": (FORM_VALUES, {"id": "a", "group": "seed", "kind": "job"}),
    "import_dropped_file": (FORM_VALUES, {"texts": {"prompt": "{}"}, "size": [8, 8], "number": 0}),
    "undo_import": ([json.dumps([*FORM_VALUES[:9], _FILE])], None),
    "apply_limits": ([*FORM_VALUES, "", "", "{}"], None),
    "list_spaces": ([], None),
    "choose_space": ([], {"target": "demo"}),
    "visitor_info": ([], None),
    "_on_search": (["is:starred -tag:x after:2026", "Trash"], None),
    "_on_event": (["", "All"], _EVENT),
    "infer": (_INFER, None),
    "generate": (["a cat", "", "1:1", None, None, None, 1, 7], None),
}

_BODIES: Final[list[tuple[str, Any]]] = [
    *(
        (path, {"data": data, "event_data": event, "fn_index": f"@{name}@", "session_hash": "s1"})
        for name, (data, event) in _LISTENERS.items()
        for path in ("queue/join", f"run/{name}")
    ),
    ("call/infer", {"data": _INFER}),
    ("call/infer", {"data": [_FILE, *_INFER[1:]], "session_hash": "s"}),
    ("call/v2/infer", {"prompt": "a cat", "negative_prompt": "", "num_inference_steps": 1}),
    ("call/v2/generate", {"prompt": "a cat", "width": 512, "height": 512, "seed": 1}),
    ("cancel", {"session_hash": "s1", "event_id": "a", "fn_index": 0}),
]

_GET_PATHS: Final = (
    *("/", "/config", "/login", "/logout", "/theme.css", "/manifest.json", "/robots.txt"),
    *("/metrics", "/healthz", "/favicon.ico", "/pwa_icon", "/gradio.js", "/assets/index.js"),
    *("/static/img/logo.svg", "/svelte/x", "/studio/thumbnail/a", "/studio/picture/a?download"),
    *("/gradio_api/info?all_endpoints=1", "/gradio_api/openapi.json", "/gradio_api/user"),
    *("/gradio_api/queue/data?session_hash=s1", "/gradio_api/heartbeat/s1", "/gradio_api/app_id"),
    *("/gradio_api/call/infer/a", "/gradio_api/startup-events", "/gradio_api/mcp"),
    *("/gradio_api/file=sd35/a/b.png", "/gradio_api/file=http://100.64.0.1/x"),
    *("/gradio_api/proxy=http://100.64.0.1/x", "/login/huggingface", "/login/callback?code=a"),
)

_HEADERS: Final = (
    *(
        "Host: localhost",
        "Host: 100.64.0.1:99999",
        "X-Forwarded-Host: [",
        "X-Forwarded-Proto: https",
    ),
    *("X-Gradio-Server: http://100.64.0.1", "Origin: null", "Sec-Fetch-Site: cross-site"),
    *("Cookie: sd35-browser=" + "x" * 40, "Cookie: a=\x22", "Authorization: Basic YTpi"),
    *(
        "Authorization: Basic !",
        "Range: bytes=0-,9-1",
        "Accept-Encoding: br",
        "Accept-Language: de",
    ),
    *(
        "Content-Encoding: gzip",
        "Content-Type: multipart/form-data; boundary=x",
        "Expect: 100-continue",
    ),
    *("If-None-Match: *", "Upgrade: websocket", "X-Forwarded-For: 1.2.3.4, x", "X-IP-Token: a"),
)

_TOKENS: Final = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"%00",
        b"%0a",
        b"%25",
        b"..%2f",
        b"?",
        b"&",
        b"=",
        b";",
        b"\xff",
        b"\0",
    ),
    *(b'"data":', b'"path":', b'"meta":', b'"_type":"gradio.FileData"', b'"fn_index":', b"\\ud800"),
    *(
        b"http://100.64.0.1/x",
        b"null",
        b"NaN",
        b"1e999",
        b"-1",
        b"[[",
        b"{",
        b'"__type__":"update"',
    ),
)


def _request(method: str, path: str, headers: Sequence[str] = (), body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *headers])
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def _encode_body(body: object) -> bytes:
    # An index is a number.
    return re.sub(r'"(@\w+@)"', r"\1", json.dumps(body)).encode()


def _samples() -> list[bytes]:
    json_type = "Content-Type: application/json"
    form_type = "Content-Type: application/x-www-form-urlencoded"
    return [
        *(_request("GET", path) for path in _GET_PATHS),
        *(
            _request("POST", f"/gradio_api/{path}", [json_type], _encode_body(body))
            for path, body in _BODIES
        ),
        *(
            _request(method, f"/{path}", [f"{name}: {value}" for name, value in headers.items()])
            for method, path, headers, _ in HOSTILE_REQUESTS
        ),
        _request("POST", "/login", [form_type], b"username=ann&password=wrong"),
        _request("POST", "/studio/zip", [form_type], b"ids=a,b"),
        _request("HEAD", "/"),
        _request("OPTIONS", "/config", ["Access-Control-Request-Method: POST"]),
        _request("DELETE", "/gradio_api/mcp"),
    ]


_JSON_VALUES: Final[SearchStrategy[Any]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([_FILE, {"__type__": "update", "value": _FILE}, json.dumps(_FILE)]),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "url", "meta", "data", "id"]), values, max_size=3
        )
    ),
    max_leaves=6,
)


@st.composite
def _calls(draw: st.DrawFn) -> bytes:
    """Draw a call in which some values are anything."""
    path, body = draw(st.sampled_from(_BODIES))
    body = {**body}
    for key in draw(st.lists(st.sampled_from([*body, "trigger_id", "batched"]), max_size=2)):
        body[key] = draw(_JSON_VALUES)
    if isinstance(body.get("data"), list) and body["data"] and draw(st.booleans()):
        index = draw(st.integers(0, len(body["data"]) - 1))
        body["data"] = [*body["data"]]
        body["data"][index] = draw(_JSON_VALUES)
    encoded = _encode_body(body)
    if draw(st.integers(0, 9)) == 0:
        encoding = draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]))
        encoded = encoded.decode().encode(encoding)
    headers = draw(st.lists(st.sampled_from(_HEADERS), max_size=2))
    content_type = "Content-Type: application/json"
    return _request("POST", f"/gradio_api/{path}", [content_type, *headers], encoded)


@st.composite
def _gets(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE"]))
    path = draw(st.sampled_from(_GET_PATHS)) + draw(
        st.sampled_from(["", "", "/", "?page=x", "%00"])
    )
    return _request(method, path, draw(st.lists(st.sampled_from(_HEADERS), max_size=4)))


class _Output(io.StringIO):
    """The output of the servers, and the connections that they open."""

    def watch_connections(self, harness: int) -> None:
        """Print every connection to elsewhere that another thread than the harness opens."""
        own_ports: set[int] = set()
        local_names = {"127.0.0.1", "localhost", "::1", None, b"127.0.0.1"}

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if self.closed or not event.startswith("socket."):
                return
            if event == "socket.bind" and isinstance(arguments[1], tuple):
                own_ports.add(arguments[1][1])
            if threading.get_ident() == harness:
                return
            if event == "socket.connect" and isinstance(arguments[1], tuple):
                host, port = arguments[1][:2]
                if host not in local_names or port not in own_ports:
                    self.write(f"Connection to {host}:{port}\n")
            elif event == "socket.getaddrinfo" and arguments[0] not in local_names:
                self.write(f"Name looked up: {arguments[0]!r}\n")

        sys.addaudithook(watch)

    def take(self) -> str:
        """Return what was printed since the last call."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@dataclass(slots=True)
class _Server:
    address: str
    fn_indexes: dict[str, int] = field(default_factory=dict)

    def read_config(self, auth: dict[str, str] | None = None) -> None:
        """Read the indexes of the functions."""
        with httpx.Client(base_url=self.address, timeout=LIMIT_SECONDS) as http:
            if auth is not None:
                http.post("/login", data=auth).raise_for_status()
            dependencies = http.get("/config").raise_for_status().json()["dependencies"]
        self.fn_indexes = {item["api_name"]: item["id"] for item in dependencies}


_addresses = count()


def _complete(server: _Server, data: bytes) -> bytes:
    """Return a request that ends, from an address that has sent none before."""
    head, _, body = data.partition(b"\r\n\r\n")
    body = re.sub(
        rb"@(\w+)@", lambda match: b"%d" % server.fn_indexes.get(match[1].decode(), 0), body
    )
    lines = [
        line
        for line in head.split(b"\r\n")
        if not line.lower().startswith((b"content-length", b"transfer-encoding", b"connection"))
    ]
    if not any(line.lower().startswith(b"host:") for line in lines):
        lines.append(b"Host: localhost")
    number = next(_addresses)
    lines += [
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        b"X-Forwarded-For: 10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _exchange(server: _Server, request: bytes) -> bytes:
    """Send a request, and return the answer; of a stream, what comes within a moment."""
    url = urlsplit(server.address)
    answer = b""
    with socket.create_connection((url.hostname, url.port), LIMIT_SECONDS) as connection:
        # A server may refuse a request, and close, before it has read it.
        with suppress(ConnectionError):
            connection.sendall(request)
            while chunk := connection.recv(1 << 16):
                answer += chunk
                if b"content-type: text/event-stream" in answer[:4096]:
                    return answer + _receive_for(connection, STREAM_SECONDS)
    return answer


def _receive_for(connection: socket.socket, seconds: float) -> bytes:
    received = b""
    deadline = time.monotonic() + seconds
    with suppress(TimeoutError, ConnectionError):
        while (remaining := deadline - time.monotonic()) > 0:
            connection.settimeout(remaining)
            chunk = connection.recv(1 << 16)
            if not chunk:
                break
            received += chunk
    return received


def _check_answer(server: _Server, data: bytes) -> None:
    answer = _exchange(server, _complete(server, data))
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    # No answer: not a request at all, or one to which uvicorn answers by closing the connection.
    status = int(match[1]) if match else 400
    assert status < 500 or status == 503, answer[:400]
    assert b"Traceback" not in answer, answer
    assert b"site-packages" not in answer, answer
    if event := re.search(rb'"event_id":"(\w+)"', answer):
        follow = _request("GET", f"/gradio_api/call/any/{event[1].decode()}")
        _exchange(server, _complete(server, follow))


@contextmanager
def _open_check() -> Iterator[Check]:
    output = _Output()
    output.watch_connections(threading.get_ident())
    accounts = CredentialStore(["ann:ann's password"], hasher=CHEAP_HASHER)
    space = DemoSpace()
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(output))
        stack.enter_context(redirect_stderr(output))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        servers = [_Server(space.start())]
        stack.callback(space.close)
        for authenticator in (
            Authenticator(is_private=False),
            Authenticator(is_private=False, accounts=accounts),
        ):
            app = serve_app(servers[0].address, folder, authenticator=authenticator)
            servers.append(_Server(stack.enter_context(app).address))
        servers[0].read_config()
        servers[1].read_config()
        servers[2].read_config({"username": "ann", "password": "ann's password"})
        assert _LISTENERS.keys() <= servers[1].fn_indexes.keys()
        output.take()

        def check(data: bytes) -> None:
            for server in servers:
                _check_answer(server, data)
            printed = output.take()
            assert not printed, printed

        yield check


TARGET = Target(
    inputs=mutations(_samples(), _TOKENS, 1 << 17) | _calls() | _gets(), open_check=_open_check
)
