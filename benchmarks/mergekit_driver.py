"""Runs in an environment that has mergekit: merges what the jobs on the command line say.

Two things of mergekit depend on chance or on the machine, and are fixed so that results can be compared: the random
masks of DARE are those of the job, found by the bytes of the tensor they belong to, and the sort of TIES is a stable
one, which keeps the first of equal magnitudes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from mergekit import sparsify
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file

argsort = torch.argsort


def stable_argsort(values: torch.Tensor, **words: Any) -> torch.Tensor:
    """Sort so that equal values stay in order."""
    return argsort(values, **{**words, "stable": True})


def given_mask(masks: dict[str, torch.Tensor]) -> Any:
    """Drop with the mask that belongs to the bytes of a tensor."""

    def drop(tensor: torch.Tensor, density: float, rescale_norm: Any = None) -> torch.Tensor:
        if density >= 1:
            return tensor
        key = hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        return sparsify.rescaled_masked_tensor(tensor, masks[key].reshape(tensor.shape).to(tensor.dtype), rescale_norm)

    return drop


def main() -> None:
    """Carry out every job: `{"config": YAML text, "out": folder, "masks": file or null}`."""
    torch.argsort = stable_argsort  # type: ignore[assignment]
    for job in json.loads(Path(sys.argv[1]).read_text()):
        if job["masks"]:
            sparsify.bernoulli = given_mask(load_file(job["masks"]))
        config = MergeConfiguration.model_validate(yaml.safe_load(job["config"]))
        options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
        run_merge(config, job["out"], options)


if __name__ == "__main__":
    main()
