"""The parts of the Space's panel about the GPU quota and the token."""

from typing import Final

from markupsafe import Markup

from sd35.core.account import HubQuota
from sd35.core.errors import QuotaError
from sd35.core.text import format_duration
from sd35.ui.create.space_access import SpaceAccess, VisitorToken
from sd35.ui.markup import EMPTY_HTML, concat, day_time, error_message

__all__ = ["VISITOR_KEPT", "owner_keeping", "quota_section", "token_section"]

OWNER_KEPT: Final = "This system's keyring keeps the token."
OWNER_NOT_KEPT: Final = (
    "This system has no keyring that encrypts, so the token is kept until this program ends."
)
NOT_ASKED: Final = "Hugging Face couldn't be asked whose it is."
VISITOR_KEPT: Final = (
    "It is used for your images alone, and kept until you close your browser or log out: by this "
    "page's server, in its memory."
)

_SECTION: Final = Markup('<section aria-labelledby="{0}"><h3 id="{0}">{1}</h3>{2}</section>')
_TOKEN_FORM: Final = Markup(
    '<form novalidate data-form="token"><label for="space-token">Token</label><div>'
    '<input id="space-token" type="password" placeholder="hf_…" autocomplete="off" '
    'autocapitalize="none" spellcheck="false" maxlength="1000" aria-describedby="token-error '
    'token-hint"><button type="submit" class="secondary-button">Add</button></div>'
    '<p id="token-error" role="alert"></p><p id="token-hint" class="hint">Your images at Spaces on '
    "Hugging Face are then made with your account&#39;s GPU quota. "
    '<a href="https://huggingface.co/settings/tokens" target="_blank" '
    'rel="noopener noreferrer">Create a token</a> of type Read. {}</p>'
    '<p class="hint insecure">This page isn&#39;t encrypted: who can watch the network could read '
    "the token.</p></form>"
)


def quota_section(access: SpaceAccess) -> Markup:
    """Return what is known of the GPU quota; empty where there is none."""
    if access.refusal is not None:
        body = _refusal(access.refusal)
    elif not access.uses_hub_quota:
        return EMPTY_HTML
    elif access.quota is not None:
        body = _quota(access.quota)
    elif access.token is None:
        body = Markup('<p class="hint">Hugging Face says what is left once there is a token.</p>')
    else:
        body = Markup('<p class="hint">Hugging Face doesn&#39;t say what is left.</p>')
    return _SECTION.format("quota-title", "GPU quota", body)


def _refusal(refusal: QuotaError) -> Markup:
    parts = [Markup("<div>{}</div>").format(error_message(refusal, resumes=True))]
    if refusal.remaining_seconds:
        parts.append(
            Markup('<p class="hint">{} of GPU time left, too little for an image here.</p>').format(
                format_duration(refusal.remaining_seconds)
            )
        )
    return concat(parts)


def _quota(quota: HubQuota) -> Markup:
    text = Markup("{} left").format(format_duration(quota.remaining_seconds))
    meter = EMPTY_HTML
    if quota.total_seconds:
        text = Markup("{} of {} left").format(
            format_duration(quota.remaining_seconds), format_duration(quota.total_seconds)
        )
        percentage = min(100, round(100 * quota.remaining_seconds / quota.total_seconds))
        meter = Markup(
            '<div class="bar" role="meter" aria-label="GPU time left" aria-valuemin="0" '
            'aria-valuemax="100" aria-valuenow="{0}"><i style="width:{0}%"></i></div>'
        ).format(percentage)
    reset = EMPTY_HTML
    if quota.resets_at is not None:
        reset = Markup(", resets {}").format(day_time(quota.resets_at))
    return Markup("<p>{}{}</p>{}").format(text, reset, meter)


def owner_keeping(access: SpaceAccess, *, can_keep: bool) -> str:
    """Return how long the owner's token is kept; `can_keep`: how long one would be."""
    is_kept = can_keep if access.token is None else access.token.is_kept
    return OWNER_KEPT if is_kept else OWNER_NOT_KEPT


def token_section(access: SpaceAccess, keeping: str) -> Markup:
    """Return the field for a token, or whose token is used; `keeping` says how long one is kept."""
    if access.token is not None:
        if access.token.account is None:
            asks = "Asking Hugging Face whose it is…" if access.is_looking_up else NOT_ASKED
            keeping = f"{asks} {keeping}"
        body = _token(access.token, keeping, can_remove=access.can_remove_token)
    elif access.can_remove_token:  # the keyring has it, and couldn't be opened
        body = _removal("The keyring still has a token, which isn't used.")
    elif access.can_add_token:
        body = _TOKEN_FORM.format(keeping)
    else:
        return EMPTY_HTML
    return _SECTION.format("token-title", "Hugging Face token", body)


def _token(token: VisitorToken, keeping: str, *, can_remove: bool) -> Markup:
    account = EMPTY_HTML
    if token.account is not None:
        kind = " (PRO)" if token.account.is_pro else ""
        account = Markup(" of <b>{}</b>{}").format(token.account.name, kind)
    ending = Markup("Token <code>…{}</code>{}").format(token.ending, account)
    if not can_remove:
        source = {"sign-in": "your sign-in"}.get(token.source, token.source)
        return Markup("<p>{}, from {}.</p>").format(ending, source)
    return Markup("<p>{}</p>").format(ending) + _removal(keeping)


def _removal(text: str) -> Markup:
    return Markup(
        '<p class="hint">{}</p><p id="token-error" role="alert"></p><p class="buttons">'
        '<button type="button" data-remove-token>Remove token</button></p>'
    ).format(text)
