"""Draws a report of `llmux simulate`: makes one and lets a browser take its picture.

    python -m tools.report_picture [FILE]

Without a Chromium on the machine it says so and leaves the picture as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs/report.png"
SIZE = (1040, 1920)
"""Pixels: the sentence, the figures, the waits, and how the first policy fared."""
COMMAND = ["simulate", "--workload", "bursts3", "--policy", "fifo,balance", "--cost", "11"]


def main() -> None:
    """Write the picture."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print(f"there is no chromium here: {target} stays as it is", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        ours = [sys.executable, "-m", "llmux", *COMMAND, "--report", str(page)]
        subprocess.run(ours, check=True, stdout=subprocess.DEVNULL)
        flags = ["--headless", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        shot = [browser, *flags, f"--user-data-dir={folder}", f"--screenshot={target.resolve()}"]
        subprocess.run([*shot, page.as_uri()], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
