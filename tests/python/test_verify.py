"""Tests which requests verify.py of the webhook template accepts and rejects. Needs only Python.

    python3 -m unittest discover -s tests/python
"""

import asyncio
import hashlib
import hmac
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[2] / "app_templates" / "webhook" / "files"
sys.dont_write_bytecode = True

_spec = importlib.util.spec_from_file_location("verify", TEMPLATE / "verify.py")
verify = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(verify)

NOW = 1_800_000_000
SECRET = "a secret with ünïcode"
BODY = b'{"type": "ping", "n": 1}'


def sign(signed, secret=SECRET):
    """Computed independently of verify.py, so that an error there cannot confirm itself."""
    return hmac.new(secret.encode("utf-8"), signed, hashlib.sha256).hexdigest()


def timestamped(body=BODY, at=NOW, secret=SECRET):
    signature = sign(str(at).encode() + b"." + body, secret)
    return [(b"x-timestamp", str(at).encode()), (b"x-signature-256", f"sha256={signature}".encode())]


def github(body=BODY, secret=SECRET):
    return [(b"x-hub-signature-256", f"sha256={sign(body, secret)}".encode())]


def stripe(body=BODY, at=NOW, secret=SECRET):
    return [(b"stripe-signature", f"t={at},v1={sign(str(at).encode() + b'.' + body, secret)}".encode())]


class Signatures(unittest.TestCase):
    def passes(self, mode, headers, body=BODY, now=NOW, secret=SECRET):
        verify.check(mode, secret, headers, body, now)

    def refused(self, why, mode, headers, body=BODY, now=NOW, secret=SECRET):
        with self.assertRaisesRegex(verify.Refused, why):
            verify.check(mode, secret, headers, body, now)

    def test_known_answer(self):
        # RFC 4231, test case 2.
        self.assertEqual(
            verify.signature_of("Jefe", b"what do ya want for nothing?"),
            b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        )

    def test_each_mode_lets_its_own_through(self):
        self.passes("timestamped", timestamped())
        self.passes("github", github())
        self.passes("stripe", stripe())
        for body in (b"", b"\x00\xff not text", b"a" * 100_000):
            self.passes("timestamped", timestamped(body), body)
            self.passes("github", github(body), body)
            self.passes("stripe", stripe(body), body)

    def test_modes_do_not_stand_in_for_each_other(self):
        made = {"timestamped": timestamped(), "github": github(), "stripe": stripe()}
        for mode in made:
            for other in made:
                if other != mode:
                    self.refused("missing", mode, made[other])

    def test_a_changed_body_or_another_secret_is_refused(self):
        for mode, make in (("timestamped", timestamped), ("github", github), ("stripe", stripe)):
            self.refused("does not match", mode, make(), BODY + b" ")
            self.refused("does not match", mode, make(secret="another"))

    def test_a_changed_timestamp_is_refused(self):
        headers = timestamped()
        headers[0] = (b"x-timestamp", str(NOW + 1).encode())
        self.refused("does not match", "timestamped", headers)

    def test_time_runs_out_in_both_directions(self):
        for mode, make in (("timestamped", timestamped), ("stripe", stripe)):
            self.passes(mode, make(at=NOW - 300))
            self.passes(mode, make(at=NOW + 300))
            self.refused("more than 300 seconds off", mode, make(at=NOW - 301))
            self.refused("more than 300 seconds off", mode, make(at=NOW + 301))
            self.refused("more than 300 seconds off", mode, make(at=NOW), now=NOW + 300.5)

    def test_odd_timestamps_are_refused(self):
        for odd in (b"", b"now", b"-1", b"1e9", b"1_800_000_000", b"1800000000.0", b"0x6b49d200", b"9" * 40, "१८".encode()):
            headers = [(b"x-timestamp", odd), (b"x-signature-256", f"sha256={sign(odd + b'.' + BODY)}".encode())]
            self.refused("timestamp", "timestamped", headers)
            value = b"t=" + odd + b",v1=" + sign(odd + b"." + BODY).encode()
            self.refused("timestamp", "stripe", [(b"stripe-signature", value)])

    def test_odd_signatures_are_refused(self):
        for odd in (b"", b"sha256", b"sha1=" + sign(BODY).encode(), sign(BODY).encode(), b"SHA256=" + sign(BODY).encode()):
            self.refused("sha256=", "github", [(b"x-hub-signature-256", odd)])
        for odd in (b"sha256=", b"sha256=" + b"0" * 64, b"sha256=\xff\xfe", b"sha256=" + sign(BODY).encode()[:-1]):
            self.refused("does not match", "github", [(b"x-hub-signature-256", odd)])

    def test_a_header_sent_twice_is_refused(self):
        self.refused("more than once", "github", github() + github())
        self.refused("more than once", "timestamped", timestamped() + timestamped()[:1])
        self.refused("more than once", "stripe", stripe() + stripe())

    def test_stripe_may_sign_with_two_secrets_at_once(self):
        good = sign(str(NOW).encode() + b"." + BODY)
        value = f"t={NOW},v1={'0' * 64},v1={good},v0={good}"
        self.passes("stripe", [(b"stripe-signature", value.encode())])

    def test_stripe_headers_that_say_too_much_or_too_little(self):
        good = sign(str(NOW).encode() + b"." + BODY)
        for value in (f"t={NOW}", f"v1={good}", f"t={NOW},t={NOW},v1={good}", f"t={NOW},v0={good}", "", ",,,="):
            self.refused("one t= and at least one v1=", "stripe", [(b"stripe-signature", value.encode())])

    def test_without_a_secret_nothing_passes(self):
        for mode, make in (("timestamped", timestamped), ("github", github), ("stripe", stripe)):
            self.refused("WEBHOOK_SECRET is not set", mode, make(secret=""), secret="")

    def test_reasons_hold_nothing_that_the_caller_wrote(self):
        evil = b"evil\nline"
        for mode, name in (("timestamped", b"x-timestamp"), ("github", b"x-hub-signature-256"), ("stripe", b"stripe-signature")):
            with self.assertRaises(verify.Refused) as raised:
                verify.check(mode, SECRET, [(name, evil), (b"x-signature-256", evil)], evil, NOW)
            self.assertNotIn("evil", str(raised.exception))


class Settings(unittest.TestCase):
    def mode_of(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "app.toml"
            if text is not None:
                path.write_bytes(text)
            return verify.read_mode(path)

    def test_the_scaffold_and_the_default(self):
        self.assertEqual(verify.read_mode(TEMPLATE / "app.toml"), "timestamped")
        self.assertEqual(self.mode_of(b""), "timestamped")
        self.assertEqual(self.mode_of(None), "timestamped")

    def test_each_mode(self):
        for mode in ("timestamped", "github", "stripe"):
            self.assertEqual(self.mode_of(f'signature = "{mode}"\nother = 1\n'.encode()), mode)

    def test_anything_else_is_refused_with_a_sentence(self):
        for text in (b'signature = "none"', b"signature = false", b'signature = ""', b'signature = ["github"]', b'signature = "GitHub"'):
            with self.assertRaisesRegex(ValueError, "is unknown; it is one of"):
                self.mode_of(text)
        for text in (b"signature =", b"\xff\xfe"):
            with self.assertRaisesRegex(ValueError, "app.toml cannot be read"):
                self.mode_of(text)


class Server(unittest.TestCase):
    """The verifier and the app's process, connected by sockets as in a container."""

    def setUp(self):
        self.handled, self.passed_on = [], []

    def call(self, headers, body=BODY, path="/webhook", method="POST", handle=None, pieces=None, kind="http", mode="timestamped", inner=None):
        """The status and the JSON of the response. `self.sent` has its ASGI messages."""

        async def plain(scope, receive, send):
            self.passed_on.append((scope["type"], scope.get("method"), scope.get("path")))
            await send({"type": "http.response.start", "status": 299, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

        def keep(event):
            self.handled.append(event)

        messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces or []]
        messages.append({"type": "http.request", "body": b"" if pieces else body, "more_body": False})
        if pieces == []:
            messages = [{"type": "http.disconnect"}]
        self.sent = sent = []
        self.received = 0

        async def receive():
            if messages:
                self.received += 1
                return messages.pop(0)
            # The client waits for its answer.
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        async def run():
            host, sides = verify.Host(inner or plain, handle or keep), []

            async def connect():
                near, far = socket.socketpair()
                sides.append(asyncio.create_task(host._connected(*await asyncio.open_unix_connection(sock=far))))
                return verify.Channel(*await asyncio.open_unix_connection(sock=near))

            scope = {"type": kind, "method": method, "path": path, "headers": headers, "client": ["192.0.2.1", 1], "query_string": b"a=%20"}
            await asyncio.wait_for(verify.Gate(connect, mode, SECRET, clock=lambda: NOW)(scope, receive, send), 10)
            await asyncio.gather(*sides)

        self.log = io.StringIO()
        with redirect_stderr(self.log):
            asyncio.run(run())
        content = b"".join(message.get("body") or b"" for message in sent)
        return sent[0].get("status"), json.loads(content or b"null")

    def test_a_signed_call_reaches_handle(self):
        status, answer = self.call(timestamped() + [(b"x-kind", b"test")])
        self.assertEqual((status, answer), (200, {"ok": True}))
        [event] = self.handled
        self.assertEqual(event, {"type": "ping", "n": 1})
        self.assertEqual(event.headers["x-kind"], "test")
        self.assertEqual((event.data, event.body), ({"type": "ping", "n": 1}, BODY))
        self.assertEqual(self.passed_on, [])

    def test_an_unsigned_call_reaches_nothing(self):
        for path in ("/webhook", "/webhook/"):
            status, answer = self.call([], path=path)
            self.assertEqual(status, 401)
            self.assertIn("signature", answer["error"])
            self.assertIn("refused: the header x-timestamp is missing", self.log.getvalue())
        self.assertEqual((self.handled, self.passed_on), ([], []))

    def test_a_body_in_pieces_is_verified_as_a_whole(self):
        self.assertEqual(self.call(timestamped(), pieces=[BODY[:3], BODY[3:4], BODY[4:]])[0], 200)
        self.assertEqual(self.call(timestamped(), pieces=[BODY, b"more"])[0], 401)

    def test_everything_else_is_passed_on_untouched(self):
        self.call([], path="/health", method="GET")
        self.call([], path="/webhook", method="GET")
        self.call([], path="/other", method="POST")
        self.call([], path="/webhook", kind="websocket")
        self.assertEqual(len(self.passed_on), 4)
        self.assertEqual(self.handled, [])

    def test_the_app_gets_what_the_client_sent(self):
        seen = {}

        async def app(scope, receive, send):
            seen.update(scope)
            seen["body"], more = b"", True
            while more:
                piece = await receive()
                seen["body"], more = seen["body"] + piece["body"], piece["more_body"]
            await send({"type": "http.response.start", "status": 201, "headers": [(b"x-kind", b"\xff")]})
            await send({"type": "http.response.body", "body": b'"' + b"x" * 200_000, "more_body": True})
            await send({"type": "http.response.body", "body": b'"'})

        pieces = [b"a" * 100_000, b"b" * 100_000]
        status, answer = self.call([(b"x-name", b"\xfc")], path="/upload", pieces=pieces, inner=app)
        self.assertEqual((status, answer), (201, "x" * 200_000))
        self.assertEqual(self.sent[0]["headers"], [(b"x-kind", b"\xff")])
        self.assertEqual((seen["headers"], seen["client"], seen["query_string"]), ([(b"x-name", b"\xfc")], ("192.0.2.1", 1), b"a=%20"))
        self.assertEqual(seen["body"], b"".join(pieces))
        self.assertLess(max(len(message.get("body", b"")) for message in self.sent), 100_000, "large bodies go in pieces")

    def test_websockets_go_both_ways(self):
        async def app(scope, receive, send):
            self.assertEqual((await receive())["bytes"], b"\x00\xff")
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
            await send({"type": "websocket.send", "text": "ünï"})
            await send({"type": "websocket.close", "code": 1000, "reason": ""})

        async def converse():
            near, far = socket.socketpair()
            host = verify.Host(app, None)
            side = asyncio.create_task(host._connected(*await asyncio.open_unix_connection(sock=far)))

            async def connect():
                return verify.Channel(*await asyncio.open_unix_connection(sock=near))

            said, sent = [{"type": "websocket.receive", "bytes": b"\x00\xff", "text": None}], []

            async def receive():
                return said.pop(0) if said else await asyncio.Event().wait()

            async def send(message):
                sent.append(message)

            scope = {"type": "websocket", "path": "/webhook", "headers": [], "subprotocols": ["a"]}
            await asyncio.wait_for(verify.Gate(connect, "timestamped", SECRET)(scope, receive, send), 10)
            await side
            return sent

        accept, text, close = asyncio.run(converse())
        self.assertEqual((accept["type"], text["text"], close["code"]), ("websocket.accept", "ünï", 1000))

    def test_an_app_that_breaks_is_500_and_tells_the_log(self):
        async def breaks(scope, receive, send):
            raise RuntimeError("inner detail")

        with self.assertRaises(json.JSONDecodeError):
            self.call([], path="/x", method="GET", inner=breaks)
        self.assertEqual((self.sent[0]["status"], self.sent[1]["body"]), (500, b"Internal Server Error"))
        self.assertIn("inner detail", self.log.getvalue())

    def test_a_broken_frame_of_the_app_is_no_answer(self):
        async def reads(frame):
            near, far = socket.socketpair()
            far.sendall(frame)
            far.close()
            return await verify.Channel(*await asyncio.open_unix_connection(sock=near)).read()

        self.assertIsNone(asyncio.run(reads(b"")))
        self.assertIsNone(asyncio.run(reads(b"\x00\x00")))
        for frame in (b"\xff" * 8, b"\x00\x00\x00\x02\x00\x00\x00\x00[]", b"\x00\x00\x00\x01\x00\x00\x00\x00{"):
            with self.assertRaises(ValueError):
                asyncio.run(reads(frame))

    def test_bodies_too_large_or_broken_off(self):
        large = b"x" * (verify.MAX_BODY_BYTES + 1)
        self.assertEqual(self.call(timestamped(large), pieces=[large[:1000], large[1000:]])[0], 413)
        self.assertEqual(self.call(timestamped(), pieces=[])[0], 400)
        self.assertEqual(self.handled, [])

    def test_bodies_that_are_no_json(self):
        for body in (b"not json", b'{"a":', b"[" * 100_000, b"\xff\xfe\xfd"):
            self.assertEqual(self.call(timestamped(body), body)[0], 400, body[:20])
        self.assertEqual(self.handled, [])

    def test_json_of_other_kinds_and_forms(self):
        self.call(timestamped(b"[1, 2]"), b"[1, 2]")
        self.call(timestamped(b""), b"")
        form = [(b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")]
        self.call(timestamped(b"a=1&b=%20"), b"a=1&b=%20", path="/webhook")
        self.assertEqual(len(self.handled), 2)
        self.call(timestamped(b"a=1&b=%20") + form, b"a=1&b=%20")
        self.call(timestamped(b"payload=%7B%22x%22%3A1%7D") + form, b"payload=%7B%22x%22%3A1%7D")
        listed, empty, fields, payload = self.handled
        self.assertEqual((listed, listed.data), ({}, [1, 2]))
        self.assertEqual((empty, fields, payload), ({}, {"a": "1", "b": " "}, {"x": 1}))

    def test_what_handle_returns_is_the_answer(self):
        async def later(event):
            return {"seen": event["type"]}

        self.assertEqual(self.call(timestamped(), handle=lambda event: ["a", 1]), (200, ["a", 1]))
        self.assertEqual(self.call(timestamped(), handle=later), (200, {"seen": "ping"}))

    def test_a_failing_handle_is_500_and_tells_the_log_only(self):
        def fails(event):
            raise RuntimeError("inner detail")

        status, answer = self.call(timestamped(), handle=fails)
        self.assertEqual(status, 500)
        self.assertNotIn("inner detail", json.dumps(answer))
        self.assertIn("inner detail", self.log.getvalue())

    def test_handle_may_choose_a_status(self):
        class Chosen(Exception):
            status_code, detail = 422, "not this one"

        def chooses(event):
            raise Chosen

        self.assertEqual(self.call(timestamped(), handle=chooses), (422, {"error": "not this one"}))


class Start(unittest.TestCase):
    """The two processes, as a container runs them."""

    def app(self, main):
        """Starts the app's process as the verifier does. Returns its message, exit code and standard error."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")
        listener.listen()
        with tempfile.TemporaryDirectory() as folder, listener:
            shutil.copy(TEMPLATE / "verify.py", folder)
            Path(folder, "main.py").write_text(main)
            number = listener.fileno()
            process = subprocess.Popen(
                [sys.executable, "-B", f"{folder}/verify.py", "--app", str(number)], pass_fds=[number], stderr=subprocess.PIPE, text=True
            )

            async def start():
                channel = verify.Channel(*await asyncio.open_unix_connection(listener.getsockname()))
                listener.close()
                await channel.write({"kind": "start"})
                message = await asyncio.wait_for(channel.read(), 30)
                channel.close()
                return message

            message = asyncio.run(start())
            _, errors = process.communicate(timeout=30)
            return message, process.returncode, errors

    def test_it_starts_and_ends_with_its_verifier(self):
        message, code, errors = self.app("def app(): ...\ndef handle(event): ...\n")
        self.assertEqual((message, code), ({"kind": "started"}, 0), errors)

    def test_a_lifespan_is_run(self):
        lifespan = """
import sys
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    while True:
        kind = (await receive())["type"]
        print("saw", kind, file=sys.stderr)
        await send({"type": kind + ("{}"), "message": "no database"})
        if kind.endswith("shutdown"):
            return
def handle(event): ...
"""
        message, code, errors = self.app(lifespan.replace("{}", ".complete"))
        self.assertEqual((message, code), ({"kind": "started"}, 0), errors)
        self.assertIn("saw lifespan.startup\nsaw lifespan.shutdown", errors)
        message, code, errors = self.app(lifespan.replace("{}", ".failed"))
        self.assertEqual((message, code), (None, 3))
        self.assertIn("the app did not start: no database", errors)

    def test_it_refuses_to_start_with_a_sentence(self):
        for main, sentence in (
            ("def handle(event): ...\n", "main.py defines no `app`"),
            ("def app(): ...\n", "main.py defines no `handle(event)`"),
            ("def app(): ...\nhandle = 3\n", "main.py defines no `handle(event)`"),
        ):
            message, code, errors = self.app(main)
            self.assertEqual((message, code), (None, 1))
            self.assertIn(sentence, errors)
            self.assertNotIn("Traceback", errors)

    def test_the_verifier_refuses_unknown_settings_with_a_sentence(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(TEMPLATE / "verify.py", folder)
            Path(folder, "app.toml").write_text('signature = "off"\n')
            done = subprocess.run([sys.executable, "-IB", f"{folder}/verify.py"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn('signature = "off" is unknown', done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_the_verifier_is_closed_to_the_app_and_so_is_its_secret(self):
        # The second program replaces main.py: the same user, and only what the verifier passes to it.
        done = subprocess.run(
            [sys.executable, "-B", "-c", VERIFIER, str(TEMPLATE), APP], capture_output=True, text=True, timeout=60,
            env={**os.environ, "WEBHOOK_SECRET": SECRET},
        )
        said = "has the secret: False\nmem Permission denied\nenviron Permission denied\nfd/0 Permission denied\nmaps Permission denied\nptrace -1\n"
        self.assertEqual(done.stdout, said, done.stderr)

    def test_nobody_listens_beside_the_verifier(self):
        with socket.create_server(("", 0)) as free:
            port = free.getsockname()[1]
        owned = verify.own_port(port)
        addresses = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.1")]
        if len(owned) == 2:
            addresses += [(socket.AF_INET6, "::"), (socket.AF_INET6, "::1")]

        def others_listen():
            for family, address in addresses:
                for flags in range(4):
                    with socket.socket(family) as other:
                        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, flags & 1)
                        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, flags >> 1)
                        try:
                            other.bind((address, port))
                            other.listen()
                        except OSError:
                            continue
                        yield address, flags

        self.assertEqual(list(others_listen()), [])
        # While it stops it accepts no new connections, and no other process can bind the port.
        for listener in owned:
            listener.shutdown(socket.SHUT_RD)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        self.assertEqual(list(others_listen()), [])
        for listener in owned:
            listener.close()


VERIFIER = '''
import os, shutil, sys
sys.path.insert(0, sys.argv[1])
import verify
if os.geteuid() == 0:
    # Root can access every process.
    os.setgid(65534)
    os.setuid(65534)
verify.close_to_others()
python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
os.waitpid(verify.App([python, "-c", sys.argv[2]]).pid, 0)
'''
APP = '''
import ctypes, os
parent = os.getppid()
print("has the secret:", "WEBHOOK_SECRET" in os.environ)
for name in ("mem", "environ", "fd/0", "maps"):
    try:
        open(f"/proc/{parent}/{name}", "rb").read(1)
        print(name, "is open")
    except OSError as error:
        print(name, error.strerror)
print("ptrace", ctypes.CDLL(None).ptrace(16, parent, 0, 0))
'''


if __name__ == "__main__":
    unittest.main()
