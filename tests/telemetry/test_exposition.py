"""The text format, held against prometheus_client, which writes and reads it too."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isnan, nan

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from llmux.telemetry.exposition import Escaped, Page
from llmux.telemetry.meters import Tally

NUMBERS = [0, 1, True, 2.5, 1e-7, 999_999.5, 1_000_000, 12_345_678.9, 1e21, 1e300, -3.0, inf, -inf]
NAMES = ["llama", "org/qwen:7b", 'we"ird\n\\', "tab\there", "größe", ""]


class Theirs(Collector):
    """The same families as prometheus_client has them."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Give them."""
        return self._families


def read(page: str) -> list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]:
    """What a reader of the page knows: families in their order, with their samples."""
    return [
        (one.name, one.type, one.documentation, [(s.name, s.labels, s.value) for s in one.samples])
        for one in text_string_to_metric_families(page)
    ]


def test_it_reads_as_what_prometheus_client_writes() -> None:
    """Whatever the numbers, and whatever stands in a label."""
    tally = Tally((0.5, 1.0, 2.5e7))
    for seconds in (0.5, 0.7, 3.0, 3e7):
        tally.add(seconds)
    page = Page(Escaped())
    counted = [((name, "x"), number) for number, name in enumerate(NAMES)]
    page.family("counter", "asked_total", "How often", ("model", "by"), counted)
    gauged = [((str(index),), number) for index, number in enumerate(NUMBERS)]
    page.family("gauge", "level", "How much", ("n",), gauged)
    page.family("gauge", "since_seconds", "Since when", (), [((), 1e9)])
    timed = [((name,), tally) for name in NAMES] + [(("never",), Tally((1.0,)))]
    page.histogram("took_seconds", "How long", ("model",), timed)

    counter = CounterMetricFamily("asked", "How often", labels=["model", "by"])
    gauge = GaugeMetricFamily("level", "How much", labels=["n"])
    since = GaugeMetricFamily("since_seconds", "Since when", value=1e9)
    histogram = HistogramMetricFamily("took_seconds", "How long", labels=["model"])
    for labels, count in counted:
        counter.add_metric(labels, count)
    for index, number in enumerate(NUMBERS):
        gauge.add_metric([str(index)], number)
    for name in NAMES:
        histogram.add_metric([name], tally.buckets(), tally.total)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Theirs(counter, gauge, since, histogram))
    assert read(page.text().decode()) == read(generate_latest(registry).decode())


def test_what_is_no_number_and_no_text_is_written_nevertheless() -> None:
    page = Page(Escaped())
    page.family("gauge", "odd", "Odd", ("model",), [(("lone\ud800",), nan)])
    [(_, _, _, [(_, labels, value)])] = read(page.text().decode())
    assert labels == {"model": "lone?"}
    assert isnan(value)
