import ctypes, json, os, signal, socket, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ.get("MODE", "serve")


def attempt(action):
    try:
        return action() or "ok"
    except OSError as error:
        return os.strerror(error.errno)


def write(path):
    with open(path, "w") as file:
        file.write("x")


def status(key):
    with open("/proc/self/status") as file:
        return dict(line.rstrip().split(":\t", 1) for line in file if ":\t" in line)[key]


def self_report():
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "capabilities": [status(key) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "no_new_privileges": status("NoNewPrivs"),
        "seccomp": status("Seccomp"),
        "write_root": attempt(lambda: write("/x")),
        "write_app": attempt(lambda: write("/app.py")),
        "write_tmp": attempt(lambda: write("/tmp/x")),
        "fill_tmp": attempt(lambda: write_much("/tmp/much", 70)),
        "fill_data": attempt(lambda: write_much("/data/much", 20)),
        "chown": attempt(lambda: os.chown("/tmp/x", 0, 0)),
        "hostname": socket.gethostname(),
        "first_process": open("/proc/1/comm").read().strip(),
        "docker_socket": os.path.exists("/var/run/docker.sock"),
        "io_uring": io_uring(),
        "word": os.environ.get("WORD"),
        "port": os.environ.get("PORT"),
    }


def io_uring():
    libc = ctypes.CDLL(None, use_errno=True)
    # Without parameters: where the call is allowed, the kernel complains about the address.
    libc.syscall(425, 1, None)
    return os.strerror(ctypes.get_errno())


def write_much(path, mebibytes):
    try:
        with open(path, "wb") as file:
            for _ in range(mebibytes):
                file.write(bytes(1 << 20))
    finally:
        os.remove(path)


def reach(host, port):
    return attempt(lambda: socket.create_connection((host, int(port)), timeout=2).close())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = self.path.strip("/").split("/")
        answer, code = "ok", 200
        if parts[0] == "broken":
            code = 500
        elif parts[0] == "self":
            answer = json.dumps(self_report())
        elif parts[0] == "reach":
            try:
                answer = reach(parts[1], parts[2])
            except TypeError:
                answer = "no"
            except socket.timeout:
                answer = "timeout"
        elif parts[0] == "resolve":
            answer = attempt(lambda: bool(socket.getaddrinfo(parts[1], 80)) and None)
        elif parts[0] == "say":
            print("said " + parts[1], flush=True)
        elif parts[0] == "crash":
            print("crashing", file=sys.stderr, flush=True)
            os._exit(9)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


if MODE == "exit":
    # All on one stream: the engine reads two side by side, in no order.
    for n in range(30):
        print("line", n, file=sys.stderr)
    print("\x1b[31mModuleNotFoundError: No module named 'nope'\x1b[0m", file=sys.stderr)
    sys.exit(7)
elif MODE == "oom":
    hoard = []
    while True:
        hoard.append(bytearray(8 << 20))
elif MODE == "hang":
    print("hanging", flush=True)
    time.sleep(600)
elif MODE.startswith("job"):
    for n in range(3):
        print("step", n, flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    sys.exit(int(MODE.removeprefix("job") or 0))
elif MODE == "flood":
    print("serving", flush=True)
    server = ThreadingHTTPServer(("0.0.0.0", 8080), Handler)
    __import__("threading").Thread(target=server.serve_forever).start()
    while True:
        print("x" * 100)
elif MODE == "chatter":
    for n in range(20000):
        print("x" * 100)
else:
    print("serving", flush=True)
    server = ThreadingHTTPServer(("0.0.0.0", 8080), Handler)
    server.serve_forever()
