"""Settings from flags and environment variables."""

from dataclasses import replace
from pathlib import Path

import pytest

from sd35.client.auth import bearer_header
from sd35.core.errors import LibraryError
from sd35.core.model_options import ModelOptions
from sd35.settings import Settings, load_settings
from sd35.space.arguments import create_parser, parse_arguments, read_engine_options
from sd35.space.child import child_command
from sd35.space.engine_options import EngineOptions
from tests.cli_program import invoke


def test_the_default_is_a_local_page_over_the_public_space() -> None:
    settings = load_settings([])
    assert (settings.space, settings.server_name, settings.server_port, settings.share) == (
        "auto",
        "127.0.0.1",
        None,
        False,
    )
    assert settings.space_token is None
    assert not settings.runs_on_hub


def test_flags_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD35_PORT", "8000")
    monkeypatch.setenv("SD35_SPACE", "demo")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "9000")
    assert load_settings([]).server_port == 8000
    assert load_settings(["--port", "8001", "--share"]).server_port == 8001
    assert load_settings(["--space", "owner/name"]).space == "owner/name"


def test_a_page_on_hugging_face_listens_where_gradio_s_variables_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7860")
    monkeypatch.setenv("SPACE_ID", "me/studio")
    settings = load_settings([])
    assert (settings.server_name, settings.server_port) == ("0.0.0.0", 7860)  # noqa: S104
    assert settings.runs_on_hub


def test_known_hosts_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD35_KNOWN_HOSTS", "nas.lan, .studio.example")
    assert load_settings([]).known_host_names == ("nas.lan", ".studio.example")


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
def test_the_hugging_face_token_goes_only_to_spaces_there(
    space: str, arguments: list[str], expected_token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_hub")
    assert load_settings(["--space", space, *arguments]).space_token == expected_token


@pytest.mark.parametrize(
    "text",
    [
        "hf_mine",
        " 'hf_mine'\n",
        '"Bearer hf_mine"',
        "bearer \u201chf_mine\u201d",
        "Authorization: Bearer hf_mine",
        "\ufeffBEARER:hf_mine\r\n",
    ],
)
@pytest.mark.parametrize("source", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "SD35_TOKEN", "--token"])
def test_what_was_copied_with_a_token_is_no_part_of_it(
    text: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source.startswith("--"):
        assert load_settings([source, text]).space_token == "hf_mine"
    else:
        monkeypatch.setenv(source, text)
        assert load_settings([]).token_with_source[0] == "hf_mine"
    assert bearer_header(text) == {"Authorization": "Bearer hf_mine"}
    assert not bearer_header(' "Bearer " ')


@pytest.mark.parametrize(
    ("variables", "arguments", "source"),
    [
        ({}, [], None),
        ({"HF_HOME": "~/hub"}, [], "hub/token"),
        ({"HF_HOME": "", "XDG_CACHE_HOME": "$HOME/cache"}, [], "cache/huggingface/token"),
        ({"HF_HOME": ""}, ["--space", "owner/name"], ".cache/huggingface/token"),
        ({"HF_HOME": "~/hub", "HF_TOKEN_PATH": "~/elsewhere"}, [], "elsewhere"),
        ({"HF_HOME": "~/hub", "HF_TOKEN": "hf_variable"}, [], "HF_TOKEN"),
        ({"HF_HOME": "~/hub", "HF_TOKEN": "''"}, [], "hub/token"),
        ({"HF_HOME": "~/hub", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, [], None),
        ({"HF_HOME": "~/hub"}, ["--share"], None),
        ({"HF_HOME": "~/hub"}, ["--share", "--lend-token"], None),
        ({"HF_HOME": "~/hub"}, ["--host", "0.0.0.0"], None),  # noqa: S104
        ({"HF_HOME": "~/hub", "SPACE_ID": "me/studio"}, [], None),
        ({"HF_HOME": "~/hub"}, ["--space", "http://example.org"], None),
        ({"HF_HOME": "~/hub/token"}, [], None),
    ],
)
def test_the_login_of_hugging_face_counts_on_this_machine_alone(
    variables: dict[str, str],
    arguments: list[str],
    source: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`hf auth login` stores a token for a person, not for the visitors of a shared page."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("hub", "cache/huggingface", ".cache/huggingface"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "token").write_text("hf_stored\n", "utf-8")
    (tmp_path / "elsewhere").write_text("hf_stored", "utf-8")
    token, actual_source = load_settings(arguments).token_with_source
    if source is None:
        assert (token, actual_source) == (None, "")
    elif source == "HF_TOKEN":
        assert (token, actual_source) == ("hf_variable", source)
    else:
        assert (token, actual_source) == ("hf_stored", str(tmp_path / source))


@pytest.mark.parametrize(
    ("arguments", "token", "can_add"),
    [
        ([], "", True),
        (["--space", "http://127.0.0.1:1", "--token", "mine"], "", True),
        ([], "hf_variable", False),
        (["--share"], "", False),
        (["--host", "0.0.0.0"], "", False),  # noqa: S104
        (["--auth", "ann:password"], "", False),
    ],
)
def test_only_the_owner_of_a_private_page_can_add_a_token(
    arguments: list[str], token: str, monkeypatch: pytest.MonkeyPatch, *, can_add: bool
) -> None:
    """What the keyring has isn't even read where others can reach the page."""
    monkeypatch.setenv("HF_TOKEN", token)
    assert load_settings(arguments).can_add_token == can_add


@pytest.mark.parametrize(
    "space_argument",
    [
        "https://huggingface.co/spaces/owner/name",
        "https://huggingface.co/spaces/owner/name/?x=1",
        " owner/name ",
    ],
)
def test_the_address_of_a_space_s_page_is_a_reference_to_it(space_argument: str) -> None:
    assert load_settings(["--space", space_argument]).space == "owner/name"


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        (["--space", "what is this"], "--space (or SD35_SPACE): use owner/name, or an address"),
        (["--space", "http://user:pw@host"], "use SD35_SPACE_LOGIN instead of a user or password"),
        (
            ["--proxy", "Socks5h://me:pw@host"],
            "--proxy (or SD35_PROXY): SOCKS proxies aren't supported",
        ),
        (["--proxy", "http://me:pw@"], "--proxy (or SD35_PROXY): enter an HTTP proxy such as"),
        (["--space-login", "ann"], "--space-login (or SD35_SPACE_LOGIN): enter name:password"),
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
def test_an_invalid_setting_ends_with_a_sentence(
    arguments: list[str], expected_message: str, capsys: pytest.CaptureFixture[str]
) -> None:
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
def test_a_page_is_private_if_nobody_else_can_reach_it(
    arguments: list[str], *, is_private: bool
) -> None:
    assert load_settings(arguments).is_private is is_private


def test_a_public_link_has_a_login_unless_it_is_declined() -> None:
    assert load_settings(["--share"]).generates_login
    assert not load_settings(["--share", "--no-auth"]).has_logins
    assert not load_settings(["--share", "--auth", "ann:secret-word"]).generates_login
    assert load_settings(["--users", "users.txt"]).has_logins
    assert not load_settings([]).has_logins


def test_several_logins_are_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded_settings = load_settings(["--auth", "ann:a,b", "--port", "8000", "--auth=bob:c=d"])
    assert loaded_settings.logins == ("ann:a,b", "bob:c=d")
    assert loaded_settings.server_port == 8000
    monkeypatch.setenv("SD35_AUTH", "ann:a,b\nbob:c=d")
    assert load_settings([]).logins == ("ann:a,b", "bob:c=d")


def test_only_listed_sites_may_embed_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_secrets_are_never_printed() -> None:
    settings = load_settings(
        [
            "--token",
            "hf_verysecret",
            "--proxy",
            "http://me:verysecret@proxy",
            "--auth",
            "ann:verysecret",
            "--space-login",
            "ann:verysecret",
        ]
    )
    assert "verysecret" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--auth", "ann:very secret"], "password after --auth"),
        (["--auth=ann:very secret"], "password after --auth"),
        (["--token", "very secret"], "token after --token"),
        (["--proxy=http://me:very secret@proxy"], "password after --proxy"),
        (["--space-login", "ann:very secret"], "password after --space-login"),
    ],
)
def test_option_that_shows_a_secret_is_warned_of(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    load_settings(arguments)
    printed = capsys.readouterr().err
    assert f"Other users of this computer can see the {option}" in printed
    assert printed.count("\n") == 1
    assert "very secret" not in printed


def test_secrets_are_read_from_environment_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token_file = tmp_path / "token"
    token_file.write_bytes(b"\xef\xbb\xbf hf_secret\r\n")
    proxy_file = tmp_path / "proxy"
    proxy_file.write_text("http://me:secret@proxy\n", "utf-8")
    login_file = tmp_path / "login"
    login_file.write_text("ann:sec:ret\n", "utf-8")
    files = {"token": token_file, "proxy": proxy_file, "space-login": login_file}
    loaded_settings = load_settings([f"--{name}-file={file}" for name, file in files.items()])
    assert loaded_settings.space_credentials == ("ann", "sec:ret")
    assert loaded_settings.space_token == "hf_secret"
    assert loaded_settings.space_proxy == "http://me:secret@proxy"
    monkeypatch.setenv("SD35_TOKEN_FILE", str(token_file))
    monkeypatch.setenv("SD35_PROXY", "http://me:secret@other")
    monkeypatch.setenv("SD35_AUTH", "ann:secret")
    loaded_settings = load_settings(["--port", "8000"])
    assert loaded_settings.space_token == "hf_secret"
    assert loaded_settings.space_proxy == "http://me:secret@other"
    assert not any(capsys.readouterr())
    monkeypatch.setenv("SD35_TOKEN", "hf_other")
    with pytest.raises(SystemExit):
        load_settings([])
    assert capsys.readouterr().err == "app.py: use either --token or --token-file, not both\n"


@pytest.mark.parametrize(
    ("content", "expected_message"),
    [
        (None, "can't read token: No such file or directory"),
        (b"", "token must contain one line"),
        (b"hf_secret\nhf_other\n", "token must contain one line"),
        (b"x" * 10_000, "token must contain one line"),
        (b"\xff\xfe", "token isn't a text file"),
    ],
)
def test_file_without_a_secret_is_refused(
    content: bytes | None,
    expected_message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("token").write_bytes(content)
    with pytest.raises(SystemExit):
        load_settings(["--token-file", "token"])
    assert capsys.readouterr().err == (
        f"app.py: --token-file (or SD35_TOKEN_FILE): {expected_message}\n"
    )


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        load_settings(["--help"])
    assert not ending.value.code
    printed = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        if field.validation_alias is None:
            assert f"--{name.replace('_', '-')}" in printed


def test_library_is_in_the_current_folder_without_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program without a usable home folder keeps its images in the current one."""
    pwd = pytest.importorskip("pwd", reason="Windows has a home folder for everybody")
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CONFIG_HOME", "XDG_PICTURES_DIR", "SD35_LIBRARY"):
        monkeypatch.delenv(name, raising=False)
    for home in ("/", "/nonexistent"):
        monkeypatch.setenv("HOME", home)
        assert load_settings([]).library_folder == tmp_path / "SD 3.5 Studio"
    monkeypatch.delenv("HOME")
    # In a container, the user may have no entry. No test can become such a user.
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert load_settings([]).library_folder == tmp_path / "SD 3.5 Studio"
    with pytest.raises(LibraryError, match="no home folder for ~/x"):
        _ = load_settings(["--library", "~/x"]).library_folder
    with pytest.raises(SystemExit):
        load_settings(["--token-file", "~/x"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings([]).library_folder == tmp_path / "Pictures" / "SD 3.5 Studio"


def test_options_of_a_local_space_come_from_flags_and_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the user decides about a model is passed on as it was given."""
    monkeypatch.setenv("SD35_DEVICE", "cpu")
    flags = ["--space", "local:large", "--precision", "int8", "--no-t5", "--revision=-x"]
    options = load_settings(flags).model_options
    assert options == ModelOptions("cpu", "int8", no_t5=True, revision="-x")
    assert load_settings(flags).options_of_model("large") == options
    assert load_settings(flags).options_of_model("medium") == replace(options, revision=None)
    arguments = child_command("-my model", options, "--port=1")[3:]
    engine_options = read_engine_options(create_parser().parse_args(arguments))
    assert engine_options == EngineOptions("-my model", options, is_child=True)


def test_options_of_a_model_are_refused_by_the_demo_painter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever forgets to name the model is told so; a child gets what the environment says."""
    with pytest.raises(SystemExit):
        parse_arguments(["--precision", "int8"])
    assert "--precision int8: the demo painter has no such options" in capsys.readouterr().err
    assert parse_arguments(["--precision", "int8", "--model", "large"]).precision == "int8"
    assert parse_arguments(["--precision", "int8", "--child"]).precision == "int8"


@pytest.mark.parametrize("space", ["auto", "demo", "owner/name", "http://example.org"])
def test_options_of_a_local_space_are_refused_elsewhere(
    space: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag without an effect is an error; a variable is a default that may be for other calls."""
    monkeypatch.setenv("SD35_DEVICE", "cpu")
    assert load_settings(["--space", space]).space
    with pytest.raises(SystemExit):
        load_settings(["--space", space, "--no-t5", "--offload", "none"])
    message = "--offload and --no-t5 are for a model on this machine. Choose local,"
    assert message in capsys.readouterr().err
    code, _, err = invoke("doctor", space, "--offload", "none", "--no-t5")
    assert (code, message in " ".join(err.split())) == (2, True)
