"""What the server counts, in Prometheus' text format; HTTP names are OpenTelemetry's."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meters:
    """One server's counters."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.request_seconds = Histogram(
            "http_server_request_duration_seconds",
            "Time from a request's first byte to its answer.",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.active = Gauge("http_server_active_requests", "Requests under way.", registry=registry)
        self.predictions = Counter(
            "muster_predictions", "Answers, by who gave them.", ("channel", "release", "abstained"), registry=registry
        )
        self.reasons = Counter("muster_abstentions", "Withheld answers, by reason.", ("reason",), registry=registry)
        self.feedback = Counter("muster_feedback", "Labels received for predictions.", registry=registry)
        self.refused = Counter("muster_refused", "Requests refused at the door.", ("reason",), registry=registry)
        self.batch_items = Histogram(
            "muster_batch_items", "Items answered together.", buckets=_ITEMS, registry=registry
        )
        self.inference_seconds = Histogram(
            "muster_inference_seconds", "Time to answer one batch.", buckets=_SECONDS, registry=registry
        )
        self.commit_seconds = Histogram(
            "muster_commit_seconds", "Time to keep one group of records.", buckets=_SECONDS, registry=registry
        )
        self.waiting = Gauge("muster_waiting_items", "Items waiting for their batch.", registry=registry)
        self.swaps = Counter("muster_swaps", "Times a channel was followed to another release.", registry=registry)
        self.swap_failures = Counter(
            "muster_swap_failures", "Releases that were refused or could not be loaded.", registry=registry
        )
        self.unanswered = Counter(
            "muster_unanswered", "Items that a release gave no class to.", ("channel", "release", "code"),
            registry=registry,
        )  # fmt: skip
        self.generation = Gauge("muster_channel_generation", "Generation of the channels followed.", registry=registry)
        self.serving = Gauge(
            "muster_channel_release",
            "1 for the release that a channel serves.",
            ("channel", "release"),
            registry=registry,
        )
        self.expired = Counter("muster_inputs_expired", "Inputs erased after their retention.", registry=registry)

    def render(self) -> bytes:
        """All of it as text."""
        return generate_latest(self.registry)

    def watch_waiting(self, count: Callable[[], float]) -> None:
        """Read the number of waiting items when asked, instead of counting along."""
        self.waiting.set_function(count)
