"""Frozen models in memory: cut at the right layer, frozen, hashed, and refused when they are not whole."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
)

from warmprompt.backbone.families import kind_of
from warmprompt.backbone.hashing import hash_folder, hash_tensors, hash_weights
from warmprompt.backbone.load import load_backbone, load_causal, weights_hash_of
from warmprompt.backbone.tiny import build_tiny, byte_tokenizer
from warmprompt.errors import BadInputError, FetchError, UnknownNameError

TEXT = "A slow science fiction film"


def _save(folder, model):
    model.save_pretrained(folder)
    byte_tokenizer(wrap=False).save_pretrained(folder)
    return str(folder)


def _small(family, vocabulary):
    torch.manual_seed(0)
    sizes = {"vocab_size": vocabulary, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=3, n_head=2, n_positions=64, **sizes))
    if family == "gemma3":
        config = Gemma3TextConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            sliding_window=8,
            **sizes,
        )
        return Gemma3ForCausalLM(config)
    config = BertConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, **sizes
    )
    return BertForMaskedLM(config)


@pytest.fixture(params=["tiny", "tiny-encoder", "gpt2", "gemma3", "bert"])
def any_model(request, tmp_path):
    """Return a name that `load_backbone` takes: built in, or a folder of one family."""
    if request.param.startswith("tiny"):
        return request.param
    return _save(tmp_path / request.param, _small(request.param, len(byte_tokenizer(wrap=False))))


def _states_by_the_library(name, inputs):
    """Return the library's own hidden states of the whole model, the oracle for cutting."""
    if name.startswith("tiny"):
        model = build_tiny("encoder" if "encoder" in name else "decoder")[0].base_model
    else:
        model = AutoModel.from_pretrained(name)
    with torch.no_grad():
        return model.eval()(**inputs, output_hidden_states=True).hidden_states


@pytest.mark.parametrize("num_layers", [1, 2, None])
def test_a_cut_model_gives_the_whole_models_hidden_state(any_model, num_layers):
    backbone = load_backbone(any_model, num_layers=num_layers)
    inputs = backbone.tokenizer(TEXT, return_tensors="pt")
    expected = _states_by_the_library(any_model, inputs)
    assert backbone.total_layers == len(expected) - 1
    assert backbone.num_layers == (num_layers or backbone.total_layers)
    with torch.no_grad():
        from_ids = backbone.model(**inputs).last_hidden_state
        from_vectors = backbone.model(
            inputs_embeds=backbone.embed(inputs["input_ids"]), attention_mask=inputs["attention_mask"]
        ).last_hidden_state
    # The same operations in the same order: no tolerance, but for sums split otherwise by threads.
    torch.testing.assert_close(from_ids, expected[backbone.num_layers], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(from_vectors, from_ids, atol=1e-6, rtol=1e-6)
    assert from_ids.shape[-1] == backbone.hidden_size


def test_everything_is_frozen_and_off_training(any_model):
    backbone = load_backbone(any_model)
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert getattr(backbone.model, "pooler", None) is None


@pytest.mark.parametrize("name", ["tiny", "tiny-encoder"])
def test_a_backward_pass_to_the_input_leaves_the_weights_alone(name):
    backbone = load_backbone(name, num_layers=2)
    before = hash_weights(backbone.model)
    vectors = backbone.embed(backbone.tokenizer(TEXT, return_tensors="pt")["input_ids"]).requires_grad_()
    optimizer = torch.optim.SGD([vectors], lr=0.1)
    for _ in range(2):
        backbone.model(inputs_embeds=vectors).last_hidden_state.square().sum().backward()
        optimizer.step()
    assert vectors.grad.abs().sum() > 0
    assert hash_weights(backbone.model) == before


def test_the_weights_hash_notices_one_changed_bit():
    model = load_backbone("tiny").model
    before = hash_weights(model)
    with torch.no_grad():
        bits = model.layers[1].mlp.up_proj.weight.view(torch.int32)
        bits[0, 0] ^= 1
    assert hash_weights(model) != before


def test_how_a_tensor_lies_in_memory_leaves_its_hash_alone():
    # Slices and expanded tensors of one element have strides that are not 1.
    numbers = torch.arange(6, dtype=torch.int32)
    expected = hash_tensors([("one", numbers[2:3].clone()), ("two", numbers[::2].clone())])
    assert hash_tensors([("one", numbers[2].expand(1)), ("two", numbers[::2])]) == expected
    assert hash_tensors([("one", numbers[2:3]), ("two", numbers[::2])]) == expected


def test_the_weights_hash_ignores_cutting_and_casting(any_model):
    hashes = {
        load_backbone(any_model, num_layers=layers, dtype=dtype, attention=attention).weights_hash
        for layers, dtype, attention in [
            (None, "float32", "sdpa"),
            (1, "bfloat16", "sdpa"),
            (2, "float32", "eager"),
        ]
    }
    assert hashes == {weights_hash_of(any_model)}


def test_the_hash_of_a_folder_does_not_depend_on_its_shards(tmp_path):
    model = build_tiny("decoder")[0]
    model.save_pretrained(tmp_path / "one")
    tensors = load_file(tmp_path / "one" / "model.safetensors")
    (tmp_path / "two").mkdir()
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[::2]}, tmp_path / "two" / "a.safetensors")
    save_file({name: tensors[name] for name in names[1::2]}, tmp_path / "two" / "b.safetensors")
    assert hash_folder(tmp_path / "one") == hash_folder(tmp_path / "two")
    tensors[names[0]][0] += 1
    save_file(tensors, tmp_path / "one" / "model.safetensors")
    assert hash_folder(tmp_path / "one") != hash_folder(tmp_path / "two")


def _loss(vectors, backbone):
    return backbone.model(inputs_embeds=vectors).last_hidden_state.square().mean()


def test_eager_attention_can_be_differentiated_twice_encoder():
    backbone = load_backbone("tiny-encoder", num_layers=1, attention="eager")
    backbone.model.double()
    vectors = backbone.embed(torch.tensor([[5, 6]])).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda at: _loss(at, backbone), (vectors,))


def test_eager_attention_can_be_differentiated_twice_decoder():
    # Its norm computes in float32 whatever the weights are, so differences of gradients have an error
    # of about 1e-7 / step; with a step of 1e-2 that and the curvature's own change stay below 1 %.
    backbone = load_backbone("tiny", num_layers=2, attention="eager")
    vectors = backbone.embed(torch.tensor([[5, 6, 7]])).requires_grad_()
    direction = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))

    def slope(at, *, graph=False):
        return torch.autograd.grad(_loss(at, backbone), at, create_graph=graph)[0]

    exact = torch.autograd.grad((slope(vectors, graph=True) * direction).sum(), vectors)[0]
    up, down = (slope((vectors + sign * 1e-2 * direction).detach().requires_grad_()) for sign in (1, -1))
    estimate = (up - down) / 2e-2
    assert (exact - estimate).norm() < 0.01 * exact.norm()


def test_bfloat16_is_the_rounded_model(any_model):
    backbone, exact = load_backbone(any_model, dtype="bfloat16"), load_backbone(any_model)
    assert backbone.dtype == torch.bfloat16
    rounded = exact.model.get_input_embeddings().weight.to(torch.bfloat16)
    assert torch.equal(backbone.model.get_input_embeddings().weight, rounded)
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.bfloat16}


def test_a_whole_causal_model_gives_the_librarys_logits(tmp_path):
    name = _save(tmp_path / "gpt2", _small("gpt2", len(byte_tokenizer(wrap=False))))
    model, tokenizer = load_causal(name)
    inputs = tokenizer(TEXT, return_tensors="pt")
    expected = AutoModelForCausalLM.from_pretrained(name)(**inputs).logits
    torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-6, rtol=1e-6)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_tiny_backbone_is_the_tiny_causal_model_without_its_head():
    model, tokenizer = load_causal("tiny")
    backbone = load_backbone("tiny")
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model.lm_head(backbone.model(ids).last_hidden_state)
        torch.testing.assert_close(logits, model(ids).logits)
    assert not backbone.trained


@pytest.mark.parametrize("name", ["tiny-encoder", "minilm-l6"])
def test_an_encoder_is_no_causal_model(name):
    with pytest.raises(BadInputError, match="encoder"):
        load_causal(name)


def test_an_encoder_folder_is_no_causal_model(tmp_path):
    with pytest.raises(BadInputError, match="encoder"):
        load_causal(_save(tmp_path / "bert", _small("bert", 300)))


def test_an_encoder_decoder_is_neither():
    with pytest.raises(BadInputError, match="t5"):
        kind_of(T5Config(), "some/t5")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_layers", 0),
        ("num_layers", 5),
        ("num_layers", -1),
        ("dtype", "float16"),
        ("device", "tpu"),
        ("attention", "flash"),
    ],
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(BadInputError, match=f"{setting}: .*Choose"):
        load_backbone("tiny", **{setting: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(BadInputError, match="No CUDA device"):
        load_backbone("tiny", device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_hidden_state():
    backbone, on_cpu = load_backbone("tiny", device="cuda"), load_backbone("tiny")
    ids = on_cpu.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    expected = on_cpu.model(ids).last_hidden_state
    actual = backbone.model(ids.cuda()).last_hidden_state.cpu()
    # float32 sums in another order; the states are of size one.
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture
def folder(tmp_path):
    """Return a whole model folder to be damaged."""
    return _save(tmp_path / "model", build_tiny("decoder")[0])


@pytest.mark.parametrize(
    "damage", ["no config", "broken config", "no weights", "cut weights", "a tensor less"]
)
def test_folders_that_are_not_whole_are_refused(folder, tmp_path, damage):
    path = tmp_path / "model"
    weights = path / "model.safetensors"
    if damage == "no config":
        (path / "config.json").unlink()
    elif damage == "broken config":
        (path / "config.json").write_text("{")
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        tensors = load_file(weights)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(BadInputError, match="backbone"):
        load_backbone(folder)


@pytest.mark.parametrize("family", ["decoder", "encoder"])
def test_a_folder_without_its_tokenizer_is_refused(tmp_path, family):
    # For the BERT kind the library makes up a tokenizer to which every word is unknown.
    name = _save(tmp_path / family, _small("bert" if family == "encoder" else "gpt2", 64))
    for path in (tmp_path / family).glob("*token*"):
        path.unlink()
    with pytest.raises(BadInputError, match="tokenizer"):
        load_backbone(name)


def test_pickled_weights_are_not_read(folder, tmp_path):
    path = tmp_path / "model"
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(BadInputError, match="safetensors"):
        load_backbone(folder)


def test_a_folder_is_the_model_that_was_saved(folder):
    from_folder, built = load_backbone(folder), load_backbone("tiny")
    assert hash_weights(from_folder.model) == hash_weights(built.model)
    assert from_folder.trained
    shutil.rmtree(folder)
    with pytest.raises((UnknownNameError, FetchError)):
        load_backbone(folder)


def test_loading_says_nothing(folder, capfd):
    load_backbone(folder, num_layers=1)
    load_causal(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.backbone
@pytest.mark.parametrize(("name", "num_layers"), [("smollm2-135m", 12), ("minilm-l6", 3)])
def test_real_models_cut_and_frozen(cached_home, name, num_layers):
    home = cached_home(name)
    backbone = load_backbone(name, num_layers=num_layers, home=home)
    ids_1S = torch.tensor([backbone.tokenizer(TEXT)["input_ids"]])
    inputs = {"input_ids": ids_1S, "attention_mask": torch.ones_like(ids_1S)}
    with torch.no_grad():
        whole = AutoModel.from_pretrained(home / "models" / name)
        expected = whole(**inputs, output_hidden_states=True).hidden_states[num_layers]
    before = hash_weights(backbone.model)
    vectors = backbone.embed(inputs["input_ids"]).requires_grad_()
    states = backbone.model(inputs_embeds=vectors, attention_mask=inputs["attention_mask"]).last_hidden_state
    # SmolLM2's states reach ten thousands after layer 12; float32 keeps seven digits.
    torch.testing.assert_close(states.detach(), expected, atol=1e-4, rtol=1e-5)
    states.mean().backward()
    assert vectors.grad.abs().sum() > 0
    assert hash_weights(backbone.model) == before
    assert backbone.weights_hash == weights_hash_of(name, home=home) == hash_folder(home / "models" / name)
    assert backbone.total_layers == AutoConfig.from_pretrained(home / "models" / name).num_hidden_layers


@pytest.mark.backbone
def test_smollm2_knows_a_capital_and_gets_no_special_tokens(cached_home):
    model, tokenizer = load_causal("smollm2-135m", home=cached_home("smollm2-135m"))
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert not set(ids[0].tolist()) & set(tokenizer.all_special_ids)
    with torch.no_grad():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
