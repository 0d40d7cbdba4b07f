"""The README's picture of the desk: python -m tests.desk.picture FILE.

It runs `triage-worker demo --desk`, opens its desk in Chromium, and takes a picture of the list
of incidents.
"""

import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1000, 640


def take(picture: Path) -> None:
    """Write the picture, as PNG."""
    with tempfile.NamedTemporaryFile() as output:
        command = [sys.executable, "-m", "worker.cli", "demo", "--desk"]
        demo = subprocess.Popen(command, stdout=output)
        try:
            url = address(demo, Path(output.name))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.goto(f"{url}/?sort=largest")
                page.get_by_text("Live", exact=True).wait_for()
                page.screenshot(path=picture)
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)


def address(demo: subprocess.Popen[bytes], output: Path) -> str:
    """Return the desk's address, once the demonstration has come to it."""
    while demo.poll() is None:
        found = re.search(r"(http://\S+) until Ctrl-C", output.read_text())
        if found:
            return found[1]
        time.sleep(0.2)
    raise SystemExit(output.read_text())


if __name__ == "__main__":
    take(Path(sys.argv[1]))
