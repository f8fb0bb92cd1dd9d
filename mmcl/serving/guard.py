"""ASGI middleware that only lets requests of the page through: known hosts, same origin, known routes, bounded size."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from mmcl.errors import ConfigError, InputError
from mmcl.files.plain_json import parse_json

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.IGNORECASE)
SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)  #: gradio's identifier of an open page
_FILES = re.compile(r"/(?:(?:assets|static)/[\w./@+-]{1,200}|theme\.css|favicon\.ico|robots\.txt)", re.ASCII)
_API = "/gradio_api/"
_JSON = (f"{_API}queue/join", f"{_API}cancel", f"{_API}reset")
_GETS = ("/", "/config", "/config/", f"{_API}info", f"{_API}info/", f"{_API}upload_progress")
_UPLOAD, _DATA, _FILE, _HEARTBEAT = f"{_API}upload", f"{_API}queue/data", f"{_API}file=", f"{_API}heartbeat/"
_HIDDEN = (b"origin", b"x-gradio-server", b"forwarded")  # removed, because gradio trusts them
_SAFER = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
_MAX_JSON_BYTES = 1_000_000
_MAX_OTHER_BYTES = 1_000  # of requests that need no body
_DRAIN_SECONDS = 3.0  # to keep reading a refused request
_BODY_SECONDS = 15.0  # to receive a body,
_BYTES_PER_SECOND = 20_000  # with more time at this rate


class Hosts(NamedTuple):
    """The accepted host names of the page: those of this machine, ``host``, and additional ``names``.

    >>> Hosts("127.0.0.1").allow("localhost:7860"), Hosts("127.0.0.1").allow("evil.example:7860")
    (True, False)
    """

    host: str
    names: tuple[str, ...] = ()

    def allow(self, header: str) -> bool:
        """Return whether a ``Host`` header, with or without a port, is accepted.

        A page that listens on all addresses accepts any IP address and the machine's name. Unlike other names, these
        cannot be used for DNS rebinding.
        """
        name = host_name(header)
        if name is None:
            return False
        if name in {"localhost", self.host.lower(), *map(str.lower, self.names)}:
            return True
        all_addresses = self.host in ("0.0.0.0", "::")
        with suppress(ValueError):
            return ip_address(name).is_loopback or all_addresses
        return all_addresses and name in (socket.gethostname().lower(), socket.getfqdn().lower())

    def allow_origin(self, origin: str, header: str) -> bool:
        """Return whether ``origin`` is this page, requested with the host ``header``."""
        try:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or parts.path or parts.query or parts.fragment:
                return False
            return parts.netloc.lower() == header.lower() or host_name(parts.netloc) in {*map(str.lower, self.names)}
        except ValueError:
            return False


def host_name(header: str) -> str | None:
    """Return the host name of a ``Host`` header in lower case, without port and brackets; None if malformed.

    >>> host_name("LocalHost:7860"), host_name("[::1]:7860"), host_name("user@localhost")
    ('localhost', '::1', None)
    """
    found = _HOST.fullmatch(header)
    return found[1].lower().strip("[]").removesuffix(".") if found else None


class Guard:
    """ASGI middleware that refuses requests which the page does not need with a 4xx status.

    Args:
        app: The application of the page.
        hosts: Accepted host names.
        max_bytes: Maximum size of an upload.
        join: Checks the JSON of a call and returns the body to pass on, or raises ValueError.
        knows: Returns whether a session has made a call, so that it may wait for answers.
        opened: Called with the session of a page when its heartbeat begins.
        closed: Called with the session of a page when its heartbeat ends.
    """

    def __init__(
        self,
        app: App,
        hosts: Hosts,
        *,
        max_bytes: int,
        join: Callable[[Mapping[str, object]], bytes],
        knows: Callable[[str], bool],
        opened: Callable[[str], None],
        closed: Callable[[str], None],
    ) -> None:
        self.app, self.hosts, self.max_bytes, self.join = app, hosts, max_bytes, join
        self.knows, self.opened, self.closed = knows, opened, closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
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
            receive = await self._checked_json(scope, body) if scope["path"] in _JSON else body.receive
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
        """Refuse other hosts and origins, and remove headers that gradio trusts."""
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        called = [value for name, value in headers if name in (b"host", b"x-forwarded-host")]
        if sum(name == b"host" for name, _ in headers) != 1:
            raise _refusal(400, "expected one Host header")
        if not all(self.hosts.allow(value) for value in called):
            raise _refusal(403, "this host name is not accepted; allow it with --allow-host NAME")
        sites = [value for name, value in headers if name == b"sec-fetch-site"]
        visit = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        origins = [value for name, value in headers if name == b"origin"]
        own = all(any(self.hosts.allow_origin(origin, name) for name in called) for origin in origins)
        if not own or (any(site not in ("same-origin", "none") for site in sites) and not visit):
            raise _refusal(403, "requests from other sites are refused")
        scope["headers"] = [each for each in scope["headers"] if each[0].lower() not in _HIDDEN]

    def _check_route(self, scope: Scope) -> int:
        """Refuse unknown routes and methods; return the maximum size of the body in bytes."""
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
            raise _refusal(400, "expected a session hash")
        if path == _DATA:
            session = query.get("session_hash", [""])[0]
            if not SESSION.fullmatch(session):
                raise _refusal(400, "expected a session hash")
            if not self.knows(session):
                raise _refusal(404, "this session has made no call")
        elif path not in (f"{_API}upload_progress", _UPLOAD):
            scope["query_string"] = b""  # only used by scripts of the page
        if path in _JSON:
            return _MAX_JSON_BYTES
        return self.max_bytes if path == _UPLOAD else _MAX_OTHER_BYTES

    async def _checked_json(self, scope: Scope, body: _Body) -> Receive:
        """Check the JSON body and return a receive function for it."""
        content = await body.whole()
        try:
            value = parse_json(content, where="the request", error=InputError)
            content = self.join(value) if scope["path"] == _JSON[0] else content
        except InputError:
            raise _refusal(422, "the request is not a JSON object as sent by the page") from None
        except ValueError as error:
            raise _refusal(422, str(error)) from None
        replaced = {b"content-length": str(len(content)).encode(), b"content-type": b"application/json"}
        dropped = (*replaced, b"transfer-encoding")
        scope["headers"] = [*(each for each in scope["headers"] if each[0].lower() not in dropped), *replaced.items()]
        left = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Message:
            return left.pop() if left else await body.receive()

        return receive


class _Body:
    """The body of a request, with limits on its size and time."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive, self._limit = receive, _MAX_OTHER_BYTES
        self._declared = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        chunked = any(name.lower() == b"transfer-encoding" for name, _ in scope["headers"])
        self.left = chunked or any(value.strip() != b"0" for value in self._declared)  # more to receive
        self._seen, self._began = 0, time.monotonic()

    def bound(self, limit: int) -> None:
        """Set the maximum size in bytes; refuse a body whose declared length exceeds it."""
        self._limit = limit
        if any(not value.isdigit() or len(value) > 18 or int(value) > limit for value in self._declared):
            raise self._too_large()

    async def receive(self) -> Message:
        """Return the next part; refuse a body that is too large or too slow."""
        if not self.left:
            return await self._receive()
        timeout = self._began + _BODY_SECONDS + self._seen / _BYTES_PER_SECOND - time.monotonic()
        try:
            message = await asyncio.wait_for(self._part(), max(timeout, 0))
        except asyncio.TimeoutError:
            raise _refusal(408, "the request is too slow") from None
        if self._seen > self._limit:
            raise self._too_large()
        return message

    async def whole(self) -> bytes:
        """Return the whole body."""
        parts = []
        while self.left:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise _refusal(400, "the request was aborted")
            parts.append(message.get("body", b""))
        return b"".join(parts)

    async def drain(self) -> None:
        """Keep reading for a few seconds, because a client that is still sending does not read the answer."""
        until = time.monotonic() + _DRAIN_SECONDS
        with suppress(asyncio.TimeoutError):
            while self.left and (seconds := until - time.monotonic()) > 0:
                await asyncio.wait_for(self._part(), seconds)

    async def _part(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        self.left = message.get("more_body", False)
        return message

    def _too_large(self) -> Exception:
        return _refusal(413, f"the request is too large, expected at most {self._limit:,} bytes")


class _Answer:
    """Sends an answer with security headers, or a refusal if none has begun."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send, self._body, self._begun = send, body, False

    async def send(self, message: Message) -> None:
        """Send a part of an answer. The connection is closed if the request was not read completely."""
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
    """Raise ConfigError for names that are not plain host names, such as those with a port."""
    for name in names:
        if ":" in name or host_name(name) is None:
            raise ConfigError(f"--allow-host '{name}' is not a host name, expected one such as page.example.org")
