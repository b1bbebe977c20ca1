"""Flags and environment: one typed model, and the only reader of either."""

import socket
import sys
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, CliApp, CliSuppress, SettingsConfigDict

from sd35.source import parse_source

__all__ = ["Settings", "load"]

Port = Annotated[int, Field(ge=1, le=65535)]


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
        default=None, description="a token for the chosen Space; HF_TOKEN, which `ps` doesn't show, is the better way"
    )
    proxy: SecretStr | None = Field(
        default=None,
        description="the HTTP proxy on the way to the Space, http://host:port; if not given, what the system says",
    )
    host: str | None = Field(
        default=None, description="the address to listen on, 127.0.0.1 if not given; 0.0.0.0 for your whole network"
    )
    port: Port | None = Field(default=None, description="the port; if not given, 7860 or the next one that is free")
    known_hosts: str = Field(
        default="",
        description="names under which the page may be asked for, beside localhost and plain addresses, with commas "
        "between; one that begins with a dot stands for all below it",
    )
    share: bool = Field(default=False, description="make a public link, for whoever has it, through gradio.live")
    hf_token: CliSuppress[SecretStr | None] = Field(
        default=None, validation_alias="HF_TOKEN", description="a Hugging Face token, for Spaces there and nowhere else"
    )

    hf_endpoint: CliSuppress[str] = Field(default="https://huggingface.co", validation_alias="HF_ENDPOINT")

    gradio_server_name: CliSuppress[str | None] = Field(default=None, validation_alias="GRADIO_SERVER_NAME")
    gradio_server_port: CliSuppress[Port | None] = Field(default=None, validation_alias="GRADIO_SERVER_PORT")
    space_id: CliSuppress[str | None] = Field(default=None, validation_alias="SPACE_ID")

    @field_validator("space")
    @classmethod
    def _check_space(cls, value: str) -> str:
        if value.strip() in {"auto", "demo"}:
            return value.strip()
        try:
            return str(parse_source(value))
        except ValueError as error:
            raise ValueError(f"{error}; or auto, or demo") from error

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("give an address that begins with http:// or https://")
        return value

    @field_validator("hf_endpoint")
    @classmethod
    def _check_hub(cls, value: str) -> str:
        address = parse_source(value).address
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
        listens_to_all = self.server_name in {"0.0.0.0", "::", "[::]"}  # noqa: S104
        return (
            self.server_name,
            *(name.strip() for name in self.known_hosts.split(",") if name.strip()),
            *((socket.gethostname(), f"{socket.gethostname()}.local") if listens_to_all else ()),
            *((".gradio.live",) if self.share else ()),
            *((".hf.space",) if self.runs_on_hub else ()),
        )

    @property
    def runs_on_hub(self) -> bool:
        """Whether this program itself runs as a Space on Hugging Face."""
        return self.space_id is not None

    @property
    def space_token(self) -> str | None:
        """The token that goes to the chosen Space: the one that was given for it, or, on Hugging Face, HF_TOKEN."""
        is_on_hub = self.space == "auto" or (self.space != "demo" and parse_source(self.space).is_on_hub)
        token = self.token or (self.hf_token if is_on_hub else None)
        return token.get_secret_value().strip() if token else None

    @property
    def space_proxy(self) -> str | None:
        """The proxy on the way to the Space, if one was given."""
        return self.proxy.get_secret_value() if self.proxy else None


def load(arguments: Sequence[str]) -> Settings:
    """Read the settings from these flags and the environment.

    Exits with status 2 and a sentence for each mistake; with 0 after `--help`.
    """
    try:
        return CliApp.run(Settings, cli_args=list(arguments))
    except ValidationError as error:
        for mistake in error.errors(include_input=False, include_url=False):
            name = str(mistake["loc"][0]) if mistake["loc"] else "settings"
            flag = name.removeprefix("SD35_").lower().replace("_", "-")
            what = mistake["msg"].removeprefix("Value error, ")
            print(f"app.py: --{flag} (or {_variable(name)}): {what}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else name
    return alias if isinstance(alias, str) else f"SD35_{name.upper()}"
