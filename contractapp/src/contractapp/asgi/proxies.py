"""Reverse proxies: an ASGI layer that restores the client address, scheme, host and path that the client used.

`X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` are read only if a trusted proxy sent the request. The header
`Forwarded` (RFC 7239) is not read: a proxy that sets one kind of headers passes on the other kind as the client sent
it, so an application that read both could be deceived. The server must not read these headers itself: uvicorn does,
unless it is started with `--no-proxy-headers`.
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

# Only the last items of a header are read: a request does not pass more proxies, and reading 60,000 items takes 75 ms.
_MAX_PROXIES = 50

_IS_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
# Plain segments only: no `//`, which would lead to another host, no dot segments, and nothing to decode.
_IS_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")


def trusted_proxies(addresses: Iterable[str]) -> Callable[[ASGIApp], ASGIApp]:
    """An ASGI layer that restores the client address, scheme, host and path of requests through trusted proxies.

    It reads `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` only if one of these proxies sent the request.
    Put it around all other layers: `served = trusted_proxies(["10.0.0.0/8"])(app)`.

    Args:
        addresses: IPv4 or IPv6 addresses and networks, such as `127.0.0.1` and `10.0.0.0/8`. `*` trusts every peer,
            for servers that only a proxy can reach; it does not trust the addresses in `X-Forwarded-For`.

    Returns:
        A function that takes an ASGI application and returns one.

    Raises:
        ValueError: An item of `addresses` is neither an address nor a network.
    """
    addresses = frozenset(addresses)
    networks = tuple(_network(address) for address in sorted(addresses - {"*"}))
    return partial(_TrustedProxies, networks=networks, trust_all="*" in addresses)


def _network(address: str) -> _Network:
    try:
        return ip_network(address)
    except ValueError:
        raise ValueError(f"{address!r} is neither an address nor a network such as 10.0.0.0/8") from None


class _TrustedProxies:
    def __init__(self, app: ASGIApp, *, networks: Sequence[_Network], trust_all: bool) -> None:
        self._app = app
        self._networks = networks
        self._trust_all = trust_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (self._trust_all or self._trusts(_address((scope.get("client") or ("",))[0]))):
            scope = self._as_sent(scope)
        await self._app(scope, receive, send)

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def _as_sent(self, scope: Scope) -> Scope:
        """The scope as it would be if the client had connected without proxies."""
        forwarded: dict[bytes, list[str]] = {_FOR: [], _PROTO: [], _HOST: [], _PREFIX: []}
        for name, value in scope["headers"]:
            if name in forwarded:
                parts = value.decode("latin-1").rsplit(",", _MAX_PROXIES)[-_MAX_PROXIES:]
                forwarded[name] += [item for item in (part.strip() for part in parts) if item]
        client, proxies = self._client(forwarded[_FOR])
        changed = dict(scope)
        if client is not None:
            changed["client"] = (str(client), 0)
        proto = _outermost(forwarded[_PROTO], proxies).lower()
        if proto in _PORTS:
            changed["scheme"] = proto
        host = _IS_HOST.fullmatch(_outermost(forwarded[_HOST], proxies))
        if host:
            port = int(host["port"] or _PORTS.get(changed["scheme"], 0))
            changed["server"] = (host["host"].strip("[]"), port)
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [(b"host", host[0].encode()), *headers]
        prefix = "".join(item.rstrip("/") for item in forwarded[_PREFIX][-proxies:])
        if _IS_PREFIX.fullmatch(prefix):
            changed["root_path"] = prefix + scope.get("root_path", "")
            changed["path"] = prefix + scope["path"]
            if scope.get("raw_path") is not None:
                changed["raw_path"] = prefix.encode() + scope["raw_path"]
        return changed

    def _client(self, forwarded: Sequence[str]) -> tuple[_Address | None, int]:
        """The nearest address that is not of a trusted proxy, and the number of trusted proxies on the way.

        Each proxy appends the address of its own client: the items before an untrusted address were written by a client
        or by an untrusted proxy.
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
    """The value that the trusted proxy nearest to the client wrote."""
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
