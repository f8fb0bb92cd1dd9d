"""The server of the page: gradio behind the guard, with timeouts and a bound on connections."""

from __future__ import annotations

import asyncio
import json
import logging
import mimetypes
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mmcl.serving.guard import SESSION, Guard, Hosts
from mmcl.serving.uploads import Uploads

if TYPE_CHECKING:
    from asyncio import Transport

    from gradio import Blocks
    from starlette.requests import Request
    from starlette.responses import Response

_KEPT = 3_600  # seconds, after which a recording that no open page shows is deleted
_FORM = 64_000  # bytes of an upload beside its file
_MOST_TEXT = 200_000  # characters of a field
_MOST_CHOSEN = 1_000  # boxes of a group
_HEADERS = 10.0  # seconds that a connection may be open without a whole request
_WRITE = 60.0  # seconds that a client may leave an answer unread
_CONNECTIONS = 200  # at a time


def page_app(blocks: Blocks, uploads: Uploads, hosts: Hosts, *, most_bytes: int, **options: Any) -> Guard:
    """Return the ASGI application of a page.

    Args:
        blocks: the page.
        uploads: where recordings are kept.
        hosts: the names by which the page may be called.
        most_bytes: of a recording.
        options: of ``gradio.mount_gradio_app``.
    """
    import gradio as gr
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def upload(request: Request) -> Response:
        return await _upload(request, uploads, most_bytes)

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
        max_file_size=most_bytes,
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
        most_bytes=most_bytes + _FORM,
        join=lambda body: checked_call(body, blocks, uploads),
        knows=lambda session: session in waiting,
        opened=uploads.page_opened,
        closed=uploads.page_closed,
    )


async def _upload(request: Request, uploads: Uploads, most_bytes: int) -> Response:
    """Keep the one file of a form, and answer with its path, as gradio does."""
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
    except Exception as error:  # python-multipart and the decoding of names raise whatever comes
        raise HTTPException(400, f"the form cannot be read ({type(error).__name__})") from None
    try:
        sent = form.get("files")
        if not isinstance(sent, UploadFile):
            raise HTTPException(400, "expected one file in the field 'files'")
        if (sent.size or 0) > most_bytes:
            raise HTTPException(413, f"expected a file of at most {most_bytes:,} bytes")
        try:
            path = str(await run_in_threadpool(uploads.add, sent.filename or "", sent.file))
        except OSError:
            raise HTTPException(507, "there is no room for the file") from None
    finally:
        await form.close()
    asyncio.get_running_loop().call_later(_KEPT, uploads.release, path)
    return JSONResponse([path])


async def _uploaded(_: Request) -> Response:
    """Say that an upload is done: it is answered whole, so that there is no progress to tell."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")


def _file(uploads: Uploads, path: str) -> Response:
    """Send a recording back to be played; anything else that was sent is not to be opened in a browser."""
    from starlette.exceptions import HTTPException
    from starlette.responses import FileResponse

    found = uploads.find(path)
    if found is None:
        raise HTTPException(403, "there is no such recording")
    kind = mimetypes.guess_type(found.name)[0] or ""
    if kind.startswith(("audio/", "video/")):
        return FileResponse(found, media_type=kind, filename=found.name, content_disposition_type="inline")
    return FileResponse(found, media_type="application/octet-stream", filename=found.name)


def checked_call(body: Any, blocks: Blocks, uploads: Uploads) -> bytes:
    """Return what a call of a function of the page passes on, as JSON of the fields that it needs.

    Raises:
        ValueError: the call is not one that the page makes.
    """
    from gradio.components import Audio, CheckboxGroup, Dropdown, Textbox

    number, session, data = body.get("fn_index"), body.get("session_hash"), body.get("data")
    function = blocks.fns.get(number) if type(number) is int else None
    if function is None:
        raise ValueError("fn_index is not the number of a function of this page")
    if not isinstance(session, str) or not SESSION.fullmatch(session):
        raise ValueError("session_hash is missing, expected 1 to 64 letters and digits")
    if not isinstance(data, list) or len(data) != len(function.inputs):
        raise ValueError(f"data is not a list of {len(function.inputs)} values")
    passed: list[Any] = []
    for field, value in zip(function.inputs, data, strict=True):
        if isinstance(field, Audio):
            path = value.get("path") if isinstance(value, dict) else value
            if path is not None and not (isinstance(path, str) and uploads.claim(path, session)):
                raise ValueError("the recording is not one that was sent: send it again")
            passed.append(path and {"path": path, "meta": {"_type": "gradio.FileData"}})
            continue
        if isinstance(field, Dropdown):
            sound = isinstance(value, str) and value in [choice for _, choice in field.choices]
        elif isinstance(field, Textbox):
            sound = isinstance(value, str) and len(value) <= _MOST_TEXT
        elif isinstance(field, CheckboxGroup):
            sound = isinstance(value, list) and len(value) <= _MOST_CHOSEN
            sound = sound and all(isinstance(each, str) for each in value)
        else:
            sound = value is None
        if not sound:
            raise ValueError(f"a value of '{field.label or type(field).__name__}' is not what the page sends")
        passed.append(value)
    return json.dumps({"fn_index": number, "session_hash": session, "data": passed}).encode()


def serve_app(app: Guard, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve on a socket until Ctrl+C or SIGTERM; ``ready`` is called once it answers."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # open pages are no fault
            await super().shutdown(sockets)

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # as log_level below
    config = uvicorn.Config(
        app,
        http=_limited_protocol(),
        ws="none",
        log_config=None,
        log_level="error",  # not a line for each malformed request
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    with suppress(KeyboardInterrupt):  # which uvicorn raises again, once it has ended
        Server(config).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        OSError: the port is taken, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_CONNECTIONS)


def _limited_protocol() -> Any:
    """uvicorn's HTTP/1.1, which closes a connection that sends no whole request, or leaves its answer unread."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class LimitedProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > _CONNECTIONS:
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
                self._unread = self.loop.call_later(_WRITE, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop("_unread")

        def _watch(self) -> None:
            """Run the clock whenever a request is awaited, from the first moment on."""
            if self.conn.their_state is not h11.IDLE:
                self._stop("_deadline")
            elif self._deadline is None and not self.transport.is_closing():
                self._deadline = self.loop.call_later(_HEADERS, self._end, b"408 Request Timeout")

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
    """Return the address to open in a browser.

    >>> address("0.0.0.0", 7860), address("::1", 7860)
    ('http://localhost:7860/', 'http://[::1]:7860/')
    """
    name = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"
