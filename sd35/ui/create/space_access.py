"""What a visitor may change about the Space, and what is known of their GPU quota and token."""

from dataclasses import dataclass
from typing import Final

from sd35.core.account import HubAccount, HubQuota
from sd35.core.errors import QuotaError
from sd35.core.space_ref import PUBLIC_SPACE, local_model
from sd35.core.visitor import LOCAL_VISITOR, Visitor
from sd35.jobs.service import JobService
from sd35.jobs.space_connection import is_on_hub

__all__ = [
    "MEDIUM_SPACE",
    "NO_ACCESS",
    "TURBO_SPACE",
    "SpaceAccess",
    "VisitorToken",
    "space_access",
    "used_token",
]

TURBO_SPACE: Final = f"{PUBLIC_SPACE}-turbo"
MEDIUM_SPACE: Final = "stabilityai/stable-diffusion-3.5-medium"

SHOWN_TOKEN_CHARACTERS: Final = 4


@dataclass(frozen=True, slots=True)
class VisitorToken:
    """The token with which a visitor's images are made; only the end of it.

    Attributes:
        ending: its last characters.
        source: where it was configured; empty if it was added on the page.
        is_kept: whether the system's keyring has it.
    """

    ending: str
    source: str = ""
    is_kept: bool = False
    account: HubAccount | None = None


@dataclass(frozen=True, slots=True)
class SpaceAccess:
    """A visitor's access to the Space.

    Attributes:
        can_switch: whether the visitor may choose another Space.
        can_add_token: whether the visitor has no token, and could add one here.
        can_remove_token: whether the visitor has added one.
        uses_hub_quota: whether the Space is at Hugging Face, where GPU time has a quota.
        uses_token: whether the Space would get a token, or download its model with it.
        turbo_helps: whether the visitor could use Large Turbo, whose images take less GPU time.
        quota: what Hugging Face says is left; `None` if it doesn't.
        refusal: the Space's last refusal, as long as the queue is paused for it.
        is_looking_up: whether Hugging Face is being asked.
    """

    can_switch: bool = False
    can_add_token: bool = False
    can_remove_token: bool = False
    uses_hub_quota: bool = False
    uses_token: bool = False
    turbo_helps: bool = False
    token: VisitorToken | None = None
    quota: HubQuota | None = None
    refusal: QuotaError | None = None
    is_looking_up: bool = False


NO_ACCESS: Final = SpaceAccess()


def space_access(job_service: JobService, visitor: Visitor) -> SpaceAccess:
    """Return a visitor's access to the Space that is used now."""
    connection = job_service.connection.value
    is_owner = visitor is LOCAL_VISITOR
    uses_hub_quota = is_on_hub(connection.target) and connection.fallback_reason is None
    token, source = used_token(job_service, visitor)
    pause_error = job_service.visitor_queue(visitor).pause_error
    owner_token = job_service.owner_token
    may_add = owner_token.can_change if is_owner else visitor.owner is not None
    has_added = owner_token.is_added if is_owner else visitor.has_added_token
    return SpaceAccess(
        can_switch=is_owner,
        can_add_token=may_add and not has_added and token is None and (is_owner or uses_hub_quota),
        can_remove_token=has_added,
        uses_hub_quota=uses_hub_quota,
        uses_token=uses_hub_quota or (is_owner and local_model(connection.target) is not None),
        turbo_helps=is_owner and connection.target in {PUBLIC_SPACE, MEDIUM_SPACE},
        token=_shown_token(job_service, visitor, token, source),
        quota=job_service.accounts.facts(token).quota if uses_hub_quota else None,
        refusal=pause_error if isinstance(pause_error, QuotaError) else None,
        is_looking_up=job_service.accounts.is_looking_up(token),
    )


def _shown_token(
    job_service: JobService, visitor: Visitor, token: str | None, source: str
) -> VisitorToken | None:
    is_owner = visitor is LOCAL_VISITOR
    if token is None and is_owner:  # it may be kept for Spaces at Hugging Face
        token = job_service.owner_token.value
    if token is None:
        return None
    return VisitorToken(
        token[-SHOWN_TOKEN_CHARACTERS:],
        source,
        is_owner and not source and job_service.owner_token.is_kept,
        job_service.accounts.facts(token).account,
    )


def used_token(job_service: JobService, visitor: Visitor) -> tuple[str | None, str]:
    """Return the token with which a visitor's images are made, and where it was configured."""
    if visitor is not LOCAL_VISITOR:
        return visitor.token, "" if visitor.has_added_token else "sign-in"
    connector = job_service.space_connector
    return connector.token_with_source(job_service.connection.value.target)
