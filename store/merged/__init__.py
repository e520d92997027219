"""Merged checkpoints: planned, written tensor by tensor, complete or absent."""

from store.merged.chat_template import read_chat_template, template_texts
from store.merged.place import check_place
from store.merged.plan import OutputPlan, OutputTensor, Shard, plan_output
from store.merged.sidecar import is_tokenizer_file, sidecar_files
from store.merged.tokenizer import require_union_tokens, union_texts
from store.merged.writer import MergedWriter

__all__ = [
    "MergedWriter",
    "OutputPlan",
    "OutputTensor",
    "Shard",
    "check_place",
    "is_tokenizer_file",
    "plan_output",
    "read_chat_template",
    "require_union_tokens",
    "sidecar_files",
    "template_texts",
    "union_texts",
]
