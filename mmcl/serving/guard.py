"""What reaches the page: requests of known hosts, from the page itself, to its own routes, within bounds."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from mmcl.errors import ConfigError, InputError
from mmcl.files.plain_json import parse_json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.IGNORECASE)
SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)  #: the hash by which gradio knows a page
_FILES = re.compile(r"/(?:(?:assets|static)/[\w./@+-]{1,200}|theme\.css|favicon\.ico|robots\.txt)", re.ASCII)
_API = "/gradio_api/"
_JSON = (f"{_API}queue/join", f"{_API}cancel", f"{_API}reset")
_GETS = ("/", "/config", "/config/", f"{_API}info", f"{_API}info/", f"{_API}upload_progress")
_UPLOAD, _DATA, _FILE, _HEARTBEAT = f"{_API}upload", f"{_API}queue/data", f"{_API}file=", f"{_API}heartbeat/"
_HIDDEN = (b"origin", b"x-gradio-server", b"forwarded")  # from gradio, which would believe them
_SAFER = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
_MOST_JSON = 1_000_000  # bytes
_MOST_OTHER = 1_000  # bytes that a request may have which needs none
_DRAINING = 3.0  # seconds that a request is read on which was refused
_PATIENCE = 15.0  # seconds to wait for a body,
_PACE = 20_000  # and the bytes a second that give it more time


class Hosts(NamedTuple):
    """The names by which the page may be called: those of this machine, ``host``, and further ``names``.

    >>> Hosts("127.0.0.1").allow("localhost:7860"), Hosts("127.0.0.1").allow("evil.example:7860")
    (True, False)
    """

    host: str
    names: tuple[str, ...] = ()

    def allow(self, header: str) -> bool:
        """Whether a ``Host`` header, with or without a port, names this page.

        A page that listens on every address also answers to every address, and to the machine's name: only a name
        that someone else owns can be made to point here.
        """
        name = host_name(header)
        if name is None:
            return False
        if name in {"localhost", self.host.lower(), *map(str.lower, self.names)}:
            return True
        everybody = self.host in ("0.0.0.0", "::")
        with suppress(ValueError):
            return ip_address(name).is_loopback or everybody
        return everybody and name in (socket.gethostname().lower(), socket.getfqdn().lower())

    def allow_origin(self, origin: str, header: str) -> bool:
        """Whether a request from a page of ``origin`` comes from this page, which was called by ``header``."""
        try:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or parts.path or parts.query or parts.fragment:
                return False
            return parts.netloc.lower() == header.lower() or host_name(parts.netloc) in {*map(str.lower, self.names)}
        except ValueError:
            return False


def host_name(header: str) -> str | None:
    """Return the name in a ``Host`` header, in lower case and without port or brackets; None if it is malformed.

    >>> host_name("LocalHost:7860"), host_name("[::1]:7860"), host_name("user@localhost")
    ('localhost', '::1', None)
    """
    found = _HOST.fullmatch(header)
    return found[1].lower().strip("[]").removesuffix(".") if found else None


class Guard:
    """ASGI middleware that refuses with a 4xx what the page does not need.

    Args:
        app: the page.
        hosts: by which names it may be called.
        most_bytes: of an upload.
        join: makes what is passed on of the JSON of a call, or raises ValueError.
        knows: whether a session has asked for anything, so that it may wait for answers.
        opened, closed: called with a page's session as its heartbeat begins and ends.
    """

    def __init__(
        self,
        app: App,
        hosts: Hosts,
        *,
        most_bytes: int,
        join: Callable[[Any], bytes],
        knows: Callable[[str], bool],
        opened: Callable[[str], None],
        closed: Callable[[str], None],
    ) -> None:
        self.app, self.hosts, self.most_bytes, self.join = app, hosts, most_bytes, join
        self.knows, self.opened, self.closed = knows, opened, closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        from starlette.exceptions import HTTPException

        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        body = _Body(scope, receive)
        answer = _Answer(send, body)
        page = None
        try:
            self._check_caller(scope)
            body.bound(self._check_route(scope))
            if scope["path"] in _JSON:
                receive = await self._checked_json(scope, body)
            else:
                receive = body.receive
            if scope["path"].startswith(_HEARTBEAT):
                page = scope["path"].removeprefix(_HEARTBEAT)
                self.opened(page)
            await self.app(scope, receive, answer.send)
        except HTTPException as error:
            await answer.refuse(error.status_code, error.detail)
        finally:
            if page is not None:
                self.closed(page)

    def _check_caller(self, scope: Scope) -> None:
        """Refuse other hosts and other origins, and take what gradio need not know from the headers."""
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        called = [value for name, value in headers if name in (b"host", b"x-forwarded-host")]
        if sum(name == b"host" for name, _ in headers) != 1:
            raise _refusal(400, "expected one Host header")
        if not all(self.hosts.allow(value) for value in called):
            raise _refusal(403, "this page is not served under that name; its owner can allow it: --allow-host NAME")
        sites = [value for name, value in headers if name == b"sec-fetch-site"]
        visit = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        origins = [value for name, value in headers if name == b"origin"]
        own = all(any(self.hosts.allow_origin(origin, name) for name in called) for origin in origins)
        if not own or (any(site not in ("same-origin", "none") for site in sites) and not visit):
            raise _refusal(403, "another site may not ask this page")
        scope["headers"] = [each for each in scope["headers"] if each[0].lower() not in _HIDDEN]

    def _check_route(self, scope: Scope) -> int:
        """Refuse what is no route of the page; return how many bytes the request's body may have."""
        path, method = scope["path"], scope["method"]
        query = parse_qs(scope["query_string"].decode("latin-1"))
        posts = path in _JSON or path == _UPLOAD
        if not (posts or path in (*_GETS, _DATA) or path.startswith((_FILE, _HEARTBEAT)) or _FILES.fullmatch(path)) or (
            ".." in path and not path.startswith(_FILE)
        ):
            raise _refusal(404, "there is no such page")
        if method not in (("POST",) if posts else ("GET", "HEAD")):
            raise _refusal(405, f"expected {'POST' if posts else 'GET'}")
        if path.startswith(_HEARTBEAT) and not SESSION.fullmatch(path.removeprefix(_HEARTBEAT)):
            raise _refusal(400, "expected the hash of a session")
        if path == _DATA:
            session = query.get("session_hash", [""])[0]
            if not SESSION.fullmatch(session):
                raise _refusal(400, "expected the hash of a session")
            if not self.knows(session):
                raise _refusal(404, "this session has asked for nothing")
        elif path not in (f"{_API}upload_progress", _UPLOAD):
            scope["query_string"] = b""  # read by the page's scripts alone
        if path in _JSON:
            return _MOST_JSON
        return self.most_bytes if path == _UPLOAD else _MOST_OTHER

    async def _checked_json(self, scope: Scope, body: _Body) -> Receive:
        """Return what passes on a body that is sound JSON of a few known fields."""
        content = await body.whole()
        try:
            value = parse_json(content, where="the request", error=InputError)
            content = self.join(value) if scope["path"] == _JSON[0] else content
        except InputError:
            raise _refusal(422, "the request is not a JSON object such as the page sends") from None
        except ValueError as error:
            raise _refusal(422, str(error)) from None
        replaced = {b"content-length": str(len(content)).encode(), b"content-type": b"application/json"}
        dropped = (*replaced, b"transfer-encoding")
        scope["headers"] = [*(each for each in scope["headers"] if each[0].lower() not in dropped), *replaced.items()]
        left = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            return left.pop() if left else await body.receive()

        return receive


class _Body:
    """The body of a request, counted and timed as it arrives."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive, self._limit = receive, _MOST_OTHER
        self._said = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        chunked = any(name.lower() == b"transfer-encoding" for name, _ in scope["headers"])
        self.left = chunked or any(value.strip() != b"0" for value in self._said)  # to be received
        self._seen, self._began = 0, time.monotonic()

    def bound(self, limit: int) -> None:
        """Allow so many bytes; refuse a body that says that it has more."""
        self._limit = limit
        if any(not value.isdigit() or len(value) > 18 or int(value) > limit for value in self._said):
            raise self._too_large()

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next part, or refuse what is too large or too slow."""
        if not self.left:
            return await self._receive()
        patience = self._began + _PATIENCE + self._seen / _PACE - time.monotonic()
        try:
            message = await asyncio.wait_for(self._part(), max(patience, 0))
        except asyncio.TimeoutError:
            raise _refusal(408, "the request came too slowly") from None
        if self._seen > self._limit:
            raise self._too_large()
        return message

    async def whole(self) -> bytes:
        """Return all of it."""
        parts = []
        while self.left:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise _refusal(400, "the request was broken off")
            parts.append(message.get("body", b""))
        return b"".join(parts)

    async def drain(self) -> None:
        """Read on for a little while: a client that is still sending hears no answer."""
        until = time.monotonic() + _DRAINING
        with suppress(asyncio.TimeoutError):
            while self.left and (seconds := until - time.monotonic()) > 0:
                await asyncio.wait_for(self._part(), seconds)

    async def _part(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        self.left = message.get("more_body", False)
        return message

    def _too_large(self) -> Exception:
        return _refusal(413, f"the request is too large, expected at most {self._limit:,} bytes")


class _Answer:
    """Sends an answer with headers for browsers, or a refusal where none has begun."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send, self._body, self._begun = send, body, False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of an answer; a connection whose request was not read to its end is closed after it."""
        if message["type"] == "http.response.start":
            self._begun = True
            await self._body.drain()
            given = [each for each in message.get("headers", []) if not each[0].lower().startswith(b"access-control-")]
            closing = [(b"connection", b"close")] if self._body.left else []
            message["headers"] = [*given, *_SAFER, *closing]
        await self._send(message)

    async def refuse(self, status: int, why: str) -> None:
        """Send a status and a line of text."""
        if self._begun:
            return
        body = why.encode("utf-8", "backslashreplace")
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _refusal(status: int, why: str) -> Exception:
    from starlette.exceptions import HTTPException

    return HTTPException(status, why)


def check_names(names: Collection[str]) -> None:
    """Raise ConfigError for a further name of the page that is not a name alone, such as one with a port."""
    for name in names:
        if ":" in name or host_name(name) is None:
            raise ConfigError(f"--allow-host '{name}' is not the name of a host, expected one such as page.example.org")
