"""What the command palette finds besides the actions of the key table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.command import Hit, Hits, Provider

from globa_tui.diagnostics import printable

if TYPE_CHECKING:
    from globa_tui.tui.app import InspectApp

MOST = 20


class LayerCommands(Provider):
    """Opens a layer by its name."""

    async def search(self, query: str) -> Hits:
        """Find layers whose name matches."""
        app = cast("InspectApp", self.app)
        matcher = self.matcher(query)
        scored = ((matcher.match(str(record["name"])), index) for index, record in enumerate(app.model.records))
        best = sorted((pair for pair in scored if pair[0] > 0), reverse=True)[:MOST]
        for score, index in best:
            name = printable(app.model.records[index]["name"])
            yield Hit(score, Text(f"Layer {name}"), partial(app.open_layer, index), help="Open this layer")
