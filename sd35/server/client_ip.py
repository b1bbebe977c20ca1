"""Keys by which limits count clients."""

import ipaddress
from typing import Final

__all__ = ["ip_key"]

MAX_KEY_LENGTH: Final = 64


def ip_key(client_ip: str) -> str:
    """Return an IPv4 address, or the /64 network of an IPv6 address: one customer has all of that.

    A proxy may write anything else into `X-Forwarded-For`; its beginning is the key then.
    """
    try:
        ip = ipaddress.ip_address(client_ip.partition("%")[0])
    except ValueError:
        return client_ip[:MAX_KEY_LENGTH]
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))
