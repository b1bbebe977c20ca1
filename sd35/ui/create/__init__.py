"""The Create tab: form, live view and queue."""
