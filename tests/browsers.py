"""Browsers without a screen: the HTTP requests of a page, or of an attacker, with own cookies."""

import secrets
import ssl
from collections.abc import Iterator
from typing import Any, Self

import httpx
import orjson

LIMIT_SECONDS = 20.0

# To read all authorities' certificates again for each browser takes longer than most requests.
_SSL_CONTEXT = ssl.create_default_context()

FORM_VALUES: list[Any] = ["a cat", "", "custom", 512, 512, 4.5, 20, 7, False, ""]
"""Values of the form, in the order of `FormValues`."""


class BrowserSession:
    """A browser with one open page.

    Attributes:
        http: the client, with the browser's cookies.
        session_hash: Gradio's id of the page.

    """

    def __init__(self, address: str, headers: dict[str, str] | None = None) -> None:
        self.http = httpx.Client(
            base_url=address, timeout=LIMIT_SECONDS, headers=headers, verify=_SSL_CONTEXT
        )
        self.session_hash = secrets.token_hex(6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def open(self) -> Self:
        """Open the page, with which the browser gets its secret cookie."""
        self.http.get("/").raise_for_status()
        return self

    def log_in(self, name: str, password: str) -> httpx.Response:
        """Log in, as the form does."""
        return self.http.post("/login", data={"username": name, "password": password})

    def find_fn_index(self, name: str) -> int:
        """Return the index of a listener of the page."""
        dependencies = self.http.get("/config").raise_for_status().json()["dependencies"]
        return next(
            int(dependency["id"]) for dependency in dependencies if dependency["api_name"] == name
        )

    # The data of an event may be anything.
    def join(self, name: str, data: list[Any], **extra_fields: Any) -> httpx.Response:  # noqa: ANN401
        """Call a listener through the queue."""
        body = {
            "data": data,
            "fn_index": self.find_fn_index(name),
            "session_hash": self.session_hash,
        } | extra_fields
        return self.http.post("/gradio_api/queue/join", json=body)

    def messages(self, event_id: str) -> Iterator[dict[str, Any]]:
        """Yield the messages of an event, to its end."""
        with self.http.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": self.session_hash}
        ) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                message = orjson.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("event_id") == event_id:
                    yield message
                if message.get("msg") in {"process_completed", "close_stream"}:
                    return

    def result(self, name: str, data: list[Any], **extra_fields: Any) -> list[Any]:  # noqa: ANN401
        """Return the last output of a listener."""
        event_id = self.join(name, data, **extra_fields).raise_for_status().json()["event_id"]
        *_, last = self.messages(event_id)
        outcome: list[Any] = last["output"]["data"]
        return outcome

    def run(self, name: str, data: list[Any], event_data: Any = None) -> list[Any]:  # noqa: ANN401  # JSON
        """Return the output of a listener that isn't queued."""
        body = {
            "data": data,
            "event_data": event_data,
            "fn_index": self.find_fn_index(name),
            "session_hash": self.session_hash,
        }
        outcome: list[Any] = (
            self.http.post(f"/gradio_api/run/{name}", json=body).raise_for_status().json()["data"]
        )
        return outcome

    def submit(self, prompt: str = "a cat", key: str = "") -> tuple[dict[str, str], str]:
        """Press Generate; return the outcome, and the id of the job that the page shows then."""
        values = [prompt, *FORM_VALUES[1:]]
        submission = {"key": key or secrets.token_hex(16), "values": values, "is_confirmed": True}
        outcomes, _, _, _, job_id, *_ = self.run("submit", [""], {"submissions": [submission]})
        return orjson.loads(outcomes)[0], job_id

    def generate_picture(self, prompt: str = "a cat") -> tuple[dict[str, Any], str]:
        """Generate an image; return its file as the page gets it, and the id of the job."""
        outcome, job_id = self.submit(prompt)
        assert outcome["status"] == "accepted"
        image, _, job_id, *_ = self.result("watch_jobs", [job_id])
        return image, job_id
