from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from api.webhook_addresses import (
    ForbiddenTarget,
    is_allowed,
    require_allowed,
    resolve,
    webhook_url,
)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"])
def test_public_addresses_are_allowed(address: str):
    assert is_allowed(ip_address(address), ())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.9.9",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "192.0.0.192",
        "168.63.129.16",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "::7f00:1",
        "2001:0:7f00:1::",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
    ],
)
def test_what_is_not_public_is_refused_in_every_spelling(address: str):
    assert not is_allowed(ip_address(address), ())


def test_networks_of_the_operator_are_allowed():
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert is_allowed(ip_address("10.1.2.3"), networks)
    assert is_allowed(ip_address("::ffff:10.1.2.3"), networks)
    assert is_allowed(ip_address("fd12::1"), networks)
    assert not is_allowed(ip_address("10.2.0.1"), networks)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/hook",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://example.com",
        "http://",
        "http:///path",
        "http://user:secret@example.com",
        "http://user@example.com",
        "http://exa mple.com:port",
        "http://example.com\r\nX-Injected: 1",
    ],
)
def test_what_is_no_plain_url_is_refused(text: str):
    with pytest.raises(ForbiddenTarget):
        webhook_url(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"])
def test_an_address_is_refused_without_asking_anybody(host: str):
    with pytest.raises(ForbiddenTarget):
        require_allowed(webhook_url(f"http://{host}/hook"), ())
    require_allowed(webhook_url("http://example.com/hook"), ())


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "017700000001"])
def test_a_name_that_means_this_machine_is_refused_however_written(host: str):
    url = webhook_url(f"http://{host}/")
    with pytest.raises(ForbiddenTarget):
        asyncio.run(resolve(url, ()))


def test_one_private_address_among_a_names_addresses_is_enough(monkeypatch):
    async def answer(*_args, **_options):
        return [(0, 0, 0, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]

    async def attempt():
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
        return await resolve(webhook_url("http://two-faced.example"), ())

    with pytest.raises(ForbiddenTarget, match=r"10\.0\.0\.1"):
        asyncio.run(attempt())
