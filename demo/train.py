"""Rebuild the whole family from scratch: `python -m demo.train`, or only the members named.

Base first, then the fine-tunes side by side, each in a process with one thread, which at this size is faster
than one process with two.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaForCausalLM
from transformers.utils import logging

from demo import corpora, sources
from demo.family import BASE, FINE_TUNED, MODELS, RECIPES, Recipe, model_config
from demo.tokenizer import BOS, EOS, PAD, save_tokenizer
from demo.training import train


def starting_point(name: str, base: Path) -> Any:
    """Return what a member is trained from, in float32: seeded random weights, or the base as it is on disk.

    A fine-tune starts from the rounded base, so that its task vector holds no rounding of the base.
    """
    if name == BASE:
        torch.manual_seed(RECIPES[BASE].seed)
        return LlamaForCausalLM(model_config())
    model: Any = LlamaForCausalLM.from_pretrained(base)
    return model.float()


def train_member(name: str, recipe: Recipe, models: Path, base: Path = MODELS / BASE, *, half: bool = True) -> None:
    """Train one member and write its folder: bfloat16 weights, configuration and tokenizer."""
    torch.set_num_threads(1)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = starting_point(name, base)
    train(model, recipe, name, half=half)
    model.to(torch.bfloat16)
    settings: Any = GenerationConfig
    model.generation_config = settings(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, max_new_tokens=128, do_sample=False
    )
    model.save_pretrained(models / name)
    save_tokenizer(models / name)


def train_fine_tuned(models: Path) -> None:
    """Train all fine-tunes, as many side by side as there are processors.

    Raises
    ------
    RuntimeError
        If a training process fails; its own traceback is on stderr.
    """
    waiting = list(FINE_TUNED)
    running: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            name = waiting.pop(0)
            command = [sys.executable, "-m", "demo.train", name, "--models", str(models)]
            running[name] = subprocess.Popen(command)
        pid, status = os.wait()
        name = next(name for name, process in running.items() if process.pid == pid)
        running.pop(name).returncode = os.waitstatus_to_exitcode(status)
        if status:
            msg = f"training {name} failed"
            raise RuntimeError(msg)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.train", description="Train the demo family.")
    parser.add_argument("members", nargs="*", help=f"any of {', '.join(RECIPES)}; all if none is named")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the model folders go")
    arguments = parser.parse_args()
    unknown = set(arguments.members) - set(RECIPES)
    if unknown:
        parser.error(f"no such member: {', '.join(sorted(unknown))}")
    sources.fetch_packages()
    for name in arguments.members:
        train_member(name, RECIPES[name], arguments.models, arguments.models / BASE)
    if not arguments.members:
        corpora.write_held_out()
        train_member(BASE, RECIPES[BASE], arguments.models)
        train_fine_tuned(arguments.models)


if __name__ == "__main__":
    main()
