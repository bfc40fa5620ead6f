"""What asking an endpoint took: seconds, tokens, money, and what it said that names no class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passmuster.runtime.endpoint import EndpointPrice

MAX_EXAMPLES = 5


@dataclass
class Account:
    """Adds up what engines give beside the scores of each item. Empty for an engine on this machine."""

    seconds: list[float] = field(default_factory=list)
    n_unread: int = 0
    unread: list[str] = field(default_factory=list)  # a few examples
    input_tokens: float = 0.0
    output_tokens: float = 0.0

    def add(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Note a batch of answers."""
        if "unread" not in outputs:
            return
        self.seconds += outputs["seconds"].tolist()
        self.input_tokens += float(outputs["input_tokens"].sum())
        self.output_tokens += float(outputs["output_tokens"].sum())
        said = [text for text in outputs["unread"] if text]
        self.n_unread += len(said)
        self.unread = list(dict.fromkeys([*self.unread, *said]))[:MAX_EXAMPLES]

    def plus(self, other: Account) -> Account:
        """Both together.

        >>> Account([0.1]).plus(Account([0.3], n_unread=1)).seconds
        [0.1, 0.3]
        """
        return Account(
            [*self.seconds, *other.seconds], self.n_unread + other.n_unread,
            list(dict.fromkeys([*self.unread, *other.unread]))[:MAX_EXAMPLES],
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens,
        )  # fmt: skip

    def summary(self, price: EndpointPrice, batch: int = 1) -> dict[str, Any]:
        """Counts, seconds of one request (median and 95th percentile), and the price of a million answers.

        Empty when nothing was asked. ``per_million`` is 0.0 where no price was named.

        >>> account = Account([0.1, 0.3], input_tokens=200.0, output_tokens=4.0)
        >>> account.summary(EndpointPrice(per_million_input_tokens=0.5))["per_million"]
        50.0
        """
        n = len(self.seconds)
        if not n:
            return {}
        tokens_in, tokens_out = self.input_tokens / n, self.output_tokens / n
        per_million = (
            price.per_million_requests / batch
            + tokens_in * price.per_million_input_tokens
            + tokens_out * price.per_million_output_tokens
        )
        return {
            "n_answers": n,
            "n_unread": self.n_unread,
            "unread": list(self.unread),
            "seconds_median": round(float(np.median(self.seconds)), 4),
            "seconds_p95": round(float(np.quantile(self.seconds, 0.95)), 4),
            "input_tokens": round(tokens_in, 1),
            "output_tokens": round(tokens_out, 1),
            "per_million": round(per_million, 4),
        }
