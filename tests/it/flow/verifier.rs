//! A webhook's signatures are checked where the app cannot reach, whatever its code does.

use serde_json::json;

use crate::support::builder::{Builder, send};
use crate::support::{PATIENCE, eventually};

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

/// Runs a command for curl as a user does who has copied it from the page; answers the status.
async fn run_in_shell(command: String) -> u16 {
    let ran = tokio::process::Command::new("sh").args(["-c", &command]).output().await.expect("a shell");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{command}: {text}{}", String::from_utf8_lossy(&ran.stderr)))
}

#[tokio::test]
async fn a_webhooks_page_lists_its_calls_sends_them_again_and_replaces_its_secret() {
    let builder = Builder::start().await;
    let app = builder.create("webhook", "Takes events").await;
    builder.write(&app, "app.toml", "signature = \"stripe\"\n").await;
    builder.preview(&app).await;
    builder.publish(&app).await;
    let builder = &builder;
    let page = |path: &str| builder.at("builder.localhost", &format!("/apps/{app}/{path}"));
    let form = |path: &str, fields: &'static str| {
        let form = builder.http.post(page(path)).header("Content-Type", "application/x-www-form-urlencoded");
        send(form.body(fields))
    };
    let calls = |environment: &'static str| {
        let list = builder.http.get(page(&format!("webhook-calls?environment={environment}")));
        let list = send(list.header("hx-request", "true").header("hx-request-type", "partial"));
        async move { list.await.text() }
    };

    // What arrives is listed, with what the verifier said.
    let address = builder.at(&format!("{app}.localhost"), "/webhook");
    let unsigned = builder.http.post(address).header("User-Agent", "Forger/1").header("X-Api-Key", "k-123");
    assert_eq!(send(unsigned.body("{\"type\": \"forged\"}")).await.status, 401);
    let listed = calls("prod").await;
    assert!(listed.contains("signature refused, Forger/1 at 127.0.0.1") && listed.contains("forged"), "{listed}");
    assert!(!listed.contains("k-123"), "{listed}");
    assert!(!calls("preview").await.contains("forged"), "the environments are told apart");

    // A copied command passes the check, as often as its signature is valid, and is listed like any other call.
    let fields = "environment=prod&sample=stripe&body=%7B%22type%22%3A%22it%27s+paid%22%7D";
    let copied = form("webhook-test/curl", fields).await.text();
    assert_eq!(run_in_shell(copied.clone()).await, 200, "{copied}");
    let listed = calls("prod").await;
    assert!(listed.contains("signature accepted, Stripe/1.0"), "{listed}");
    let id = listed.split("id=\"call-").nth(1).and_then(|rest| rest.split('"').next()).expect("a call").to_owned();
    let again = form(&format!("webhook-calls/{id}/again"), "to=preview").await;
    assert!(again.status == 200 && again.text().contains("it's paid"), "{}", again.text());

    // The newer secret holds once the deployment has ended, and the older one no longer does.
    for environment in ["prod", "preview"] {
        let fields = if environment == "prod" { "environment=prod" } else { "environment=preview" };
        let before = builder.releases(&app, environment).await.len();
        assert_eq!(form("webhook-secret/rotate", fields).await.status, 303);
        let jobs = || async { builder.app(&app).await["environments"][environment]["state"].clone() };
        eventually("it is deployed again", PATIENCE, || async {
            (builder.releases(&app, environment).await.len() > before && jobs().await == "ready").then_some(())
        })
        .await;
    }
    assert_eq!(run_in_shell(copied).await, 401, "signed with the earlier secret");
    let fresh = form("webhook-test/curl", fields).await.text();
    assert_eq!(run_in_shell(fresh).await, 200);
    let releases = builder.releases(&app, "prod").await;
    assert_eq!(releases[0]["rolled_back"], false, "{releases:#?}");
    assert_eq!(releases[0]["image"], releases[1]["image"], "the same build");
}
