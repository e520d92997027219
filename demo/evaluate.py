"""Held-out evaluation of model folders on every task: `python -m demo.evaluate MODEL_DIR … [--json]`."""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from demo.family import DATA

WINDOW = 256
BATCH = 16
UNITS = {
    "math_exact": ("math", "exact answers", 3),
    "math_bits": ("math", "bits per byte", 3),
    "code_bits": ("code", "bits per byte", 3),
    "prose_bits": ("prose", "bits per byte", 3),
}
EXAMPLES = "7+61=68\n90-35=55\n4*12=48\n"


def load(model_dir: str | Path) -> tuple[Any, Any]:
    """Return a folder's model, in float32, and its tokenizer, as any program would load them."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, local_files_only=True)
    return model.float().eval(), AutoTokenizer.from_pretrained(model_dir, local_files_only=True)


def token_bits(model: nn.Module, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bits each token costs given those before it, and whether it was the likeliest one.

    Parameters
    ----------
    windows
        Token ids, windows × length.

    Returns
    -------
    Two tensors, windows × (length − 1): the first token of a window has no prediction.
    """
    bits, best = [], []
    with torch.inference_mode():
        for batch in torch.split(windows, BATCH):
            logits = model(input_ids=batch[:, :-1], use_cache=False).logits.float()
            target = batch[:, 1:]
            bits.append(nn.functional.cross_entropy(logits.mT, target, reduction="none") / math.log(2))
            best.append(logits.argmax(-1) == target)
    return torch.cat(bits), torch.cat(best)


def text_bits(model: nn.Module, tokenizer: Any, text: str, limit: int | None = None) -> float:
    """Return the mean bits per byte of a text, read in windows of 256 tokens that do not overlap.

    Parameters
    ----------
    limit
        Score the first so many windows only; None scores all.

    Notes
    -----
    The tokenizer gives one token per byte, so the mean over tokens is the mean over bytes.
    """
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if len(tokens) != len(text.encode()):
        msg = f"expected one token per byte, got {len(tokens)} tokens for {len(text.encode())} bytes"
        raise ValueError(msg)
    windows = tokens[: len(tokens) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return float(token_bits(model, windows[:limit])[0].mean(dtype=torch.float64))


def arithmetic(model: nn.Module, tokenizer: Any, lines: list[str]) -> tuple[float, float]:
    """Return the fraction of sums answered exactly and the bits per byte of the right answers.

    The prompt is three solved examples and `a+b=`. The answer counts when every one of its bytes, closing
    newline included, is the likeliest given the right ones before it. That is exactly when greedy decoding
    writes it, so no decoding is needed.
    """
    groups = defaultdict(list)
    for line in lines:
        prompt, answer = line.split("=")
        groups[len(line), len(answer)].append(tokenizer(EXAMPLES + line + "\n", add_special_tokens=False)["input_ids"])
    exact, bits, scored = 0, 0.0, 0
    for (_, digits), rows in groups.items():
        cost, best = token_bits(model, torch.tensor(rows))
        answers = slice(-(digits + 1), None)
        exact += int(best[:, answers].all(-1).sum())
        bits += float(cost[:, answers].sum(dtype=torch.float64))
        scored += cost[:, answers].numel()
    return exact / len(lines), bits / scored


def evaluate(model_dir: str | Path, limit: int | None = None) -> dict[str, float]:
    """Return a model's held-out results on every task.

    Parameters
    ----------
    model_dir
        A Hugging Face model folder with a byte-level tokenizer.
    limit
        Use the first so many problems, and so many windows of 256 bytes of each text; None uses all.

    Returns
    -------
    `math_exact` (fraction, 0 to 1), `math_bits`, `code_bits` and `prose_bits` (bits per byte).
    """
    model, tokenizer = load(model_dir)
    problems = (DATA / "math.txt").read_text(encoding="utf-8").splitlines()[:limit]
    exact, bits = arithmetic(model, tokenizer, problems)
    results = {"math_exact": exact, "math_bits": bits}
    for task in ("code", "prose"):
        text = (DATA / f"{task}.txt").read_text(encoding="utf-8")
        results[f"{task}_bits"] = text_bits(model, tokenizer, text, limit)
    return results


def print_table(results: dict[str, dict[str, float]]) -> None:
    """Print model × task on stdout: a row per model, columns aligned; `--json` is for programs."""
    heads = ["model", *(f"{task}, {unit}" for task, unit, _ in UNITS.values())]
    rows = [[name, *(f"{values[key]:.{UNITS[key][2]}f}" for key in UNITS)] for name, values in results.items()]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.evaluate", description="Evaluate models on held-out data.")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL_DIR", help="a Hugging Face model folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--limit", type=int, help="use only the first N problems and windows (default: all)")
    arguments = parser.parse_args()
    for model_dir in arguments.models:
        if not (model_dir / "config.json").is_file():
            parser.error(f"{model_dir} is not a model folder: it has no config.json")
    results = {str(model_dir): evaluate(model_dir, arguments.limit) for model_dir in arguments.models}
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        print_table(results)


if __name__ == "__main__":
    main()
