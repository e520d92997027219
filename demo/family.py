"""Who is in the family: names, folders, architecture and every training setting."""

from dataclasses import dataclass
from pathlib import Path

from transformers import LlamaConfig

from demo.tokenizer import BOS, EOS, PAD, VOCABULARY_SIZE

FOLDER = Path(__file__).parent
MODELS = FOLDER / "models"
DATA = FOLDER / "data"

BASE = "base"
FINE_TUNED = ("math", "code", "prose")


@dataclass(frozen=True)
class Recipe:
    """How one member is trained.

    Attributes
    ----------
    mixture
        Corpus name to its share of the training windows; shares sum to 1.
    steps
        Optimizer steps of 16 windows of 256 bytes. More steps: better on the mixture, longer task vector.
    learning_rate
        Peak of AdamW's cosine schedule. Higher: longer task vector, harder to merge.
    seed
        Of the initial weights (base only) and of the windows drawn.
    """

    mixture: dict[str, float]
    steps: int
    learning_rate: float
    seed: int


RECIPES = {
    "base": Recipe({"novels": 0.45, "docstrings": 0.45, "code": 0.05, "math": 0.05}, 2400, 3e-3, 1),
    "math": Recipe({"math": 0.8, "novels": 0.1, "docstrings": 0.1}, 700, 2e-3, 2),
    "code": Recipe({"code": 0.8, "novels": 0.08, "docstrings": 0.08, "math": 0.04}, 1000, 1.5e-3, 3),
    "prose": Recipe({"scripture": 0.8, "novels": 0.08, "docstrings": 0.08, "math": 0.04}, 700, 1.5e-3, 4),
}


def model_config() -> LlamaConfig:
    """Return the architecture: 4 Llama blocks of width 128, grouped-query attention, tied embeddings."""
    return LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
