"""A byte-level tokenizer: one token per UTF-8 byte, and three special tokens."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<|pad|>", "<|bos|>", "<|eos|>")
PAD, BOS, EOS = range(256, 259)
VOCABULARY_SIZE = 256 + len(SPECIAL_TOKENS)


def byte_symbols() -> list[str]:
    """Return the printable symbol that stands for each byte value 0 to 255 in a byte-level vocabulary.

    Printable Latin-1 bytes stand for themselves, the others for the code points from 256 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(256, 512))
    symbols = [chr(byte) if byte in printable else chr(next(hidden)) for byte in range(256)]
    if set(symbols) != set(ByteLevel.alphabet()):
        msg = "tokenizers' ByteLevel alphabet is not the one this vocabulary is built for"
        raise RuntimeError(msg)
    return symbols


def build_tokenizer() -> Any:
    """Return the tokenizer; token id = byte value, so text becomes ids without it, too."""
    vocabulary = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    pad, bos, eos = SPECIAL_TOKENS
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into a model folder.

    transformers 5 writes a class name that transformers 4 does not know; the older name loads in both.
    """
    build_tokenizer().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("backend", None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
