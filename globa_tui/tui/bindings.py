"""Every key of the interface, once: screens, footer, help, palette and the documentation read this table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding, BindingType

Scope = Literal[
    "global", "overview", "list", "grid", "map", "layers", "metric", "marks", "layer", "recipe", "merge", "job"
]  # fmt: skip

TITLES: dict[Scope, str] = {
    "global": "Everywhere",
    "overview": "Overview",
    "list": "Lists and tables",
    "grid": "Cells of the map",
    "map": "Map",
    "layers": "Layers",
    "metric": "Number shown, on map and layers",
    "marks": "Marks, on map and layers",
    "layer": "One layer",
    "recipe": "Recipe",
    "merge": "Merge",
    "job": "Job",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One action: its keys, its short name for the footer and the sentence for help and palette."""

    id: str
    """Name for a user's keymap; never changes once released."""
    keys: str
    """Textual key names, separated by commas; the first is the one that is shown."""
    action: str
    name: str
    help: str
    footer: bool = False
    hint: str = ""
    """Keys as the footer shows them, when those are not the first one."""
    priority: bool = False
    palette: bool = True
    """Whether the action makes sense without the thing that had the cursor."""


SCOPES: dict[Scope, tuple[Key, ...]] = {
    "global": (
        Key("screen.overview", "1", "show('overview')", "Overview", "What is compared, how far it is, what stands out"),
        Key("screen.map", "2", "show('map')", "Map", "One coloured cell per matrix: blocks by modules, any number"),
        Key("screen.layers", "3", "show('layers')", "Layers", "The table of all layers"),
        Key("screen.recipe", "4", "show('recipe')", "Recipe", "Patterns and coefficients, and their effect"),
        Key("screen.job", "5", "show('job')", "Job", "Progress, failures and log of the running job"),
        Key(
            "screen.sweep",
            "6",
            "show('sweep')",
            "Sweep",
            "Candidates that sweeps tried, and what each keeps of every task",
        ),
        Key("job.pause", "p", "pause", "Pause", "Pause the job after the current layer, or resume it"),
        Key("job.resume", "R", "restart", "Retry", "Start the analysis again: failed and unfinished layers alone"),
        Key("job.cancel", "c", "cancel", "Cancel job", "Cancel the job; finished layers stay"),
        Key("help", "question_mark,f1", "help", "Help", "What every key does here", footer=True, palette=False),
        Key("palette", "colon,ctrl+p", "command_palette", "More", "Find any action by name", True, palette=False),
        Key("what_if", "i", "what_if", "What if", "Types at other thresholds eta of the stored grid, on all screens"),
        Key("export", "X", "export", "Export", "Write the layers that are shown to a file, as CSV or JSON"),
        Key("back", "escape,backspace", "close", "Back", "Leave what is open: a filter, a layer, a question"),
        Key("quit", "q", "leave", "Quit", "Back; at the top leave. The job goes on without the screen", footer=True),
        Key("quit.now", "ctrl+q", "quit_now", "Quit now", "Leave from anywhere; the job goes on", priority=True),
        Key("suspend", "ctrl+z", "suspend_process", "Suspend", "Back to the shell; `fg` returns", priority=True),
    ),
    "overview": (
        Key("overview.findings", "f", "findings", "Findings", "Everything that stands out, in words", footer=True),
        Key("overview.hidden", "H", "hidden", "Hidden states", "Distances of hidden states that `represent` measured"),
    ),
    "list": (
        Key("list.down", "j,down", "move(1)", "Down", "One row down", palette=False),
        Key("list.up", "k,up", "move(-1)", "Up", "One row up", palette=False),
        Key("list.page_down", "ctrl+d,pagedown", "page(1)", "Page down", "One page down", palette=False),
        Key("list.page_up", "ctrl+u,pageup", "page(-1)", "Page up", "One page up", palette=False),
        Key("list.first", "g,home", "edge(-1)", "First", "To the first row", palette=False),
        Key("list.last", "G,end", "edge(1)", "Last", "To the last row", palette=False),
        Key("list.open", "enter", "open", "Open", "Open the row under the cursor", footer=True, palette=False),
    ),
    "grid": (
        Key("grid.left", "h,left", "grid(0, -1)", "Left", "One block back", palette=False),
        Key("grid.down", "j,down", "grid(1, 0)", "Down", "One module down", palette=False),
        Key("grid.up", "k,up", "grid(-1, 0)", "Up", "One module up", palette=False),
        Key("grid.right", "l,right", "grid(0, 1)", "Right", "One block on", palette=False),
        Key("grid.first", "g,home", "ends(-1)", "First", "To the first block", palette=False),
        Key("grid.last", "G,end", "ends(1)", "Last", "To the last block", palette=False),
        Key("grid.open", "enter", "open", "Open", "Open the layer; of experts the largest", footer=True, palette=False),
    ),
    "map": (
        Key("map.next", "n", "next_failed(1)", "Next failed", "To the next failed layer"),
        Key("map.previous", "N", "next_failed(-1)", "Previous failed", "To the failed layer before"),
    ),
    "metric": (
        Key("metric.next", "m", "metric(1)", "Metric", "Show the next number", footer=True),
        Key("metric.previous", "b", "metric(-1)", "Metric before", "Show the number before"),
        Key("metric.pick", "v", "pick_metric", "Choose", "Choose the number from a list"),
    ),
    "marks": (
        Key("marks.toggle", "space", "mark", "Mark", "Mark the layer under the cursor, or take the mark away", True),
        Key("marks.all", "asterisk", "mark_all", "Mark all", "Mark every layer that is shown, or none of them"),
        Key("marks.recipe", "r", "recipe_of_marks", "Recipe", "Coefficients of the marked layers alone"),
    ),
    "layers": (
        Key("layers.filter", "slash", "filter", "Filter", "Show only layers that fit: words, numbers, blocks", True),
        Key("layers.sort", "s", "sort", "Sort", "Sort by the next column; again after new results arrived", True),
        Key("layers.reverse", "S", "reverse", "Reverse", "Turn the order round"),
        Key("layers.next", "n", "next_failed(1)", "Next failed", "To the next failed layer"),
        Key("layers.previous", "N", "next_failed(-1)", "Previous failed", "To the failed layer before"),
    ),
    "layer": (
        Key("layer.previous", "comma", "step(-1)", "Previous", "The layer before, in the order of the table", True),
        Key("layer.next", "full_stop", "step(1)", "Next", "The layer after, in the order of the table", True),
        Key("layer.tab", "right_square_bracket,tab", "pane(1)", "Next pane", "The next pane of this layer", True),
        Key("layer.tab_back", "left_square_bracket,shift+tab", "pane(-1)", "Pane before", "The pane before this one"),
        Key("layer.pair", "v", "pair", "Next pair", "Types and alignment of the next pair of fine-tunes"),
        Key("layer.scroll_down", "j,down", "scroll(1)", "Scroll down", "One line down", palette=False),
        Key("layer.scroll_up", "k,up", "scroll(-1)", "Scroll up", "One line up", palette=False),
    ),
    "recipe": (
        Key("recipe.toggle", "space", "switch", "Off", "Switch the pattern off, or back on to its number", True),
        Key("recipe.less", "left,h", "nudge(-0.05)", "Nudge down", "Lower the coefficient by 0.05", palette=False),
        Key(
            "recipe.more",
            "right,l",
            "nudge(0.05)",
            "Step",
            "Raise the coefficient by 0.05",
            footer=True,
            hint="←→",
            palette=False,
        ),
        Key("recipe.less_big", "less_than_sign", "nudge(-0.25)", "-0.25", "Lower it by 0.25", palette=False),
        Key("recipe.more_big", "greater_than_sign", "nudge(0.25)", "+0.25", "Raise it by 0.25", palette=False),
        Key("recipe.type", "equals_sign", "type", "Type", "Type a coefficient (enter does the same)", footer=True),
        Key("recipe.clear", "x", "clear", "Inherit", "Let this part of the model inherit the coefficient again"),
        Key("recipe.target", "t", "target", "Target", "Next sort of target: model, kind, blocks, marked layers", True),
        Key("recipe.choose", "T", "choose_target", "Choose target", "Choose the kind, or type the range of blocks"),
        Key("recipe.presets", "P", "presets", "Presets", "Take the published coefficients of a preset"),
        Key("recipe.undo", "u", "undo", "Undo", "Undo the last change", footer=True),
        Key("recipe.redo", "U", "redo", "Redo", "Do what was undone again"),
        Key("recipe.save", "w", "save_as", "Save as", "Save the recipe as a YAML file"),
        Key("recipe.load", "o", "load", "Open recipe", "Go on with a recipe from a file"),
        Key("recipe.command", "y", "command", "Command", "Show, copy or write the merge command that does the same"),
        Key("recipe.merge", "M", "merge", "Merge", "Review and start the merge", footer=True),
    ),
    "merge": (
        Key("merge.start", "ctrl+s", "start", "Start merge", "Start the merge that is shown", footer=True),
        Key("merge.next", "tab", "app.focus_next", "Next field", "To the next field", footer=True, palette=False),
    ),
    "job": (
        Key(
            "job.log",
            "f",
            "other_log",
            "Other log",
            "Follow the log of the analysis, or that of the merge",
            footer=True,
        ),
    ),
}

TOGETHER: tuple[tuple[Scope, ...], ...] = (
    ("overview", "list"),
    ("list",),
    ("map", "metric", "marks", "grid"),
    ("layers", "metric", "marks", "list"),
    ("layer",),
    ("recipe", "list"),
    ("merge",),
    ("job", "list"),
)
"""Scopes that are on one screen, besides `global`: among them a key has one meaning."""

Keymap = Mapping[str, str]
"""The user's own keys by the id of the binding."""
NO_KEYMAP: Keymap = {}

_SHOWN = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "comma": ",",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "equals_sign": "=",
    "asterisk": "*",
    "escape": "esc",
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "f1": "F1",
}


def bindings(*scopes: Scope) -> list[BindingType]:
    """The bindings of these scopes, for a `BINDINGS` class variable."""
    return [
        Binding(key.keys, key.action, key.name, show=key.footer, priority=key.priority, id=key.id, tooltip=key.help)
        for scope in scopes
        for key in SCOPES[scope]
    ]


def scope_of(key: Key) -> Scope:
    """The scope that an action belongs to."""
    return next(scope for scope, keys in SCOPES.items() if key in keys)


def shown_keys(key: Key, keymap: Keymap = NO_KEYMAP) -> str:
    """The keys of an action as a person writes them, as in `? F1`."""
    return " ".join(_shown(name) for name in keymap.get(key.id, key.keys).split(","))


def _shown(name: str) -> str:
    modifiers, plus, last = name.rpartition("+")
    return f"{modifiers}{plus}{_SHOWN.get(last, last)}"


def hints(scopes: Iterable[Scope], keymap: Keymap = NO_KEYMAP) -> list[tuple[str, Key]]:
    """First key and action of everything that the footer names, the screen's own keys first."""
    return [
        (key.hint if key.hint and key.id not in keymap else shown_keys(key, keymap).split(" ")[0], key)
        for scope in sorted(scopes, key=lambda scope: scope == "global")
        for key in SCOPES[scope]
        if key.footer
    ]
