"""Random small models with a byte tokenizer, built on the spot: for tests, never for results.

Weights come from NumPy generators named after each parameter, so they are the
same on every machine and leave torch's global generator alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

from warmprompt.backbone.catalogue import KNOWN, Kind
from warmprompt.rng import derive

if TYPE_CHECKING:
    from transformers import BertConfig, LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

_SPECIAL = ("<pad>", "<bos>", "<eos>")


def build_tiny(
    kind: Kind, *, seed: int = 0, attention: Literal["sdpa", "eager"] = "sdpa"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Build an untrained decoder (Llama-like, with head) or encoder (BERT-like) and its tokenizer.

    Args:
        kind: `decoder` or `encoder`.
        seed: Decides every weight.
        attention: As in `load_backbone`.
    """
    tokenizer = byte_tokenizer(wrap=kind == "encoder")
    name = "tiny" if kind == "decoder" else "tiny-encoder"
    width, depth = KNOWN[name].hidden_size, KNOWN[name].num_layers
    model: PreTrainedModel
    with torch.random.fork_rng(devices=[]):
        if kind == "decoder":
            model = transformers.LlamaForCausalLM(_llama_config(len(tokenizer), width, depth))
        else:
            config = _bert_config(len(tokenizer), width, depth)
            model = transformers.BertModel(config, add_pooling_layer=False)
    _draw_weights(model, seed)
    model.set_attn_implementation(attention)
    model.train(mode=False)
    return model, tokenizer


def byte_tokenizer(*, wrap: bool) -> PreTrainedTokenizerBase:
    """Return a tokenizer with one token per byte, so that any text is known.

    Args:
        wrap: Put `<bos>` before and `<eos>` after the text, as encoders do.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*_SPECIAL, *letters))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    if wrap:
        ends = [(token, vocabulary[token]) for token in ("<bos>", "<eos>")]
        inner.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=ends)
    pad, bos, eos = _SPECIAL
    tokenizer = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, pad_token=pad, bos_token=bos, eos_token=eos, model_max_length=512
    )
    return cast("PreTrainedTokenizerBase", tokenizer)


def _llama_config(num_tokens: int, width: int, depth: int) -> LlamaConfig:
    return transformers.LlamaConfig(
        vocab_size=num_tokens,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=depth,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _bert_config(num_tokens: int, width: int, depth: int) -> BertConfig:
    return transformers.BertConfig(
        vocab_size=num_tokens,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=depth,
        num_attention_heads=4,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )


@torch.no_grad()
def _draw_weights(model: PreTrainedModel, seed: int) -> None:
    """Overwrite every parameter: matrices N(0, 1 / fan-in), embeddings N(0, 1), norms one, biases zero."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        scale = 1.0 if id(parameter) in embeddings else parameter.shape[1] ** -0.5
        drawn = derive(seed, "tiny", name).standard_normal(tuple(parameter.shape)) * scale
        parameter.copy_(torch.from_numpy(drawn))
