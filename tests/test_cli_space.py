"""`python -m sd35 space` and `doctor`."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from aiohttp import web
from anyio.from_thread import BlockingPortal

from sd35.server.launch import free_port
from tests.cli_program import (
    QUOTA,
    SECRET_TOKEN,
    generator,
    invoke,
    isolate,
    plain,
    portal,
)
from tests.fakes import FakeSpace
from tests.impostor import STARTED, respond_events, respond_text, serve_fake_gradio
from tests.test_contract import DESCRIPTIONS

__all__ = ["generator", "plain", "portal"]  # fixtures

QUOTA_FAILURE_MESSAGE = {
    "msg": "process_completed",
    "success": False,
    "output": {"error": QUOTA.removeprefix("error: ")},
}
ALL_OK = ["ok"] * 5


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path, monkeypatch)


def test_space_shows_limits_and_features(plain: FakeSpace, generator: FakeSpace) -> None:
    """`space` shows what the Space accepts, as text and as JSON."""
    code, out, _ = invoke("space", plain.address)
    assert code == 0
    for line in (
        r"^Title +A fake Space",
        r"^Gradio +6\.",
        r"^Stop +can't cancel a running job",
        r"^guidance_scale +0 to 7\.5 +0\.1 +4\.5",
        r"^16:9 +1024 × 576",
        r"^21:9 +21:9 isn't available: ",
    ):
        assert re.search(line, out, re.MULTILINE), line
    code, out, _ = invoke("space", generator.address, "--json")
    description = json.loads(out)
    flags = [description[name] for name in ("is_generator", "tells_seed", "is_demo")]
    assert (code, flags) == (0, [True, True, False])
    assert {
        "name": "width",
        "minimum": 512,
        "maximum": 1024,
        "step": 32,
        "default": 1024,
    } in description["parameters"]
    assert description["sizes"]["3:2"] == {"width": 960, "height": 640}
    assert "at least 512 px per side" in description["sizes"]["9:21"]["unavailable"]


def test_text_of_a_space_is_printed_literally(portal: BlockingPortal) -> None:
    """A title of a Space can neither move the cursor nor be taken for markup."""
    config = json.loads(DESCRIPTIONS[-1].read_text())["config"] | {
        "title": "[red]x[/red]\x1b]0;mine\x07\x1b[2J"
    }
    with portal.wrap_async_context_manager(
        serve_fake_gradio(config=respond_text(200, json.dumps(config)))
    ) as address:
        for arguments in (("space", address), ("space", address, "--json"), ("doctor", address)):
            code, out, _ = invoke(*arguments)
            assert code == 0
            assert "[red]x[/red]" in out
            assert "\x07" not in out


@contextlib.asynccontextmanager
async def serve_hub(space: str, stage: str) -> AsyncIterator[str]:
    """Serve a Hub that knows one token, alice's, and one Space."""

    async def whoami(request: web.Request) -> web.Response:
        is_owned = request.headers.get("Authorization") == f"Bearer hf_{SECRET_TOKEN}"
        return web.json_response(
            {"name": "alice\x1b[2J", "isPro": True}, status=200 if is_owned else 401
        )

    async def space_info(_: web.Request) -> web.Response:
        return web.json_response({"host": space, "runtime": {"stage": stage}})

    app = web.Application()
    app.router.add_get("/api/whoami-v2", whoami)
    app.router.add_get("/api/spaces/a/b", space_info)
    app.router.add_get("/api/spaces/old/b", respond_text(307, Location="/api/spaces/a/b"))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("arguments", "stage", "code", "statuses", "expected_message"),
    [
        ([], "RUNNING", 0, [*ALL_OK, "skipped"], "valid: alice [2J, a PRO account, from HF_TOKEN"),
        (["--try"], "STOPPED", 5, [*ALL_OK, "not ok"], "Try again at"),
        (
            ["--token", "other"],
            "RUNNING",
            4,
            ["ok", "ok", "not ok", "skipped", "skipped", "skipped"],
            "Invalid Hugging Face token. It is from --token or SD35_TOKEN.",
        ),
        (
            [],
            "PAUSED",
            3,
            ["ok", "ok", "ok", "not ok", "skipped", "skipped"],
            "paused by its owner",
        ),
        (
            ["--proxy", f"http://me:{SECRET_TOKEN}@127.0.0.1:1"],
            *(
                "RUNNING",
                3,
                ["ok", "not ok", "skipped", "skipped", "skipped", "skipped"],
                "http://127.0.0.1:1",
            ),
        ),
    ],
    ids=["well", "quota", "token", "paused", "proxy"],
)
def test_doctor_finds_what_is_wrong(
    arguments: list[str],
    stage: str,
    code: int,
    statuses: list[str],
    expected_message: str,
    portal: BlockingPortal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`doctor` finds the check that fails, skips what depends on it, and exits with its code."""
    with (
        portal.wrap_async_context_manager(
            serve_fake_gradio(data=respond_events(STARTED, QUOTA_FAILURE_MESSAGE))
        ) as space,
        portal.wrap_async_context_manager(serve_hub(space, stage)) as address,
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        exit_code, out, _ = invoke("doctor", "a/b", *arguments)
        assert exit_code == code
        assert expected_message in out
        assert re.findall(r"^(ok|not ok|skipped) ", out, re.MULTILINE) == statuses
        report = json.loads(invoke("doctor", "a/b", *arguments, "--json")[1])
    assert (report["exit_code"], [check["status"] for check in report["checks"]]) == (
        code,
        statuses,
    )


def test_token_is_read_from_a_file(
    portal: BlockingPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token in a file is used as one in an option is, but only the option shows it to others."""
    file = tmp_path / "token"
    file.write_text("other\n", "utf-8")
    with (
        portal.wrap_async_context_manager(serve_fake_gradio()) as space,
        portal.wrap_async_context_manager(serve_hub(space, "RUNNING")) as address,
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        from_file = invoke("doctor", "a/b", "--token-file", str(file))
        from_option = invoke("doctor", "a/b", "--token", "other")
    for code, out, _ in (from_file, from_option):
        assert code == 4
        assert "Invalid Hugging Face token" in out
    warning = "Other users of this computer can see the token after --token"
    assert warning not in from_file[2]
    assert warning in " ".join(from_option[2].split())


def test_new_name_of_a_space_is_printed(
    portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renamed Space is used, and its new name said."""
    with (
        portal.wrap_async_context_manager(serve_fake_gradio()) as space,
        portal.wrap_async_context_manager(serve_hub(space, "RUNNING")) as address,
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        code, _, err = invoke("space", "old/b")
        assert (code, "old/b was renamed: it is a/b now." in err) == (0, True)
        assert "RUNNING (renamed: it is a/b now)" in invoke("doctor", "old/b")[1]


def test_sleeping_space_is_not_waited_for(
    portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --wait 0, a sleeping Space is an error at once."""
    sleeping_space = respond_text(503, "<html>Preparing Space</html>")
    with (
        portal.wrap_async_context_manager(serve_fake_gradio(config=sleeping_space)) as space,
        portal.wrap_async_context_manager(serve_hub(space, "STOPPED")) as address,
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        code, out, err = invoke("space", "a/b", "--wait", "0", "--json")
    assert (code, json.loads(out)["error"]["kind"]) == (3, "asleep")
    assert "a/b is asleep." in err


@pytest.mark.skipif(find_spec("diffusers") is not None, reason="the model's packages are installed")
def test_doctor_of_a_local_space_names_what_is_missing() -> None:
    """Without the model's packages, it says how to install them."""
    code, out, _ = invoke("doctor", "local", "--json")
    report = json.loads(out)
    (result,) = report["checks"]
    assert code == report["exit_code"] == 3
    assert (result["check"], result["status"]) == ("Packages", "not ok")
    assert "pip install -r requirements-model.txt" in out
