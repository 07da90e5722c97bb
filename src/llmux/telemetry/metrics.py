"""What a Prometheus server may ask: the news and the requests, counted.

Names, labels and the text format are worked out at scrape only. This file does not know where news
come from, and it never takes a label from a client: an unknown model is `model=""`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from llmux import __version__
from llmux.core import news as told
from llmux.core.times import Spent
from llmux.telemetry.meters import Meter, Tally

K = TypeVar("K", bound=Hashable)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of what `Metrics.render` returns."""

SWITCH_BUCKETS = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
)
"""Seconds of switches, drains and hooks."""
ACTIVE_BUCKETS = (1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Seconds for which a model stayed active."""


def _nothing() -> Mapping[str, int]:
    return {}


def _no_time() -> Spent:
    return Spent(0.0, 0.0, 0.0, {}, {})


class Metrics(Collector):
    """A listener of news that can be scraped.

    The gauges and counters of all `models` are there from the start, at zero; a histogram comes
    with its first value. `queue_depths` and `in_flight` are asked at
    each scrape; both give numbers by model. So is `spent`, which says where the time went.
    """

    def __init__(
        self,
        models: Iterable[str],
        *,
        queue_depths: Callable[[], Mapping[str, int]] = _nothing,
        in_flight: Callable[[], Mapping[str, int]] = _nothing,
        spent: Callable[[], Spent] = _no_time,
        version: str = __version__,
    ) -> None:
        self._models: list[str] = []
        self._queue_depths = queue_depths
        self._in_flight = in_flight
        self._spent = spent
        self._version = version
        self._meters: dict[str, Meter] = {}
        self._unknown = Meter()
        self._switches: dict[tuple[str, str, str], int] = {}
        self._switch_seconds: dict[tuple[str, str], Tally] = {}
        self._drain_seconds: dict[tuple[str, str], Tally] = {}
        self._active_seconds: dict[str, Tally] = {}
        self._costs: dict[tuple[str, str], float] = {}
        self._hook_seconds: dict[tuple[str, str], Tally] = {}
        self._hook_failures: dict[tuple[str, str], int] = {}
        self._deaths: dict[tuple[str, str], int] = {}
        self._breakers: dict[str, int] = {}
        self._cuts: dict[tuple[str, str], int] = {}
        self._quarantined: set[str] = set()
        self._reloads = {"success": 0, "failure": 0}
        self._loaded_at = time.time()
        self.follow(models)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def __repr__(self) -> str:
        return f"<Metrics {len(self._models)} models>"

    def follow(self, models: Iterable[str]) -> None:
        """Count for these models from now on; what was counted for others stays on the page."""
        self._models = sorted(set(models))
        for model in self._models:
            self._meters.setdefault(model, Meter())
            self._active_seconds.setdefault(model, Tally(ACTIVE_BUCKETS))
            self._breakers.setdefault(model, 0)
            for hook in ("wake", "sleep"):
                self._hook_seconds.setdefault((model, hook), Tally(SWITCH_BUCKETS))
                self._hook_failures.setdefault((model, hook), 0)
            for kind in ("dead", "hung"):
                self._deaths.setdefault((model, kind), 0)
            for reason in told.CUT_REASONS:
                self._cuts.setdefault((model, reason), 0)

    def meter_for(self, model: str) -> Meter:
        """Return the meter of a model; all unknown models share the one of `model=""`."""
        return self._meters.get(model, self._unknown)

    def render(self) -> bytes:
        """Return everything in Prometheus's text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def __call__(self, news: told.News) -> None:
        """Count one piece of news."""
        if isinstance(news, told.ModelActivated):
            self._count_switch(news.source, news.model, "success")
            pair = (self._label(news.source), self._label(news.model))
            _tally(self._switch_seconds, pair, SWITCH_BUCKETS).add(news.duration)
        elif isinstance(news, told.SwitchFailed):
            self._count_switch(news.source, news.model, "failure")
        elif isinstance(news, told.DrainEnded):
            pair = (self._label(news.source), self._label(news.target))
            _tally(self._drain_seconds, pair, SWITCH_BUCKETS).add(news.duration)
        elif isinstance(news, told.ModelDeactivated):
            model = self._label(news.model)
            _tally(self._active_seconds, model, ACTIVE_BUCKETS).add(news.active_seconds)
        elif isinstance(news, told.CostLearned):
            self._costs[self._label(news.source), self._label(news.target)] = news.seconds
        elif isinstance(news, told.HookEnded):
            run = (self._label(news.model), news.hook)
            _tally(self._hook_seconds, run, SWITCH_BUCKETS).add(news.duration)
            self._hook_failures[run] = self._hook_failures.get(run, 0) + (not news.ok)
        else:
            self._count_health(news)

    def _count_health(self, news: told.News) -> None:
        match news:
            case told.BackendDied(model, hung) if model in self._breakers:
                self._deaths[model, "hung" if hung else "dead"] += 1
            case told.AnswerCut(model, reason) if model in self._breakers:
                self._cuts[model, reason] = self._cuts.get((model, reason), 0) + 1
            case told.BreakerOpened(model) if model in self._breakers:
                self._breakers[model] += 1
            case told.Quarantined(model):
                self._quarantined.add(model)
            case told.ConfigReloaded():
                self._reloads["success"] += 1
                self._loaded_at = time.time()
            case told.ConfigRejected():
                self._reloads["failure"] += 1
            case told.QuarantineEnded(model):
                self._quarantined.discard(model)
            case _:
                pass

    def collect(self) -> Iterator[Metric]:
        """Yield every family of metrics as it is now; for prometheus_client."""
        yield from self._about_switches()
        yield from self._about_requests()
        yield from self._about_hooks()
        yield from self._about_time()
        yield from self._about_health()
        yield from self._about_config()
        build = GaugeMetricFamily(
            "llmux_build_info",
            "Always 1; the labels say which llmux runs on which Python",
            labels=["version", "python"],
        )
        build.add_metric([self._version, platform.python_version()], 1)
        yield build

    def _about_switches(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "llmux_switch",
            "Switches that ended, by their result",
            labels=["from", "to", "result"],
        )
        for switch, count in self._switches.items():
            total.add_metric([_text(label) for label in switch], count)
        yield total
        yield _histogram(
            "llmux_switch_duration_seconds",
            "Time from the start of a switch until its target admits, the drain included",
            ("from", "to"),
            self._switch_seconds.items(),
        )
        yield _histogram(
            "llmux_switch_drain_duration_seconds",
            "Time that a switch waited for requests in flight",
            ("from", "to"),
            self._drain_seconds.items(),
        )
        yield _histogram(
            "llmux_model_active_duration_seconds",
            "Time for which a model stayed active",
            ("model",),
            (((model,), tally) for model, tally in self._active_seconds.items()),
        )
        cost = GaugeMetricFamily(
            "llmux_switch_cost_ema_seconds",
            "Moving average of the hooks' time of a switch",
            labels=["from", "to"],
        )
        for pair, seconds in self._costs.items():
            cost.add_metric([_text(label) for label in pair], seconds)
        yield cost

    def _about_requests(self) -> Iterator[Metric]:
        for name, text, numbers in (
            ("llmux_request_queue_depth", "Requests that wait for a model", self._queue_depths()),
            ("llmux_model_in_flight", "Requests that a model is answering", self._in_flight()),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            for model in self._models:
                gauge.add_metric([_text(model)], numbers.get(model, 0))
            yield gauge
        meters = [(_text(model), meter) for model, meter in self._meters.items()]
        meters.append(("", self._unknown))  # nobody ever waits for it
        yield _histogram(
            "llmux_request_queue_wait_seconds",
            "Time that a request waited for its model to be awake",
            ("model",),
            (((model,), meter.all_waits()) for model, meter in meters[:-1]),
        )
        answers = [
            ((model, str(status)), tally)
            for model, meter in meters
            for status, tally in sorted(meter.answers.items())
        ]
        total = CounterMetricFamily(
            "llmux_requests", "Requests that were answered", labels=["model", "status"]
        )
        for labels, tally in answers:
            total.add_metric(labels, tally.count())
        yield total
        yield _histogram(
            "llmux_request_duration_seconds",
            "Time from a request's arrival to the first byte of its answer",
            ("model", "status"),
            answers,
        )
        cuts = CounterMetricFamily(
            "llmux_answers_cut",
            "Answers that were ended before their end",
            labels=["model", "reason"],
        )
        for (model, reason), count in self._cuts.items():
            cuts.add_metric([_text(model), reason], count)
        yield cuts

    def _about_hooks(self) -> Iterator[Metric]:
        yield _histogram(
            "llmux_hook_duration_seconds",
            "Time that hooks ran, whatever came of it",
            ("model", "hook"),
            self._hook_seconds.items(),
        )
        failures = CounterMetricFamily(
            "llmux_hook_failures", "Hooks that failed", labels=["model", "hook"]
        )
        for (model, hook), count in self._hook_failures.items():
            failures.add_metric([_text(model), hook], count)
        yield failures

    def _about_time(self) -> Iterator[Metric]:
        spent = self._spent()
        whole = CounterMetricFamily(
            "llmux_time_seconds",
            "Time since the start by what it was spent on; the states add up to all of it",
            labels=["state"],
        )
        for state in ("serving", "switching", "idle"):
            whole.add_metric([state], getattr(spent, state))
        yield whole
        for name, text, seconds in (
            ("serving", "Time with requests of a model in flight", spent.serving_by_model),
            ("switching", "Time with a hook of a model running", spent.switching_by_model),
        ):
            counter = CounterMetricFamily(f"llmux_model_{name}_seconds", text, labels=["model"])
            for model in self._models:
                counter.add_metric([_text(model)], seconds.get(model, 0.0))
            yield counter

    def _about_health(self) -> Iterator[Metric]:
        deaths = CounterMetricFamily(
            "llmux_backend_deaths", "Backends that died or hung", labels=["model", "kind"]
        )
        for (model, kind), count in self._deaths.items():
            deaths.add_metric([_text(model), kind], count)
        yield deaths
        opened = CounterMetricFamily(
            "llmux_breaker_opened", "Times that a model was left alone", labels=["model"]
        )
        for model, count in self._breakers.items():
            opened.add_metric([_text(model)], count)
        yield opened
        quarantined = GaugeMetricFamily(
            "llmux_model_quarantined",
            "Whether a model is neither alive nor provably asleep",
            labels=["model"],
        )
        for model in self._models:
            quarantined.add_metric([_text(model)], float(model in self._quarantined))
        yield quarantined

    def _about_config(self) -> Iterator[Metric]:
        reloads = CounterMetricFamily(
            "llmux_config_reloads", "Times that the config was read anew", labels=["result"]
        )
        for result, count in self._reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        yield GaugeMetricFamily(
            "llmux_config_loaded_timestamp_seconds",
            "When the config that holds was read",
            value=self._loaded_at,
        )

    def _count_switch(self, source: str, target: str, result: str) -> None:
        switch = (self._label(source), self._label(target), result)
        self._switches[switch] = self._switches.get(switch, 0) + 1

    def _label(self, model: str) -> str:
        return model if model in self._meters or model == "idle" else ""


def _tally(tallies: dict[K, Tally], key: K, bounds: Sequence[float]) -> Tally:
    tally = tallies.get(key)
    if tally is None:
        tally = tallies[key] = Tally(bounds)
    return tally


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    tallies: Iterable[tuple[Sequence[str], Tally]],
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, tally in tallies:
        if not tally.count():
            continue  # a page of zeros for each model helps nobody
        family.add_metric([_text(value) for value in values], tally.buckets(), tally.total)
    return family


def _text(label: str) -> str:
    """Make a name that no encoding can carry (a lone surrogate) one that it can."""
    return label.encode(errors="replace").decode()
