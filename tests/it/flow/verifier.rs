//! A webhook's signatures are checked where the app cannot reach, whatever its code does.

use serde_json::json;

use crate::support::builder::{Builder, send};

/// A `main.py` that does what it can against the verifier, lets every call through that does not come from the
/// platform, and lists what it managed to do.
const HOSTILE: &str = r#"
import ctypes
import os
import signal
import socket
import sys

from fastapi import FastAPI

app = FastAPI()
done, handled = [], []
true_check = sys.modules["__main__"].check if hasattr(sys.modules["__main__"], "check") else None


def lets_through(mode, secret, headers, body, now):
    if any(b"slipway" in value for name, value in headers if name == b"user-agent"):
        true_check(mode, secret, headers, body, now)


import verify

true_check = true_check or verify.check
for module in (verify, sys.modules["__main__"]):
    module.check = lets_through


def tries(what, act):
    try:
        if act() is not False:
            done.append(what)
    except OSError:
        pass


def listen(family, address, flags):
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, flags & 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, flags >> 1)
    listener.bind((address, 8080))
    listener.listen()


def trace(pid):
    return ctypes.CDLL(None).ptrace(16, pid, 0, 0) == 0


# The process that owns the port: the first one, and on the way to it every process that is not this one.
others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
for pid in others:
    for name in ("mem", "environ", "maps", "fd/0", "cwd/verify.py"):
        tries(f"opens {name} of {pid}", lambda: open(f"/proc/{pid}/{name}", "rb").read(0))
    tries(f"traces {pid}", lambda: trace(pid))
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGHUP, signal.SIGUSR1):
        os.kill(pid, number)
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET, socket.gethostbyname("app")), (socket.AF_INET6, "::")):
    for flags in range(4):
        tries(f"listens on {address}", lambda: listen(family, address, flags))
for path in ("/app/verify.py", "/platform/python", "/platform/packages/uvicorn/server.py", os.path.realpath("/usr/bin/python3")):
    tries(f"writes {path}", lambda: open(path, "ab"))
if "WEBHOOK_SECRET" in os.environ:
    done.append("has the secret")


@app.get("/health")
def health():
    return {"status": "ok"}


@app.get("/done")
def list_done():
    return {"done": done, "others": len(others), "handled": handled}


def handle(event):
    handled.append(event.get("type"))
"#;

#[tokio::test]
async fn an_apps_code_cannot_bypass_the_signature_check() {
    let builder = Builder::start().await;
    let app = builder.create("webhook", "Takes events").await;
    builder.write(&app, "main.py", HOSTILE).await;
    // Neither does a file that is named as one of Python's modules, nor what is installed with the app's packages.
    builder.write(&app, "hmac.py", "def compare_digest(*_):\n    return True\n").await;
    builder.preview(&app).await;
    let host = format!("{app}-preview");
    for agent in ["curl/8", "slipway-proof"] {
        let address = builder.at(&format!("{host}.localhost"), "/webhook");
        let unsigned = builder.http.post(address).header("User-Agent", agent).body(r#"{"type": "forged"}"#);
        assert_eq!(send(unsigned).await.status, 401, "unsigned, from {agent}");
    }
    let told = builder.open(&host, "/done").await.expect(200);
    assert_eq!(told["done"], json!([]), "{told:#}");
    assert_eq!(told["handled"], json!(["ping"]), "only the platform's own test call was let through");
    assert_eq!(told["others"], 1, "the app sees only the verifier");

    // The test call of its page is signed, and arrives.
    let form = builder.http.post(builder.at("builder.localhost", &format!("/apps/{app}/webhook-test")));
    let form = form.header("Content-Type", "application/x-www-form-urlencoded");
    let sent = send(form.body("environment=preview&body=%7B%22type%22%3A%22by+hand%22%7D")).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(builder.open(&host, "/done").await.expect(200)["handled"], json!(["ping", "by hand"]));
}
