"""The ASGI server around the page: security, logins, visitors, and interfaces for programs."""
