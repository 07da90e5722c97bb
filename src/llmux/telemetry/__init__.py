"""Listeners of news: metrics to be scraped, and log lines. Nothing here decides anything."""

from llmux.telemetry.log import LogNews, configure, flush
from llmux.telemetry.metrics import CONTENT_TYPE, Meter, Metrics

__all__ = ["CONTENT_TYPE", "LogNews", "Meter", "Metrics", "configure", "flush"]
