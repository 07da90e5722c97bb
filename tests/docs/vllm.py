"""A stand-in for a vLLM with sleep mode; asleep it fails where the real one hangs.

python vllm.py NAME PORT
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asleep = True

    def do_GET(self) -> None:
        self.answer(200, {"is_sleeping": Handler.asleep} if "sleeping" in self.path else {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/wake_up":
            Handler.asleep = False
        elif self.path == "/sleep?level=1":
            Handler.asleep = True
        elif Handler.asleep:
            self.answer(500, {"error": {"message": "asked in its sleep"}})
            return
        text = f"I am {sys.argv[1]}, who can sleep"
        self.answer(200, {"choices": [{"message": {"role": "assistant", "content": text}}]})

    def answer(self, status: int, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
