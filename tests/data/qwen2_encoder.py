"""Tiny seeded Qwen2 models whose tokens see their whole text, computed by transformers: what the scripts for
GTE-Qwen2 and Stella share.
"""

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

from embedding_cases import Weights, write_json

END = "<|endoftext|>"


def make_tokenizer(limit=int(1e30)):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("a", "t"), ("\u0120", "the"), ("\u0120", "a"), ("n", "d")]
    vocabulary = letters + [a + b for a, b in merges]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, tokenizer.token_to_id(END))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=limit)


def make_model(folder, dtype=torch.float32, prefix="model.", n_files=1, n_layers=2, **changes):
    """Writes the configuration, the tokenizer and the weights; gives a function from ids to hidden states."""
    tokenizer = make_tokenizer()
    values = dict(
        vocab_size=len(tokenizer) + 2, hidden_size=24, intermediate_size=28, num_hidden_layers=n_layers,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=2048, rope_theta=1000000.0,
        rms_norm_eps=1e-6, hidden_act="silu", tie_word_embeddings=False)
    config = Qwen2Config(**values)
    model = Qwen2Model(config).eval()
    weights = Weights(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "norm" in name
            weights.add(name, *parameter.shape, mean=1.0 if norm else 0.0, std=0.3)
            parameter.copy_(weights(name))
    weights.save(folder, prefix, n_files)
    write_json(folder / "config.json", {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"} | values | changes)
    tokenizer.save_pretrained(folder)

    def encode(ids):
        n = len(ids)
        everything = torch.zeros(1, 1, n, n)
        return model(input_ids=torch.tensor([ids]), attention_mask=everything).last_hidden_state[0]

    return tokenizer, encode
