"""What a Prometheus server may ask: the news and the requests, counted.

Names and labels are worked out at scrape only (`exposition` writes them). This file does not know
where news come from, and it never takes a label from a client: an unknown model is `model=""`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from llmux import __version__
from llmux.core import news as told
from llmux.core.times import Spent
from llmux.telemetry.exposition import Escaped, Page
from llmux.telemetry.meters import Meter, Tally

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

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


class Metrics:
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
        self._escaped = Escaped()
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)

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
        """Return everything as it is now in Prometheus's text format (`CONTENT_TYPE`)."""
        page = Page(self._escaped)
        self._about_switches(page)
        self._about_requests(page)
        self._about_hooks(page)
        self._about_time(page)
        self._about_health(page)
        self._about_config(page)
        return page.text() + generate_latest(self._process)

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

    def _about_switches(self, page: Page) -> None:
        page.family(
            "counter",
            "llmux_switch_total",
            "Switches that ended, by their result",
            ("from", "to", "result"),
            self._switches.items(),
        )
        page.histogram(
            "llmux_switch_duration_seconds",
            "Time from the start of a switch until its target admits, the drain included",
            ("from", "to"),
            self._switch_seconds.items(),
        )
        page.histogram(
            "llmux_switch_drain_duration_seconds",
            "Time that a switch waited for requests in flight",
            ("from", "to"),
            self._drain_seconds.items(),
        )
        page.histogram(
            "llmux_model_active_duration_seconds",
            "Time for which a model stayed active",
            ("model",),
            _by_model(self._active_seconds),
        )
        page.family(
            "gauge",
            "llmux_switch_cost_ema_seconds",
            "Moving average of the hooks' time of a switch",
            ("from", "to"),
            self._costs.items(),
        )

    def _about_requests(self, page: Page) -> None:
        for name, text, numbers in (
            ("llmux_request_queue_depth", "Requests that wait for a model", self._queue_depths()),
            ("llmux_model_in_flight", "Requests that a model is answering", self._in_flight()),
        ):
            rows = [((model,), numbers.get(model, 0)) for model in self._models]
            page.family("gauge", name, text, ("model",), rows)
        meters = [*self._meters.items(), ("", self._unknown)]
        page.histogram(
            "llmux_request_queue_wait_seconds",
            "Time that a request waited for its model to be awake",
            ("model",),
            (((model,), meter.all_waits()) for model, meter in self._meters.items()),
        )  # nobody ever waits for an unknown one
        answers = [
            ((model, str(status)), tally)
            for model, meter in meters
            for status, tally in sorted(meter.answers.items())
        ]
        page.family(
            "counter",
            "llmux_requests_total",
            "Requests that were answered",
            ("model", "status"),
            ((labels, tally.count()) for labels, tally in answers),
        )
        page.histogram(
            "llmux_request_duration_seconds",
            "Time from a request's arrival to the first byte of its answer",
            ("model", "status"),
            answers,
        )
        page.family(
            "counter",
            "llmux_answers_cut_total",
            "Answers that were ended before their end",
            ("model", "reason"),
            self._cuts.items(),
        )

    def _about_hooks(self, page: Page) -> None:
        page.histogram(
            "llmux_hook_duration_seconds",
            "Time that hooks ran, whatever came of it",
            ("model", "hook"),
            self._hook_seconds.items(),
        )
        page.family(
            "counter",
            "llmux_hook_failures_total",
            "Hooks that failed",
            ("model", "hook"),
            self._hook_failures.items(),
        )

    def _about_time(self, page: Page) -> None:
        spent = self._spent()
        page.family(
            "counter",
            "llmux_time_seconds_total",
            "Time since the start by what it was spent on; the states add up to all of it",
            ("state",),
            [((state,), getattr(spent, state)) for state in ("serving", "switching", "idle")],
        )
        for name, text, seconds in (
            ("serving", "Time with requests of a model in flight", spent.serving_by_model),
            ("switching", "Time with a hook of a model running", spent.switching_by_model),
        ):
            rows = [((model,), seconds.get(model, 0.0)) for model in self._models]
            page.family("counter", f"llmux_model_{name}_seconds_total", text, ("model",), rows)

    def _about_health(self, page: Page) -> None:
        page.family(
            "counter",
            "llmux_backend_deaths_total",
            "Backends that died or hung",
            ("model", "kind"),
            self._deaths.items(),
        )
        page.family(
            "counter",
            "llmux_breaker_opened_total",
            "Times that a model was left alone",
            ("model",),
            _by_model(self._breakers),
        )
        page.family(
            "gauge",
            "llmux_model_quarantined",
            "Whether a model is neither alive nor provably asleep",
            ("model",),
            [((model,), model in self._quarantined) for model in self._models],
        )

    def _about_config(self, page: Page) -> None:
        page.family(
            "counter",
            "llmux_config_reloads_total",
            "Times that the config was read anew",
            ("result",),
            [((result,), count) for result, count in self._reloads.items()],
        )
        page.family(
            "gauge",
            "llmux_config_loaded_timestamp_seconds",
            "When the config that holds was read",
            (),
            [((), self._loaded_at)],
        )
        page.family(
            "gauge",
            "llmux_build_info",
            "Always 1; the labels say which llmux runs on which Python",
            ("version", "python"),
            [((self._version, platform.python_version()), 1)],
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


def _by_model(numbers: Mapping[str, V]) -> Iterator[tuple[tuple[str], V]]:
    return (((model,), number) for model, number in numbers.items())
