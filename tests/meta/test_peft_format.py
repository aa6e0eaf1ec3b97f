"""Prompts in PEFT's format: PEFT itself must read them and come to the logits we come to."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from warmprompt.backbone.load import load_causal
from warmprompt.backbone.tiny import build_tiny
from warmprompt.errors import BadInputError, IntegrityError, StorageError, UnknownNameError
from warmprompt.meta.peft_format import CONFIG, WEIGHTS, export_peft, import_peft


def _prompt(width, seed=0):
    return torch.randn(4, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def peft():
    pytest.importorskip("peft", reason="needs the extra `peft`")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft
    return peft


@torch.no_grad()
def _logits_by_hand(model, prompt_PH, ids_BT):
    """Feed [prompt][tokens] as embeddings and keep the logits at the tokens."""
    tokens_BTH = model.get_input_embeddings()(ids_BT)
    joined = torch.cat([prompt_PH.expand(len(ids_BT), -1, -1).to(tokens_BTH), tokens_BTH], dim=1)
    return model(inputs_embeds=joined).logits[:, len(prompt_PH) :]


def _assert_peft_agrees(peft, model, tokenizer, prompt_PH, folder, tolerance):
    ids_BT = tokenizer(["a film about a robot"], return_tensors="pt", add_special_tokens=False)["input_ids"]
    expected = _logits_by_hand(model, prompt_PH, ids_BT)
    plain = _logits_by_hand(model, prompt_PH[:0], ids_BT)
    assert (expected - plain).abs().max() > 100 * tolerance  # the prompt matters
    loaded = peft.PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        found = loaded(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT)).logits
    torch.testing.assert_close(found[:, -ids_BT.shape[1] :], expected, rtol=0, atol=tolerance)


def test_peft_loads_an_exported_prompt_and_gives_equal_logits(peft, tmp_path):
    model, tokenizer = build_tiny("decoder")
    prompt_PH = _prompt(32)
    export_peft(tmp_path / "adapter", prompt_PH, base_model="tiny")
    _assert_peft_agrees(peft, model, tokenizer, prompt_PH, tmp_path / "adapter", 1e-5)


@pytest.mark.backbone
def test_peft_loads_a_prompt_for_smollm2_and_gives_equal_logits(peft, tmp_path, smollm2):
    model, tokenizer = load_causal(smollm2)
    with torch.no_grad():
        prompt_PH = model.get_input_embeddings()(torch.tensor([100, 2000, 30000, 4]))
    export_peft(tmp_path / "adapter", prompt_PH, base_model="HuggingFaceTB/SmolLM2-135M-Instruct")
    # Logits are of the order of 20; thirty layers in float32 leave differences of about 1e-5.
    _assert_peft_agrees(peft, model, tokenizer, prompt_PH, tmp_path / "adapter", 1e-3)


def test_a_prompt_that_peft_saved_is_read(peft, tmp_path):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model = peft.get_peft_model(build_tiny("decoder")[0], config)
    model.save_pretrained(tmp_path / "adapter")
    assert torch.equal(import_peft(tmp_path / "adapter"), model.get_prompt_embedding_to_save("default"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_prompt_comes_back_as_it_was(tmp_path, dtype):
    prompt_PH = _prompt(5).to(dtype)
    export_peft(tmp_path / "adapter", prompt_PH.requires_grad_(), base_model="x")
    assert torch.equal(import_peft(tmp_path / "adapter"), prompt_PH.detach().float())


def test_nothing_is_overwritten_unasked(tmp_path):
    export_peft(tmp_path, _prompt(5), base_model="x")
    with pytest.raises(BadInputError, match="exists"):
        export_peft(tmp_path, _prompt(5, seed=1), base_model="x")
    assert torch.equal(import_peft(tmp_path), _prompt(5))
    export_peft(tmp_path, _prompt(5, seed=1), base_model="x", overwrite=True)
    assert torch.equal(import_peft(tmp_path), _prompt(5, seed=1))


@pytest.mark.parametrize("prompt", [torch.zeros(3), torch.zeros(0, 4), torch.full((2, 2), torch.nan)])
def test_what_is_no_prompt_is_not_exported(tmp_path, prompt):
    with pytest.raises(BadInputError, match="prompt"):
        export_peft(tmp_path / "adapter", prompt, base_model="x")
    assert not (tmp_path / "adapter").exists()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError):
        export_peft(tmp_path / "adapter", _prompt(5), base_model="x")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def adapter(tmp_path):
    export_peft(tmp_path / "adapter", _prompt(5), base_model="x")
    return tmp_path / "adapter"


def _edit(adapter, **changes):
    config = json.loads((adapter / CONFIG).read_text()) | changes
    (adapter / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_missing_file_is_reported(adapter, file):
    (adapter / file).unlink()
    with pytest.raises(UnknownNameError, match=WEIGHTS):
        import_peft(adapter)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("length", [0, 7, 60])
def test_a_truncated_file_is_reported(adapter, file, length):
    (adapter / file).write_bytes((adapter / file).read_bytes()[:length])
    with pytest.raises(IntegrityError, match=file):
        import_peft(adapter)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"peft_type": "LORA"}, BadInputError),
        ({"num_transformer_submodules": 2}, BadInputError),
        ({"num_virtual_tokens": 5}, IntegrityError),
        ({"token_dim": None}, IntegrityError),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(adapter, changes, error):
    _edit(adapter, **changes)
    with pytest.raises(error):
        import_peft(adapter)


@pytest.mark.parametrize(
    "tensors", [{"lora_A": torch.zeros(4, 5)}, {"prompt_embeddings": torch.full((4, 5), torch.inf)}]
)
def test_other_tensors_and_infinite_prompts_are_refused(adapter, tensors):
    save_file(tensors, adapter / WEIGHTS)
    with pytest.raises(BadInputError):
        import_peft(adapter)


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_a_configuration_of_something_else_is_refused(adapter, text):
    (adapter / CONFIG).write_text(text)
    with pytest.raises(BadInputError):
        import_peft(adapter)
