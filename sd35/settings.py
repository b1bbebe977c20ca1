"""Flags and environment: one typed model, and the only reader of either."""

import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, CliApp, CliSuppress, CliToggleFlag, SettingsConfigDict

from sd35.core.space_ref import parse_space_ref

__all__ = ["Settings", "load_settings"]

Port = Annotated[int, Field(ge=1, le=65535)]
MIN_IDLE_TIMEOUT = 5.0
"""A page that has asked for something, or is loaded anew, is there again before that."""

UsageLimit = Annotated[int, Field(ge=0, le=1_000_000)]


class Settings(BaseSettings):
    """A studio for Stable Diffusion 3.5 in the browser, over a Gradio Space."""

    model_config = SettingsConfigDict(
        env_prefix="SD35_",
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # the input may be a token
        extra="ignore",
        cli_prog_name="app.py",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    space: str = Field(
        default="auto",
        description="which Space makes the pictures: auto (the public one, or the demo Space when it can't be "
        "reached), demo, owner/name, or an address",
    )
    token: SecretStr | None = Field(
        default=None,
        description="a token for the chosen Space; HF_TOKEN, which `ps` doesn't show, is the better way",
    )
    proxy: SecretStr | None = Field(
        default=None,
        description="the HTTP proxy on the way to the Space, http://host:port; if not given, what the system says",
    )
    library: Path | None = Field(
        default=None,
        description="the folder in which pictures, and what was asked for, are kept; if not given, "
        "SD 3.5 Studio among your pictures",
    )
    unwatched_minutes: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None,
        description="how long pictures go on being made while no page looks; if not given, all that were asked for",
    )
    host: str | None = Field(
        default=None,
        description="the address to listen on, 127.0.0.1 if not given; 0.0.0.0 for your whole network",
    )
    port: Port | None = Field(
        default=None, description="the port; if not given, 7860 or the next one that is free"
    )
    known_hosts: str = Field(
        default="",
        description="names under which the page may be asked for, beside localhost and plain addresses, with commas "
        "between; one that begins with a dot stands for all below it",
    )
    share: bool = Field(
        default=False,
        description="make a public link through gradio.live, with a login, and print it with a QR code",
    )
    auth: SecretStr | None = Field(
        default=None,
        description="a login for the page, name:password; may be given several times. What `ps` doesn't show, and "
        "stores no password, is --users",
    )
    users: Path | None = Field(
        default=None,
        description="a file of logins with hashed passwords, made by `python -m sd35 user add NAME`",
    )
    no_auth: CliToggleFlag[bool] = Field(
        default=False,
        description="share without a login: whoever has the link, or guesses it, makes pictures here",
    )
    lend_token: CliToggleFlag[bool] = Field(
        default=False,
        description="make visitors' pictures with your token, too, and so with your quota",
    )
    visitor_hourly: UsageLimit | None = Field(
        default=None,
        description="pictures that one visitor may ask for within an hour, 30 if not given; 0: no limit",
    )
    all_hourly: UsageLimit | None = Field(
        default=None,
        description="pictures that all visitors may ask for within an hour, 200 if not given",
    )
    visitor_waiting: UsageLimit | None = Field(
        default=None, description="of one visitor's pictures, so many may wait: 3"
    )
    all_waiting: UsageLimit | None = Field(
        default=None, description="so many pictures may wait in all: 50"
    )
    at_once: UsageLimit | None = Field(
        default=None,
        description="pictures that are made at the same time: 1, or 20 where each visitor's own quota is used, on "
        "Hugging Face; 0: no limit",
    )
    embed_in: str | None = Field(
        default=None,
        description="sites that may show the page within theirs, with commas between: https://blog.example, "
        "https://*.example, or * for any; none if not given, but any on Hugging Face",
    )
    root_path: str | None = Field(
        default=None,
        description="the path under which a reverse proxy shows the page, such as /studio",
    )
    mcp: CliToggleFlag[bool] = Field(
        default=False,
        description="be a tool for agents, too (Model Context Protocol); needs requirements-mcp.txt",
    )
    hf_token: CliSuppress[SecretStr | None] = Field(
        default=None,
        validation_alias="HF_TOKEN",
        description="a Hugging Face token, for Spaces there and nowhere else",
    )

    hf_endpoint: CliSuppress[str] = Field(
        default="https://huggingface.co", validation_alias="HF_ENDPOINT"
    )

    gradio_server_name: CliSuppress[str | None] = Field(
        default=None, validation_alias="GRADIO_SERVER_NAME"
    )
    gradio_server_port: CliSuppress[Port | None] = Field(
        default=None, validation_alias="GRADIO_SERVER_PORT"
    )
    oauth_client_id: CliSuppress[str | None] = Field(
        default=None, validation_alias="OAUTH_CLIENT_ID"
    )
    space_id: CliSuppress[str | None] = Field(default=None, validation_alias="SPACE_ID")
    space_host: CliSuppress[str | None] = Field(default=None, validation_alias="SPACE_HOST")
    system: CliSuppress[str | None] = Field(default=None, validation_alias="SYSTEM")

    @field_validator("space")
    @classmethod
    def _check_space(cls, value: str) -> str:
        if value.strip() in {"auto", "demo"}:
            return value.strip()
        try:
            return str(parse_space_ref(value))
        except ValueError as error:
            raise ValueError(f"{error}; or auto, or demo") from error

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("give an address that begins with http:// or https://")
        return value

    @field_validator("embed_in")
    @classmethod
    def _check_frame_ancestors(cls, value: str | None) -> str | None:
        for site in _split_list(value):
            if not re.fullmatch(
                r"\*|https?://(\*\.)?[a-z0-9.-]+(:\d{1,5})?/?", site, re.IGNORECASE
            ):
                raise ValueError(
                    f"{site!r} isn't a site: it looks like https://blog.example, without a path"
                )
        return value

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(https?://[\w.:\[\]-]+)?(/[\w.~-]+)+/?", value):
            raise ValueError("give a path such as /studio, or an address with one")
        return None if value is None else value.rstrip("/")

    @model_validator(mode="after")
    def _check_exclusive(self) -> Self:
        if self.no_auth and (self.auth or self.users):
            raise ValueError("--no-auth and a login (--auth, --users) exclude each other")
        return self

    @field_validator("hf_endpoint")
    @classmethod
    def _check_hf_endpoint(cls, value: str) -> str:
        address = parse_space_ref(value).address
        if address is None:
            raise ValueError("give an address that begins with http:// or https://")
        return address

    @property
    def server_name(self) -> str:
        """The address to listen on."""
        return self.host or self.gradio_server_name or "127.0.0.1"

    @property
    def server_port(self) -> int | None:
        """The port to listen on; `None` for 7860 or the next one that is free."""
        return self.port or self.gradio_server_port

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names under which this program's page may be asked for, beside localhost and plain addresses."""
        is_bound_to_all = self.server_name in {"0.0.0.0", "::", "[::]"}  # noqa: S104
        return (
            self.server_name,
            *_split_list(self.known_hosts),
            *((socket.gethostname(), f"{socket.gethostname()}.local") if is_bound_to_all else ()),
            *((".gradio.live",) if self.opens_share_link else ()),
            *((".hf.space", *_split_list(self.space_host)) if self.runs_on_hub else ()),
        )

    @property
    def is_private(self) -> bool:
        """Whether the page can be reached from this machine alone, and without a login: there is one owner then."""
        is_loopback = self.server_name in {"127.0.0.1", "localhost", "::1", "[::1]"}
        is_exposed = (
            self.share or self.runs_on_hub or self.known_hosts or self.root_path or self.embed_in
        )
        return is_loopback and not (is_exposed or self.auth or self.users)

    @property
    def library_folder(self) -> Path:
        """Where pictures are kept, unless this program runs as a Space."""
        if self.library is not None:
            return self.library.expanduser()
        from platformdirs import user_pictures_path  # noqa: PLC0415  # only who needs it waits for it

        return user_pictures_path() / "SD 3.5 Studio"

    @property
    def idle_timeout(self) -> float | None:
        """How long jobs go on that no page looks at; `None`: to their end."""
        return (
            None
            if self.unwatched_minutes is None
            else max(MIN_IDLE_TIMEOUT, self.unwatched_minutes * 60)
        )

    @property
    def logins(self) -> tuple[str, ...]:
        """The logins that were given, `name:password`: in the environment, one a line."""
        return tuple(self.auth.get_secret_value().splitlines()) if self.auth else ()

    @property
    def opens_share_link(self) -> bool:
        """Whether a public link is made: on Hugging Face the page has one already."""
        return self.share and not self.runs_on_hub

    @property
    def generates_login(self) -> bool:
        """Whether a login is to be made: for a public link, unless one was given, or none is wanted."""
        return self.opens_share_link and not (self.auth or self.users or self.no_auth)

    @property
    def has_logins(self) -> bool:
        """Whether one has to log in."""
        return bool(self.auth or self.users or self.generates_login)

    @property
    def frame_ancestors(self) -> tuple[str, ...]:
        """The sites that may show the page within theirs."""
        return ("*",) if self.embed_in is None and self.runs_on_hub else _split_list(self.embed_in)

    @property
    def usage_limits(self) -> dict[str, int | None]:
        """What may be asked for, by the names of `sd35.jobs.limits.Caps`."""
        if self.is_private:
            return {"max_concurrent": (1 if self.at_once is None else self.at_once) or None}
        limits = {
            "per_hour": (self.visitor_hourly, 30),
            "total_per_hour": (self.all_hourly, 200),
            "max_queued": (self.visitor_waiting, 3),
            "max_queued_total": (self.all_waiting, 50),
            "max_concurrent": (self.at_once, 20 if self.runs_on_hub and not self.lend_token else 1),
            "max_concurrent_per_visitor": (None, 1),
        }
        return {
            name: (default if value is None else value) or None
            for name, (value, default) in limits.items()
        }

    @property
    def can_sign_in(self) -> bool:
        """Whether a visitor may sign in with Hugging Face: on a Space whose front matter says `hf_oauth: true`.

        Where Gradio doesn't take this for a Space, it lets everybody in as who runs this program.
        """
        return self.runs_on_hub and self.system == "spaces" and self.oauth_client_id is not None

    @property
    def runs_on_hub(self) -> bool:
        """Whether this program itself runs as a Space on Hugging Face."""
        return self.space_id is not None

    @property
    def space_token(self) -> str | None:
        """The token that goes to the chosen Space: the one that was given for it, or, on Hugging Face, HF_TOKEN."""
        is_on_hub = self.space == "auto" or (
            self.space != "demo" and parse_space_ref(self.space).is_on_hub
        )
        token = self.token or (self.hf_token if is_on_hub else None)
        return token.get_secret_value().strip() if token else None

    @property
    def space_proxy(self) -> str | None:
        """The proxy on the way to the Space, if one was given."""
        return self.proxy.get_secret_value() if self.proxy else None


def _split_list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def load_settings(arguments: Sequence[str]) -> Settings:
    """Read the settings from these flags and the environment.

    Exits with status 2 and a sentence for each mistake; with 0 after `--help`.
    """
    try:
        return CliApp.run(Settings, cli_args=_merge_auth_flags(arguments))
    except ValidationError as error:
        for details in error.errors(include_input=False, include_url=False):
            name = str(details["loc"][0]) if details["loc"] else "settings"
            flag = name.removeprefix("SD35_").lower().replace("_", "-")
            message = details["msg"].removeprefix("Value error, ")
            print(f"app.py: --{flag} (or {_env_variable(name)}): {message}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _merge_auth_flags(arguments: Sequence[str]) -> list[str]:
    """The same flags, with every --auth in one, a line each: a password may hold any other character."""
    logins, other_arguments, remaining = [], [], list(arguments)
    while remaining:
        flag, separator, value = remaining.pop(0).partition("=")
        if flag == "--auth" and (separator or remaining):
            logins.append(value if separator else remaining.pop(0))
        else:
            other_arguments.append(flag + separator + value)
    return [*other_arguments, "--auth", "\n".join(logins)] if logins else other_arguments


def _env_variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else name
    return alias if isinstance(alias, str) else f"SD35_{name.upper()}"
