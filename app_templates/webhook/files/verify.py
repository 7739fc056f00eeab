"""Stands in front of main.py and lets through only calls whose signature is right.

This file is the platform's: the builder puts it back as it was, whatever a workspace holds. The server runs
`application()`, never `main.app`: POST /webhook is answered here, whatever routes main.py has, and
`main.handle(event)` is called only after the signature over the raw body was found right. Every other
request goes to `main.app` untouched.

The secret is the environment variable WEBHOOK_SECRET. Without one the app starts and is healthy, so that the
rest of it can be seen, but every call is refused: no secret means that nobody can have signed anything.

Refused calls get 401 and learn no more than that; the log says why.
"""

import asyncio
import hashlib
import hmac
import inspect
import json
import os
import re
import sys
import time
import tomllib
import traceback
from pathlib import Path
from urllib.parse import parse_qsl

MODES = ("timestamped", "github", "stripe")
TOLERANCE_SECONDS = 300
MAX_BODY_BYTES = 2 * 1024 * 1024

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


# --- the server's side ------------------------------------------------------------------------------------------


class Verified:
    """The ASGI app that the server runs: POST /webhook is its own, everything else is `inner`'s."""

    def __init__(self, inner, handle, mode, secret, clock=time.time):
        self.inner, self.handle, self.mode, self.secret, self.clock = inner, handle, mode, secret, clock

    async def __call__(self, scope, receive, send):
        ours = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/") == "/webhook"
        if not ours:
            await self.inner(scope, receive, send)
            return
        status, answer = await self._answer(scope, receive)
        if callable(answer):
            # One of the framework's own responses, which knows how to send itself.
            await answer(scope, receive, send)
            return
        content = json.dumps(answer, default=str).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        if status == 413:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope, receive):
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
        try:
            event = read_event(scope["headers"], body)
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


def _log(sentence):
    print(f"webhook: {sentence}", file=sys.stderr, flush=True)


def application():
    """Builds the app that the server runs, or ends the process with a sentence that says what to mend."""
    try:
        mode = read_mode(Path(__file__).with_name("app.toml"))
    except ValueError as error:
        sys.exit(f"webhook: {error}")
    import main

    if not callable(getattr(main, "app", None)):
        sys.exit("webhook: main.py defines no `app`; it needs app = FastAPI() with GET /health")
    if not callable(getattr(main, "handle", None)):
        sys.exit("webhook: main.py defines no `handle(event)`, which is called for each verified POST /webhook")
    secret = os.environ.get("WEBHOOK_SECRET", "")
    if not secret:
        _log("WEBHOOK_SECRET is not set: every call will be refused with 401")
    return Verified(main.app, main.handle, mode, secret)
