"""What all full screens share: header, tabs, body, keys, and the word about a terminal that is too small."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Region, Size
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets import Static

from globa_tui.tui.about import ABOUT
from globa_tui.tui.banner import banner_text
from globa_tui.tui.bindings import Scope
from globa_tui.tui.status import STYLES, state_text
from globa_tui.tui.widgets.chrome import HeaderLine, KeysLine, TabsLine
from globa_tui.tui.widgets.pane import Pane

if TYPE_CHECKING:
    from textual.css.types import PointerShape

    from globa_tui.tui.app import InspectApp
    from globa_tui.tui.messages import Answer

SMALLEST = (60, 15)


class InspectScreen(Screen[None]):
    """A screen of the interface. Subclasses say what is in the body and how to fill it."""

    MODE: ClassVar[str]
    """Tab that the screen belongs to."""
    ABOUT: ClassVar[str] = ""
    """Its entry in the texts for help, when that is not the tab."""
    SCOPES: ClassVar[tuple[Scope, ...]] = ()
    """Scopes of its keys, for footer, help and palette."""
    _theme = ""
    """The theme that its styles were computed for."""
    _laid_out: Size | None = None
    """The size that it was last arranged for."""
    _shown: tuple[object, ...] = ()
    """What of the app it showed when it last showed everything."""

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header")
        yield TabsLine(id="tabs")
        yield Pane(id="banner")
        with Vertical(id="body"):
            yield from self.compose_body()
        yield KeysLine(id="keys")
        yield Static(id="too-small", markup=False)

    def compose_body(self) -> ComposeResult:
        """The widgets between the tabs and the keys."""
        yield from ()

    @property
    def inspect(self) -> InspectApp:
        """The app, with its own type."""
        return cast("InspectApp", self.app)

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        """Catch up with everything that changed while another screen was in front."""
        self.come_to_front()
        # Computing all styles anew costs more than drawing, and only another theme changes them.
        event.refresh_styles = self._theme != self.app.theme
        self._theme = self.app.theme
        self.show_chrome()
        if self._shown == (now := self._now):
            return
        # Layers that arrived meanwhile are shown alone: of 20,000 all others are as they were.
        changed = self.inspect.model.changed_since(self._version) if self._shown[1:] == now[1:] else None
        if changed is None:
            self._show_anew()
        else:
            self._shown = now
            self.show_records(changed)

    @property
    def _now(self) -> tuple[object, ...]:
        return (self.inspect.model.version, self.size, *self.inspect.shown)

    @property
    def _version(self) -> int:
        """Version of the run that it showed last."""
        version = self._shown[0] if self._shown else -1
        return version if isinstance(version, int) else -1

    def _show_anew(self) -> None:
        self._shown = self._now
        self.show_all()

    def on_resize(self) -> None:
        """Fit everything to the size, and say how large the terminal must be when it is too small."""
        width, height = self.size
        self.query_one("#too-small", Static).update(
            f"globa-tui needs {SMALLEST[0]}x{SMALLEST[1]}, this is {width}x{height}.\nThe job is not affected. q quits."
        )
        self.show_chrome()
        self._show_anew()

    def _screen_resized(self, size: Size) -> None:
        # Textual lays a screen out at every change to it, and draws that for nothing before it draws the filled one.
        if size != self._laid_out:
            self._laid_out = size
            super()._screen_resized(size)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw what lies below all widgets: one empty line like the other, so one of them is made."""
        return super().render_lines(Region(crop.x, crop.y, crop.width, 1)) * crop.height

    def _watch__pointer_shape(self, pointer_shape: PointerShape) -> None:
        # A screen that is built ahead sends nothing to the terminal, not even the shape of the pointer.
        if self.is_current:
            self.app._set_pointer_shape(pointer_shape)

    def show_chrome(self) -> None:
        """Fill header, tabs and keys."""
        app = self.inspect
        counts = app.model.counts
        view = app.header_job
        if app.model.reading:
            state = Text(f"reading the layers {app.model.share_read:.0%}", STYLES["warn"])
        elif view.kind == "merge":
            state = Text.assemble("merge ", state_text(view))
        else:
            state = state_text(view, stored=(counts.done, counts.total, counts.failed))
        self.query_one(HeaderLine).show_run(app.model.title, state)
        self.query_one(TabsLine).show_tabs(self.MODE, changed=app.recipe_changed, right=self.tabs_right())
        self.query_one(KeysLine).show_keys((*self.SCOPES, "global"), app.user_keys)
        banner = self.query_one("#banner", Pane)
        text = banner_text(app)
        banner.set_class(bool(text), "shown")
        banner.show(text)

    def tabs_right(self) -> Text:
        """What stands at the right end of the tabs."""
        return Text()

    def come_to_front(self) -> None:
        """Ask for what only this screen shows, before it catches up with the rest."""

    def show_all(self) -> None:
        """Show everything anew: a run was opened, or the screen comes to the front."""

    def show_records(self, changed: Collection[int]) -> None:
        """Show layers that changed."""

    def show_jobs(self) -> None:
        """Show a job whose state changed."""

    def show_answer(self, answer: Answer) -> None:
        """Show something that was asked of the disk thread."""

    def rows_shown(self) -> Sequence[int]:
        """Layers that the screen shows, in their order, for writing them to a file."""
        return ()

    def close_detail(self) -> bool:
        """Leave a filter or another transient state; returns whether there was one."""
        return False


def about(screen: Screen[Any]) -> str:
    """What a screen shows, in a few sentences."""
    return ABOUT[screen.ABOUT or screen.MODE].replace("\n", " ") if isinstance(screen, InspectScreen) else ""


def scopes_of(screen: Screen[Any]) -> list[Scope]:
    """The scopes of a screen's keys, its own first."""
    own = list(screen.SCOPES) if isinstance(screen, InspectScreen) else []
    return [*own, "global"]
