"""The server of the page: gradio behind the guard, with timeouts and a limit on connections."""

from __future__ import annotations

import asyncio
import json
import logging
import mimetypes
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mmcl.serving.guard import SESSION, Guard, Hosts
from mmcl.serving.uploads import Uploads

if TYPE_CHECKING:
    from asyncio import Transport

    from gradio import Blocks
    from starlette.requests import Request
    from starlette.responses import Response

_KEEP_SECONDS = 3_600  # until a recording that no open page shows is deleted
_FORM_BYTES = 64_000  # of an upload, in addition to the file
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")  # formats that cannot hold scripts
_MAX_TEXT = 200_000  # characters of a text field
_MAX_CHOSEN = 1_000  # selected boxes of a group
_REQUEST_SECONDS = 10.0  # to receive a complete request
_WRITE_SECONDS = 60.0  # for a client to read an answer
_MAX_CONNECTIONS = 200


def page_app(blocks: Blocks, uploads: Uploads, hosts: Hosts, *, max_bytes: int, **options: object) -> Guard:
    """Return the ASGI application of a page.

    Args:
        blocks: The page.
        uploads: Storage of recordings.
        hosts: Accepted host names.
        max_bytes: Maximum size of a recording.
        options: Options of ``gradio.mount_gradio_app``.
    """
    import gradio as gr
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def upload(request: Request) -> Response:
        return await _upload(request, uploads, max_bytes)

    async def file(request: Request) -> Response:
        return _file(uploads, request.path_params["path"])

    app: Any = Starlette(
        routes=[
            Route("/gradio_api/upload", upload, methods=["POST"]),
            Route("/gradio_api/upload_progress", _uploaded),
            Route("/gradio_api/file={path:path}", file),
        ]
    )
    app = gr.mount_gradio_app(
        app,
        blocks,
        "/",
        max_file_size=max_bytes,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        **options,
    )
    waiting = blocks._queue.pending_messages_per_session
    return Guard(
        app,
        hosts,
        max_bytes=max_bytes + _FORM_BYTES,
        join=lambda body: checked_call(body, blocks, uploads),
        knows=lambda session: session in waiting,
        opened=uploads.page_opened,
        closed=uploads.page_closed,
    )


async def _upload(request: Request, uploads: Uploads, max_bytes: int) -> Response:
    """Store the file of a form and answer with its path, like gradio."""
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse

    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(400, "expected a form with a file")
    try:
        form = await request.form(max_files=1, max_fields=0)
    except HTTPException:
        raise
    except Exception as error:  # python-multipart raises many types
        raise HTTPException(400, f"the form cannot be read ({type(error).__name__})") from None
    try:
        sent = form.get("files")
        if not isinstance(sent, UploadFile):
            raise HTTPException(400, "expected one file in the field 'files'")
        if (sent.size or 0) > max_bytes:
            raise HTTPException(413, f"expected a file of at most {max_bytes:,} bytes")
        try:
            path = str(await run_in_threadpool(uploads.add, sent.filename or "", sent.file))
        except OSError:
            raise HTTPException(507, "the disk is full") from None
    finally:
        await form.close()
    asyncio.get_running_loop().call_later(_KEEP_SECONDS, uploads.release, path)
    return JSONResponse([path])


async def _uploaded(_: Request) -> Response:
    """Report that an upload is done; progress is not tracked."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")


def _file(uploads: Uploads, path: str) -> Response:
    """Send a recording or an image to show, and other files as downloads, so that browsers do not open them."""
    from starlette.exceptions import HTTPException
    from starlette.responses import FileResponse

    found = uploads.find(path)
    if found is None:
        raise HTTPException(403, "there is no such recording")
    kind = mimetypes.guess_type(found.name)[0] or ""
    if kind.startswith(("audio/", "video/")) or kind in _IMAGES:
        return FileResponse(found, media_type=kind, filename=found.name, content_disposition_type="inline")
    return FileResponse(found, media_type="application/octet-stream", filename=found.name)


def checked_call(body: Mapping[str, object], blocks: Blocks, uploads: Uploads) -> bytes:
    """Check a call of a function of the page and return it as JSON with the needed fields only.

    Raises:
        ValueError: The page does not make such a call.
    """
    from gradio.components import Audio, CheckboxGroup, Dropdown, Image, Textbox

    number, session, data = body.get("fn_index"), body.get("session_hash"), body.get("data")
    function = blocks.fns.get(number) if type(number) is int else None
    if function is None:
        raise ValueError("fn_index is not the number of a function of this page")
    if not isinstance(session, str) or not SESSION.fullmatch(session):
        raise ValueError("session_hash is missing, expected 1 to 64 letters and digits")
    if not isinstance(data, list) or len(data) != len(function.inputs):
        raise ValueError(f"data is not a list of {len(function.inputs)} values")
    passed: list[object] = []
    for field, value in zip(function.inputs, data, strict=True):
        if isinstance(field, (Audio, Image)):
            path = value.get("path") if isinstance(value, dict) else value
            if path is not None and not (isinstance(path, str) and uploads.claim(path, session)):
                raise ValueError("the file is not stored here: upload it again")
            passed.append(path and {"path": path, "meta": {"_type": "gradio.FileData"}})
            continue
        if isinstance(field, Dropdown):
            sound = isinstance(value, str) and value in [choice for _, choice in field.choices]
        elif isinstance(field, Textbox):
            sound = isinstance(value, str) and len(value) <= _MAX_TEXT
        elif isinstance(field, CheckboxGroup):
            sound = isinstance(value, list) and len(value) <= _MAX_CHOSEN
            sound = sound and all(isinstance(each, str) for each in value)
        else:
            sound = value is None
        if not sound:
            raise ValueError(f"a value of '{field.label or type(field).__name__}' is invalid")
        passed.append(value)
    return json.dumps({"fn_index": number, "session_hash": session, "data": passed}).encode()


def serve_app(app: Guard, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve on a socket until Ctrl+C or SIGTERM. ``ready`` is called once the server answers."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # open pages are not an error
            await super().shutdown(sockets)

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # like log_level below
    config = uvicorn.Config(
        app,
        http=_limited_protocol(),
        ws="none",
        log_config=None,
        log_level="error",  # no warning for each malformed request
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    with suppress(KeyboardInterrupt):  # raised again by uvicorn after shutdown
        Server(config).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        OSError: The port is in use, or the host cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_MAX_CONNECTIONS)


def _limited_protocol() -> type:
    """Return uvicorn's HTTP/1.1 protocol with timeouts for incomplete requests and unread answers."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class LimitedProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > _MAX_CONNECTIONS:
                self._end(b"503 Service Unavailable")
                return
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop("_deadline")
            self._stop("_unread")
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._unread is None:
                self._unread = self.loop.call_later(_WRITE_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop("_unread")

        def _watch(self) -> None:
            """Start or stop the timeout of a request."""
            if self.conn.their_state is not h11.IDLE:
                self._stop("_deadline")
            elif self._deadline is None and not self.transport.is_closing():
                self._deadline = self.loop.call_later(_REQUEST_SECONDS, self._end, b"408 Request Timeout")

        def _end(self, status: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                self.transport.close()

        def _stop(self, name: str) -> None:
            timer = getattr(self, name)
            if timer is not None:
                timer.cancel()
                setattr(self, name, None)

    return LimitedProtocol


def address(host: str, port: int) -> str:
    """Return the URL to open in a browser.

    >>> address("0.0.0.0", 7860), address("::1", 7860)
    ('http://localhost:7860/', 'http://[::1]:7860/')
    """
    name = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"
