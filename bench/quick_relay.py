"""CPU per request and per streamed chunk of the data plane, against nginx, in minutes.

It starts a backend of its own, nginx and the gateway (with the real switching core where it is to
be had), lets wrk ask both in turn, and compares the CPU time of their processes, paired by round.
Needs `nginx` and `wrk`. Usage: python bench/quick_relay.py [--rounds N] [--seconds N] [--stream]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BODY = '{"model":"m","messages":[{"role":"user","content":"' + "x" * 320 + '"}]}'
CHUNKS = 50


class Server(asyncio.Protocol):
    """Answers each request with 1 KB, or with a stream of chunks where the body asks for it."""

    answer = (
        b"HTTP/1.1 200 OK\r\nserver: b\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        b"content-type: application/json\r\ncontent-length: 1024\r\n\r\n" + b"y" * 1024
    )
    head = (
        b"HTTP/1.1 200 OK\r\nserver: b\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    event = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'
    chunk = b"%x\r\n%b\r\n" % (len(event), event)

    def connection_made(self, transport):
        self.transport = transport
        self.left = 0

    def data_received(self, data):
        if b'"stream"' in data:
            self.left = CHUNKS
            self.transport.write(self.head)
            self.step()
        else:
            self.transport.write(self.answer)

    def connection_lost(self, exc):
        self.transport = None

    def step(self):
        if self.transport is None:
            return
        if self.left == 0:
            self.transport.write(b"0\r\n\r\n")
            return
        self.left -= 1
        self.transport.write(self.chunk)
        asyncio.get_running_loop().call_later(0.004, self.step)


async def serve_backend(port):
    loop = asyncio.get_running_loop()
    await loop.create_server(Server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


async def serve_gateway(port, backend_port):
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from llmux.http import Gateway, Limits  # noqa: PLC0415
    from tests.http.small_gate import SmallGate  # noqa: PLC0415

    class Plain:
        count = 0
        total = 0.0

        def waited(self, seconds):
            self.count += 1
            self.total += seconds

        def answered(self, status, seconds):
            self.count += 1
            self.total += seconds

    class Bare(SmallGate):
        def enter(self, ticket):
            lane = ticket.lane
            lane.inside[ticket] = None
            ticket.admitted = ticket.arrived
            return True

        def leave(self, ticket):
            ticket.lane.inside.pop(ticket, None)

    gateway = Gateway(Bare("m"), {"m": backend_port}, Limits(), lambda model: Plain(), lambda: b"")
    await gateway.start("127.0.0.1", port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await gateway.stop(0)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def cpu(pids):
    total = 0
    for pid in pids:
        total += time.clock_gettime(((~pid) << 3) | 2)
    return total


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, listed)]


def wrk(port, lua, seconds, connections):
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", lua,
         f"http://127.0.0.1:{port}/v1/chat/completions"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if "Non-2xx" in out or "Socket errors" in out:
        print(out)
    total = next(line for line in out.splitlines() if "requests in" in line)
    return int(total.split()[0])


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on {port}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--profile", action="store_true", help="show where the gateway's time goes")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        import uvloop  # noqa: PLC0415

        role, *ports = args.role
        serve = {"backend": serve_backend, "gateway": serve_gateway}[role]
        if args.profile and role == "gateway":
            import cProfile  # noqa: PLC0415

            cProfile.runctx("uvloop.run(serve(*map(int, ports)))", globals(), locals(), sort=1)
            return
        uvloop.run(serve(*map(int, ports)))
        return
    backend, front, peer = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        lua = Path(folder, "post.lua")
        body = BODY[:-1] + ',"stream":true}' if args.stream else BODY
        lua.write_text(
            f"wrk.method='POST'\nwrk.body='{body}'\nwrk.headers['Content-Type']='application/json'\n"
        )
        conf = Path(folder, "nginx.conf")
        conf.write_text(
            f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/err;\n"
            "events {worker_connections 4096;}\nhttp { access_log off; keepalive_requests 1000000000;\n"
            f"client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n"
            f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
            f"upstream b {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 1000000000; }}\n"
            f"server {{ listen 127.0.0.1:{peer} backlog=1024; location / {{ proxy_pass http://b;\n"
            'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }\n'
        )
        running = []
        try:
            me = [sys.executable, __file__, "--role"]
            nginx = shutil.which("nginx") or "/usr/sbin/nginx"
            running.append(subprocess.Popen([*me, "backend", str(backend)]))
            extra = ["--profile"] if args.profile else []
            ours = subprocess.Popen([*me, "gateway", str(front), str(backend), *extra])
            running.append(ours)
            theirs = subprocess.Popen([nginx, "-c", str(conf)])
            running.append(theirs)
            for port in (backend, front, peer):
                wait_for(port)
            per = CHUNKS if args.stream else 1
            ratios = []
            contenders = (("nginx", peer, theirs), ("llmux", front, ours))
            for turn in range(args.rounds + 1):
                cost = {}
                for name, port, process in contenders if turn % 2 else contenders[::-1]:
                    pids = children(process.pid)
                    before = cpu(pids)
                    done = wrk(port, str(lua), args.seconds, args.connections)
                    cost[name] = (cpu(pids) - before) / done / per * 1e6
                    cost[name + " rate"] = done * per / args.seconds
                if turn == 0:
                    continue  # warm-up
                ratios.append(cost["llmux"] / cost["nginx"])
                print(
                    f"nginx {cost['nginx']:6.1f} us  {cost['nginx rate']:8.0f}/s   "
                    f"llmux {cost['llmux']:6.1f} us  {cost['llmux rate']:8.0f}/s   "
                    f"{ratios[-1]:.2f}x",
                    flush=True,
                )
            print(f"median {statistics.median(ratios):.2f}x nginx")
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait()


if __name__ == "__main__":
    main()
