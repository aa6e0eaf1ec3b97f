"""Small random models of many transformers families, saved as a user would have them: in a folder."""

import torch
import transformers
from transformers import PreTrainedTokenizerBase

from warmprompt.backbone.quiet import quiet
from warmprompt.backbone.tiny import byte_tokenizer

LAYERS = 3
_WIDE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
_GROUPED = {**_WIDE, "num_key_value_heads": 1}
_GEMMA = {**_GROUPED, "head_dim": 8, "sliding_window": 64}
_GPT = {"n_embd": 16, "n_layer": LAYERS, "n_head": 2, "n_positions": 128}
_BERT = {**_WIDE, "max_position_embeddings": 128}
_OPT = {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": LAYERS, "num_heads": 2}
_MAMBA = {"hidden_size": 16, "num_hidden_layers": LAYERS, "state_size": 4}

# Family: (class of the model, class of its configuration, sizes).
DECODERS = {
    "Llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _GROUPED),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "Mistral": ("MistralForCausalLM", "MistralConfig", {**_GROUPED, "sliding_window": 64}),
    "Phi-3": ("Phi3ForCausalLM", "Phi3Config", _GROUPED),
    "Gemma 2": ("Gemma2ForCausalLM", "Gemma2Config", _GEMMA),
    "Gemma 3": ("Gemma3ForCausalLM", "Gemma3TextConfig", _GEMMA),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", _GPT),
    "GPT-NeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _BERT),
    "OPT": ("OPTForCausalLM", "OPTConfig", {**_OPT, "word_embed_proj_dim": 16}),
    "OPT, narrow embeddings": (
        "OPTForCausalLM",
        "OPTConfig",
        {**_OPT, "word_embed_proj_dim": 8, "do_layer_norm_before": False},
    ),
    "BLOOM": ("BloomForCausalLM", "BloomConfig", {"hidden_size": 16, "n_layer": LAYERS, "n_head": 2}),
}
ENCODERS = {
    "BERT": ("BertModel", "BertConfig", _BERT),
    "RoBERTa": ("RobertaModel", "RobertaConfig", _BERT),
    "DistilBERT": (
        "DistilBertModel",
        "DistilBertConfig",
        {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 128},
    ),
    "MPNet": ("MPNetModel", "MPNetConfig", _BERT),
    "ELECTRA": ("ElectraModel", "ElectraConfig", {**_BERT, "embedding_size": 8}),
    "ALBERT": ("AlbertModel", "AlbertConfig", {**_BERT, "embedding_size": 8}),
    "DeBERTa v2": ("DebertaV2Model", "DebertaV2Config", _BERT),
    "ModernBERT": ("ModernBertModel", "ModernBertConfig", {**_BERT, "cls_token_id": 1, "sep_token_id": 2}),
}
# Family: (as above, what the refusal says).
REFUSED = {
    "T5": ("T5ForConditionalGeneration", "T5Config", _T5, "an encoder and a decoder"),
    "T5, encoder alone": ("T5EncoderModel", "T5Config", _T5, "an encoder and a decoder"),
    "BART": (
        "BartModel",
        "BartConfig",
        {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8},
        "an encoder and a decoder",
    ),
    "Mamba": ("MambaForCausalLM", "MambaConfig", _MAMBA, "running state"),
    "Falcon Mamba": ("FalconMambaForCausalLM", "FalconMambaConfig", _MAMBA, "running state"),
    "RWKV": ("RwkvForCausalLM", "RwkvConfig", {"hidden_size": 16, "num_hidden_layers": 2}, "running state"),
    "ViT": ("ViTModel", "ViTConfig", _WIDE, "knows it as neither"),
}
WORKING = {**DECODERS, **ENCODERS}


def tokenizer_for(family: str) -> PreTrainedTokenizerBase:
    """Return a byte tokenizer; an encoder's has a first and a last token."""
    tokenizer = byte_tokenizer(wrap=family in ENCODERS)
    if family in ENCODERS:
        tokenizer.cls_token, tokenizer.sep_token = "<bos>", "<eos>"
    return tokenizer


def save_family(family: str, folder, **more) -> str:
    """Save a random model of a family and its tokenizer; return the folder as a name of a backbone."""
    model_class, config_class, sizes = {**WORKING, **REFUSED}[family][:3]
    tokenizer = tokenizer_for(family)
    special = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, config_class)(**{**sizes, **special, **more})
        model = getattr(transformers, model_class)(config)
        # Weights as small as families draw them make every layer nearly the identity.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)
