"""What the pages give to other programs is taken by them: nginx, Prometheus, its queries."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.conftest import Need
from tests.docs.pages import PAGES, blocks, read, rows, section, ticked

OPERATIONS = read("docs/operations.md")


def judged(*command: str) -> str:
    """Run a judge; gives what it said, and fails where it refuses."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def queries() -> list[str]:
    """The queries of all pages, one a line, without what is said about them."""
    found = "".join(text for page in PAGES for text in blocks(page.read_text(), "promql"))
    return [line for line in found.splitlines() if line and not line.startswith("#")]


def test_nginx_takes_the_location_of_the_page(tmp_path: Path, need: Need) -> None:
    [location] = blocks(OPERATIONS, "nginx")
    whole = (
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
        f"http {{ access_log off; proxy_temp_path {tmp_path}/a; client_body_temp_path {tmp_path}/b;"
        f" server {{ listen 127.0.0.1:1;\n{location}}} }}\n"
    )
    (tmp_path / "nginx.conf").write_text(whole)
    said = judged(need("nginx"), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"))
    assert "test is successful" in said


def test_prometheus_takes_the_scrape_of_the_page(tmp_path: Path, need: Need) -> None:
    [scrape] = [text for text in blocks(OPERATIONS, "") if "scrape_configs" in text]
    (tmp_path / "key").write_text("a key\n")
    text = re.sub(r"credentials_file: \S+?(?=})", f"credentials_file: {tmp_path / 'key'}", scrape)
    (tmp_path / "prometheus.yml").write_text(text)
    assert "SUCCESS" in judged(
        need("promtool"), "check", "config", str(tmp_path / "prometheus.yml")
    )


def test_prometheus_takes_every_query_of_a_page(tmp_path: Path, need: Need) -> None:
    """As the expressions of rules."""
    rules = [{"record": f"q{number}", "expr": expr} for number, expr in enumerate(queries())]
    assert len(rules) >= 8
    text = json.dumps({"groups": [{"name": "pages", "rules": rules}]})  # JSON is YAML, too
    (tmp_path / "rules.yml").write_text(text)
    said = judged(need("promtool"), "check", "rules", str(tmp_path / "rules.yml"))
    assert f"{len(rules)} rules found" in said


def test_every_query_asks_for_metrics_that_there_are() -> None:
    known = {ticked(row[0])[0] for row in rows(section(OPERATIONS, "Metrics"))}
    asked = {name for query in queries() for name in re.findall(r"llmux_\w+", query)}
    assert {name.removesuffix("_bucket") for name in asked} <= known
