"""The metrics: one table, by full id, the network included.

A metric describes pictures and compares descriptions (`spec.Metric`). Values are computed in
float32, sums and everything without a network in float64, on pictures of 8 bits as they are stored.
A network that is not here makes a column unavailable; no other network stands in for it.
"""

from collections.abc import Iterable

from a3d_bench.errors import BenchError
from a3d_bench.metrics.spec import Metric, MetricSpec

__all__ = ["METRICS", "Metric", "MetricSpec", "metric_specs", "unavailable_metrics"]
from a3d_bench.metrics.table import METRICS


def metric_specs(ids: Iterable[str]) -> list[MetricSpec]:
    """Return the metrics of some ids, in their order.

    Raises:
        BenchError: no metric has that id.
    """
    wanted = list(ids)
    unknown = [each for each in wanted if each not in METRICS]
    if unknown:
        raise BenchError(
            f"no metric is named {unknown[0][:80]!r}; expected some of {', '.join(METRICS)}"
        )
    return [METRICS[each] for each in wanted]


def unavailable_metrics(ids: Iterable[str]) -> dict[str, str]:
    """Return what can't be computed here: id to the reason, with the command that mends it."""
    return {spec.id: reason for spec in metric_specs(ids) if (reason := spec.available())}
