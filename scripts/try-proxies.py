"""See try-proxies: the configurations of docs/operating.md against a server, on loopback."""

import base64, json, os, re, signal, socket, struct, subprocess, sys, tempfile, threading, time

BINARY = sys.argv[1]
PAGE = open("docs/operating.md").read()
HEARTBEAT_MS = 1000


def snippet(language):
    return re.search(r"```" + language + r"\n(.*?)```", PAGE, re.S).group(1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class WebSocket:
    """A client that speaks from an address of its own; `first` is what the handshake is answered with."""

    def __init__(self, port, source="127.0.0.1", headers=""):
        self.socket = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET /v1 HTTP/1.1\r\nHost: annulus\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n").encode())
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            self.read_more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])

    def read_more(self):
        received = self.socket.recv(65536)
        if not received:
            raise EOFError
        self.rest += received

    def take(self, count):
        while len(self.rest) < count:
            self.read_more()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def send(self, text, opcode=1):
        payload = text.encode() if isinstance(text, str) else text
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else (
            b"\xfe" + struct.pack(">H", len(payload)) if len(payload) < 65536 else b"\xff" + struct.pack(">Q", len(payload)))
        self.socket.sendall(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def frame(self):
        first, second = self.take(2)
        length = second & 0x7f
        if length >= 126:
            length = int.from_bytes(self.take(2 if length == 126 else 8), "big")
        return first & 0x0f, self.take(length)

    def message(self):
        """The next text as JSON, or the code and reason of a close. Pings are answered."""
        while True:
            opcode, payload = self.frame()
            if opcode == 9:
                self.send(payload, 10)
            elif opcode == 8:
                return struct.unpack(">H", payload[:2])[0], payload[2:].decode()
            elif opcode == 1:
                return json.loads(payload)


def http(port, path, headers=""):
    return ask(port, f"GET {path} HTTP/1.1\r\nHost: annulus\r\nConnection: close\r\n{headers}\r\n")


def ask(port, request):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(request.encode())
        answer = b""
        while more := s.recv(65536):
            answer += more
    return int(answer.split()[1])


def await_that(what, holds):
    for _ in range(100):
        try:
            if holds():
                return
        except (OSError, IndexError):
            pass
        time.sleep(0.1)
    raise SystemExit(f"waited too long for: {what}")


def check(what, holds):
    print(f"  {'yes' if holds else 'NO '}  {what}", flush=True)
    if not holds:
        raise SystemExit(f"failed: {what}")


def start_server(port, *flags):
    return subprocess.Popen([BINARY, "--listen", f"127.0.0.1:{port}", "--storage", "memory", "--trusted-proxies", "127.0.0.1", *flags],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_proxy(name, port, backend, directory, second=None):
    if name == "nginx":
        text = snippet("nginx").replace("listen 80;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:9000", f"127.0.0.1:{backend}")
        text = f"daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;\nevents {{}}\nhttp {{ access_log off;\n{text}}}\n"
        words = ["nginx", "-c", f"{directory}/nginx.conf", "-p", directory]
    else:
        text = snippet("haproxy").replace("bind :80", f"bind 127.0.0.1:{port}").replace("127.0.0.1:9000", f"127.0.0.1:{backend}")
        if second:
            # Without the lines about its check, HAProxy asks with OPTIONS / HTTP/1.0.
            own = re.search(r"    server one .*\n", text).group()
            text = re.sub(r"    http-check .*\n", "", text)
            text += own.replace("one", "two").replace(str(backend), str(second))
        words = ["haproxy", "-db", "-f", f"{directory}/haproxy.conf"]
    open(f"{directory}/{name}.conf", "w").write(text)
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=open(f"{directory}/{name}.err", "w"))


def try_proxy(name, directory):
    version = subprocess.run([name, "-v"], capture_output=True, text=True)
    print((version.stdout + version.stderr).splitlines()[0])
    backend, port = free_port(), free_port()
    server = start_server(backend, "--max-connections-per-ip", "2", "--heartbeat-ms", str(HEARTBEAT_MS), "--drain-ms", "500",
                          "--max-header-bytes", "32KiB")
    proxy = start_proxy(name, port, backend, directory)
    try:
        await_that("the server", lambda: http(backend, "/healthz") == 200)
        await_that("the health check through the proxy", lambda: http(port, "/healthz") == 200)
        check("/healthz through the proxy answers 200", http(port, "/healthz") == 200)
        for request in ("OPTIONS / HTTP/1.0\r\n\r\n", "OPTIONS /healthz HTTP/1.0\r\n\r\n"):
            check(f"{request.strip()}, asked directly, is answered with 200", ask(backend, request) == 200)
        # Four lines of 7 kB: nginx takes one of 8 kB at most, and four such buffers, by large_client_header_buffers. HAProxy's
        # buffer holds 16 kB of which 1 kB stays free (tune.bufsize).
        lines = 4 if name == "nginx" else 2
        cookies = lambda count: "".join(f"Cookie: c{n}={'x' * 7000}\r\n" for n in range(count))
        check(f"{7 * lines} kB of cookies pass", http(port, "/healthz", cookies(lines)) == 200)
        check("40 kB, asked directly, are answered with 431", http(backend, "/healthz", cookies(6)) == 431)
        client = WebSocket(port, "127.0.0.2")
        check("hello comes first", client.status == 101 and client.message()["type"] == "hello")
        client.send('{"type":"write","id":1,"ops":[{"map":"m","key":"k","op":"set","value":1}]}')
        check("a write is acknowledged", client.message()["applied"] == 1)
        client.send(json.dumps({"type": "ping", "id": 2, "x": "x" * 900_000}))
        check("a message of 900 kB passes", client.message()["id"] == 2)
        second = WebSocket(port, "127.0.0.2", "X-Forwarded-For: 10.1.1.1\r\n")
        check("a second of one address is let in", second.message()["type"] == "hello")
        third = WebSocket(port, "127.0.0.2", "X-Forwarded-For: 10.1.1.2\r\n")
        check("a third is not, whatever it writes into X-Forwarded-For", third.message()[0] == 1013)
        check("one of another address is", WebSocket(port, "127.0.0.3").message()["type"] == "hello")
        until = time.monotonic() + 3 * HEARTBEAT_MS / 1000
        pings = 0
        while time.monotonic() < until:
            opcode, payload = client.frame()
            pings += opcode == 9
            client.send(payload, 10)
        client.send('{"type":"ping","id":3}')
        check(f"silence for three heartbeats, with {pings} pings, keeps it open", client.message()["id"] == 3)
        server.send_signal(signal.SIGTERM)
        code, reason = client.message()
        check(f"SIGTERM closes it with {code} {reason}", code == 1001 and reason.startswith("retry_after_ms="))
        client.send(struct.pack(">H", 1001), 8)
        check("the server ends with 0", server.wait(10) == 0)
        await_that("an answer for a server that is gone", lambda: http(port, "/healthz") >= 500)
        check(f"then the proxy answers {http(port, '/healthz')}", True)
    finally:
        for process in (proxy, server):
            process.terminate()
            process.wait(10)


def try_restarts(lead_ms, directory):
    """Restarts two servers behind HAProxy, one after the other, while a client connects in a loop; how many connects there
    were, how many failed, and how many seconds the longest took."""
    ports, port = (free_port(), free_port()), free_port()
    flags = ("--drain-lead-ms", str(lead_ms), "--drain-ms", "500")
    servers = [start_server(ports[0], *flags), start_server(ports[1], *flags)]
    proxy = start_proxy("haproxy", port, ports[0], directory, ports[1])
    took, failed, is_over = [], [0], threading.Event()

    def connect():
        while not is_over.is_set():
            began = time.monotonic()
            try:
                client = WebSocket(port)
                failed[0] += client.status != 101 or client.message()["type"] != "hello"
                client.socket.close()
            except (OSError, EOFError, TypeError):
                failed[0] += 1
            took.append(time.monotonic() - began)
            time.sleep(0.005)

    try:
        for own in ports:
            await_that("a server", lambda: http(own, "/healthz") == 200)
        await_that("HAProxy", lambda: http(port, "/healthz") == 200)
        time.sleep(5)
        client = threading.Thread(target=connect)
        client.start()
        for index, own in enumerate(ports):
            servers[index].send_signal(signal.SIGTERM)
            if lead_ms:
                await_that("503 while it serves on", lambda: http(own, "/healthz") == 503)
                check("told to stop, it says 503 and still opens WebSockets", WebSocket(own).message()["type"] == "hello")
            check("it ends with 0", servers[index].wait(30) == 0)
            time.sleep(0.5)
            servers[index] = start_server(own, *flags)
            await_that("the server again", lambda: http(own, "/healthz") == 200)
            # Two good checks, a second apart, take it in again.
            time.sleep(4)
        is_over.set()
        client.join()
        return len(took), failed[0], max(took)
    finally:
        is_over.set()
        for process in (proxy, *servers):
            process.terminate()
            process.wait(10)


with tempfile.TemporaryDirectory() as directory:
    os.chmod(directory, 0o755)
    try_proxy("nginx", directory)
    try_proxy("haproxy", directory)
    print("two servers behind HAProxy, restarted one after the other")
    connects, failed, longest = try_restarts(5000, directory)
    check(f"with --drain-lead-ms 5000, {failed} of {connects} connects failed; the longest took {longest:.2f} s", failed == 0 and connects > 100)
    # HAProxy tries again after a second, and elsewhere after the third time, so that they are late rather than lost.
    connects, failed, longest = try_restarts(0, directory)
    check(f"without it, {failed} of {connects} failed; the longest took {longest:.2f} s", connects > 100)
    unit = f"{directory}/annulus.service"
    open(unit, "w").write(open("ops/annulus.service").read().replace("/usr/bin/annulus", BINARY))
    print(subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout.splitlines()[0])
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    print(verified.stdout + verified.stderr, end="")
    check("systemd-analyze verify finds nothing", verified.returncode == 0 and not verified.stderr.strip())
