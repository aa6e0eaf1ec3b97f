"""Make a language model of a known shape with random weights: a control for what pretraining is worth.

    python benchmarks/random_backbone.py --like smollm2-135m --out runs/random-smollm2-135m

Configuration and tokenizer are those of the model; its weights are drawn as its library draws them before
training, from the seed. The folder can be given wherever a backbone is named.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from warmprompt.backbone.fetch import resolve_folder


def main() -> None:
    """Write the folder; one that is there already is left as it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--like", default="smollm2-135m", help="a known backbone or a model folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if (asked.out / "model.safetensors").is_file():
        print(f"{asked.out} is there already")
        return
    folder = resolve_folder(asked.like)
    torch.manual_seed(asked.seed)
    causal: Any = AutoModelForCausalLM
    model = causal.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    AutoTokenizer.from_pretrained(folder).save_pretrained(asked.out)
    model.save_pretrained(asked.out)
    print(f"{asked.out}: {sum(weight.numel() for weight in model.parameters()):,} random weights")


if __name__ == "__main__":
    main()
