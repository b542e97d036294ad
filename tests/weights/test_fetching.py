from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from click.testing import CliRunner

from fctfg.cli import main
from fctfg.weights import fetching, find
from fctfg.weights.cards import card
from fctfg.weights.fetching import fetch

NAME = "mine.safetensors"


def run(*arguments, **options):
    return CliRunner().invoke(main, ["weights", *map(str, arguments)], **options)


def refusal(*arguments, **options) -> str:
    done = run(*arguments, **options)
    last = done.output.strip().splitlines()[-1]
    assert done.exit_code == 1 and last.startswith("Error: "), done.output
    return last


def left(shelf) -> list[str]:
    """What lies in the folder."""
    return sorted(path.name for path in shelf.iterdir()) if shelf.exists() else []


def test_the_licence_is_shown_and_asked_for_before_anything_is_fetched(offered, server, published, shelf):
    server.content = published.read_bytes()
    name = offered(url=server.url)
    for answer in ("n\n", ""):
        assert "its licence was not accepted; --accept-licence" in refusal("fetch", name, input=answer)
    assert server.asked == [] and left(shelf) == []
    done = run("fetch", name, input="y\n")
    assert done.exit_code == 0 and "For tests only" in done.output and server.url in done.output
    assert find(name).read_bytes() == server.content and left(shelf) == ["SHA256SUMS", NAME]
    again = run("fetch", name)
    assert "already here" in again.output and len(server.asked) == 1


def test_a_connection_that_breaks_off_goes_on_where_it_was(offered, server, published, shelf):
    server.content, server.cuts = published.read_bytes(), [6 << 14, 3 << 14]
    seen = []
    path = fetch(card(offered(url=server.url)), progress=lambda *counted: seen.append(counted))
    assert path.read_bytes() == server.content
    assert server.asked == [None, f"bytes={6 << 14}-", f"bytes={9 << 14}-"]
    assert seen == sorted(seen) and {total for _, total in seen} == {len(server.content)}
    assert seen[-1][0] == len(server.content)


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(offered, server, published, shelf):
    """Without a published sum nothing but the server's tag tells two versions apart."""
    weights = card(offered(url=server.url, sha256=None))
    shelf.mkdir()
    (shelf / f".{NAME}.part").write_bytes(b"begun by another" * 1000)
    (shelf / f".{NAME}.version").write_text(f'{server.url}\n"older"')
    server.content = published.read_bytes()
    assert fetch(weights).read_bytes() == server.content
    assert server.asked == ["bytes=16000-"]


def test_a_server_that_knows_no_pieces_begins_anew(offered, server, published, shelf):
    server.content, server.cuts, server.resumes = published.read_bytes(), [6 << 14], False
    assert fetch(card(offered(url=server.url))).read_bytes() == server.content
    assert server.asked == [None, f"bytes={6 << 14}-"]


def test_what_has_another_sum_is_not_kept(offered, server, published, shelf):
    content = published.read_bytes()
    server.content = content[:-1] + bytes([content[-1] ^ 1])
    line = refusal("fetch", offered(url=server.url), "--accept-licence")
    wrong, right = (hashlib.sha256(data).hexdigest() for data in (server.content, content))
    assert f"is not {NAME}: its SHA-256 is {wrong}, not {right}" in line and left(shelf) == []


def test_a_sum_of_which_only_the_beginning_is_published_is_compared(offered, server, published, shelf):
    server.content = published.read_bytes()
    right = hashlib.sha256(server.content).hexdigest()[:8]
    wrong = ("1" if right[0] == "0" else "0") + right[1:]
    name = offered(url=server.url, sha256=wrong)
    assert f"is {right}, not {wrong}" in refusal("fetch", name, "--accept-licence")
    offered(url=server.url, sha256=right)
    assert run("fetch", name, "--accept-licence").exit_code == 0 and find(name)


@pytest.mark.parametrize("content, kind, words", [
    (b"<!DOCTYPE html><html>Sign in</html>", "text/html; charset=utf-8", "answers with a web page, not the file"),
    (b"<!DOCTYPE html><html>Sign in</html>", "application/octet-stream", "it is a web page"),
    (b"not found, said with 200", "application/octet-stream", "it is not a weight file"),
])
def test_what_is_no_weight_file_is_not_kept_where_no_sum_is_published(offered, server, shelf, content, kind, words):
    server.content, server.kind = content, kind
    assert words in refusal("fetch", offered(url=server.url, sha256=None), "--accept-licence")
    assert left(shelf) == []


def test_what_a_server_refuses_is_said_on_one_line(offered, server, shelf):
    server.status, server.content = 404, b"gone"
    line = refusal("fetch", offered(url=server.url), "--accept-licence")
    assert f"{server.url} answers 404 Not Found. Get it from https://example.org/mine, then `fctfg weights import" in line


def test_no_way_to_a_server_is_said_on_one_line(offered, shelf):
    line = refusal("fetch", offered(url="http://127.0.0.1:9/x"), "--accept-licence")
    assert "No way to 127.0.0.1:9: Connection refused. Fetch http://127.0.0.1:9/x where you are online" in line


def test_a_proxy_that_refuses_is_named(offered, shelf, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False), monkeypatch.delenv("NO_PROXY", raising=False)
    assert "the proxy that HTTP_PROXY" in refusal("fetch", offered(url="http://weights.invalid/x"), "--accept-licence")


def test_a_server_that_falls_silent_is_given_up_and_gone_on_with_later(offered, server, published, shelf, monkeypatch):
    monkeypatch.setattr(fetching, "READ", 0.2)
    monkeypatch.setattr(fetching, "TRIES", 2)
    monkeypatch.setattr(fetching, "PATIENCE", 0.0)
    server.content, server.swift, server.pause = published.read_bytes(), 8 << 14, 0.5
    line = refusal("fetch", offered(url=server.url), "--accept-licence")
    assert "broke off: nothing came for 0.2 s. 0.1 MB are there; fetch it again to go on from there." in line
    begun = (shelf / f".{NAME}.part").stat().st_size
    server.pause, server.asked = 0, []
    assert run("fetch", NAME, "--accept-licence").exit_code == 0
    assert server.asked == [f"bytes={begun}-"] and find(NAME).read_bytes() == server.content


def test_interrupted_it_keeps_what_it_has_and_goes_on(offered, server, published, shelf, tmp_path):
    server.content, server.pause = published.read_bytes(), 0.05
    offered(url=server.url)
    command = [sys.executable, "-m", "fctfg", "weights", "fetch", NAME, "--accept-licence"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = shelf / f".{NAME}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and f"of {NAME} is there; fetch it again to go on from there." in said
    assert "Traceback" not in said and find(NAME) is None
    begun, server.pause, server.asked = part.stat().st_size, 0, []
    assert 0 < begun < len(server.content)
    done = run("fetch", NAME, "--accept-licence")
    assert done.exit_code == 0 and "Going on from" in done.output and server.asked == [f"bytes={begun}-"]
    assert find(NAME).read_bytes() == server.content and left(shelf) == ["SHA256SUMS", NAME]


def test_a_file_link_is_copied_and_compared(offered, published, shelf):
    link = published.as_uri()
    assert fetch(card(offered(url=None)), url=link).read_bytes() == published.read_bytes()
    (shelf / NAME).unlink()
    assert "cannot be read: No such file" in refusal("fetch", NAME, "--accept-licence", "--url", link + "x")
    published.write_bytes(b"something else")
    assert "its SHA-256 is" in refusal("fetch", NAME, "--accept-licence", "--url", link)


def test_what_cannot_be_fetched_says_where_to_get_it(offered, shelf):
    name = offered(url=None)
    assert f"Get it from https://example.org/mine, then `fctfg weights import {name}`" in refusal("fetch", name)
    assert "a link begins with https://" in refusal("fetch", name, "--accept-licence", "--url", "ftp://x/y")
    assert f"Did you mean '{name}'?" in refusal("fetch", "min.safetensors")
    assert "vgg16-397923af.pth was not fetched, as its licence" in refusal("fetch", "VGG16")
    assert "Did you mean 'yunet'?" in refusal("fetch", "yunett")


def test_a_damaged_file_is_fetched_again_and_replaced_when_the_new_one_is_whole(offered, server, published, shelf):
    name = offered(url=server.url)
    shelf.mkdir()
    (shelf / name).write_bytes(b"damaged")
    server.content = b"also damaged"
    assert "its SHA-256 is" in refusal("fetch", name, "--accept-licence")
    assert find(name).read_bytes() == b"damaged"
    server.content = published.read_bytes()
    assert "is not the published file, so it is fetched again" in run("fetch", name, "--accept-licence").output
    assert find(name).read_bytes() == server.content and left(shelf) == ["SHA256SUMS", NAME]


@pytest.mark.parametrize("inner", ["", "pack/"])
def test_a_pack_of_networks_is_unpacked(offered, server, shelf, tmp_path, inner):
    network = b"\x08\x08\x3a\x00\x42\x02\x10\x0d"  # version 8, an empty graph, operators of version 13
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr(f"{inner}det.onnx", network)
    server.content = (tmp_path / "pack.zip").read_bytes()
    facts = {"name": "pack", "url": server.url, "sha256": None, "form": "ONNX folder", "signs": None}
    offered(**facts)
    assert run("fetch", "pack", "--accept-licence").exit_code == 0
    assert (find("pack") / "det.onnx").read_bytes() == network and left(shelf) == ["pack"]
    assert "is       pack" in run("check").output
    (shelf / "pack").rename(tmp_path / "moved")
    assert run("import", tmp_path / "pack.zip").exit_code == 0 and (find("pack") / "det.onnx").is_file()
    (shelf / "pack" / "det.onnx").write_bytes(network[:5])
    assert run("check").exit_code == 1


def test_a_disk_without_room_is_noticed_before_and_meanwhile(offered, server, published, shelf, monkeypatch):
    server.content = published.read_bytes()
    name = offered(url=server.url, size=10**15)
    assert re.search(r"takes 1,000,000,000 MB, and .* has room for", refusal("fetch", name, "--accept-licence"))
    assert server.asked == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_disk_that_fills_up_is_said_on_one_line(offered, server, published, shelf):
    server.content = published.read_bytes()
    name = offered(url=server.url)
    shelf.mkdir()
    (shelf / f".{name}.part").symlink_to("/dev/full")
    assert "is full; " in refusal("fetch", name, "--accept-licence")


def test_the_command_is_never_silent_without_a_terminal(offered, server, published, shelf):
    server.content = published.read_bytes()
    said = run("fetch", offered(url=server.url), "--accept-licence").output
    assert "100 % of 240 kB" in said and "its SHA-256 is the published one" in said
