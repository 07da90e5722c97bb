"""Stories of the metrics page, read back with the text parser and with promtool."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmux.core import news as told
from llmux.core.times import Spent
from llmux.telemetry.metrics import CONTENT_TYPE, Metrics
from tests.conftest import Need

Labels = dict[str, str]


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read the page back: value by name and sorted labels."""
    page = metrics.render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    wanted = {key.rstrip("_"): text for key, text in labels.items()}
    return samples(metrics).get((name, tuple(sorted(wanted.items()))))


def lived() -> Metrics:
    """Metrics of a gateway in which everything has happened once."""
    metrics = Metrics(
        ["llama", "org/qwen"],
        queue_depths=lambda: {"llama": 4},
        in_flight=lambda: {"org/qwen": 2},
        spent=lambda: Spent(40.0, 5.5, 14.5, {"llama": 40.0}, {"llama": 3.0, "org/qwen": 2.5}),
        version="3.0.0",
    )
    for news in (
        told.SwitchStarted("idle", "llama"),
        told.HookEnded("llama", "wake", True, 0, 3.0, "", ""),
        told.ModelActivated("llama", "idle", 3.0),
        told.SwitchStarted("llama", "org/qwen"),
        told.DrainEnded("llama", "org/qwen", 0.2),
        told.ModelDeactivated("llama", 60.0),
        told.ModelAsleep("llama"),
        told.HookEnded("org/qwen", "wake", False, 3, 1.5, "no card", "exit code 3"),
        told.SwitchFailed("org/qwen", "llama", "exit code 3"),
        told.CostLearned("llama", "org/qwen", 4.5),
        told.SwitchAbandoned("llama", "org/qwen"),
        told.DrainCut("llama", 2),
        told.SleepHookFailed("llama", "org/qwen", "exit code 1"),
        told.RequestTimedOut("llama", 30.0),
        told.AnswerCut("llama", "drain_timeout", "id-1"),
        told.AnswerCut("llama", "drain_timeout", "id-2"),
        told.PolicyFault("fifo", "raised"),
    ):
        metrics(news)
    metrics.meter_for("llama").waited(3.0)
    metrics.meter_for("llama").answered(200, 3.1)
    metrics.meter_for("llama").answered(200, 0.004)
    metrics.meter_for("org/qwen").answered(500, 1.5)
    return metrics


def test_everything_that_happened_is_on_the_page_under_its_fixed_name() -> None:
    metrics = lived()
    pair = {"from_": "llama", "to": "org/qwen"}
    cold = {"from_": "idle", "to": "llama"}
    assert value(metrics, "llmux_switch_total", **cold, result="success") == 1
    assert value(metrics, "llmux_switch_total", **pair, result="failure") == 1
    assert value(metrics, "llmux_switch_duration_seconds_sum", **cold) == 3.0
    assert value(metrics, "llmux_switch_duration_seconds_count", **pair) is None
    assert value(metrics, "llmux_switch_drain_duration_seconds_sum", **pair) == 0.2
    cuts = "llmux_answers_cut_total"
    assert value(metrics, cuts, model="llama", reason="drain_timeout") == 2
    assert value(metrics, cuts, model="org/qwen", reason="client_stall") == 0
    assert value(metrics, "llmux_model_active_duration_seconds_sum", model="llama") == 60.0
    assert value(metrics, "llmux_switch_cost_ema_seconds", **pair) == 4.5
    assert value(metrics, "llmux_request_queue_depth", model="llama") == 4
    assert value(metrics, "llmux_request_queue_wait_seconds_sum", model="llama") == 3.0
    assert value(metrics, "llmux_model_in_flight", model="org/qwen") == 2
    assert value(metrics, "llmux_requests_total", model="llama", status="200") == 2
    assert value(metrics, "llmux_requests_total", model="org/qwen", status="500") == 1
    assert value(
        metrics, "llmux_request_duration_seconds_sum", model="llama", status="200"
    ) == pytest.approx(3.104)
    states = [
        value(metrics, "llmux_time_seconds_total", state=state)
        for state in ("serving", "switching", "idle")
    ]
    assert states == [40.0, 5.5, 14.5]
    assert value(metrics, "llmux_model_serving_seconds_total", model="llama") == 40.0
    assert value(metrics, "llmux_model_serving_seconds_total", model="org/qwen") == 0.0
    assert value(metrics, "llmux_model_switching_seconds_total", model="org/qwen") == 2.5
    wake = {"model": "org/qwen", "hook": "wake"}
    assert value(metrics, "llmux_hook_duration_seconds_sum", **wake) == 1.5
    assert value(metrics, "llmux_hook_failures_total", **wake) == 1
    assert value(metrics, "llmux_hook_failures_total", model="llama", hook="wake") == 0


def test_buckets_are_cumulative_and_a_bound_counts_as_inside() -> None:
    metrics = Metrics(["llama"])
    for seconds in (0.0, 1.0, 1.001, 9999.0):
        metrics.meter_for("llama").waited(seconds)

    def upto(bound: str) -> float | None:
        name = "llmux_request_queue_wait_seconds_bucket"
        return value(metrics, name, model="llama", le=bound)

    assert [upto(bound) for bound in ("0.001", "0.5", "1.0", "2.5", "1800.0", "+Inf")] == [
        *(1, 1, 2, 3, 3, 4)
    ]


def test_registered_models_are_there_before_anything_happened() -> None:
    metrics = Metrics(["llama"])
    for name in ("llmux_request_queue_depth", "llmux_model_in_flight"):
        assert value(metrics, name, model="llama") == 0
    assert value(metrics, "llmux_hook_failures_total", model="llama", hook="wake") == 0


def test_gauges_are_asked_at_the_scrape() -> None:
    """A depth on the page is the depth of that moment, not of the last event."""
    depths = {"llama": 1}
    metrics = Metrics(["llama"], queue_depths=lambda: depths)
    assert value(metrics, "llmux_request_queue_depth", model="llama") == 1
    depths["llama"] = 7
    assert value(metrics, "llmux_request_queue_depth", model="llama") == 7


def test_three_thousand_unknown_names_are_one_label() -> None:
    """Fault 11 of 2.4.0: a client's text never becomes a label, and the page stays small."""
    metrics = Metrics(["llama", "qwen"])
    for number in range(3000):
        metrics.meter_for(f"made-up-{number}").answered(404, 0.0001)
        metrics(told.ModelActivated(f"made-up-{number}", "idle", 1.0))
    page = metrics.render()
    assert b"made-up" not in page
    assert value(metrics, "llmux_requests_total", model="", status="404") == 3000
    assert len(page) < 9000


def test_a_name_that_cannot_be_encoded_does_not_break_the_scrape() -> None:
    metrics = Metrics(['we"ird\n\\', "lone\ud800"])
    metrics.meter_for("lone\ud800").answered(200, 1.0)
    metrics(told.ModelActivated("lone\ud800", 'we"ird\n\\', 1.0))
    page = samples(metrics)
    assert ("llmux_model_in_flight", (("model", 'we"ird\n\\'),)) in page
    assert ("llmux_model_in_flight", (("model", "lone?"),)) in page


def test_promtool_finds_nothing_to_say(need: Need) -> None:
    """The page is well formed and well named, empty and after everything has happened."""
    promtool = need("promtool")
    for metrics in (Metrics([]), Metrics(["llama"]), lived()):
        done = subprocess.run(
            [promtool, "check", "metrics"], input=metrics.render(), capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_page_is_the_format_it_says_it_is() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
    build = [key for key in samples(lived()) if key[0] == "llmux_build_info"]
    assert dict(build[0][1])["version"] == "3.0.0"
