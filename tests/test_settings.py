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
    [
        "https://huggingface.co/spaces/owner/name",
        "https://huggingface.co/spaces/owner/name/?x=1",
        " owner/name ",
    ],
)
def test_a_space_s_page_stands_for_the_space(given: str) -> None:
    """The address that a person copies from the browser isn't understood."""
    assert load(["--space", given]).space == "owner/name"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "what is this"], "--space (or SD35_SPACE): give owner/name, or an address"),
        (["--space", "http://user:pw@host"], "an address with a user or password in it isn't used"),
        (
            ["--proxy", "socks5://me:pw@host"],
            "--proxy (or SD35_PROXY): give an address that begins with http://",
        ),
        (["--port", "http"], "--port (or SD35_PORT): "),
        (["--port", "70000"], "--port (or SD35_PORT): "),
        (
            ["--embed-in", "blog.example"],
            "--embed-in (or SD35_EMBED_IN): 'blog.example' isn't a site",
        ),
        (["--embed-in", "https://a.example; script-src *"], "isn't a site"),
        (["--root-path", "studio"], "--root-path (or SD35_ROOT_PATH): give a path such as /studio"),
        (["--at-once", "-1"], "--at-once (or SD35_AT_ONCE): "),
        (["--no-auth", "--auth", "ann:secret-word"], "--no-auth and a login"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_mistakes(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped flag ends in a traceback."""
    with pytest.raises(SystemExit) as ending:
        load(arguments)
    assert ending.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "is_private"),
    [
        ([], True),
        (["--host", "localhost"], True),
        (["--host", "::1"], True),
        (["--embed-in", "https://blog.example"], False),
        (["--host", "0.0.0.0"], False),  # noqa: S104
        (["--share"], False),
        (["--share", "--no-auth"], False),
        (["--known-hosts", "studio.example"], False),
        (["--root-path", "/studio"], False),
        (["--auth", "ann:secret-word"], False),
        (["--users", "users.txt"], False),
    ],
)
def test_when_there_is_one_owner(arguments: list[str], is_private: bool) -> None:  # noqa: FBT001
    """Others can reach the page, and all are taken for its one owner; or the owner runs into limits alone at home."""
    settings = load(arguments)
    assert settings.is_private is is_private
    assert (settings.caps == {"at_once": 1}) is is_private


def test_a_link_has_a_login_unless_it_is_not_wanted() -> None:
    """A public link is open to whoever has it, though nobody has said so."""
    assert load(["--share"]).makes_login
    assert not load(["--share", "--no-auth"]).has_logins
    assert not load(["--share", "--auth", "ann:secret-word"]).makes_login
    assert load(["--users", "users.txt"]).has_logins
    assert not load([]).has_logins


def test_several_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several logins only one counts, or a password can't hold a comma or a sign of equality."""
    given = load(["--auth", "ann:a,b", "--port", "8000", "--auth=bob:c=d"])
    assert given.logins == ("ann:a,b", "bob:c=d")
    assert given.server_port == 8000
    monkeypatch.setenv("SD35_AUTH", "ann:a,b\nbob:c=d")
    assert load([]).logins == ("ann:a,b", "bob:c=d")


def test_what_visitors_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visitors cost more than was said, or 0 isn't no limit, or on Hugging Face all wait for each other."""
    caps = load(["--share", "--visitor-hourly", "5", "--all-hourly", "0"]).caps
    assert caps == {
        "hourly": 5,
        "hourly_in_all": None,
        "waiting": 3,
        "waiting_in_all": 50,
        "at_once": 1,
        "at_once_each": 1,
    }
    assert load(["--at-once", "0"]).caps == {"at_once": None}, "one's own have no other"
    monkeypatch.setenv("SPACE_ID", "me/studio")
    assert load([]).caps["at_once"] == 20
    assert load(["--lend-token"]).caps["at_once"] == 1


def test_who_may_embed_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page can be embedded by anybody, or, as a Space, by nobody."""
    assert load([]).sites == ()
    given = "https://blog.example, https://*.hf.space"
    assert load(["--embed-in", given]).sites == ("https://blog.example", "https://*.hf.space")
    monkeypatch.setenv("SPACE_ID", "me/studio")
    assert load([]).sites == ("*",)
    assert load(["--embed-in", "https://blog.example"]).sites == ("https://blog.example",)


def test_tokens_are_not_shown() -> None:
    """A token is in what a log or an error would print of the settings."""
    settings = load(
        [
            "--token",
            "hf_verysecret",
            "--proxy",
            "http://me:verysecret@proxy",
            "--auth",
            "ann:verysecret",
        ]
    )
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
