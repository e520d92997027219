"""A choice of the number that the map and the table show."""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from globa_tui.tui.metric import Metric
from globa_tui.tui.metrics import METRICS


class MetricScreen(ModalScreen[str]):
    """Lists the metrics of the registry; enter takes one, esc none.

    Parameters
    ----------
    now : str
        Key of the metric that is shown now.
    """

    BINDINGS = [
        Binding("escape,q,backspace", "dismiss", "Back", id="metric.back"),
        Binding("j", "step('cursor_down')", "Down", id="metric.down"),
        Binding("k", "step('cursor_up')", "Up", id="metric.up"),
    ]

    def __init__(self, now: str) -> None:
        super().__init__()
        self._now = now

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Metric"
            box.border_subtitle = "enter takes, esc leaves"
            options = [
                Option(
                    Text.assemble((f"{metric.title:<19}", "bold"), (metric.meaning, "dim"), no_wrap=True), id=metric.key
                )
                for metric in METRICS
            ]
            yield OptionList(*options, compact=True)

    def on_mount(self) -> None:
        """Start on the metric that is shown now."""
        options = self.query_one(OptionList)
        options.highlighted = [metric.key for metric in METRICS].index(self._now)

    def action_step(self, method: str) -> None:
        """Move the cursor."""
        getattr(self.query_one(OptionList), f"action_{method}")()

    @on(OptionList.OptionSelected)
    def take(self, event: OptionList.OptionSelected) -> None:
        """Close with the key of the metric."""
        self.dismiss(event.option_id)


def _line(metric: Metric) -> Text:
    return Text.assemble((f"{metric.title:<19}", "bold"), (metric.meaning, "dim"), no_wrap=True)
