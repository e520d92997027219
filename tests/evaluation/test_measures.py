"""What a model is measured at, against a literal reading: one sequence at a time, float64, NumPy."""

from __future__ import annotations

import math as maths
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from globa_tui.jobs.evaluation.data import Question, read_data
from globa_tui.jobs.evaluation.generation import cut_at_stop
from globa_tui.jobs.evaluation.measures import Measure, Sums, measure
from globa_tui.jobs.evaluation.scoring import Batches, Scored
from globa_tui.jobs.evaluation.settings import EvaluationSettings
from globa_tui.jobs.evaluation.tokens import continuation, windows
from tests.evaluation.questions import EXAMPLES, sums, write_rows, write_text

CPU = torch.device("cpu")
SETTINGS = EvaluationSettings(window=64, max_new_tokens=8, resamples=50)


def literal(model, ids, first):
    """Nats of ids[first:] given all before, and whether each was the likeliest: one forward pass, softmax by hand."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double().numpy()
    nats, hits = [], []
    for place in range(first, len(ids)):
        row = logits[place - 1]
        nats.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[ids[place]])
        hits.append(int(row.argmax()) == ids[place])
    return np.array(nats), np.array(hits)


def test_padding_and_batches_do_not_change_a_cost(math):
    model, _ = math
    ids = [list(b"12+30=42\n90-35=55\n"), list(b"4*12=48\n"), list(b"a"), list(b"7+61=68\n90")]
    sequences = [Scored(tuple([3, *one]), first) for one, first in zip(ids, (5, 1, 1, 9), strict=True)]
    for budget in (1000, 40, 1):
        for cost, one in zip(Batches(sequences, CPU, budget).costs(model), sequences, strict=True):
            nats, hits = literal(model, list(one.ids), one.first)
            assert cost.nats.numpy() == pytest.approx(nats, abs=2e-5)
            assert cost.likeliest.tolist() == hits.tolist()


def test_text_is_the_literal_reading(tmp_path, math):
    model, tokenizer = math
    data = read_data(str(write_text(tmp_path / "code.txt", 300)))
    found = measure(Measure(data, tokenizer, SETTINGS, CPU), model, SETTINGS)
    ids, nats, hits = list(data.texts[0].encode()), [], []
    for start in range(0, len(ids) - 1, 63):
        more, right = literal(model, ids[start : start + 64], 1)
        nats, hits = [*nats, *more], [*hits, *right]
    assert len(nats) == 299
    assert found["bits_per_byte"].value == pytest.approx(sum(nats) / maths.log(2) / 299, rel=1e-5)
    assert found["perplexity"].value == pytest.approx(maths.exp(sum(nats) / 299), rel=1e-5)
    assert found["token_accuracy"].value == pytest.approx(np.mean(hits))
    assert found["bits_per_byte"].items == 5
    assert found["bits_per_byte"].low < found["bits_per_byte"].value < found["bits_per_byte"].high


def test_what_is_forced_is_what_is_written(tmp_path, math):
    """Right answers that are likeliest token by token are those the model writes when it is let free."""
    model, tokenizer = math
    rows = sums(24)
    rows[3]["answer"] = "0" + rows[3]["answer"]
    data = read_data(str(write_rows(tmp_path / "sums.jsonl", rows)))
    made = Measure(data, tokenizer, SETTINGS, CPU)
    forced, written = made.sums(model)["forced_match"], made.generated(model)["exact_match"]
    assert forced.numerators.tolist() == written.numerators.tolist()
    assert 0 < int(forced.numerators.sum()) < 24
    assert forced.numerators[3] == 0


def test_choices_are_compared_by_what_they_cost(tmp_path, math):
    model, tokenizer = math
    rows = [
        {"prompt": f"{EXAMPLES}12+30=", "choices": ["42\n", "41\n", "9\n"], "answer": 0},
        {"prompt": f"{EXAMPLES}50-25=", "choices": ["17\n", "25\n", "250\n"], "answer": "25\n"},
        {"prompt": f"{EXAMPLES}50-25=", "choices": ["25\n", "17\n"], "answer": 1},
    ]
    found = Measure(read_data(str(write_rows(tmp_path / "c.jsonl", rows))), tokenizer, SETTINGS, CPU).sums(model)
    for name, per_byte in (("accuracy", False), ("accuracy_per_byte", True)):
        wanted = []
        for row in rows:
            costs = []
            for choice in row["choices"]:
                prompt = list(row["prompt"].encode())
                ids = (prompt + list(choice.encode()))[-64:]
                nats, _ = literal(model, ids, len(ids) - len(choice))
                costs.append(nats.sum() / (len(choice) if per_byte else 1))
            right = row["answer"] if isinstance(row["answer"], int) else row["choices"].index(row["answer"])
            wanted.append(float(np.argmin(costs) == right))
        assert found[name].numerators.tolist() == wanted
    assert found["accuracy"].value == pytest.approx(2 / 3)


class Words:
    """A tokenizer of words, with a token before every text, one after it, and no offsets."""

    all_special_ids = (0, 1)
    eos_token_id = 1

    def __call__(self, text, add_special_tokens=True, **_):
        ids = [2 + len(word) for word in text.split()]
        return {"input_ids": [0, *ids, 1] if add_special_tokens else ids}


def test_every_token_and_every_byte_is_counted_once(math):
    """With a first token of the tokenizer's every window has it; without one the windows overlap by a token."""
    text = "año de nieves " * 7
    found = windows(Words(), text, 8)
    assert [s.ids[0] for s, _ in found] == [0] * len(found)
    assert sum(len(s.ids) - s.first for s, _ in found) == 21
    assert sum(size for _, size in found) == len(text.encode())
    plain = windows(math[1], text, 8)
    assert sum(len(s.ids) - s.first for s, _ in plain) == len(text.encode()) - 1
    assert sum(size for _, size in plain) == len(text.encode()) - 1
    assert all(before.ids[-1] == after.ids[0] for (before, _), (after, _) in zip(plain, plain[1:], strict=False))


def test_a_long_prompt_loses_its_start_and_keeps_its_answer(math):
    found = continuation(math[1], "x" * 100 + "=", "42\n", 16, end=258)
    assert bytes(found.ids[:-1]) == b"x" * 11 + b"=42\n"
    assert found.ids[found.first :] == (*b"42\n", 258)


def test_a_model_that_says_nan_has_no_number():
    sums_ = Sums(torch.tensor([float("nan"), 1.0]).double(), torch.ones(2).double(), "exp")
    assert sums_.value is None
    assert sums_.metric("perplexity", SETTINGS).value is None
    batch = Batches([Scored((1, 2, 3), 1)], CPU, 10)
    broken = SimpleNamespace(logits=torch.full((1, 3, 5), float("nan")))
    assert batch.costs(lambda **_: broken)[0].nats.isnan().all()


def test_an_answer_ends_at_the_first_stop():
    assert cut_at_stop("12\nQ: 3", ["Q:", "\n"]) == "12"
    assert cut_at_stop("12", []) == "12"
    assert Question("a", "b").stop == ()
