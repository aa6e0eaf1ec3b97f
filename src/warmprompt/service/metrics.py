"""The service's metrics, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_NAMESPACE = "warmprompt"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.275, 0.4, 0.6, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One registry per service, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._histogram(
            "request_seconds", "Time to answer, by route and status.", _SECONDS, ("route", "status")
        )
        self.adaptation = self._histogram("adaptation_seconds", "Time of one adaptation.", _SECONDS)
        self.texts = self._histogram("text_seconds", "Time to read one batch of texts.", _SECONDS)
        self.wait = self._histogram(
            "fresh_state_wait_seconds", "Wait for texts to be read, queue included.", _SECONDS
        )
        self.ranking = self._histogram("ranking_seconds", "Time of one ranking.", _SECONDS)
        self.explanation = self._histogram(
            "explanation_seconds", "Time of one request's explanations, waiting included.", _SECONDS
        )
        self.batch = self._histogram("batch_users", "Users' texts in a batch.", _SIZES)
        self.queue = self._gauge("queue_jobs", "Texts that wait to be read.")
        self.cached_users = self._gauge("held_users", "Users in memory.")
        self.answers = self._counter("rankings", "Rankings, by whether the user has a history.", ("history",))
        self.cached = self._counter("rankings_cached", "Rankings answered from the cache.")
        self.stale = self._counter(
            "rankings_stale", "Rankings without a text that could not be read in time."
        )
        self.refused = self._counter("refused", "Requests refused, by reason.", ("reason",))
        self.events = self._counter("events", "Events and profiles written to the log.")
        self.model = self._gauge("model_info", "The model in service.", ("version", "run"))
        self.reloads = self._counter("model_reloads", "Reloads of the model.", ("outcome",))
        self.items = self._gauge("items", "Items that can be ranked.", ("origin",))
        self.users = self._gauge("users", "Users in the store, as last counted.")
        self.current = self._gauge("users_current", "Users whose state was made from their whole log.")
        self.unsaved = self._gauge("states_unsaved", "States that wait to be stored.")
        self.unscrubbed = self._gauge("scrub_due", "1 while bytes of deleted users are in the files.")
        self.database = self._gauge("database_up", "1 while the database answers.")

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace=_NAMESPACE, registry=self.registry, buckets=list(buckets)
        )

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, namespace=_NAMESPACE, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, namespace=_NAMESPACE, registry=self.registry)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
