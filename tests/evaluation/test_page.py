"""The page in a real browser: headless Chromium, spoken to over its own pipe."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fctfg.charts import Panel
from fctfg.evaluation.asked import Facts
from fctfg.evaluation.page import render_page
from fctfg.evaluation.results import Results
from fctfg.evaluation.rows import Row
from fctfg.evaluation.svg import to_svg
from fctfg.evaluation.viewing import viewable
from fctfg.interfaces import Quantity
from fctfg.media import read_video

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)


class Chromium:
    """A page in a browser without a window."""

    def __init__(self, profile: Path):
        theirs, self.out = os.pipe()
        self.answers, ours = os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--mute-audio", "--no-sandbox",
                 "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{ours}', "bash", FOUND, *flags],
                                        pass_fds=(theirs, ours), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(ours)
        self.number, self.session, self.rest = 0, None, b""
        self.requests: list[str] = []
        target = next(page for page in self.ask("Target.getTargets")["targetInfos"] if page["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.ask("Network.enable")

    def ask(self, method: str, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            said = self._message()
            if said.get("method") == "Network.requestWillBeSent":
                self.requests.append(said["params"]["request"]["url"])
            if said.get("id") == self.number:
                return said["result"]

    def _message(self) -> dict:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.answers], [], [], 60)
            piece = os.read(self.answers, 1 << 16) if ready else b""
            if not piece:
                raise RuntimeError("the browser has gone, or hangs")
            self.rest += piece
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def run(self, script: str):
        """What JavaScript gives; promises are waited for."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, path: Path, width: int = 1300, height: int = 1000) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url=path.as_uri())
        self.wait("location.href != 'about:blank' && document.readyState == 'complete'")

    def wait(self, condition: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.05)

    def photograph(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        os.close(self.out)
        os.close(self.answers)
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def browser(tmp_path):
    if FOUND is None or sys.platform == "win32":
        pytest.skip("there is no Chromium here; on Debian `apt-get install chromium` brings it")
    chromium = Chromium(tmp_path / "profile")
    yield chromium
    chromium.close()


FACTS = {
    "sync": Facts("sync", "224 px crop, 25 frames/s <v2>", (Quantity("distance", "lower", 0, 20), Quantity("offset", "near zero", -15, 15, "frames")),
                  "A paper, 2016", "MIT", "Whoever does not speak.", "fctfg 1"),
    "psnr": Facts("psnr", "whole frame", (Quantity("psnr", "higher", 0, np.inf, "dB"),), "", "MIT", "Sharpness.", "fctfg 1"),
}


@pytest.fixture
def report(film, tmp_path):
    """Two systems over three clips with real videos; the second clip is worst, the third cannot be measured by one."""
    rows = []
    for clip, badness in (("one", 1.0), ("two & a half", 3.0), ("three", 2.0)):
        real = film(f"films/real/{clip}.mp4", np.linspace(20, 220, 50))
        for place, system in enumerate(("ours", "<theirs>")):
            made = film(f"films/{place}/{clip}.mp4", np.linspace(20 * badness, 200, 50))
            common = dict(generated=str(made), reference=str(real), system=system, clip=clip)
            curve = [abs(step) / 5 + badness for step in range(-15, 16)]
            if clip == "three" and place:
                rows.append(Row(metric="sync", protocol="", state="not measured", why="it has no sound", **common))
            else:
                rows.append(Row(metric="sync", protocol="", state="scored", values={"distance": badness + place, "offset": -2.0},
                                curves={"distance over offset": curve, "loudness": [0.1 * step for step in range(50)]}, **common))
            rows.append(Row(metric="psnr", protocol="", state="scored", values={"psnr": np.inf if badness == 1 else 30 - badness}, **common))
    results = Results(FACTS, rows, absent={"fid": "it lacks weights."}, about={"fctfg": "1"},
                      sections={"Told apart": {"about": "Whether.", "head": ["quantity", "can tell"], "rows": [["distance", "blind"]]}})
    page = tmp_path / "report" / "index.html"
    page.parent.mkdir()
    page.write_text(render_page(results, page.parent), encoding="utf-8")
    return page


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.open, self.crossed = [], [], []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "input", "br", "line", "rect", "path", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("line", "rect"):
            return
        if tag in self.open:
            while self.open[-1] != tag:
                self.crossed.append(self.open.pop())
            self.open.pop()


def test_the_page_is_whole_and_asks_for_nothing_but_its_videos(report):
    text = report.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.found and all(link.startswith("../films/") for link in links.found)
    assert not re.search(r"https?://", text) and "@import" not in text
    assert "two &amp; a half" in text and "&lt;theirs&gt;" in text and "<theirs>" not in text
    assert not set(links.crossed) - {"path"}, links.crossed


def test_small_videos_can_be_kept_inside(report, tmp_path):
    results = Results(FACTS, [Row("one", "psnr", "", "scored", str(tmp_path / "films/0/one.mp4"), values={"psnr": 3.0}, system="x")])
    assert 'src="data:video/mp4;base64,AAAA' in render_page(results, report.parent, embed=True)


def test_what_browsers_cannot_show_is_copied_once(tmp_path):
    import av

    with av.open(str(tmp_path / "old.avi"), "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in (50, 100, 150):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), "rgb24")))
        container.mux(stream.encode())
    copy = viewable(tmp_path / "old.avi", tmp_path)
    assert copy.parent.name == "players" and [round(frame.mean(), -1) for frame in read_video(copy)] == [50, 100, 150]
    written = copy.stat().st_mtime_ns
    assert viewable(tmp_path / "old.avi", tmp_path) == copy and copy.stat().st_mtime_ns == written
    assert viewable(copy, tmp_path) == copy and viewable(tmp_path / "gone.avi", tmp_path) == tmp_path / "gone.avi"


def test_a_plot_keeps_its_peaks_where_it_is_thinned():
    curve = np.zeros(100_000)
    curve[54_321] = 1.0
    drawn = to_svg(Panel("t", "s", {"": (np.arange(100_000), curve)}, height=(0.0, 1.0)))
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", drawn)]
    assert min(heights) == 38 and max(heights) == 170 and len(heights) < 800


def test_a_browser_shows_table_plots_and_playing_videos(report, browser):
    browser.open(report)
    assert browser.run("[...document.querySelectorAll('#means thead th')].map(x => x.textContent).join()") == "quantity,protocol,ours,<theirs>"
    assert browser.run("document.querySelector('#means tbody').innerText.includes('2 of 3')")
    assert browser.run("document.querySelector('#means tbody').innerText.includes('224 px crop, 25 frames/s <v2>')")
    size = browser.run("(() => { const b = document.querySelector('.plot path').getBBox(); return [b.width, b.height] })()")
    assert size[0] > 100 and size[1] > 50
    names = "[...document.querySelectorAll('.clip h3')].map(x => x.textContent)"
    assert browser.run(names)[0] == "two & a half"
    browser.run("(() => { const o = document.getElementById('order'); o.value = '2'; o.dispatchEvent(new Event('change')) })()")
    assert browser.run(names)[0] == "two & a half" and browser.run(names)[-1] == "one"

    videos = "[...document.querySelectorAll('.clip')[0].querySelectorAll('video')]"
    browser.wait(f"{videos}.length == 3 && {videos}.every(v => v.readyState >= 1)")
    browser.run("document.querySelectorAll('.clip')[0].querySelector('.play').click()")
    browser.wait(f"{videos}.every(v => v.currentTime > 0.3)")
    assert browser.run(f"{videos}.map(v => v.muted)") == [True, False, True]
    browser.run("document.querySelectorAll('.clip')[0].querySelector('.play').click()")
    assert browser.run(f"{videos}.every(v => v.paused)")
    line = "document.querySelector('.clip .now').getAttribute('x1')"
    assert float(browser.run(line)) > 52
    # Moved by hand, all go there, and the line with them; what is on screen is the frame of that moment.
    browser.run("(() => { const s = document.querySelector('.clip .seek'); s.value = 0.5; s.dispatchEvent(new Event('input')) })()")
    browser.wait(f"{videos}.every(v => !v.seeking && Math.abs(v.currentTime - 1) < 0.05 && v.readyState >= 2)")
    shades = browser.run(f"{videos}.map(v => {{ const c = document.createElement('canvas'); c.width = c.height = 8;"
                         "const g = c.getContext('2d'); g.drawImage(v, 0, 0, 8, 8); try { return g.getImageData(4, 4, 1, 1).data[0] }"
                         "catch (e) { return -1 } })")
    assert all(shade == -1 or 90 < shade < 160 for shade in shades)  # a page from a file may not read its videos
    assert not [url for url in browser.requests if not url.startswith(("file://", "data:"))]
