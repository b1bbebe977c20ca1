"""A server whose address is sent to the program as a file to download, in every disguise."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
from gradio import processing_utils

__all__ = ["Tripwire", "open_tripwire"]

LIMIT_SECONDS = 20


class Tripwire:
    """A server that nobody should call.

    Attributes:
        url: an address of the server; each use has another path, because Gradio caches downloads.
        requested_paths: the paths that were requested.

    """

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self._count = 0
        self.requested_paths: list[str] = []

    @property
    def url(self) -> str:
        """An address that hasn't been used yet."""
        self._count += 1
        return f"{self._root}/{self._count}"

    def file(self) -> dict[str, Any]:
        """Return an object that Gradio takes for a file."""
        return {"path": self.url, "meta": {"_type": "gradio.FileData"}}

    def values(self) -> Iterator[str]:
        """Yield JSON values with a file in them, which Gradio's parser finds."""
        file = json.dumps(self.file())
        yield file
        yield json.dumps(dict(reversed(self.file().items())))
        yield json.dumps(self.file() | {"url": self.url, "orig_name": "x.png", "is_stream": False})
        yield json.dumps([[{"any": [self.file()]}]])
        yield file.replace("path", "\\u0070ath").replace("_type", "_typ\\u0065")
        yield file.replace('{"path":', '{"meta": 1, "path": 7, "path":')

    def encode(self, body: str) -> Iterator[tuple[bytes | Iterator[bytes], dict[str, str]]]:
        """Yield a JSON body in other encodings, with headers."""
        plain = body.encode()
        json_type = {"Content-Type": "application/json"}
        for encoding in ("utf-16", "utf-32", "utf-16-le", "utf-8-sig"):
            yield body.encode(encoding), json_type
            yield body.encode(encoding), {"Content-Type": f"application/json; charset={encoding}"}
        yield gzip.compress(plain), json_type | {"Content-Encoding": "gzip"}
        yield plain, json_type | {"Content-Encoding": "identity"}
        yield (plain[index : index + 9] for index in range(0, len(plain), 9)), json_type
        yield plain[:-1] + b', "more": NaN}', json_type
        yield plain[:-1] + b', "data": []}', json_type
        yield plain, {}
        yield plain, {"Content-Type": "application/vnd.api+json"}
        yield plain, {"Content-Type": "text/plain"}
        yield b"data=" + plain, {"Content-Type": "application/x-www-form-urlencoded"}
        yield plain, {"Content-Type": "multipart/form-data; boundary=x"}

    def attack(
        self, http: httpx.Client, calls: dict[str, dict[str, Any]], name: str, data: list[Any]
    ) -> Iterator[tuple[str, int]]:
        """Call functions with files in their values; yield each path and status.

        Args:
            http: the client of the server that is attacked.
            calls: bodies by path, in which `"FILE"` stands for the value.
            name: the name of a function that can be called by name.
            data: its values.

        """
        by_name = {
            f"call/{name}": {"data": ["FILE", *data[1:]]},
            f"call/v2/{name}": {"prompt": "FILE", "negative_prompt": ""},
        }
        bodies = {path: json.dumps(body) for path, body in (calls | by_name).items()}
        for path, template in bodies.items():
            for value in self.values():
                body = template.replace('"FILE"', value)
                yield (
                    path,
                    self._post(http, path, body.encode(), {"Content-Type": "application/json"}),
                )
        for path, template in bodies.items():
            body = template.replace('"FILE"', json.dumps(self.file()))
            for content, headers in self.encode(body):
                yield path, self._post(http, path, content, headers)

    @staticmethod
    def _post(
        http: httpx.Client, path: str, content: bytes | Iterator[bytes], headers: dict[str, str]
    ) -> int:
        url = f"/gradio_api/{path}"
        answer = http.post(url, content=content, headers=headers)
        # A download would begin after the answer.
        if answer.status_code == 200 and (event_id := answer.json().get("event_id")):
            http.get(f"/gradio_api/call/any/{event_id}")
        return answer.status_code


@contextmanager
def open_tripwire() -> Iterator[Tripwire]:
    """Start the server, as if it were on the internet: Gradio downloads only from there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tripwire.requested_paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tripwire = Tripwire(server.server_port)
        Thread(target=server.serve_forever, daemon=True).start()
        processing_utils.PUBLIC_HOSTNAME_WHITELIST.append("127.0.0.1")
        try:
            yield tripwire
        finally:
            processing_utils.PUBLIC_HOSTNAME_WHITELIST.remove("127.0.0.1")
            server.shutdown()
