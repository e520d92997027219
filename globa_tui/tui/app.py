"""The app: composes the screens and routes what the disk thread says to them. It computes nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App, ScreenStackError, SystemCommand
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widget import MountError

from globa_tui.diagnostics import ExitCode
from globa_tui.tui import screens
from globa_tui.tui.ahead import build_ahead
from globa_tui.tui.bindings import NO_KEYMAP, SCOPES, Keymap, bindings, scope_of
from globa_tui.tui.disk import PERIOD
from globa_tui.tui.hangup import leave_when_hung_up
from globa_tui.tui.run_app import RunApp
from globa_tui.tui.screens import overview
from globa_tui.tui.screens.base import InspectScreen, about, scopes_of
from globa_tui.tui.status import JobView
from globa_tui.tui.typed import TypedKeys
from store.run import run_folder

if TYPE_CHECKING:
    from globa_tui.jobs.settings import AnalysisRequest
    from globa_tui.tui.screens.layer import LayerScreen
    from globa_tui.tui.what_if import Etas


class InspectApp(RunApp):
    """The terminal interface on one run.

    Parameters
    ----------
    run : Path
        Run folder or packed file.
    request : AnalysisRequest, optional
        The analysis to start or to join.
    period : float
        Seconds between two looks at the disk.
    keymap : mapping
        The user's own keys by the ids of their bindings.
    """

    TITLE = "globa-tui"
    CSS_PATH = "app.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "overview": overview.OverviewScreen,
        **screens.AHEAD,
    }
    DEFAULT_MODE = "overview"
    BINDINGS = bindings("global")
    COMMANDS = App.COMMANDS | {screens.layer_commands}
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (80, "-normal"), (120, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-short"), (24, "-std"), (36, "-tall")]

    def __init__(
        self,
        run: Path,
        request: AnalysisRequest | None = None,
        *,
        period: float = PERIOD,
        keymap: Keymap = NO_KEYMAP,
    ) -> None:
        super().__init__(run_folder(run), request, period)
        self.user_keys = keymap
        self._typed = TypedKeys(self, super().on_event)

    async def on_event(self, event: events.Event) -> None:
        """Let keys wait for one another."""
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self.last_key = time.monotonic()
            self._typed.put(event)
        else:
            await super().on_event(event)

    def delay_update(self, delay: float = 0.05) -> None:
        """Hold the paint until the new screen is filled, instead of 50 ms as Textual does."""
        held = ExitStack()
        held.enter_context(self.batch_update())

        def paint() -> None:
            held.close()
            self.screen.refresh()

        def paint_when_filled() -> None:
            if not self.screen.call_later(paint):
                paint()

        self.call_later(paint_when_filled)

    def use_ascii(self) -> None:
        """Draw nothing but ASCII."""
        from globa_tui.tui.plain import AsciiFilter

        self._filters.append(AsciiFilter())

    def on_mount(self) -> None:
        """Begin reading after the first paint."""
        self.set_keymap(dict(self.user_keys))
        self.run_worker(self._typed.run(), name="keys")
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number, code in ((signal.SIGHUP, 129), (signal.SIGTERM, 143)):
                loop.add_signal_handler(number, self.exit, None, code)
            self.run_worker(leave_when_hung_up(self), name="terminal")
        # Textual paints only what changed, but `fg` finds an empty screen.
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True), immediate=True)
        self.call_after_refresh(self.disk.start)
        if not self.is_headless:
            self.run_worker(build_ahead(self), name="ahead")

    def _handle_exception(self, error: Exception) -> None:
        """Fail, but not because a screen that was just being filled is taken away: the app is left in order."""
        if not (self._exit and isinstance(error, NoMatches | MountError | ScreenStackError)):
            super()._handle_exception(error)

    def on_unmount(self) -> None:
        """Let the disk thread write what waits."""
        self.disk.stop()

    @property
    def header_job(self) -> JobView:
        """The job that the header shows: a merge while it runs, else the analysis."""
        return self.jobs["merge"] if self.jobs["merge"].active else self.jobs["analyze"]

    @property
    def shown(self) -> tuple[object, ...]:
        """What screens show besides the layers, for telling whether it is another than before."""
        editor = self.editor
        edited = (editor.recipe, editor.saved, editor.selection) if editor else ()
        return (self.jobs, edited, self.metric, self.marks, tuple(self.troubles.items()), self.findings)

    @property
    def recipe_changed(self) -> bool:
        """Whether the recipe differs from the one that was opened or merged last."""
        return self.editor is not None and self.editor.changed

    @property
    def own_layers(self) -> frozenset[int]:
        """Layers that have coefficients of their own, or of their kind or blocks."""
        return self.model.own_layers(self.editor.recipe if self.editor else None)

    def own_words(self, index: int) -> str:
        """Where the recipe treats a layer other than the whole model: its coefficients there."""
        if index not in self.own_layers or self.editor is None:
            return ""
        recipe = self.editor.recipe
        values = recipe.resolve(self.model.records[index])
        return " · recipe " + " ".join(
            f"{name}={value:g}" for name, value in values.items() if value != recipe.coefficients[name]
        )

    # Actions of all screens

    def action_show(self, mode: str) -> None:
        """Go to a screen; asked for the one in front, close what lies over it."""
        if mode == self.current_mode:
            while len(self.screen_stack) > 1:
                self.pop_screen()
        else:
            self.switch_mode(mode)

    def layer_page(self, mode: str) -> LayerScreen:
        """The page of a layer over a screen; the one that was made for the first layer serves for all."""
        from globa_tui.tui.screens.layer import LayerScreen

        name = f"layer of {mode}"
        if not self.is_screen_installed(name):
            self.install_screen(LayerScreen(mode), name)
        return self.get_screen(name, LayerScreen)

    def open_layer(self, index: int) -> None:
        """Show one layer over the current screen."""
        page = self.layer_page(self.current_mode)
        page.turn_to(index)
        if page not in self.screen_stack:
            self.push_screen(page)

    def toggle_marks(self, indices: Collection[int]) -> None:
        """Mark these layers, or take their marks away when all of them have one; only matrices are marked."""
        records = self.model.records
        matrices = {index for index in indices if records[index]["role"] == "matrix"}
        self.marks = self.marks - matrices if matrices <= self.marks else self.marks | matrices

    def open_recipe_for(self, indices: Collection[int]) -> None:
        """Edit the coefficients of the marked layers, or of these when none is marked."""
        from globa_tui.tui.targets import layer_selection

        records = self.model.records
        chosen = sorted(self.marks) or [index for index in indices if records[index]["role"] == "matrix"]
        if not chosen or self.editor is None:
            self.notify("Only matrices have coefficients.", markup=False, severity="warning")
            return
        self.editor.select(layer_selection(records[index] for index in chosen))
        self.switch_mode("recipe")

    def action_close(self) -> None:
        """Leave a filter, a layer or a question."""
        screen = self.screen
        if isinstance(screen, InspectScreen) and screen.close_detail():
            return
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def action_leave(self) -> None:
        """Go back; at the top leave, and say that the job goes on."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            self.action_quit_now()

    def action_quit_now(self) -> None:
        """Leave; jobs go on."""
        for view in self.jobs.values():
            if view.active and view.pid:
                name = "the analysis" if view.kind == "analyze" else "the merge"
                self.last_words.append(
                    f"{name} continues, pid {view.pid}; `globa-tui open {self.model.path}` returns to it"
                )
        code = ExitCode.MISMATCH if "sources" in self.troubles and self.model.counts.done == 0 else ExitCode.DONE
        self.exit(return_code=code)

    def action_help(self) -> None:
        """What every key does here."""
        from globa_tui.tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(scopes_of(self.screen), self.user_keys, about(self.screen)))

    def action_export(self) -> None:
        """Write the layers that the screen shows to a file."""
        from globa_tui.tui.exports import export_text
        from globa_tui.tui.writing import ask_place

        if self.still_reading():
            return
        rows = self.screen.rows_shown() if isinstance(self.screen, InspectScreen) else ()
        if not rows:
            self.notify("There are no layers on this screen to write to a file.", markup=False, severity="warning")
            return
        records = [self.model.records[row] for row in rows]
        at = f"-eta-{self.what_if[0]:g}-{self.what_if[1]:g}" if self.what_if else ""
        several = f"{len(records)} layers" if len(records) > 1 else "this layer"
        ask_place(
            self,
            f"Write {several} to the file (.csv, or .json)",
            f"layers{at}.csv" if len(records) > 1 else f"layer{at}.json",
            lambda place: export_text(place, records),
        )

    def still_reading(self) -> bool:
        """Whether records are still to come; says so, for what would be wrong without them."""
        if self.model.reading:
            self.notify("The layers are still being read; try again in a moment.", severity="warning")
        return self.model.reading

    def action_what_if(self) -> None:
        """Show every layer at other thresholds."""
        from globa_tui.tui.what_if import choose_etas

        choose_etas(self)

    def show_at(self, etas: Etas | None) -> None:
        """Show every layer at these thresholds, or at the run's own."""
        self.what_if = etas
        self.disk.show_at(etas)
        self._show_chrome()

    def action_pause(self) -> None:
        """Pause the job in the header, or resume it."""
        from globa_tui.tui.steering import pause

        pause(self)

    def action_cancel(self) -> None:
        """Cancel the job in the header, after a question."""
        from globa_tui.tui.steering import cancel

        cancel(self)

    def action_restart(self) -> None:
        """Start the analysis again after a question; where that cannot be, say why."""
        from globa_tui.tui.steering import restart

        restart(self)

    def save_recipe(self) -> None:
        """Keep the recipe under edit beside the run."""
        if self.editor is not None:
            self.disk.save_recipe(self.editor.recipe)
            self._show_chrome()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action that works here, by name."""
        for scope in scopes_of(screen):
            for key in SCOPES[scope]:
                if key.palette:
                    owner = self if scope_of(key) == "global" else screen
                    yield SystemCommand(key.name, key.help, lambda key=key, owner=owner: self._run(key.action, owner))
        yield SystemCommand("Theme", "Change colours", self.action_change_theme)
        yield SystemCommand("Save screenshot", "Save this screen as an SVG file", self.action_screenshot)

    def _run(self, action: str, owner: App[int] | Screen[object]) -> None:
        self.call_later(self.run_action, action, owner)
