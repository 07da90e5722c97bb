"""Listeners of news: metrics to be scraped, and log lines. Nothing here decides anything."""

from llmux.telemetry.log import LogNews, configure, flush
from llmux.telemetry.meters import Meter
from llmux.telemetry.metrics import CONTENT_TYPE, Metrics

__all__ = ["CONTENT_TYPE", "LogNews", "Meter", "Metrics", "configure", "flush"]
