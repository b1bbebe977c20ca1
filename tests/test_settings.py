"""Flags and environment."""

import socket

import pytest

from sd35.settings import Settings, load


def test_defaults() -> None:
    """Without a flag, something else than the local page over the public Space is started."""
    settings = load([])
    assert (settings.space, settings.server_name, settings.server_port, settings.share) == (
        "auto",
        "127.0.0.1",
        None,
        False,
    )
    assert settings.space_token is None
    assert not settings.runs_on_hub


def test_a_flag_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable in the environment overrides what was typed."""
    monkeypatch.setenv("SD35_PORT", "8000")
    monkeypatch.setenv("SD35_SPACE", "demo")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "9000")
    assert load([]).server_port == 8000
    assert load(["--port", "8001", "--share"]).server_port == 8001
    assert load(["--space", "owner/name"]).space == "owner/name"


def test_a_hosted_copy_listens_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Space, the page is served where Hugging Face doesn't look for it, or answers to no name."""
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7860")
    monkeypatch.setenv("SPACE_ID", "me/studio")
    settings = load([])
    assert (settings.server_name, settings.server_port) == ("0.0.0.0", 7860)  # noqa: S104
    assert ".hf.space" in settings.host_names


def test_names_of_a_server_in_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a reverse proxy, or for the whole network, the page can't be reached under its own name."""
    monkeypatch.setenv("SD35_KNOWN_HOSTS", "nas.lan, .studio.example")
    names = load(["--host", "::"]).host_names
    assert {"nas.lan", ".studio.example", socket.gethostname()} <= set(names)


@pytest.mark.parametrize(
    ("space", "arguments", "sent"),
    [
        ("auto", [], "hf_hub"),
        ("owner/name", [], "hf_hub"),
        ("https://owner-name.hf.space", [], "hf_hub"),
        ("https://owner-name.hf.space.example.org", [], None),
        ("http://example.org", [], None),
        ("demo", [], None),
        ("http://example.org", ["--token", "mine"], "mine"),
        ("owner/name", ["--token", "mine"], "mine"),
    ],
)
def test_a_token_goes_only_where_it_belongs(
    space: str, arguments: list[str], sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hugging Face token in the environment is handed to some other server."""
    monkeypatch.setenv("HF_TOKEN", "hf_hub")
    assert load(["--space", space, *arguments]).space_token == sent


@pytest.mark.parametrize(
    "given",
    ["https://huggingface.co/spaces/owner/name", "https://huggingface.co/spaces/owner/name/?x=1", " owner/name "],
)
def test_a_space_s_page_stands_for_the_space(given: str) -> None:
    """The address that a person copies from the browser isn't understood."""
    assert load(["--space", given]).space == "owner/name"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "what is this"], "--space (or SD35_SPACE): give owner/name, or an address"),
        (["--space", "http://user:pw@host"], "an address with a user or password in it isn't used"),
        (["--proxy", "socks5://me:pw@host"], "--proxy (or SD35_PROXY): give an address that begins with http://"),
        (["--port", "http"], "--port (or SD35_PORT): "),
        (["--port", "70000"], "--port (or SD35_PORT): "),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_mistakes(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped flag ends in a traceback."""
    with pytest.raises(SystemExit) as ending:
        load(arguments)
    assert ending.value.code == 2
    assert words in capsys.readouterr().err


def test_tokens_are_not_shown() -> None:
    """A token is in what a log or an error would print of the settings."""
    settings = load(["--token", "hf_verysecret", "--proxy", "http://me:verysecret@proxy"])
    assert "verysecret" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """A setting exists that --help doesn't speak of."""
    with pytest.raises(SystemExit) as ending:
        load(["--help"])
    assert not ending.value.code
    printed = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        if field.validation_alias is None:
            assert f"--{name.replace('_', '-')}" in printed
