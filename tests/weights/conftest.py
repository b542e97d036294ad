"""A folder of weights of the test's own, a package that offers some, and a server that can be cut off."""

from __future__ import annotations

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import yaml
from safetensors.torch import save_file

NAME = "mine.safetensors"


class Server(ThreadingHTTPServer):
    """Serves `content` at every path, in pieces as HTTP asks; what it was asked for stands in `asked`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.content = b""
        self.tag = '"first"'
        self.cuts: list[int] = []
        """After how many bytes the next answers break off."""
        self.pause = 0.0
        """Seconds before each piece of 16 kB that lies beyond the first `swift` bytes."""
        self.swift = 0
        self.resumes = True
        self.status = 200
        self.kind = "application/octet-stream"
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some/file"

    def handle_error(self, request, client_address):
        """A client that goes away is what is tested."""


class _Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        same = self.headers.get("If-Range", server.tag) == server.tag
        first = int(wanted[len("bytes="):-1]) if wanted and server.resumes and same else 0
        total = len(server.content)
        if first >= total and first:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else server.status)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(total - first))
        self.send_header("ETag", server.tag)
        self.end_headers()
        last = min(total, first + server.cuts.pop(0)) if server.cuts else total
        for place in range(first, last, 1 << 14):
            if place >= server.swift:
                time.sleep(server.pause)
            self.wfile.write(server.content[place:min(place + (1 << 14), last)])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The folder of weights, which does not exist yet."""
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path / "kept here"))
    return tmp_path / "kept here"


@pytest.fixture
def published(tmp_path):
    """A weight file as its author has it."""
    path = tmp_path / "author" / NAME
    path.parent.mkdir()
    save_file({"first.weight": torch.arange(60_000.0).view(300, 200), "first.bias": torch.ones(3)}, path)
    return path


@pytest.fixture
def offered(installed, tmp_path, monkeypatch, published):
    """Install a package that offers one file: `offered(url=..., sha256=...)`; what is not said is as it should be."""

    def offer(**facts) -> str:
        card = {"name": NAME, "purpose": "Nothing but a test", "licence": "For tests only", "source": "https://example.org/mine",
                "form": "safetensors", "signs": ["first.weight 300x200"],
                "sha256": hashlib.sha256(published.read_bytes()).hexdigest(), **facts}
        folder = tmp_path / "foreign"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("raise ImportError('only its YAML is wanted')")
        (folder / "weights.yaml").write_text(yaml.safe_dump([{key: value for key, value in card.items() if value is not None}]))
        if not (tmp_path / "site-foreign").exists():
            monkeypatch.syspath_prepend(str(tmp_path))
            installed("foreign", "fctfg.weights", mine="foreign:weights.yaml", gone="foreign:gone.yaml")
        return NAME

    return offer
