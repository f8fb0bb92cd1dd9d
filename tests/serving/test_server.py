"""The server over sockets: hostile requests get a 4xx status, and leave no file and no open connection."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import pytest

from mmcl.serving.server import address

if find_spec("gradio") is None:
    pytest.skip("the page needs the extra 'serve'", allow_module_level=True)

# A page with a random model, short timeouts and few connections.
SERVER = """
import sys
import torch
from mmcl.serving import guard as page_guard
from mmcl.serving import server as page_server
from mmcl.encoders import build_encoder
from mmcl.serving.listener import Listener
from mmcl.models import TwoTower
from mmcl.serving.page import serve_page

page_guard._BODY_SECONDS = page_guard._DRAIN_SECONDS = page_server._REQUEST_SECONDS = 1.0
page_server._MAX_CONNECTIONS = 40
towers = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16))
serve_page(
    {"model": Listener(towers, longest=5)}, [], "on", host="127.0.0.1", port=int(sys.argv[1]), longest=5,
    allowed=["page.example.org"], ready=lambda address: print(address, flush=True),
)
"""
FILE = b'Content-Disposition: form-data; name="files"; filename="a.wav"'
LIMIT = 5 * 48_000 * 8 + 1_000_000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The port and the folder of temporary files."""
    folder = tmp_path_factory.mktemp("served")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVER, str(port)],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
        ) as server,
    ):  # fmt: skip
        try:
            assert server.stdout.readline() == f"http://127.0.0.1:{port}/\n", (folder / "errors.txt").read_text()
            yield port, folder
            page = socket.create_connection(("127.0.0.1", port))
            page.sendall(b"GET /gradio_api/heartbeat/last HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert page.recv(12) == b"HTTP/1.1 200"
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0  # even with an open page
            page.close()
        finally:
            server.kill()
    assert (folder / "errors.txt").read_text() == ""  # no traceback and no warnings
    assert [path.name for path in folder.iterdir()] == ["errors.txt"]


@pytest.fixture
def ask(served):
    """Return a function that sends a request and returns status, headers and body of the answer."""

    def send(method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", served[0], timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    return send


@pytest.fixture
def sent(served):
    """Return a function that lists the stored files."""
    # os.walk passes over folders that the server deletes meanwhile
    return lambda: sorted(
        Path(folder, name) for folder, _, names in os.walk(served[1]) for name in names if name != "errors.txt"
    )


def form(*parts, end=b"--B--\r\n"):
    return b"".join(b"--B\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + end


def upload(ask, body, kind="multipart/form-data; boundary=B", **headers):
    return ask("POST", "/gradio_api/upload", body, Content_Type=kind, **headers)


def join(ask, **changes):
    call = {"fn_index": 0, "session_hash": "abc", "data": ["model", None, "on"]} | changes
    body = json.dumps({name: value for name, value in call.items() if value != "missing"})
    return ask("POST", "/gradio_api/queue/join", body, Content_Type="application/json")


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_foreign_host_and_origin_are_refused(ask, served):
    for path in ("/", "/config", "/gradio_api/info"):
        assert ask("GET", path)[0] == 200 and ask("GET", path, Host="page.example.org")[0] == 200
        for headers in ({"Host": f"evil.example:{served[0]}"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            status, answered, body = ask("GET", path, **headers)
            assert status == 403 and len(body) < 100
            assert not [name for name in answered if name.lower().startswith("access-control")]
    preflight = {"Origin": "http://evil.example", "Access_Control_Request_Method": "POST"}
    assert ask("OPTIONS", "/gradio_api/queue/join", **preflight)[0] == 403


@pytest.mark.parametrize(
    "changes",
    [
        *({"fn_index": value} for value in ("missing", None, -1, 99, 10**30, 1.5, True, "0", "ask", [], {})),
        *({"session_hash": value} for value in ("missing", None, "", 5, True, [], {}, "../x", "a" * 65, "\ud800")),
        *({"data": value} for value in ("missing", None, "on", 5, {}, [], ["model"], ["model", None, "on", "on"])),
        *({"data": [value, None, "on"]} for value in ("other", None, 5, ["model"], {}, "\ud800")),
        *({"data": ["model", None, value]} for value in (None, 5, [], {}, "x" * 200_001)),
        *(
            {"data": ["model", value, "on"]}
            for value in (5, "x", [], {"path": 5}, {"path": "/etc/passwd"}, {"path": "http://x/a.wav"}, {"path": ""})
        ),
    ],
    ids=lambda changes: ascii(changes)[:50],
)  # fmt: skip
def test_malformed_call_is_refused(ask, changes):
    assert join(ask, **changes)[0] == 422


def test_any_text_is_answered(ask):
    for text in ("on", "", "\x00", "\x1b[31m\u202e", "<script>: $x_ | [/]", "पानी 🙂", "\n" * 9):
        status, _, body = join(ask, data=["model", None, text], event_data={"x": 1}, trigger_id="x", batched=5)
        assert status == 200 and "event_id" in json.loads(body)
        status, _, body = ask("GET", "/gradio_api/queue/data?session_hash=abc")
        assert status == 200 and b"no recording" in body and b'"success":true' in body
    status, _, _ = join(ask, data=["model", None, "\ud800"])  # a lone surrogate is not text
    assert status == 422


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([(FILE, b"x" * 2_000_000)] * 40, 413),
        ([(FILE, b"x" * (LIMIT + 1))], 413),
        ([(FILE, b"x")] * 2, 400),
        ([(b'Content-Disposition: form-data; name="files"', b"x")], 400),
        ([(b'Content-Disposition: form-data; name="x"', b"x")] * 2000, 400),
        ([(FILE.replace(b"files", b"other"), b"x")], 400),
        ([(b"X: y", b"x")], 400),
        ([(FILE + b"\r\nX: " + b"a" * 20_000, b"x")], 400),
        ([(FILE.replace(b"a.wav", b"a" * 20_000), b"x")], 400),
        ([], 400),
    ],
)
def test_refused_upload_leaves_no_file(ask, sent, parts, status):
    assert upload(ask, form(*parts))[0] == status and sent() == []


@pytest.mark.parametrize("end", [b"", b"--B", b"--B--", b"--C--\r\n"])
def test_truncated_upload_is_refused(ask, sent, end):
    body = form((FILE, b"x" * 999), end=end)
    assert upload(ask, body if end else body[:-500])[0] in ((200, 400) if end == b"--B--" else (400,))
    for path in sent():
        path.unlink()


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", *(f"multipart/form-data; boundary={name}" for name in ("", "B" * 9999)), "text/plain", ""],
)
def test_other_content_types_are_refused(ask, sent, kind):
    assert upload(ask, form((FILE, b"x")), kind)[0] == 400 and sent() == []


def test_chunked_uploads_are_limited(served, sent):
    connection = socket.create_connection(("127.0.0.1", served[0]), timeout=30)
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    connection.sendall(head + b"Content-Type: multipart/form-data; boundary=B\r\n\r\n")
    body = form((FILE, b"x" * 5_000_000))
    for start in range(0, len(body), 100_000):
        chunk = body[start : start + 100_000]
        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    assert connection.recv(12) == b"HTTP/1.1 413" and sent() == []
    connection.close()


def test_recordings_are_played_and_other_files_are_not_read(ask, served):
    (path,) = json.loads(upload(ask, form((FILE, bytes(range(100)))))[2])
    for asked, status in (
        ("bytes=0-9", 206), ("bytes=-5", 206), ("bytes=99-", 206), ("bytes=5-2", 400), ("bytes=abc", 400),
        ("bytes=0-0-0", 400), ("bytes=", 400), ("bytes=1000-", 416), ("bytes=0-1,4-5", 206),
        ("bytes=\u00b2-\u00b3", 400),
        ("x=0-1", 400),
        ("bytes=" + ",".join(["0-0"] * 999), 200), ("bytes=" + "9" * 5000 + "-", 400),
    ):  # fmt: skip
        assert ask("GET", f"/gradio_api/file={quote(path)}", Range=asked)[0] == status, asked
    status, headers, body = ask("GET", f"/gradio_api/file={quote(path)}")
    assert (status, body, headers["content-type"]) == (200, bytes(range(100)), headers["content-type"])
    assert headers["content-type"].startswith("audio/")
    for other in ("/etc/passwd", "", "%00", path + "/..", path + "/../../../errors.txt", str(served[1] / "errors.txt")):
        assert ask("GET", f"/gradio_api/file={quote(other, safe='%')}")[0] == 403
    (path,) = json.loads(upload(ask, form((FILE.replace(b"a.wav", b"a.html"), b"<script>")))[2])
    headers = ask("GET", f"/gradio_api/file={quote(path)}")[1]
    assert headers["content-type"] == "application/octet-stream" and headers["content-disposition"].startswith("attach")


def test_recordings_are_deleted_after_use_or_with_their_page(ask, served, sent):
    before = sent()

    def ask_about(session):
        (path,) = json.loads(upload(ask, form((FILE, b"no audio")))[2])
        assert join(ask, data=["model", {"path": path}, "on"], session_hash=session)[0] == 200
        assert b"a.wav is not audio" in ask("GET", f"/gradio_api/queue/data?session_hash={session}")[2]
        return path

    ask_about("closed")
    assert until(lambda: sent() == before)
    page = socket.create_connection(("127.0.0.1", served[0]))
    page.sendall(b"GET /gradio_api/heartbeat/open HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert page.recv(12) == b"HTTP/1.1 200"
    path = ask_about("open")
    assert len(sent()) == len(before) + 1
    assert join(ask, data=["model", {"path": path}, "on"], session_hash="open")[0] == 200  # again
    page.close()
    assert until(lambda: sent() == before)


REQUEST = b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /gradio_api/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\nContent-Type: %s\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (REQUEST, b"X: y\r\n"),
        (REQUEST + b"\r\n" + REQUEST, b"X: y\r\n"),  # the second of two requests
        (POST % (b"queue/join", b"application/json"), b"a"),
        (POST % (b"upload", b"multipart/form-data; boundary=B"), b"-"),
        (POST % (b"nothing", b"text/plain"), b"a"),
    ],
    ids=["silent", "headers", "second", "json", "upload", "refused"],
)
def test_incomplete_request_is_closed(served, first, then):
    connection = socket.create_connection(("127.0.0.1", served[0]), timeout=0.2)
    connection.sendall(first)

    def closed():
        try:
            connection.sendall(then)
            return connection.recv(1000) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    assert until(closed)
    connection.close()


def test_connections_are_limited(ask, served):
    many = [socket.create_connection(("127.0.0.1", served[0])) for _ in range(60)]
    try:
        refused, _, _ = select.select(many, [], [], 0.8)
        assert refused and refused[0].recv(12) in (b"HTTP/1.1 503", b"")
        assert until(lambda: len(select.select(many, [], [], 0)[0]) == 60)  # all have timed out
        assert ask("GET", "/robots.txt")[0] == 200
    finally:
        for connection in many:
            connection.close()


def test_other_protocols_are_refused(served):
    for request in (
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01",
    ):
        with socket.create_connection(("127.0.0.1", served[0]), timeout=30) as connection:
            connection.sendall(request)
            assert connection.recv(10) == b"HTTP/1.1 4"


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]")]
)
def test_address_can_be_opened(host, shown):
    assert address(host, 80) == f"http://{shown}:80/"
