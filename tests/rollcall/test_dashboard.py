"""docs/dashboard.json, for Grafana: each panel asks for metrics, and labels of them, that the program has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import Counter, Histogram

from rollcall.metrics import REPLICA_GAUGES, VIEW_GAUGES, WEBHOOK_GAUGES, Metrics

DASHBOARD: Final = json.loads((Path(__file__).parents[2] / "docs" / "dashboard.json").read_text())
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS: Final = {"instance", "job", "le"}
FUNCTIONS: Final = {"sum", "max", "min", "rate", "deriv", "increase", "histogram_quantile", "by", "time"}


def series() -> dict[str, set[str]]:
    """Each series of the program by its name in a query, with its labels."""
    found: dict[str, set[str]] = {"rollcall_log_up": set(), "rollcall_log_head": set()}
    found["rollcall_view_state"] = {"view", "state"}
    found |= {f"rollcall_view_{name}": {"view"} for name in VIEW_GAUGES}
    found |= {f"rollcall_webhook_{name}": {"webhook"} for name in WEBHOOK_GAUGES}
    found |= {f"rollcall_replica_{name}": {"view", "host"} for name in (*REPLICA_GAUGES, "answers_total")}
    for metric in vars(Metrics()).values():
        if isinstance(metric, Counter | Histogram):
            suffixes = ["_total"] if isinstance(metric, Counter) else ["_bucket", "_count", "_sum"]
            found |= {f"{metric._name}{suffix}": set(metric._labelnames) for suffix in suffixes}
    return found


def queries() -> Iterator[tuple[str, str, str]]:
    """Each query, with its panel's title and its legend."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


@pytest.mark.parametrize(("title", "query", "legend"), list(queries()))
def test_a_query_uses_series_and_labels_that_exist(title: str, query: str, legend: str) -> None:
    """A renamed metric or label would leave an empty panel, which looks like a quiet system."""
    known = series()
    used = set(re.findall(r"\brollcall_\w+", query))
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    shown = set(re.findall(r"{{(\w+)}}", legend))

    assert used
    assert used <= known.keys(), title
    labels = OF_PROMETHEUS.union(*(known[name] for name in used))
    assert grouped <= labels, title
    assert shown <= grouped, title
    words = set(re.findall(r"[a-z_]+(?= ?\()", query))
    assert words <= FUNCTIONS, title
    assert query.count("(") == query.count(")")


def test_every_metric_of_the_program_has_a_panel_or_is_known_to_have_none() -> None:
    """What an operator cannot see here is in the alerts."""
    shown = " ".join(query for _, query, _ in queries())
    families = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in series()}
    alerts = (Path(__file__).parents[2] / "docs" / "alerts.yml").read_text()

    hidden = {name for name in families if name not in shown and name not in alerts}
    assert hidden == {
        "rollcall_view_position",
        "rollcall_view_events_per_second",
        "rollcall_webhook_lag_events",
        "rollcall_webhook_failed_deliveries",
    }


def test_panels_have_a_place_and_say_what_they_show() -> None:
    """No two panels overlap, and each has a description, a unit and the chosen data source."""
    taken: set[tuple[int, int]] = set()
    ids: list[Any] = [panel["id"] for panel in DASHBOARD["panels"]]
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
