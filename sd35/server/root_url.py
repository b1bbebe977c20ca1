"""The address of the page, as its visitor or a program sees it.

Gradio derives it from `Host`, which a reverse proxy may pass on without the port, or with its own
name. So the page's document is relative to its own address, and the page's calls name that.
"""

import re
from typing import Final

import httpx
from gradio import route_utils
from gradio_client.utils import is_http_url_like
from starlette.requests import Request

from sd35.server.security import PAGE_ADDRESS_HEADER

__all__ = ["root_url"]

# The page itself, and where Gradio leads from there: a relative address is right behind any proxy.
_PAGE_ROUTES: Final = ("/", "/login", "/logout")

_PREFIX_PATTERN: Final = re.compile(r"(?:/[\w.~-]+)+", re.ASCII)
_PORT_PATTERN: Final = re.compile(r"[1-9][0-9]{0,4}")

# `sd35.server.server` replaces it by the function below.
_gradio_root_url = route_utils.get_root_url


def root_url(request: Request, route_path: str, root_path: str | None) -> str:
    """Return the address below which the routes are, without a slash at the end.

    Args:
        request: has passed `SecurityMiddleware`, so its addresses are this server's.
        route_path: of the request, as Gradio names it.
        root_path: path or address under which a reverse proxy shows the page.
    """
    if route_path in _PAGE_ROUTES:
        return "."
    page_address = request.headers.get(PAGE_ADDRESS_HEADER)
    if page_address is not None:
        return page_address.rstrip("/")
    url = httpx.URL(_gradio_root_url(request, route_path, root_path))
    if is_http_url_like(root_path):
        return str(url)
    prefix = _first_value(request, "x-forwarded-prefix").rstrip("/")
    if not root_path and _PREFIX_PATTERN.fullmatch(prefix):
        url = url.copy_with(path=prefix)
    port = _first_value(request, "x-forwarded-port")
    if url.port is None and _PORT_PATTERN.fullmatch(port) and int(port) < 2**16:
        # httpx leaves out the default port of the scheme.
        url = url.copy_with(port=int(port))
    return str(url).rstrip("/")


def _first_value(request: Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()
