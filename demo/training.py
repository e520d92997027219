"""Next-byte training on one CPU thread: AdamW, cosine schedule, float32 weights, bfloat16 products where asked for."""

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from demo import corpora
from demo.family import Recipe

WINDOWS = 16
WINDOW = 256
WARM_UP = 60
WEIGHT_DECAY = 0.05


def batches(recipe: Recipe) -> Iterator[Tensor]:
    """Yield batches of token ids, windows × (window + 1), each window from one corpus of the mixture."""
    generator = torch.Generator().manual_seed(recipe.seed)
    texts = [corpora.load(name) for name in recipe.mixture]
    shares = torch.tensor(list(recipe.mixture.values()))
    while True:
        chosen = torch.multinomial(shares, WINDOWS, replacement=True, generator=generator).tolist()
        windows = []
        for text in (texts[index] for index in chosen):
            start = int(torch.randint(len(text) - WINDOW, (), generator=generator))
            windows.append(text[start : start + WINDOW + 1])
        yield torch.stack(windows).long()


def rate(step: int, recipe: Recipe) -> float:
    """Return the learning rate: a linear warm-up, then half a cosine down to a twentieth of the peak."""
    progress = max(0, step - WARM_UP) / max(1, recipe.steps - WARM_UP)
    decay = 0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2
    return recipe.learning_rate * min(1.0, (step + 1) / WARM_UP) * decay


def next_byte_loss(model: nn.Module, batch: Tensor, *, half: bool) -> Tensor:
    """Return the mean cross-entropy of every byte given the ones before it in its window, in nats."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model(input_ids=batch[:, :-1]).logits
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


def train(model: nn.Module, recipe: Recipe, name: str, *, half: bool = True) -> None:
    """Train a float32 model in place and print the loss, in bits per byte, about ten times.

    `half` multiplies in bfloat16: faster where the processor has it, eight times slower where it has not.
    """
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    started = time.perf_counter()
    model.train()
    for step, batch in zip(range(recipe.steps), batches(recipe), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, recipe)
        loss = next_byte_loss(model, batch, half=half)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % max(1, recipe.steps // 10) == 0 or step == recipe.steps - 1:
            seconds = time.perf_counter() - started
            print(f"{name}: step {step:5d}, {loss.item() / math.log(2):.3f} bits per byte, {seconds:.0f} s", flush=True)
