"""Settings of the page, from flags and environment variables: one typed model reads both."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    CliSuppress,
    CliToggleFlag,
    SettingsConfigDict,
)

from sd35.core.access_token import clean_token
from sd35.core.atomic_files import os_error_text
from sd35.core.home_folder import default_library_folder, expand_home
from sd35.core.model_options import (
    DEVICES,
    OFFLOADS,
    OPTION_HELP,
    PRECISIONS,
    Device,
    ModelOptions,
    Offload,
    Precision,
    refuse_model_options,
)
from sd35.core.proxy_address import parse_proxy
from sd35.core.space_ref import DEMO, local_model, parse_space_ref

__all__ = ["Settings", "error_text", "load_settings", "secret_warning"]

Port = Annotated[int, Field(ge=1, le=65535)]

# In seconds. A page that is being reloaded is back by then.
MIN_IDLE_TIMEOUT: Final = 5.0

UsageLimit = Annotated[int, Field(ge=0, le=1_000_000)]

MAX_SECRET_BYTES: Final = 4096


def _read_secret(value: object) -> str | None:
    """Return the only line of the file with this path."""
    if value is None:
        return None
    path = Path(str(value))
    try:
        path = path.expanduser()
        with path.open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode("utf-8-sig").strip()
    except OSError as error:
        raise ValueError(f"can't read {path}: {os_error_text(error)}") from error
    except RuntimeError as error:
        raise ValueError(f"can't read {path}: there is no home folder") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} isn't a text file") from None
    if not text or len(text.splitlines()) > 1 or len(text) > MAX_SECRET_BYTES:
        raise ValueError(f"{path} must contain one line")
    return text


# Of the file, not its path.
SecretFromFile = Annotated[SecretStr | None, BeforeValidator(_read_secret)]

_LOCAL_HELP: Final = {name: f"for a local Space: {text}" for name, text in OPTION_HELP.items()}


class Settings(BaseSettings):
    """Studio for Stable Diffusion 3.5 in the browser, over a Gradio Space."""

    model_config = SettingsConfigDict(
        env_prefix="SD35_",
        # A variable that a compose file or a service sets to nothing is one that isn't set.
        env_ignore_empty=True,
        populate_by_name=True,
        # pydantic's messages would quote the input, which may be a token.
        hide_input_in_errors=True,
        extra="ignore",
        use_attribute_docstrings=True,  # for --help
        cli_prog_name="app.py",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    space: str = "auto"
    """Space to use: auto (the public Space, or the demo if it is unreachable), local (the model on
    this machine), local:MODEL, demo, owner/name or a URL"""
    token: SecretStr | None = None
    """access token for the Space; visible to other users of this computer. Prefer HF_TOKEN,
    SD35_TOKEN or --token-file"""
    token_file: SecretFromFile = None
    """file that contains the access token for the Space"""
    space_login: SecretStr | None = None
    """login for a Space that asks for one, name:password; visible to other users of this computer.
    Prefer SD35_SPACE_LOGIN or --space-login-file"""
    space_login_file: SecretFromFile = None
    """file that contains the login for the Space, name:password"""
    proxy: SecretStr | None = None
    """HTTP proxy for the Space, http://host:port (default: system settings). If it contains a
    password, prefer SD35_PROXY or --proxy-file"""
    proxy_file: SecretFromFile = None
    """file that contains the address of the HTTP proxy"""
    device: Device | None = Field(None, description=_LOCAL_HELP["device"])
    precision: Precision | None = Field(None, description=_LOCAL_HELP["precision"])
    offload: Offload | None = Field(None, description=_LOCAL_HELP["offload"])
    no_t5: CliToggleFlag[bool] = Field(default=False, description=_LOCAL_HELP["no_t5"])
    revision: str | None = Field(None, description=_LOCAL_HELP["revision"])
    library: Path | None = None
    """library folder (default: SD 3.5 Studio in your pictures folder)"""
    unwatched_minutes: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """minutes to keep generating after the last page is closed (default: until all jobs are
    done)"""
    host: str | None = None
    """address to listen on (default: 127.0.0.1); 0.0.0.0 for the whole network"""
    port: Port | None = None
    """port to listen on (default: 7860, or the next free one)"""
    known_hosts: str = ""
    """allowed host names, separated by commas, besides localhost and IP addresses; .example.com
    allows all below it"""
    share: bool = False
    """create a public gradio.live link with a login, and print it with a QR code"""
    auth: SecretStr | None = None
    """login for the page, name:password; can be repeated. Visible to other users of this computer:
    prefer --users, which stores only hashes, or SD35_AUTH"""
    users: Path | None = None
    """file with users and password hashes, made by `python -m sd35 user add NAME`"""
    no_auth: CliToggleFlag[bool] = False
    """share without a login: anyone with the link can use your quota"""
    lend_token: CliToggleFlag[bool] = False
    """use your token and your quota for visitors, too"""
    visitor_hourly: UsageLimit | None = None
    """images per visitor and hour (default: 30; 0: no limit)"""
    all_hourly: UsageLimit | None = None
    """images per hour for all visitors together (default: 200; 0: no limit)"""
    visitor_waiting: UsageLimit | None = None
    """queue limit per visitor (default: 3; 0: no limit)"""
    all_waiting: UsageLimit | None = None
    """queue limit for all visitors together (default: 50; 0: no limit)"""
    at_once: UsageLimit | None = None
    """jobs to run in parallel (default: 1, or 20 on Hugging Face if visitors use their own quota;
    0: no limit)"""
    embed_in: str | None = None
    """sites allowed to embed the page, separated by commas: https://blog.example,
    https://*.example, or * for any (default: none, but any on Hugging Face)"""
    root_path: str | None = None
    """path under which a reverse proxy serves the page, such as /studio"""
    mcp: CliToggleFlag[bool] = False
    """enable the MCP server; needs requirements-mcp.txt"""
    hf_token: CliSuppress[SecretStr | None] = Field(None, validation_alias="HF_TOKEN")
    hugging_face_hub_token: CliSuppress[SecretStr | None] = Field(
        None, validation_alias="HUGGING_FACE_HUB_TOKEN"
    )
    hf_token_path: CliSuppress[str | None] = Field(None, validation_alias="HF_TOKEN_PATH")
    hf_home: CliSuppress[str | None] = Field(None, validation_alias="HF_HOME")
    xdg_cache_home: CliSuppress[str | None] = Field(None, validation_alias="XDG_CACHE_HOME")
    disable_implicit_token: CliSuppress[str] = Field(
        "", validation_alias="HF_HUB_DISABLE_IMPLICIT_TOKEN"
    )
    hf_endpoint: CliSuppress[str] = Field("https://huggingface.co", validation_alias="HF_ENDPOINT")
    gradio_server_name: CliSuppress[str | None] = Field(None, validation_alias="GRADIO_SERVER_NAME")
    gradio_server_port: CliSuppress[Port | None] = Field(
        None, validation_alias="GRADIO_SERVER_PORT"
    )
    oauth_client_id: CliSuppress[str | None] = Field(None, validation_alias="OAUTH_CLIENT_ID")
    space_id: CliSuppress[str | None] = Field(None, validation_alias="SPACE_ID")
    space_host: CliSuppress[str | None] = Field(None, validation_alias="SPACE_HOST")
    system: CliSuppress[str | None] = Field(None, validation_alias="SYSTEM")

    @field_validator("space")
    @classmethod
    def _check_space(cls, value: str) -> str:
        if value.strip() in {"auto", DEMO} or local_model(value):
            return value.strip()
        try:
            return str(parse_space_ref(value))
        except ValueError as error:
            raise ValueError(f"{error}; or auto, local or demo") from error

    @field_validator("proxy", "proxy_file")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().strip():
            parse_proxy(value.get_secret_value())
        return value

    @field_validator("space_login", "space_login_file")
    @classmethod
    def _check_login(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().partition(":")[2]:
            raise ValueError("enter name:password")
        return value

    @field_validator("embed_in")
    @classmethod
    def _check_frame_ancestors(cls, value: str | None) -> str | None:
        for site in _split_list(value):
            if not re.fullmatch(
                r"\*|https?://(\*\.)?[a-z0-9.-]+(:\d{1,5})?/?", site, re.IGNORECASE
            ):
                raise ValueError(
                    f"{site!r} isn't a site such as https://blog.example (without a path)"
                )
        return value

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(https?://[\w.:\[\]-]+)?(/[\w.~-]+)+/?", value):
            raise ValueError("enter a path such as /studio, or a URL with one")
        return None if value is None else value.rstrip("/")

    @model_validator(mode="after")
    def _check_exclusive(self) -> Self:
        if self.no_auth and (self.auth or self.users):
            raise ValueError("use either --no-auth or a login (--auth, --users), not both")
        if self.token and self.token_file:
            raise ValueError("use either --token or --token-file, not both")
        if self.space_login and self.space_login_file:
            raise ValueError("use either --space-login or --space-login-file, not both")
        if self.proxy and self.proxy_file:
            raise ValueError("use either --proxy or --proxy-file, not both")
        return self

    @field_validator("hf_endpoint")
    @classmethod
    def _check_hf_endpoint(cls, value: str) -> str:
        # The Hub's address follows the rules of a Space's: no login in it, one slash at the end.
        address = parse_space_ref(value).address
        if address is None:
            raise ValueError("enter a URL that begins with http:// or https://")
        return address

    @property
    def model_options(self) -> ModelOptions:
        """Options of the model on this machine that `space` names."""
        return ModelOptions(self.device, self.precision, self.offload, self.no_t5, self.revision)

    def options_of_model(self, model: str) -> ModelOptions:
        """Return the options of a model that may have been chosen on the page."""
        is_named = local_model(self.space) == model
        # Each model has revisions of its own.
        return self.model_options if is_named else replace(self.model_options, revision=None)

    @property
    def server_name(self) -> str:
        """Address to listen on."""
        return self.host or self.gradio_server_name or "127.0.0.1"

    @property
    def server_port(self) -> int | None:
        """Port to listen on; `None` for 7860 or the next free one."""
        return self.port or self.gradio_server_port

    @property
    def known_host_names(self) -> tuple[str, ...]:
        """Host names of the page that the user has listed, and that of its Space."""
        space_hosts = _split_list(self.space_host) if self.runs_on_hub else ()
        return (*_split_list(self.known_hosts), *space_hosts)

    @property
    def is_private(self) -> bool:
        """Return whether only this machine reaches the page, so that it has one owner."""
        is_loopback = self.server_name in {"127.0.0.1", "localhost", "::1", "[::1]"}
        # Behind a tunnel or a reverse proxy, everybody's requests come from this machine.
        is_exposed = (
            self.share or self.runs_on_hub or self.known_hosts or self.root_path or self.embed_in
        )
        return is_loopback and not (is_exposed or self.auth or self.users)

    @property
    def library_folder(self) -> Path:
        """Folder of the library, unless this program runs as a Space."""
        return default_library_folder() if self.library is None else expand_home(self.library)

    @property
    def idle_timeout(self) -> float | None:
        """Seconds that jobs continue without an open page; `None` for as long as they take."""
        if self.unwatched_minutes is None:
            return None
        return max(MIN_IDLE_TIMEOUT, self.unwatched_minutes * 60)

    @property
    def logins(self) -> tuple[str, ...]:
        """Logins, `name:password`; the environment variable has one per line."""
        return tuple(self.auth.get_secret_value().splitlines()) if self.auth else ()

    @property
    def opens_share_link(self) -> bool:
        """Return whether to create a public link; on Hugging Face the page has one already."""
        return self.share and not self.runs_on_hub

    @property
    def generates_login(self) -> bool:
        """Return whether to generate a login, because a public link would otherwise have none."""
        return self.opens_share_link and not (self.auth or self.users or self.no_auth)

    @property
    def has_logins(self) -> bool:
        """Return whether the page requires a login."""
        return bool(self.auth or self.users or self.generates_login)

    @property
    def frame_ancestors(self) -> tuple[str, ...]:
        """Sites that may embed the page."""
        return ("*",) if self.embed_in is None and self.runs_on_hub else _split_list(self.embed_in)

    @property
    def can_sign_in(self) -> bool:
        """Return whether visitors can sign in: on a Space with `hf_oauth: true`."""
        # Outside of a Space, Gradio mocks OAuth: everybody would be the owner of the program.
        return self.runs_on_hub and self.system == "spaces" and self.oauth_client_id is not None

    @property
    def runs_on_hub(self) -> bool:
        """Return whether this program itself runs as a Space on Hugging Face."""
        return self.space_id is not None

    @property
    def space_token(self) -> str | None:
        """Token for the Space."""
        return self.token_with_source[0]

    @property
    def token_with_source(self) -> tuple[str | None, str]:
        """Token for the Space, and where it was found: an option, a variable or a file.

        Only the token that was named for the Space goes to a server elsewhere than at Hugging Face.
        """
        return _first_token(self._token_candidates())

    @property
    def hub_token(self) -> str | None:
        """Token for any Space at Hugging Face: none that was named for the one Space."""
        return self.hub_token_with_source[0]

    @property
    def can_add_token(self) -> bool:
        """Return whether the page's owner can add a token: over none, and for no one else."""
        return self.is_private and self.hub_token is None

    @property
    def hub_token_with_source(self) -> tuple[str | None, str]:
        """Token for any Space at Hugging Face, and where it was found: a variable or a file."""
        return _first_token(self._hub_tokens())

    def _token_candidates(self) -> Iterator[tuple[str, SecretStr | None]]:
        yield "--token or SD35_TOKEN", self.token
        yield "--token-file or SD35_TOKEN_FILE", self.token_file
        # A server elsewhere could use the token for anything that it allows at Hugging Face.
        # A local Space downloads the model with it.
        is_on_hub = self.space == "auto" or local_model(self.space) is not None
        if not is_on_hub and self.space != DEMO:
            is_on_hub = parse_space_ref(self.space).is_on_hub
        if is_on_hub:
            yield from self._hub_tokens()

    def _hub_tokens(self) -> Iterator[tuple[str, SecretStr | None]]:
        yield "HF_TOKEN", self.hf_token
        yield "HUGGING_FACE_HUB_TOKEN", self.hugging_face_hub_token
        yield from self._login_of_hub()

    def _login_of_hub(self) -> Iterator[tuple[str, SecretStr | None]]:
        """Yield the file that `hf auth login` writes, and the token in it."""
        # It was stored for the person at this machine, not for the visitors of a page.
        is_off = self.disable_implicit_token.strip().lower() in {"1", "on", "true", "yes"}
        if self.is_private and not is_off:
            cache = self.xdg_cache_home or "~/.cache"
            home = self.hf_home or f"{cache}/huggingface"
            path = os.path.expandvars(self.hf_token_path or f"{home}/token")
            try:
                file = Path(path).expanduser()
                yield str(file), SecretStr(_read_secret(file) or "")
            except (RuntimeError, ValueError):  # no home, no file, or another kind of file
                return

    @property
    def space_credentials(self) -> tuple[str, str] | None:
        """Username and password for the Space."""
        login = self.space_login or self.space_login_file
        if login is None:
            return None
        name, _, password = login.get_secret_value().partition(":")
        return name.strip(), password

    @property
    def space_proxy(self) -> str | None:
        """Proxy for the Space."""
        proxy = self.proxy or self.proxy_file
        return proxy.get_secret_value().strip() or None if proxy else None


def _first_token(candidates: Iterable[tuple[str, SecretStr | None]]) -> tuple[str | None, str]:
    for source, secret in candidates:
        token = clean_token(secret.get_secret_value() if secret else None)
        if token is not None:
            return token, source
    return None, ""


def _split_list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


_METAVARS: Final = {
    "space": "SPACE",
    "token": "TOKEN",
    "token_file": "FILE",
    "space_login": "NAME:PASSWORD",
    "space_login_file": "FILE",
    "proxy": "URL",
    "proxy_file": "FILE",
    "device": f"{{{','.join(DEVICES)}}}",
    "precision": f"{{{','.join(PRECISIONS)}}}",
    "offload": f"{{{','.join(OFFLOADS)}}}",
    "revision": "REVISION",
    "library": "FOLDER",
    "host": "ADDRESS",
    "port": "PORT",
    "known_hosts": "NAMES",
    "auth": "NAME:PASSWORD",
    "users": "FILE",
    "embed_in": "SITES",
    "root_path": "PATH",
}

# Options that show a secret, and where it is safe instead.
_VISIBLE_SECRETS: Final = {
    "auth": ("password", "SD35_AUTH or --users"),
    "token": ("token", "HF_TOKEN, SD35_TOKEN or --token-file"),
    "space_login": ("password", "SD35_SPACE_LOGIN or --space-login-file"),
    "proxy": ("password", "SD35_PROXY or --proxy-file"),
}

_ERROR_TEXTS: Final = {
    "int_parsing": "enter a whole number",
    "int_from_float": "enter a whole number",
    "float_parsing": "enter a number",
    "bool_parsing": "enter true or false",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "literal_error": "enter {expected}",
}


def error_text(details: Mapping[str, Any]) -> str:
    """Return a plain message for one entry of pydantic's `ValidationError.errors()`."""
    template = _ERROR_TEXTS.get(details["type"])
    if template is None:
        return str(details["msg"]).removeprefix("Value error, ")
    return template.format(**details.get("ctx", {}))


class _HelpFormatter(argparse.HelpFormatter):
    """Help that names values instead of Python types, and hides empty defaults."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        # argparse adds the usage first, so that the list of options has these changes, too.
        for action in actions:
            if action.metavar is not None:
                action.metavar = _METAVARS.get(action.dest, "N")
            if action.help is not None:
                action.help = re.sub(r" \(default: (None|False|)\)$", "", action.help)
        super().add_usage(usage, actions, groups, prefix)


def load_settings(arguments: Sequence[str]) -> Settings:
    """Read the settings from flags and environment variables.

    Exits with 2 and a message for each invalid one, and with 0 after `--help`.
    """
    try:
        source = CliSettingsSource[Any](Settings, formatter_class=_HelpFormatter)
        settings = CliApp.run(
            Settings, cli_args=_merge_auth_flags(arguments), cli_settings_source=source
        )
    except ValidationError as error:
        for details in error.errors(include_input=False, include_url=False):
            prefix = _flag_and_variable(str(details["loc"][0])) if details["loc"] else ""
            sys.stderr.write(f"app.py: {prefix}{error_text(details)}\n")
        sys.exit(2)
    for name, value in source.env_vars.items():
        warning = secret_warning(name, value or "")
        if warning is not None:
            sys.stderr.write(f"app.py: {warning}\n")
    # Flags, of which the variables are defaults: those may be there for another call.
    refusal = refuse_model_options(source.env_vars)
    if refusal and local_model(settings.space) is None:
        sys.stderr.write(f"app.py: {refusal}.\n")
        sys.exit(2)
    return settings


def secret_warning(option: str, value: str) -> str | None:
    """Return a warning if an option with this value shows a secret in the process list."""
    is_secret = option in _VISIBLE_SECRETS and value != "" and (option != "proxy" or "@" in value)
    if not is_secret:
        return None
    noun, alternative = _VISIBLE_SECRETS[option]
    flag = option.replace("_", "-")
    return (
        f"Other users of this computer can see the {noun} after --{flag} in the list of "
        f"processes. Use {alternative} instead."
    )


def _merge_auth_flags(arguments: Sequence[str]) -> list[str]:
    """Merge all --auth flags into one, with a line for each."""
    # A later flag would replace an earlier one; and a password may contain any other separator.
    logins = []
    other_arguments = []
    remaining = list(arguments)
    while remaining:
        flag, separator, value = remaining.pop(0).partition("=")
        if flag == "--auth" and (separator or remaining):
            logins.append(value if separator else remaining.pop(0))
        else:
            other_arguments.append(flag + separator + value)
    return [*other_arguments, "--auth", "\n".join(logins)] if logins else other_arguments


def _flag_and_variable(name: str) -> str:
    """Return the flag and the variable of a setting, as the beginning of an error message.

    pydantic reports a setting with an alias under that alias, such as HF_TOKEN.
    """
    flag = name.removeprefix("SD35_").lower().replace("_", "-")
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else name
    variable = alias if isinstance(alias, str) else f"SD35_{name.upper()}"
    return f"--{flag} (or {variable}): "
