"""Stands in front of main.py, in a process of its own, and lets through only calls whose signature is right.

This file is the platform's: the builder puts it back as it was, whatever a workspace holds. Two processes run it:

- The verifier (`verify.py`) is the container's first process. It owns the public port before the app starts, reads
  every request, and checks the signature of POST /webhook over the raw body. It runs no line of the app and loads no
  module from the app's folders, and other processes can neither read its memory nor end it.
- The app (`verify.py --app FD`) imports main.py, and gets what the verifier passes on over a Unix socket: verified
  calls for `main.handle(event)`, every other request for `main.app`.

The secret is the environment variable WEBHOOK_SECRET of the verifier alone. Without one the app starts and is healthy,
so that the rest of it can be seen, but every call is refused: no secret means that nobody can have signed anything.

Refused calls get 401 and learn no more than that; the log says why.
"""

import asyncio
import ctypes
import errno
import hashlib
import hmac
import inspect
import json
import logging
import os
import re
import signal
import socket
import struct
import sys
import time
import tomllib
import traceback
from pathlib import Path
from urllib.parse import parse_qsl

MODES = ("timestamped", "github", "stripe")
TOLERANCE_SECONDS = 300
MAX_BODY_BYTES = 2 * 1024 * 1024
# Where the Dockerfile puts the platform's own packages, and the interpreter that has the app's.
PLATFORM_PACKAGES = "/platform/packages"
APP_PYTHON = "/packages/bin/python"
# How long the app may take to end after it was asked to, in seconds. The server has waited for its requests by then.
STOP_SECONDS = 1.5
# Bodies travel between the two processes in pieces of this size; no frame is larger than the second number.
PIECE_BYTES = 64 * 1024
MAX_FRAME_BYTES = 32 * 1024 * 1024

_UNIX_SECONDS = re.compile(rb"[0-9]{1,12}")


class Refused(Exception):
    """Why a call is not believed: a sentence for the log, with nothing in it that the caller wrote."""


# --- signatures: pure functions of what arrived ---------------------------------------------------------------


def signature_of(secret, signed):
    """The hex HMAC-SHA256 of the bytes `signed` under the text `secret`, as ASCII bytes."""
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()


def check(mode, secret, headers, body, now):
    """Returns when the call is signed as `mode` demands, raises Refused otherwise.

    headers: (name, value) pairs of bytes, names in lower case, as ASGI gives them.
    body: the raw bytes, before any decoding. now: unix seconds.
    """
    if not secret:
        raise Refused("WEBHOOK_SECRET is not set, so that no call can be verified")
    if mode == "timestamped":
        timestamp = _fresh(_only(headers, b"x-timestamp"), now)
        given = [_hex_of(_only(headers, b"x-signature-256"))]
        signed = timestamp + b"." + body
    elif mode == "github":
        given = [_hex_of(_only(headers, b"x-hub-signature-256"))]
        signed = body
    elif mode == "stripe":
        timestamp, given = _stripe(_only(headers, b"stripe-signature"))
        _fresh(timestamp, now)
        signed = timestamp + b"." + body
    else:
        raise Refused("the signature mode is unknown")
    expected = signature_of(secret, signed)
    # Every candidate is compared, each in constant time.
    if not any([hmac.compare_digest(expected, candidate) for candidate in given]):
        raise Refused("the signature does not match the body")


def _only(headers, name):
    values = [value for key, value in headers if key.lower() == name]
    if not values:
        raise Refused(f"the header {name.decode()} is missing")
    if len(values) > 1:
        raise Refused(f"the header {name.decode()} was sent more than once")
    return values[0].strip()


def _hex_of(value):
    scheme, separator, digest = value.partition(b"=")
    if scheme != b"sha256" or not separator:
        raise Refused("the signature does not begin with sha256=")
    return digest


def _fresh(timestamp, now):
    if not _UNIX_SECONDS.fullmatch(timestamp):
        raise Refused("the timestamp is not a number of unix seconds")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise Refused(f"the timestamp is more than {TOLERANCE_SECONDS} seconds off")
    return timestamp


def _stripe(value):
    timestamps, signatures = [], []
    for part in value.split(b","):
        key, _, content = part.strip().partition(b"=")
        if key == b"t":
            timestamps.append(content)
        elif key == b"v1":
            signatures.append(content)
    if len(timestamps) != 1 or not signatures:
        raise Refused("the stripe-signature header does not hold one t= and at least one v1=")
    return timestamps[0], signatures


def read_mode(path):
    """The `signature` of the app.toml at `path`; raises ValueError with a sentence when it is not one of ours."""
    try:
        settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return MODES[0]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"app.toml cannot be read: {error}") from error
    mode = settings.get("signature", MODES[0])
    if mode not in MODES:
        known = ", ".join(f'"{name}"' for name in MODES)
        raise ValueError(f"app.toml: signature = {json.dumps(mode, default=str)} is unknown; it is one of {known}")
    return mode


# --- events ---------------------------------------------------------------------------------------------------


class Event(dict):
    """What a call said. A dict of its JSON object, with `headers`, `data` (the JSON, of any kind) and `body`."""

    def __init__(self, data, headers, body):
        super().__init__(data if isinstance(data, dict) else {})
        self.data = data
        self.headers = headers
        self.body = body


def read_event(headers, body):
    """The event of a verified call; raises ValueError when the body is neither JSON nor a form."""
    names = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in headers}
    kind = names.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        form = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True))
        # GitHub, when asked for forms, sends its JSON in one field.
        return Event(json.loads(form["payload"]) if set(form) == {"payload"} else form, names, body)
    return Event(json.loads(body) if body.strip() else {}, names, body)


# --- frames: ASGI messages between the two processes ---------------------------------------------------------------

_LENGTHS = struct.Struct("!II")
# The one large value of a message travels as it is, behind the rest as JSON.
_PAYLOADS = ("body", "bytes", "text")


class Channel:
    """One request's connection between the verifier and the app. Neither side trusts what the other writes."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def write(self, message):
        """Sends a message, in several where its body is large. Waits until the other side keeps up."""
        message = dict(message)
        name = next((name for name in _PAYLOADS if message.get(name) is not None), None)
        payload = message.pop(name) if name else b""
        if name == "text":
            payload = payload.encode()
        if name:
            message["payload"] = name
        while name == "body" and len(payload) > PIECE_BYTES:
            await self._frame({**message, "more_body": True}, payload[:PIECE_BYTES])
            payload = payload[PIECE_BYTES:]
        await self._frame(message, payload)

    async def _frame(self, message, payload):
        header = json.dumps(message, default=_plain).encode()
        self.writer.write(_LENGTHS.pack(len(header), len(payload)) + header)
        self.writer.write(payload)
        await self.writer.drain()

    async def read(self):
        """The next message; None when the other side has closed. Raises ValueError on what is no message."""
        try:
            sizes = _LENGTHS.unpack(await self.reader.readexactly(_LENGTHS.size))
            if sum(sizes) > MAX_FRAME_BYTES:
                raise ValueError("a frame is too large")
            header = await self.reader.readexactly(sizes[0])
            payload = await self.reader.readexactly(sizes[1])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        message = json.loads(header)
        if not isinstance(message, dict):
            raise ValueError("a frame is no message")
        for key in ("raw_path", "query_string"):
            if isinstance(message.get(key), str):
                message[key] = message[key].encode("latin-1")
        if "headers" in message:
            message["headers"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in message["headers"]]
        name = message.pop("payload", None)
        if name in _PAYLOADS:
            message[name] = payload.decode() if name == "text" else payload
        return message

    def close(self):
        self.writer.close()


def _plain(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("latin-1")
    raise TypeError(f"{type(value).__name__} does not belong in an ASGI message")


# --- the verifier ---------------------------------------------------------------------------------------------------


class Gate:
    """The ASGI app that the server runs: checks POST /webhook, and passes the rest to the app's process."""

    def __init__(self, connect, mode, secret, clock=time.time):
        """connect: a coroutine function that opens a Channel to the app."""
        self.connect, self.mode, self.secret, self.clock = connect, mode, secret, clock

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/") == "/webhook":
            status, answer = await self._verified(scope, receive)
            if status != 200:
                await _answer(send, status, answer)
                return
            await self._pass_on({"kind": "call", **_told(scope), "body": answer}, receive, send)
        else:
            await self._pass_on({"kind": "request", **_told(scope)}, receive, send)

    async def _verified(self, scope, receive):
        """200 and the raw body of a call that is rightly signed, or the status and answer of its refusal."""
        try:
            body = await _read_body(receive)
        except ConnectionError:
            return 400, {"error": "the body broke off"}
        except ValueError:
            _log("refused: the body is larger than 2 MiB")
            return 413, {"error": "the body is too large"}
        try:
            check(self.mode, self.secret, scope["headers"], body, self.clock())
        except Refused as reason:
            _log(f"refused: {reason}")
            return 401, {"error": "the signature is missing or wrong"}
        return 200, body

    async def _pass_on(self, first, receive, send):
        channel = await self.connect()
        feed = asyncio.create_task(_feed(channel, first, receive))
        try:
            # Until the app's side has ended, what it does after its answer included, so that a stop waits for that.
            while (message := await channel.read()) is not None:
                await send(message)
        finally:
            feed.cancel()
            channel.close()


def _told(scope):
    """What the app learns of a request: all that ASGI says, but for the server's own objects."""
    return {key: value for key, value in scope.items() if key != "state"}


async def _feed(channel, first, receive):
    """Sends the request, then what the client sends, as fast as the app takes it."""
    try:
        await channel.write(first)
        message = {"type": ""}
        while not message["type"].endswith(".disconnect"):
            message = await receive()
            await channel.write(message)
    except ConnectionError:
        pass  # The app has answered and closed: it does not want the rest.


async def _read_body(receive):
    """The whole body. ConnectionError when its sender went away, ValueError when it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise ValueError
        if not message.get("more_body", False):
            return bytes(body)


async def _answer(send, status, answer):
    content = json.dumps(answer, default=str).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if status == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _log(sentence):
    print(f"webhook: {sentence}", file=sys.stderr, flush=True)


def close_to_others():
    """Keeps other processes of the same user out of this one's memory, files and environment (see prctl(2))."""
    PR_SET_DUMPABLE = 4
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        sys.exit(f"webhook: the verifier cannot be closed to other processes: {os.strerror(ctypes.get_errno())}")


def own_port(port):
    """Listening sockets, beside which no other process can listen on this port, at any address of the container."""
    owned = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            listener = socket.socket(family)
        except OSError:
            continue  # The kernel has no such family, so that nobody can use it.
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections of the run before may still be closing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(2048)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                continue  # The family is switched off here.
            sys.exit(f"webhook: port {port} cannot be listened on: {error.strerror}")
        # The flag would let others listen here as soon as we no longer do.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        owned.append(listener)
    return owned


class App:
    """The app's process, as the verifier sees it."""

    def __init__(self, command):
        """command: what starts it; the number of the socket that it listens on is added."""
        listener = socket.socket(socket.AF_UNIX)
        # Linux chooses a name that is in no file system.
        listener.bind("")
        listener.listen(2048)
        listener.set_inheritable(True)
        self.address = listener.getsockname()
        environment = {name: value for name, value in os.environ.items() if name != "WEBHOOK_SECRET"}
        number = str(listener.fileno())
        self.pid = os.posix_spawn(command[0], [*command, number], environment, setpgroup=0)
        listener.close()
        self.stopping, self.ended = False, None

    def watch(self):
        """Ends the verifier when the app ends by itself. As the first process it also buries the app's orphans."""
        self.ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._bury)
        # It may have ended before anybody watched.
        self._bury()

    def _bury(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid != self.pid:
                continue
            self.ended.set()
            if not self.stopping:
                code = os.waitstatus_to_exitcode(status)
                if code < 0:
                    _log(f"the app was ended by signal {-code}")
                sys.stdout.flush()
                os._exit(128 - code if code < 0 else code or 1)

    async def connect(self):
        """A channel for one request."""
        return Channel(*await asyncio.open_unix_connection(self.address))

    async def lifespan(self, scope, receive, send):
        """The server's lifespan: over it the app is started and stopped."""
        self.watch()
        await receive()
        channel = await self.connect()
        await channel.write({"kind": "start"})
        # An app that cannot start ends, and the verifier with it: whatever else is read here is no answer.
        while (await channel.read() or {}).get("kind") != "started":
            await self.ended.wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.stopping = True
        os.kill(self.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended.wait(), STOP_SECONDS)
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            await self.ended.wait()
        channel.close()
        await send({"type": "lifespan.shutdown.complete"})


def settings():
    """How calls are signed here, from app.toml, or ends the process with a sentence that says what is wrong."""
    try:
        return read_mode(Path(__file__).with_name("app.toml"))
    except ValueError as error:
        sys.exit(f"webhook: {error}")


def verifier():
    """Owns the port, starts the app, and serves until it is told to stop."""
    mode = settings()
    secret = os.environ.get("WEBHOOK_SECRET", "")
    close_to_others()
    owned = own_port(int(os.environ.get("PORT", "8080")))
    app = App([APP_PYTHON, str(Path(__file__).resolve()), "--app"])
    # The app loads meanwhile.
    sys.path.insert(0, PLATFORM_PACKAGES)
    import uvicorn

    if not secret:
        _log("WEBHOOK_SECRET is not set: every call will be refused with 401")
    gate = Gate(app.connect, mode, secret)

    async def serve(scope, receive, send):
        await (app.lifespan if scope["type"] == "lifespan" else gate)(scope, receive, send)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets=None):
            # New connections are refused from here on, but the port stays ours until this process has ended.
            for listener in owned:
                listener.shutdown(socket.SHUT_RD)
            await super().shutdown(sockets)

    # Only the builder's gateway or the cluster's ingress reaches this port, so what they say about the visitor is
    # believed. Idle connections are kept longer than either of them keeps its own.
    config = uvicorn.Config(
        serve, lifespan="on", forwarded_allow_ips="*", server_header=False, timeout_keep_alive=75, timeout_graceful_shutdown=8
    )
    Server(config).run(sockets=[listener.dup() for listener in owned])


# --- the app's process ----------------------------------------------------------------------------------------------


class Host:
    """Runs main.py's `app` and `handle` for what the verifier passes on."""

    def __init__(self, app, handle):
        self.app, self.handle = app, handle
        self.state, self.stop, self.lifespan = {}, None, None

    async def run(self, listener):
        """Serves until it is told to stop, and ends the process."""
        self.stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop.set)
        server = await asyncio.start_unix_server(self._connected, sock=listener)
        await self.stop.wait()
        server.close()
        if self.lifespan:
            await self.lifespan.stop()
        # Threads that still work are not waited for: the verifier has waited for all requests.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    async def _connected(self, reader, writer):
        channel = Channel(reader, writer)
        try:
            scope = await channel.read()
            kind = (scope or {}).pop("kind", None)
            if kind == "start":
                await self._start(channel)
            elif kind is not None:
                await self._request(kind, scope, channel)
        finally:
            channel.close()

    async def _start(self, channel):
        self.lifespan = Lifespan(self.app, self.state)
        try:
            await self.lifespan.start()
        except RuntimeError as error:
            _log(f"the app did not start: {error}")
            os._exit(3)
        await channel.write({"kind": "started"})
        await channel.read()
        # The verifier is gone.
        self.stop.set()

    async def _request(self, kind, scope, channel):
        body = scope.pop("body", b"")
        for pair in ("client", "server"):
            if scope.get(pair):
                scope[pair] = tuple(scope[pair])
        scope["state"] = self.state.copy()
        started = False
        family = scope["type"]

        async def receive():
            message = await channel.read()
            if message is None:
                return {"type": "websocket.disconnect", "code": 1006} if family == "websocket" else {"type": "http.disconnect"}
            return message

        async def send(message):
            nonlocal started
            started = True
            try:
                await channel.write(message)
            except ConnectionError:
                pass  # The client is gone, which `receive` says.

        try:
            if kind == "call":
                await self._call(scope, body, receive, send)
            else:
                await self.app(scope, receive, send)
        except Exception:
            _log("an error in the app:\n" + traceback.format_exc())
            if started or family == "websocket":
                return
            text = b"Internal Server Error"
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": text})

    async def _call(self, scope, body, receive, send):
        status, answer = await self._handled(scope["headers"], body)
        if callable(answer):
            # One of the framework's own responses, which knows how to send itself.
            await answer(scope, receive, send)
        else:
            await _answer(send, status, answer)

    async def _handled(self, headers, body):
        try:
            event = read_event(headers, body)
        except (ValueError, RecursionError):
            _log("refused: rightly signed, but the body is not JSON")
            return 400, {"error": "the body is not JSON"}
        try:
            if inspect.iscoroutinefunction(self.handle):
                answer = await self.handle(event)
            else:
                answer = await asyncio.to_thread(self.handle, event)
            if inspect.isawaitable(answer):
                answer = await answer
            if not callable(answer):
                json.dumps(answer, default=str)
        except Exception as error:
            if isinstance(getattr(error, "status_code", None), int):
                # The framework's HTTPException: handle() chose this answer.
                return error.status_code, {"error": getattr(error, "detail", "")}
            _log("handle(event) failed:\n" + traceback.format_exc())
            return 500, {"error": "the event could not be handled"}
        return 200, {"ok": True} if answer is None else answer


class Lifespan:
    """The app's own lifespan, by ASGI's protocol. An app that knows none of it has none."""

    def __init__(self, app, state):
        self.app, self.state = app, state
        self.asked, self.answers, self.task, self.started = asyncio.Queue(), asyncio.Queue(), None, False

    async def start(self):
        """Raises RuntimeError when the app says that it cannot start."""
        self.task = asyncio.create_task(self._run())
        await self.asked.put({"type": "lifespan.startup"})
        answer = await self.answers.get()
        if answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(answer.get("message", ""))
        self.started = answer["type"] == "lifespan.startup.complete"

    async def stop(self):
        if not self.task.done():
            await self.asked.put({"type": "lifespan.shutdown"})
            await self.answers.get()

    async def _run(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app(scope, self.asked.get, self.answers.put)
        except Exception:
            # Before its start it is an app that knows no lifespan, or one that has said why it cannot start.
            if self.started:
                traceback.print_exc()
        finally:
            await self.answers.put({"type": "lifespan.over"})


def app_process(number):
    """Imports main.py and serves what the verifier passes on, or ends with a sentence that says what is wrong."""
    # The folder of this file is on the path already, as the first entry.
    import main

    if not callable(getattr(main, "app", None)):
        sys.exit("webhook: main.py defines no `app`; it needs app = FastAPI() with GET /health")
    if not callable(getattr(main, "handle", None)):
        sys.exit("webhook: main.py defines no `handle(event)`, which is called for each verified POST /webhook")
    # What apps write to the server's logger is shown as if the server ran here.
    logger, shown = logging.getLogger("uvicorn"), logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(levelname)s:     %(message)s"))
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)
    asyncio.run(Host(main.app, main.handle).run(socket.socket(fileno=number)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--app"]:
        app_process(int(sys.argv[2]))
    else:
        verifier()
