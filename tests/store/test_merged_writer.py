"""A merged model is complete or absent, byte for byte reproducible, and loads everywhere."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from store import files
from store.checkpoints import TensorReader, build_index, open_checkpoint
from store.checkpoints.dtypes import CODES
from store.errors import CheckpointError, DiskFullError, OutputExistsError, StoreError
from store.merged import MergedWriter, OutputPlan, OutputTensor, plan_output, sidecar_files
from tests.store import make

TENSORS = {
    "layers.0.weight": torch.arange(12.0).reshape(3, 4),
    "layers.1.weight": torch.arange(6).reshape(2, 3).to(torch.bfloat16),
    "ids": torch.arange(3),
    "mask": torch.tensor([True, False, True]),
    "empty": torch.empty(0, 4),
    "scalar": torch.tensor(2.5, dtype=torch.float16),
}


def plan_of(tensors: dict[str, torch.Tensor], shard_size: int = 10**9) -> OutputPlan:
    described = [OutputTensor(name, CODES[str(t.dtype)], tuple(t.shape)) for name, t in tensors.items()]
    return plan_output(described, shard_size)


def written(out: Path, shard_size: int = 10**9, *, backwards: bool = False, overwrite: bool = False) -> Path:
    with MergedWriter(out, plan_of(TENSORS, shard_size), metadata={"made": "by test"}, overwrite=overwrite) as writer:
        for name in reversed(TENSORS) if backwards else TENSORS:
            writer.write(name, TENSORS[name])
        writer.add_text("config.json", "{}\n")
        return writer.finish()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("shard_size", [10**9, 20])
def test_safetensors_loads_what_was_written(tmp_path: Path, shard_size: int) -> None:
    out = written(tmp_path / "out", shard_size)
    shards = sorted(out.glob("*.safetensors"))
    assert [path.name for path in shards] == [shard.file for shard in plan_of(TENSORS, shard_size).shards]
    found = {name: tensor for path in shards for name, tensor in load_file(path).items()}
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with safe_open(shards[0], "pt") as file:
        assert file.metadata() == {"format": "pt", "made": "by test"}
    assert not leftovers(tmp_path)


def test_our_own_reader_reads_it(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(written(tmp_path / "out", 20)))
    with TensorReader(checkpoint) as reader:
        assert all(torch.equal(reader.read(name), tensor) for name, tensor in TENSORS.items())


def test_transformers_loads_a_sharded_copy(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 20}
    config = LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True)
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "base", max_shard_size=1000)
    base = open_checkpoint(str(tmp_path / "base"))
    assert len(base.files) > 1
    plan = plan_output([OutputTensor(t.name, t.dtype, t.shape) for t in base.tensors.values()], 1500)
    with TensorReader(base) as reader, MergedWriter(tmp_path / "out", plan) as writer:
        for name in base.tensors:
            writer.write(name, reader.read(name))
        for path in sidecar_files(base):
            writer.copy_file(path)
        writer.finish()
    build_index(base, [open_checkpoint(str(tmp_path / "out"))]).require_mergeable()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    expected, found = model.state_dict(), loaded.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_tensor_in_pieces_is_the_same_file(tmp_path: Path) -> None:
    tensors = {"w": torch.arange(12.0).reshape(3, 4), "stack": torch.arange(8.0).reshape(2, 2, 2)}
    files = []
    for number, pieces in enumerate((1, 5)):
        with MergedWriter(tmp_path / str(number), plan_of(tensors)) as writer:
            for name, part, values in (("w", None, tensors["w"]), *(("stack", n, tensors["stack"][n]) for n in (0, 1))):
                sink = writer.start(name, part=part)
                for piece in values.reshape(-1).split(pieces if pieces > 1 else 100):
                    sink.add(piece)
                sink.end()
            writer.finish()
        files.append((tmp_path / str(number) / "model.safetensors").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("pieces", "fault"),
    [
        ([torch.zeros(13)], "13 entries of F32 do not fit what is left to write"),
        ([torch.zeros(8), torch.zeros(5)], "5 entries of F32 do not fit"),
        ([torch.zeros(12, dtype=torch.bfloat16)], "12 entries of BF16 do not fit"),
        ([torch.zeros(8)], "16 bytes of 12 entries were not written"),
    ],
)
def test_pieces_must_make_up_the_tensor(tmp_path: Path, pieces: list[torch.Tensor], fault: str) -> None:
    with MergedWriter(tmp_path / "out", plan_of({"w": torch.zeros(3, 4)})) as writer:
        sink = writer.start("w")
        with pytest.raises(StoreError, match=fault):  # noqa: PT012 - any of the pieces
            for piece in pieces:
                sink.add(piece)
            sink.end()
    assert leftovers(tmp_path) == []


def test_two_runs_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    first = digests(written(tmp_path / "a", 20))
    assert digests(written(tmp_path / "b", 20, backwards=True)) == first
    assert digests(written(tmp_path / "c")) != first


def test_accepts_tensors_that_are_not_contiguous_or_need_gradients(tmp_path: Path) -> None:
    values = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
    with MergedWriter(tmp_path / "out", plan_of({"w": values})) as writer:
        writer.write("w", values)
        writer.finish()
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["w"], values)


MISUSES: dict[str, tuple[Callable[[MergedWriter], object], str]] = {
    "unplanned name": (lambda w: w.write("nix", torch.ones(1)), "tensor nix is not in the plan"),
    "wrong shape": (lambda w: w.write("ids", torch.arange(4)), r"tensor ids: planned as I64 \[3\], got I64 \[4\]"),
    "wrong type": (lambda w: w.write("ids", torch.ones(3)), r"tensor ids: planned as I64 \[3\], got F32 \[3\]"),
    "strange type": (lambda w: w.write("ids", torch.ones(3, dtype=torch.complex128)), "got torch.complex128"),
    "twice": (lambda w: (w.write("ids", torch.arange(3)), w.write("ids", torch.arange(3))), "ids was written already"),
    "missing": (lambda w: w.finish(), "6 planned tensors were not written, first ids"),
    "text in a folder": (lambda w: w.add_text("a/b", ""), "no plain file name"),
    "text above": (lambda w: w.add_text("../b", ""), "no plain file name"),
    "text at the root": (lambda w: w.add_text("/tmp/b", ""), "no plain file name"),
    "no name": (lambda w: w.add_text("", ""), "no plain file name"),
    "the note of ownership": (lambda w: w.add_text(".owner.json", ""), "no plain file name"),
    "weights as text": (lambda w: w.add_text("model.safetensors", ""), "would pass for weights"),
    "an index as text": (lambda w: w.add_text("model.safetensors.index.json", ""), "would pass for weights"),
    "text twice": (lambda w: (w.add_text("a", ""), w.add_text("a", "")), "a was written already"),
    "copy of nothing": (lambda w: w.copy_file(Path("/no/such/file")), "cannot be read"),
    "copy of a device": (lambda w: w.copy_file(Path("/dev/zero")), "not a regular file"),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_is_an_error_and_leaves_nothing(tmp_path: Path, misuse: str) -> None:
    act, expected = MISUSES[misuse]
    with pytest.raises(StoreError, match=expected) as error, MergedWriter(tmp_path / "out", plan_of(TENSORS)) as writer:
        act(writer)
    assert str(error.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_leaving_early_leaves_nothing(tmp_path: Path) -> None:
    with MergedWriter(tmp_path / "out", plan_of(TENSORS)) as writer:
        writer.write("ids", TENSORS["ids"])
        assert leftovers(tmp_path) == [f".out.tmp-{os.getpid()}"]
    assert not list(tmp_path.iterdir())
    with pytest.raises(StoreError, match="given up already"):
        writer.write("mask", TENSORS["mask"])
    with pytest.raises(KeyboardInterrupt), MergedWriter(tmp_path / "out", plan_of(TENSORS)):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_out_is_absent_until_it_is_complete(tmp_path: Path) -> None:
    with MergedWriter(tmp_path / "deep" / "out", plan_of(TENSORS)) as writer:
        for name, tensor in TENSORS.items():
            assert not (tmp_path / "deep" / "out").exists()
            writer.write(name, tensor)
        assert writer.finish() == tmp_path / "deep" / "out"
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == ["model.safetensors"]


def test_copies_files_whatever_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.merged.writer._PIECE", 3)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "ten").write_bytes(b"0123456789")
    with MergedWriter(tmp_path / "out", plan_of({"w": torch.ones(4)})) as writer:
        writer.write("w", torch.ones(4))
        writer.copy_file(tmp_path / "empty")
        writer.copy_file(tmp_path / "ten", "renamed")
        writer.finish()
    assert (tmp_path / "out" / "empty").read_bytes() == b""
    assert (tmp_path / "out" / "renamed").read_bytes() == b"0123456789"


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        out = written(tmp_path / "out")
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o640}


class TestExisting:
    """OUT is there already."""

    def test_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(OutputExistsError, match="already exists"):
            written(tmp_path / "out")
        (tmp_path / "file").write_text("x")
        with pytest.raises(OutputExistsError, match="already exists"):
            written(tmp_path / "file")
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(OutputExistsError, match="already exists"):
            written(tmp_path / "link")
        assert not leftovers(tmp_path)

    def test_is_replaced_as_a_whole_when_allowed(self, tmp_path: Path) -> None:
        written(tmp_path / "out", 20)
        (tmp_path / "out" / "stale.txt").write_text("stale")
        out = written(tmp_path / "out", overwrite=True)
        assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
        assert not leftovers(tmp_path)

    def test_stays_when_its_replacement_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = digests(written(tmp_path / "out", 20))
        with pytest.raises(ZeroDivisionError), MergedWriter(tmp_path / "out", plan_of(TENSORS), overwrite=True):
            raise ZeroDivisionError
        assert digests(tmp_path / "out") == before
        real = files.rename

        def rename(source: Path, target: Path) -> None:
            if source.name.startswith(".out.tmp-"):
                raise OSError(errno.EIO, "Input/output error")
            real(source, target)

        monkeypatch.setattr(files, "rename", rename)
        with pytest.raises(StoreError, match="Input/output error"):
            written(tmp_path / "out", overwrite=True)
        assert digests(tmp_path / "out") == before
        assert not leftovers(tmp_path)

    @pytest.mark.parametrize("content", ["subfolder", "no model", "link", "file", "out is a link"])
    def test_is_not_replaced_when_it_is_more_than_a_model(self, tmp_path: Path, content: str) -> None:
        out = tmp_path / "out"
        if content == "file":
            out.write_text("precious")
        elif content == "out is a link":
            written(tmp_path / "real")
            out.symlink_to("real")
        else:
            out.mkdir()
            (out / "precious").write_text("precious")
            if content != "no model":
                (out / "model.safetensors").write_bytes(b"")
            if content == "subfolder":
                (out / "photos").mkdir()
            if content == "link":
                (out / "link").symlink_to("precious")
        with pytest.raises(OutputExistsError, match="is not a plain model folder"):
            written(out, overwrite=True)
        assert os.path.lexists(out)

    def test_that_appears_meanwhile_is_kept(self, tmp_path: Path) -> None:
        with MergedWriter(tmp_path / "out", plan_of({"w": torch.ones(1)})) as writer:
            writer.write("w", torch.ones(1))
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "precious").write_text("x")
            with pytest.raises(OutputExistsError):
                writer.finish()
        assert (tmp_path / "out" / "precious").exists()
        assert not leftovers(tmp_path)

    @pytest.mark.parametrize("source", ["out", "out/model.safetensors", "alias", "alias/model.safetensors"])
    def test_that_is_a_source_is_never_replaced(self, tmp_path: Path, source: str) -> None:
        before = digests(written(tmp_path / "out"))
        (tmp_path / "alias").symlink_to("out")
        with pytest.raises(OutputExistsError, match="holds the source"):
            MergedWriter(tmp_path / "out", plan_of(TENSORS), overwrite=True, protected=[tmp_path / source])
        assert digests(tmp_path / "out") == before

    def test_beside_or_below_a_source_is_fine(self, tmp_path: Path) -> None:
        base = written(tmp_path / "base")
        for out in (tmp_path / "base2", base / "merged"):
            with MergedWriter(out, plan_of(TENSORS), protected=[base]):
                pass

    @pytest.mark.parametrize("overwrite", [True, False])
    def test_the_root_is_refused(self, overwrite: bool) -> None:
        with pytest.raises(OutputExistsError):
            MergedWriter(Path("/"), plan_of(TENSORS), overwrite=overwrite)

    def test_below_a_file_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(StoreError) as error:
            written(tmp_path / "file" / "out")
        assert str(error.value).isprintable()

    def test_two_writers_of_one_output_do_not_mix(self, tmp_path: Path) -> None:
        with MergedWriter(tmp_path / "out", plan_of(TENSORS)) as first:
            with pytest.raises(StoreError, match="is being written right now"):
                MergedWriter(tmp_path / "out", plan_of(TENSORS))
            for name, tensor in TENSORS.items():
                first.write(name, tensor)
            first.finish()


class TestDisk:
    """Disks that are full, slow or broken."""

    def test_short_writes_are_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = digests(written(tmp_path / "a", 20))
        real = files.write_some
        monkeypatch.setattr(files, "write_some", lambda fd, data, offset: real(fd, data[:5], offset))
        assert digests(written(tmp_path / "b", 20)) == expected

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("function", ["write_some", "cut", "sync"])
    def test_a_full_disk_is_said_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, function: str
    ) -> None:
        def full(*args: object) -> int:
            raise OSError(number, "No space left on device")

        monkeypatch.setattr(files, function, full)
        with pytest.raises(DiskFullError, match="the disk is full"):
            written(tmp_path / "out")
        assert not list(tmp_path.iterdir())

    def test_a_disk_too_small_is_said_before_anything_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
        monkeypatch.setattr("store.merged.writer.make_temporary", lambda out: pytest.fail("a folder was made"))
        with pytest.raises(DiskFullError) as error:
            MergedWriter(tmp_path / "deep" / "out", plan_of(TENSORS))
        assert error.value.free == 1000
        assert error.value.needed is not None
        assert error.value.needed > plan_of(TENSORS).nbytes
        assert not list(tmp_path.iterdir())

    def test_a_broken_disk_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*args: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(files, "sync", broken)
        with pytest.raises(StoreError, match="Input/output error"):
            written(tmp_path / "out")
        assert not list(tmp_path.iterdir())


class TestSidecars:
    """Configs and tokenizer files go along; code and foreign files do not."""

    wanted = (
        "added_tokens.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    )

    def test_are_found(self, tmp_path: Path) -> None:
        folder = make.single(tmp_path / "m", {"w": torch.ones(1)})
        unwanted = ("tokenizer.py", "modeling.py", "README.md", "training_args.bin", "model.safetensors.index.json")
        for name in (*self.wanted, *unwanted):
            (folder / name).write_text("{}")
        (folder / "tokenizer_extra.json").mkdir()
        checkpoint = open_checkpoint(str(folder))
        assert tuple(path.name for path in sidecar_files(checkpoint)) == self.wanted
        alone = open_checkpoint(str(folder / "model.safetensors"))
        assert sidecar_files(alone) == sidecar_files(checkpoint)
        make.zero_file(folder / "other.safetensors", {"w": ("F32", (1,))})
        assert sidecar_files(open_checkpoint(str(folder / "model.safetensors"))) == ()

    def test_are_found_in_a_hub_cache(self, tmp_path: Path) -> None:
        weights = make.zero_file(tmp_path / "w.safetensors", {"w": ("F32", (1,))}).read_bytes()
        content = {"model.safetensors": weights, "config.json": b"{}", "tokenizer.json": b"[1]"}
        snapshot = make.hub_cache(tmp_path / "hub", "org/name", content)
        found = sidecar_files(open_checkpoint(str(snapshot)))
        assert [path.name for path in found] == ["config.json", "tokenizer.json"]
        with MergedWriter(tmp_path / "out", plan_of({"w": torch.ones(1)})) as writer:
            writer.write("w", torch.ones(1))
            for path in found:
                writer.copy_file(path)
            writer.finish()
        copy = tmp_path / "out" / "tokenizer.json"
        assert copy.read_bytes() == b"[1]"
        assert not copy.is_symlink()

    def test_that_link_out_of_the_folder_are_refused(self, tmp_path: Path) -> None:
        folder = make.single(tmp_path / "m", {"w": torch.ones(1)})
        (tmp_path / "secret").write_text("x")
        checkpoint = open_checkpoint(str(folder))
        (folder / "tokenizer.json").symlink_to(tmp_path / "secret")
        with pytest.raises(CheckpointError, match="is a link out of its folder"):
            sidecar_files(checkpoint)
