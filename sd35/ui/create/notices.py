"""Notices of the form: imported settings, the remaining quota, the account."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from sd35.core.text import pluralize
from sd35.jobs.limits import RemainingQuota, UsageLimits
from sd35.ui.create.import_settings import AppliedSettings
from sd35.ui.markup import EMPTY_HTML, action_button, concat, facts

__all__ = [
    "IMPORT_HINT",
    "PRESET_TOOLS",
    "account_info",
    "deletion_notice",
    "dropped_name",
    "former_form_summary",
    "import_summary",
    "no_former_form",
    "no_settings_found",
    "preset_summary",
    "quota_info",
    "removal_notice",
    "submission_notice",
]

# A file of ComfyUI may list hundreds of settings, and each may be of any length.
MAX_SHOWN_ITEMS: Final = 8  # the others are behind “and 3 more”
MAX_ITEM_CHARACTERS: Final = 120

# assets/memory.js and assets/presets.js give them their behavior.
PRESET_TOOLS: Final = Markup(
    '<button type="button" id="show-presets" aria-haspopup="dialog">Presets</button>'
    '<button type="button" id="last-settings" '
    'title="Fill the form as it was for your last image">Last used settings</button>'
)

# The file chooser, for visitors who don't drop or paste an image.
IMPORT_HINT: Final = Markup(
    '<p class="import-hint"><label>Import settings from an image…<input type="file" '
    'accept="image/png,image/webp,image/jpeg"></label></p>'
)


def dropped_name(number: int) -> Markup:
    """Return the place for a dropped file's name, which import.js fills in by the file's number."""
    return Markup('<span data-file="{}">this image</span>').format(number)


def no_settings_found(name: str) -> str:
    """Return the notice for an image without generation settings."""
    return IMPORT_HINT + Markup(
        '<p class="import-notice" role="alert">No generation settings found in {}.</p>'
    ).format(name)


def import_summary(name: str, tool: str, settings: AppliedSettings) -> str:
    """Return the notice about settings of an image that were imported, changed or ignored."""
    source = Markup("<b>{}</b>{}").format(name, f" ({tool[:MAX_ITEM_CHARACTERS]})" if tool else "")
    summary = Markup("No usable settings in {}.").format(source)
    if settings.applied_names:
        summary = Markup("Imported from {}: {}.").format(source, ", ".join(settings.applied_names))
    return _settings_notice(summary, settings)


def preset_summary(name: str, settings: AppliedSettings) -> str:
    """Return the notice about a preset."""
    summary = Markup("Preset <b>{}</b> has no usable settings.").format(name)
    if settings.applied_names:
        names = ", ".join(settings.applied_names)
        summary = Markup("From the preset <b>{}</b>: {}.").format(name, names)
    return _settings_notice(summary, settings)


def former_form_summary(settings: AppliedSettings, *, is_last: bool) -> str:
    """Return the notice about a form as it was for an earlier image, or the last one."""
    image = "your last image" if is_last else "this prompt"
    return _settings_notice(Markup("The form is as it was for {}.").format(image), settings)


def no_former_form() -> str:
    """Return the notice that there is no earlier image."""
    return IMPORT_HINT + Markup('<p class="import-notice" role="alert">No image yet.</p>')


def _settings_notice(summary: Markup, settings: AppliedSettings) -> str:
    changes = concat(Markup("<p>{}</p>").format(change) for change in settings.changes)
    return Markup(
        '<div class="import-notice" role="status"><p>{}</p>{}{}<p class="buttons">'
        '<button type="button" data-event="undo">Undo</button>'
        '<button type="button" data-event="clear">Dismiss</button></p></div>'
    ).format(summary, changes, _ignored_list(settings.ignored))


def _ignored_list(ignored: list[str]) -> Markup:
    if not ignored:
        return EMPTY_HTML
    more_items = ignored[MAX_SHOWN_ITEMS:]
    html = Markup("<p>Not supported here:</p>{}").format(_items(ignored[:MAX_SHOWN_ITEMS]))
    if more_items:
        html += Markup("<details><summary>and {} more</summary>{}</details>").format(
            len(more_items), _items(more_items)
        )
    return html


def _items(texts: list[str]) -> Markup:
    items = (
        text if len(text) <= MAX_ITEM_CHARACTERS else f"{text[:MAX_ITEM_CHARACTERS]}…"
        for text in texts
    )
    return Markup("<ul>{}</ul>").format(
        concat(Markup("<li>{}</li>").format(item) for item in items)
    )


def removal_notice(job_ids: Sequence[str]) -> str:
    """Return the notice about jobs that were removed from the queue, with an Undo button."""
    if not job_ids:
        return ""
    return Markup('<div class="toast"><p role="status">{} removed</p>{}</div>').format(
        pluralize(len(job_ids), "job"), action_button("restore", "Undo", " ".join(job_ids))
    )


def submission_notice(job_id: str, image_count: int) -> str:
    """Return the notice about a set that was submitted, with an Undo button for 8 seconds."""
    if image_count < 2:  # a single job has a Stop button below the image
        return ""
    return Markup(
        '<div class="toast" data-brief><p role="status">{} in the queue</p>{}</div>'
    ).format(pluralize(image_count, "image"), action_button("stop-set", "Undo", job_id))


def deletion_notice(picture_id: object) -> str:
    """Return the notice about an image that was moved to the trash, with an Undo button."""
    if not isinstance(picture_id, str):
        return ""
    return Markup('<div class="toast"><p role="status">Image deleted</p>{}</div>').format(
        action_button("restore-images", "Undo", picture_id)
    )


def quota_info(quota: RemainingQuota | None, limits: UsageLimits) -> str:
    """Return the visitor's remaining quota; empty if nothing is limited."""
    if quota is None:
        return ""
    texts = []
    if quota.remaining is not None:
        texts.append(f"{quota.remaining} of {quota.limit} images left this hour")
    if limits.max_concurrent is not None:
        texts.append(f"{limits.max_concurrent} at a time")
    if quota.max_queued is not None:
        texts.append(f"up to {quota.max_queued} queued")
    if not texts:
        return ""
    return Markup('<p class="quota" data-remaining="{}">{}</p>').format(
        quota.remaining, facts(texts)
    )


def account_info(username: str | None, *, can_log_out: bool) -> str:
    """Return the user's name and a link to log out; empty without a login."""
    if username is None:
        return ""
    log_out_link = Markup(' <a href="logout">Log out</a>') if can_log_out else ""
    return Markup('<p class="account">{}{}</p>').format(username, log_out_link)
