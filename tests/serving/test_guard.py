"""The guard as an ASGI application: accepted hosts, origins, routes and sizes."""

from __future__ import annotations

import asyncio

import pytest

from mmcl.errors import ConfigError
from mmcl.serving import guard as page_guard
from mmcl.serving.guard import Guard, Hosts, check_names

pytest.importorskip("starlette", reason="the page needs the extra 'serve'")


async def page(scope, receive, send):
    """Read the body, and answer with its length and the headers of the request."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    names = b",".join(name for name, _ in scope["headers"])
    headers = [(b"access-control-allow-origin", b"*"), (b"x-got", b"%d %s" % (size, names))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["query_string"]})


HOME = Hosts("127.0.0.1")


def ask(path="/", method="GET", *, host="localhost:7860", parts=(b"",), hosts=HOME, query=b"", **headers):
    """Return status and headers of the answer. Each host of a list becomes a header."""
    opened = []
    guard = Guard(
        page, hosts, max_bytes=1000, join=lambda value: b"{}", knows="known".__eq__, opened=opened.append,
        closed=opened.remove,
    )  # fmt: skip
    given = [(b"host", each.encode()) for each in ([host] if isinstance(host, str) else host)]
    given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    left, sent = list(parts), []

    async def receive():
        if not left:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or parts[-1:] == (b"...",)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": given}
    asyncio.run(guard(scope, receive, send))
    assert opened == [] and sent[-1].get("more_body", False) is False
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize(
    ("host", "own", "everybody"),
    [
        ("localhost", 200, 200),
        ("LOCALHOST.:7860", 200, 200),
        ("127.0.0.1:1", 200, 200),
        ("127.8.9.1", 200, 200),
        ("[::1]:7860", 200, 200),
        ("page.example.org", 200, 200),
        ("192.0.2.7:7860", 403, 200),  # IP addresses cannot be used for DNS rebinding
        ("[2001:db8::1]", 403, 200),
        ("evil.example:7860", 403, 403),
        ("localhost.evil.example", 403, 403),
        ("127.0.0.1.evil.example", 403, 403),
        ("127.0.0.1@evil.example", 403, 403),
        ("user@localhost", 403, 403),
        ("localhost:x", 403, 403),
        ("localhost evil", 403, 403),
        ("", 403, 403),
        ([], 400, 400),
        (["localhost", "evil.example"], 400, 400),
    ],
)
def test_only_known_hosts_are_served(host, own, everybody):
    assert ask(host=host, hosts=Hosts("127.0.0.1", ("Page.example.org",)))[0] == own
    assert ask(host=host, hosts=Hosts("0.0.0.0", ("page.example.org",)))[0] == everybody


def test_own_address_is_accepted_and_proxy_headers_are_checked():
    assert ask(host="192.0.2.7", hosts=Hosts("192.0.2.7"))[0] == 200
    assert ask(host="Speech", hosts=Hosts("speech"))[0] == 200
    assert ask(x_forwarded_host="evil.example")[0] == 403
    assert ask(x_forwarded_host="page.example.org", hosts=Hosts("127.0.0.1", ("page.example.org",)))[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "null", "http://localhost:8888", "http://127.0.0.1:7860", "http://localhost:7860/x", "",
        "file://", "http://localhost:7860@evil.example", "localhost:7860", "http://[", "http://localhost:7860 http://x",
    ],
)  # fmt: skip
def test_other_sites_are_refused(origin, method):
    status, headers = ask("/gradio_api/queue/join", method, origin=origin)
    assert status == 403 and not [name for name in headers if name.startswith(b"access-control")]


def test_same_origin_is_accepted_and_origins_are_not_mirrored():
    status, headers = ask(origin="http://localhost:7860")
    assert status == 200 and not [name for name in headers if name.startswith(b"access-control")]
    assert (
        headers[b"x-content-type-options"] == b"nosniff" and b"frame-ancestors" in headers[b"content-security-policy"]
    )
    assert b"origin" not in headers[b"x-got"]
    assert ask(origin="https://page.example.org", hosts=Hosts("127.0.0.1", ("page.example.org",)))[0] == 200


def test_sec_fetch_site_header_is_checked():
    for site, path, status in (
        ("cross-site", "/gradio_api/info", 403),
        ("same-site", "/gradio_api/info", 403),
        ("same-origin", "/gradio_api/info", 200),
        ("none", "/config", 200),
        ("cross-site", "/", 200),  # a link to the page
    ):
        assert ask(path, sec_fetch_site=site)[0] == status


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 200), ("/", "HEAD", 200), ("/", "POST", 405), ("/", "DELETE", 405),
        ("/assets/index-1.js", "GET", 200),
        ("/assets/../app.py", "GET", 404), ("/assets/\x00", "GET", 404), ("/assets/" + "a" * 999, "GET", 404),
        ("/gradio_api/file=/x/../y", "GET", 200), ("/gradio_api/file/x", "GET", 404), ("http://evil/", "GET", 404),
        ("/gradio_api/proxy=http://x", "GET", 404), ("/gradio_api/vibe-edit", "POST", 404), ("//", "GET", 404),
        ("/gradio_api/component_server", "POST", 404), ("/gradio_api/process_recording", "POST", 404),
        ("/gradio_api/run/ask", "POST", 404), ("/gradio_api/deep_link", "GET", 404), ("/login", "POST", 404),
        ("/gradio_api/queue/join", "GET", 405), ("/gradio_api/upload", "PUT", 405),
        ("/gradio_api/queue/data", "GET", 400),
        ("/gradio_api/heartbeat/abc", "GET", 200), ("/gradio_api/heartbeat/a/b", "GET", 400),
        ("/gradio_api/heartbeat/", "GET", 400),
    ],
)  # fmt: skip
def test_unknown_routes_are_refused(path, method, status):
    assert ask(path, method)[0] == status


def test_answers_need_a_session_with_a_call():
    for query, status in (
        (b"session_hash=known", 200),
        (b"session_hash=other", 404),
        (b"session_hash=a%00", 400),
        (b"session_hash=" + b"a" * 65, 400),
        (b"", 400),
    ):
        assert ask("/gradio_api/queue/data", query=query)[0] == status


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 9999, b'{"a":' * 9999, b"1", b"{} {}"])
@pytest.mark.parametrize("path", ["queue/join", "cancel", "reset"])
def test_malformed_json_is_refused(path, body):
    assert ask(f"/gradio_api/{path}", "POST", parts=(body,), content_length=str(len(body)))[0] == 422


@pytest.mark.parametrize(
    ("parts", "headers", "status"),
    [
        ((b"x" * 1000,), {"content_length": "1000"}, 200),
        ((b"x" * 1001,), {"content_length": "1001"}, 413),
        ((b"",), {"content_length": "9" * 18}, 413),
        ((b"",), {"content_length": "9" * 999}, 413),
        ((b"",), {"content_length": "-1"}, 413),
        ((b"x" * 500,) * 2, {"transfer_encoding": "chunked"}, 200),
        ((b"x" * 500,) * 3, {"transfer_encoding": "chunked"}, 413),
        ((b"x" * 500,) * 3, {"content_length": "10"}, 413),
    ],
)
def test_declared_and_received_sizes_are_limited(parts, headers, status):
    assert ask("/gradio_api/upload", "POST", parts=parts, **headers)[0] == status


def test_slow_body_is_refused_and_the_connection_closed(monkeypatch):
    monkeypatch.setattr(page_guard, "_BODY_SECONDS", 0.1)
    monkeypatch.setattr(page_guard, "_DRAIN_SECONDS", 0.1)
    for path in ("upload", "queue/join"):
        status, headers = ask(f"/gradio_api/{path}", "POST", parts=(b"x", b"..."), transfer_encoding="chunked")
        assert status == 408 and headers[b"connection"] == b"close"


def test_websockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    guard = Guard(page, Hosts("127.0.0.1"), max_bytes=1, join=bytes, knows=bool, opened=print, closed=print)
    asyncio.run(guard({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("name", ["http://page.example.org", "page.example.org:443", "a b", "", "*", "[::1]"])
def test_allowed_names_are_plain_host_names(name):
    with pytest.raises(ConfigError, match="--allow-host"):
        check_names([name])
