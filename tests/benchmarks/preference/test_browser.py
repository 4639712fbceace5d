"""The page of comparisons in a real headless Chromium: real keys, a reload, a real download.

The browser is driven through its debugging pipe: JSON messages with a zero byte between, the
browser's file descriptors 3 (in) and 4 (out).
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.preference.__main__ import main

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")
PATIENCE_SECONDS = 120
KEYS = {
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Backspace": 8,
    "Enter": 13,
    "=": 187,
} | {letter: ord(letter.upper()) for letter in "abu"}


class Browser:
    """One headless browser with one tab."""

    def __init__(self, profile: Path) -> None:
        assert BROWSER
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-extensions",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {shlex.join(command)} 3<&{theirs_in} 4>&{theirs_out}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers, self._read = itertools.count(1), b""
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session and not method.startswith("Browser."):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.02)

    def open(self, page: Path) -> None:
        self.run("window.leaving = true")
        self.call("Page.navigate", url=page.as_uri())
        self.until("!window.leaving && document.readyState === 'complete'")

    def press(self, key: str, **other: Any) -> None:
        """A key as a person presses it."""
        event = {"key": key, "windowsVirtualKeyCode": KEYS[key]} | other
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def text(self, place: str) -> str:
        return self.run(f"document.querySelector({json.dumps(place)}).innerText")

    def visible(self) -> list[str]:
        """Ids of the sections that are shown."""
        return self.run(
            "[...document.querySelectorAll('section')].filter(s => !s.hidden).map(s => s.id)"
        )

    def close(self) -> None:
        """Close and wait, so that what the page stored is on disk."""
        try:
            self.call("Browser.close")
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._in)
            os.close(self._out)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], PATIENCE_SECONDS)
            assert ready, "the browser does not answer"
            got = os.read(self._in, 1 << 16)
            assert got, "the browser ended"
            self._read += got
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    one = Browser(tmp_path / "profile")
    yield one
    one.close()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Four comparisons of one condition with the reference."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text(json.dumps({"schema": 1, "domain": "text"}))
    (run / "config.yaml").write_text(yaml.safe_dump({"seed": 0}))
    samples = [
        {
            "prompt_set": "fiction",
            "prompt_index": index,
            "condition": condition,
            "prompt": f"Beginning {index} of <i>the</i> sto",
            "continuation": f"ry of {condition[0]}{index}",
            "tokens": [1, 2],
        }
        for condition in ("hyperfitted-greedy", "human")
        for index in range(4)
    ]
    (run / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    assert main(["make", str(run), "--out", str(tmp_path / "page.html")]) == 0
    return tmp_path / "page.html"


def begin(browser: Browser, page: Path, name: str) -> None:
    browser.open(page)
    assert browser.visible() == ["start"]
    browser.call("Input.insertText", text=name)  # the field has the focus
    browser.press("Enter")
    assert browser.visible() == ["compare"]


def shown(browser: Browser) -> int:
    """Number of the prompt on the page."""
    return int(browser.text("#prompt").split()[1])


def order_of(browser: Browser, name: str) -> list[int]:
    """The prompts as a new annotator meets them."""
    browser.run("document.querySelector('#rename').click()")
    browser.run(f"document.querySelector('#name').value = {json.dumps(name)}")
    browser.press("Enter")
    met = []
    while browser.visible() == ["compare"]:
        met.append(shown(browser))
        browser.press("=")
    return met


def test_votes_by_keyboard_survive_a_reload_and_can_be_scored(
    browser: Browser, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = json.loads(page.with_suffix(".key.json").read_text())
    size = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    begin(browser, page, "Anna B.")
    first = shown(browser)
    assert browser.text("#prompt") == f"Beginning {first} of <i>the</i> sto …"
    sides = [browser.text(f"#{side}") for side in ("left", "right")]
    letter = "h"  # both conditions begin with it: nothing on the page tells them apart
    assert sides == [f"… story of {letter}{first}"] * 2

    browser.press("a")
    assert browser.text("#said") == "Pair 1: A is better."
    browser.press("ArrowRight")
    browser.press("u")
    assert browser.text("#count") == "2 of 4"
    browser.press("a", modifiers=2)  # Ctrl-A is the browser's
    browser.press("b", autoRepeat=True)  # a key that is held down is no vote
    assert browser.text("#count") == "2 of 4"
    browser.press("=")

    browser.open(page)
    assert browser.text("#count") == "3 of 4" and browser.text("#annotator") == "Anna B."
    browser.run("document.querySelector('[data-choice=right]').click()")
    browser.press("ArrowDown")
    assert browser.visible() == ["done"]
    browser.press("Backspace")
    assert browser.text("#count") == "4 of 4"
    browser.press("ArrowLeft")

    downloads = tmp_path / "downloads"
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    browser.run("document.querySelector('#done .download').click()")
    path = downloads / f"votes-anna-b-{key['page'][:8]}.json"
    end = time.monotonic() + PATIENCE_SECONDS
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.02)
    export = json.loads(path.read_text())
    assert export["annotator"] == "Anna B."
    votes = [(vote["item"], vote["choice"]) for vote in export["votes"]]
    assert [choice for _, choice in votes] == ["left", "equal", "right", "left"]
    assert {name for name, _ in votes} == set(key["items"])
    assert key["items"][votes[0][0]]["prompt_index"] == first

    capsys.readouterr()
    assert main(["score", str(path), "--key", str(page.with_suffix(".key.json")), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["shares"]
    won = sum(choice == key["items"][name]["subject_side"] for name, choice in votes)
    assert (row["preferred"], row["equal"]) == (won, 1)


def test_each_annotator_has_progress_of_their_own(browser: Browser, page: Path) -> None:
    begin(browser, page, "Anna")
    browser.press("a")
    browser.run("document.querySelector('#rename').click()")
    assert browser.visible() == ["start"]
    browser.press("b")  # goes into the field: no vote
    browser.run("document.querySelector('#name').value = 'Ben'")
    browser.press("Enter")
    assert browser.text("#count") == "1 of 4"
    browser.run("document.querySelector('#rename').click()")
    browser.run("document.querySelector('#name').value = ' anna'")
    browser.press("Enter")
    assert browser.text("#count") == "2 of 4"


def test_each_annotator_has_an_order_of_their_own(browser: Browser, page: Path) -> None:
    begin(browser, page, "Anna")
    first = shown(browser)
    orders = [order_of(browser, name) for name in ("ANNA", "Ben", "Cleo", "Dora", "Emil", "Fay")]
    assert orders[0][0] == first
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(map(tuple, orders))) > 3


def test_where_the_page_scrolls_the_down_key_is_for_reading(browser: Browser, page: Path) -> None:
    size = {"width": 400, "height": 300, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    begin(browser, page, "Anna")
    browser.press("ArrowDown")
    assert browser.text("#count") == "1 of 4"
    assert browser.run("getComputedStyle(document.querySelector('.down')).display") == "none"
    browser.press("=")
    assert browser.text("#count") == "2 of 4"


def test_a_browser_that_stores_nothing_is_told_of(browser: Browser, page: Path) -> None:
    browser.call("Page.enable")
    broken = "Storage.prototype.setItem = () => { throw new DOMException('no', 'QuotaExceeded'); }"
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=broken)
    begin(browser, page, "Anna")
    assert "lost when the page is closed" in browser.text("#unkept")
    browser.press("a")
    assert browser.text("#count") == "2 of 4"
