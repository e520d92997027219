"""What each screen shows, in a few sentences for its help."""

from __future__ import annotations

from collections.abc import Mapping

ABOUT: Mapping[str, str] = {
    "overview": """\
What is compared, whether the checkpoints fit each other, how the energy of the other fine-tunes divides over the six
overlap types, and the layers that stand out. Energy is the sum of squares of the entries, in % of the six types.""",
    "map": """\
One cell per matrix, blocks across and modules down, shaded by one number. Its name, meaning and unit stand above, its
least and its largest value below; m shows the next number.""",
    "layers": """\
One row per tensor, in the order of the blocks. A% to E% are in % of the energy of the six types, Ovlp goes from 0
(apart) to 1 (contained); further down is what every column means. s sorts, / filters, enter opens a layer.""",
    "layer": """\
Everything about one matrix, in panes: ] goes to the next. τ1, τ2, … are the task vectors, fine-tune minus base. Each
number stands with its meaning and unit.""",
    "recipe": """\
What a merge adds to the base: the first fine-tune's part (C1) and each overlap type of the others, times its
coefficient. Below is what that does to the weights, estimated at once from the analysis; nothing is written before M. t
aims the coefficients at a part of the model.""",
    "merge": """\
Where the merged model goes, and whether it can. Nothing that is there is replaced unless you say so.""",
    "job": """\
The analysis and the merge are processes of their own and go on when this screen is closed. p pauses, c cancels, R tries
failed and unfinished layers again.""",
    "sweep": """\
The merges that the last sweep tried on this run, the best first, with the share of each task's gain that they keep.
enter makes one of them the recipe.""",
}
