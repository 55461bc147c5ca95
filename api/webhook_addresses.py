"""Where a webhook may go: never to what only this machine or its network can reach.

A caller chooses the URL, and the service stands where the caller does not. So a name is resolved
once, every address it has must be a public one, and the connection goes to that very address: a
name that means something else a moment later (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

import httpx

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_NOT_PUBLIC: tuple[Network, ...] = (
    IPv4Network("168.63.129.16/32"),  # public by its number, but Azure's host agent
    IPv4Network("192.0.0.0/24"),  # of protocols, and Oracle's; global to older Pythons
    IPv4Network("192.88.99.0/24"),  # relays to 6to4
    IPv6Network("2001::/23"),  # of protocols, tunnels among them
)
_NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenTarget(Exception):
    """A webhook's URL is none, or leads where webhooks may not go."""


def webhook_url(text: str) -> httpx.URL:
    """`text` as a URL that can be called, wherever it leads.

    Raises:
        ForbiddenTarget: it cannot; says why.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as exc:
        raise ForbiddenTarget(f"not a URL: {exc}") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise ForbiddenTarget("not an absolute URL of http or https")
    if url.userinfo:
        raise ForbiddenTarget("holds a user or password")
    return url


def require_allowed(url: httpx.URL, networks: Sequence[Network]) -> None:
    """Refuse what can be refused without asking the DNS: a host that is an address.

    Raises:
        ForbiddenTarget: the address is not public and in none of `networks`.
    """
    try:
        address = ip_address(url.host)
    except ValueError:
        return
    if not is_allowed(address, networks):
        raise ForbiddenTarget(f"{address} is not a public address")


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether webhooks may go to `address`: public, or in one of `networks`."""
    plain = _plain(address)
    if any(each in network for network in networks for each in (address, plain)):
        return True
    if plain.is_multicast or plain.is_reserved:
        return False
    return plain.is_global and not any(plain in network for network in _NOT_PUBLIC)


async def resolve(url: httpx.URL, networks: Sequence[Network]) -> Address:
    """The address to connect to.

    Raises:
        ForbiddenTarget: the name has an address that is not allowed.
        OSError: it cannot be resolved.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    host = url.raw_host.decode("ascii")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]
    if not addresses:
        raise OSError(f"{host} has no address")
    for address in addresses:
        if not is_allowed(address, networks):
            raise ForbiddenTarget(f"{host} is {address}, which is not a public address")
    return addresses[0]


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, else itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
