"""Reverse proxies: an ASGI layer that shows the application each request as its client made it.

`X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` are believed of trusted peers alone. RFC 7239's `Forwarded` is not
read: a proxy that sets one family hands on the other as the client sent it, so that whoever reads both can be lied to.
A server must not read these headers itself: uvicorn does unless started with `--no-proxy-headers`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_FOR, _PROTO, _HOST, _PREFIX = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"
_PORTS = {"http": 80, "https": 443}

# Of one header, the last so many items are read: there are not more proxies, and to read 60,000 takes 75 ms.
_MAX_PROXIES = 50

_IS_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
# Plain segments only: neither `//`, which would lead to another host, nor dots, nor anything to decode.
_IS_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")


def trusted_proxies(addresses: Iterable[str]) -> Callable[[ASGIApp], ASGIApp]:
    """A layer that shows the application each request as its client made it, where named proxies handed it on.

    It reads `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` of these proxies, and of nobody else.
    Put it around everything else: `served = trusted_proxies(["10.0.0.0/8"])(app)`.

    Args:
        addresses: IPv4 or IPv6 addresses and networks, such as `127.0.0.1` and `10.0.0.0/8`. `*` is whoever connects,
            for servers that only a proxy can reach; the addresses that this proxy names are not trusted.

    Returns:
        A function that takes an ASGI application and returns one.

    Raises:
        ValueError: One of them is neither an address nor a network.
    """
    addresses = frozenset(addresses)
    networks = tuple(ip_network(address) for address in sorted(addresses - {"*"}))
    return partial(_TrustedProxies, networks=networks, everyone="*" in addresses)


class _TrustedProxies:
    def __init__(self, app: ASGIApp, *, networks: Sequence[_Network], everyone: bool) -> None:
        self._app = app
        self._networks = networks
        self._everyone = everyone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (self._everyone or self._trusts(_address((scope.get("client") or ("",))[0]))):
            scope = self._as_sent(scope)
        await self._app(scope, receive, send)

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def _as_sent(self, scope: Scope) -> Scope:
        """The scope as it would be if the client had connected without proxies."""
        told: dict[bytes, list[str]] = {_FOR: [], _PROTO: [], _HOST: [], _PREFIX: []}
        for name, value in scope["headers"]:
            if name in told:
                parts = value.decode("latin-1").rsplit(",", _MAX_PROXIES)[-_MAX_PROXIES:]
                told[name] += [item for item in (part.strip() for part in parts) if item]
        client, proxies = self._client(told[_FOR])
        changed = dict(scope)
        if client is not None:
            changed["client"] = (str(client), 0)
        proto = _outermost(told[_PROTO], proxies).lower()
        if proto in _PORTS:
            changed["scheme"] = proto
        host = _IS_HOST.fullmatch(_outermost(told[_HOST], proxies))
        if host:
            port = int(host["port"] or _PORTS.get(changed["scheme"], 0))
            changed["server"] = (host["host"].strip("[]"), port)
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [(b"host", host[0].encode()), *headers]
        prefix = "".join(item.rstrip("/") for item in told[_PREFIX][-proxies:])
        if _IS_PREFIX.fullmatch(prefix):
            changed["root_path"] = prefix + scope.get("root_path", "")
            changed["path"] = prefix + scope["path"]
            if scope.get("raw_path") is not None:
                changed["raw_path"] = prefix.encode() + scope["raw_path"]
        return changed

    def _client(self, forwarded: Sequence[str]) -> tuple[_Address | None, int]:
        """The nearest address that is not a trusted proxy's, and how many trusted proxies the request came through.

        Each proxy appends the address that it was connected from: what stands before an untrusted address was written
        by a client, or by a proxy that is not trusted.
        """
        client = None
        for proxies, text in enumerate(reversed(forwarded), 1):
            address = _address(text)
            if address is None:
                return client, proxies
            client = address
            if not self._trusts(address):
                return client, proxies
        return client, len(forwarded) + 1


def _outermost(values: Sequence[str], proxies: int) -> str:
    """The value of the trusted proxy nearest to the client."""
    return values[-min(proxies, len(values))] if values else ""


def _address(text: str) -> _Address | None:
    """The address, with or without a port or brackets; an IPv4 address mapped into IPv6 is IPv4 (RFC 4291)."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
