"""Flags and environment."""

import socket

import pytest

from sd35.settings import Settings, load_settings


def test_defaults() -> None:
    """Without a flag, something else than the local page over the public Space is started."""
    settings = load_settings([])
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
    assert load_settings([]).server_port == 8000
    assert load_settings(["--port", "8001", "--share"]).server_port == 8001
    assert load_settings(["--space", "owner/name"]).space == "owner/name"


def test_a_hosted_copy_listens_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Space, the page is served where Hugging Face doesn't look for it, or answers to no name."""
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7860")
    monkeypatch.setenv("SPACE_ID", "me/studio")
    settings = load_settings([])
    assert (settings.server_name, settings.server_port) == ("0.0.0.0", 7860)  # noqa: S104
    assert ".hf.space" in settings.host_names


def test_names_of_a_server_in_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a reverse proxy, or for the whole network, the page can't be reached under its own name."""
    monkeypatch.setenv("SD35_KNOWN_HOSTS", "nas.lan, .studio.example")
    names = load_settings(["--host", "::"]).host_names
    assert {"nas.lan", ".studio.example", socket.gethostname()} <= set(names)


@pytest.mark.parametrize(
    ("space", "arguments", "expected_token"),
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
    space: str, arguments: list[str], expected_token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hugging Face token in the environment is handed to some other server."""
    monkeypatch.setenv("HF_TOKEN", "hf_hub")
    assert load_settings(["--space", space, *arguments]).space_token == expected_token


@pytest.mark.parametrize(
    "space_argument",
    [
        "https://huggingface.co/spaces/owner/name",
        "https://huggingface.co/spaces/owner/name/?x=1",
        " owner/name ",
    ],
)
def test_a_space_s_page_stands_for_the_space(space_argument: str) -> None:
    """The address that a person copies from the browser isn't understood."""
    assert load_settings(["--space", space_argument]).space == "owner/name"


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        (["--space", "what is this"], "--space (or SD35_SPACE): use owner/name, or an address"),
        (["--space", "http://user:pw@host"], "use a token instead of a user or password"),
        (
            ["--proxy", "socks5://me:pw@host"],
            "--proxy (or SD35_PROXY): enter a URL that begins with http://",
        ),
        (["--port", "http"], "--port (or SD35_PORT): "),
        (["--port", "70000"], "--port (or SD35_PORT): "),
        (
            ["--embed-in", "blog.example"],
            "--embed-in (or SD35_EMBED_IN): 'blog.example' isn't a site",
        ),
        (["--embed-in", "https://a.example; script-src *"], "isn't a site"),
        (
            ["--root-path", "studio"],
            "--root-path (or SD35_ROOT_PATH): enter a path such as /studio",
        ),
        (["--at-once", "-1"], "--at-once (or SD35_AT_ONCE): "),
        (["--no-auth", "--auth", "ann:secret-word"], "app.py: use either --no-auth or a login"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_mistakes(
    arguments: list[str], expected_message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped flag ends in a traceback."""
    with pytest.raises(SystemExit) as ending:
        load_settings(arguments)
    assert ending.value.code == 2
    assert expected_message in capsys.readouterr().err


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
    settings = load_settings(arguments)
    assert settings.is_private is is_private
    assert (settings.usage_limits == {"max_concurrent": 1}) is is_private


def test_a_link_has_a_login_unless_it_is_not_wanted() -> None:
    """A public link is open to whoever has it, though nobody has said so."""
    assert load_settings(["--share"]).generates_login
    assert not load_settings(["--share", "--no-auth"]).has_logins
    assert not load_settings(["--share", "--auth", "ann:secret-word"]).generates_login
    assert load_settings(["--users", "users.txt"]).has_logins
    assert not load_settings([]).has_logins


def test_several_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several logins only one counts, or a password can't hold a comma or a sign of equality."""
    loaded_settings = load_settings(["--auth", "ann:a,b", "--port", "8000", "--auth=bob:c=d"])
    assert loaded_settings.logins == ("ann:a,b", "bob:c=d")
    assert loaded_settings.server_port == 8000
    monkeypatch.setenv("SD35_AUTH", "ann:a,b\nbob:c=d")
    assert load_settings([]).logins == ("ann:a,b", "bob:c=d")


def test_what_visitors_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visitors cost more than was said, or 0 isn't no limit, or on Hugging Face all wait for each other."""
    limits = load_settings(["--share", "--visitor-hourly", "5", "--all-hourly", "0"]).usage_limits
    assert limits == {
        "per_hour": 5,
        "total_per_hour": None,
        "max_queued": 3,
        "max_queued_total": 50,
        "max_concurrent": 1,
        "max_concurrent_per_visitor": 1,
    }
    assert load_settings(["--at-once", "0"]).usage_limits == {"max_concurrent": None}, (
        "one's own have no other"
    )
    monkeypatch.setenv("SPACE_ID", "me/studio")
    assert load_settings([]).usage_limits["max_concurrent"] == 20
    assert load_settings(["--lend-token"]).usage_limits["max_concurrent"] == 1


def test_who_may_embed_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page can be embedded by anybody, or, as a Space, by nobody."""
    assert load_settings([]).frame_ancestors == ()
    origins = "https://blog.example, https://*.hf.space"
    assert load_settings(["--embed-in", origins]).frame_ancestors == (
        "https://blog.example",
        "https://*.hf.space",
    )
    monkeypatch.setenv("SPACE_ID", "me/studio")
    assert load_settings([]).frame_ancestors == ("*",)
    assert load_settings(["--embed-in", "https://blog.example"]).frame_ancestors == (
        "https://blog.example",
    )


def test_tokens_are_not_shown() -> None:
    """A token is in what a log or an error would print of the settings."""
    settings = load_settings(
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
        load_settings(["--help"])
    assert not ending.value.code
    printed = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        if field.validation_alias is None:
            assert f"--{name.replace('_', '-')}" in printed
