"""The transformer against transformers: logits, log-probabilities, entropies and every gradient."""
import pytest
import torch
import transformers
from support import LIMITS, close, close_gradients, load, log_softmax_values, model_tool, named_gradients

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 48}
BASE = dict(vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False)

# name: class of the configuration, its settings, how it is saved
MODELS = {
    "llama": ("Llama", {}, {}),
    "llama-tied": ("Llama", dict(tie_word_embeddings=True), {}),
    "llama-multi-head": ("Llama", dict(num_key_value_heads=4), {}),
    "llama-one-kv-head": ("Llama", dict(num_key_value_heads=1, head_dim=20), {}),
    "llama-wide-vocabulary": (
        "Llama",
        dict(vocab_size=4096 + 77, tie_word_embeddings=True, hidden_size=32, num_hidden_layers=1), {}),
    "llama-rope-llama3": ("Llama", dict(rope_parameters=LLAMA3), {}),
    "llama-rope-linear": (
        "Llama", dict(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}), {}),
    "llama-rope-base": ("Llama", dict(rope_parameters={"rope_type": "default", "rope_theta": 77.0}), {}),
    "llama-attention-bias": ("Llama", dict(attention_bias=True), {}),
    "llama-mlp-bias": ("Llama", dict(mlp_bias=True), {}),
    "llama-all-biases-tied": ("Llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
                              {}),
    "llama-bf16": ("Llama", {}, dict(dtype=torch.bfloat16)),
    "llama-f16": ("Llama", {}, dict(dtype=torch.float16)),
    "llama-f64": ("Llama", {}, dict(dtype=torch.float64)),
    "llama-sharded": ("Llama", {}, dict(max_shard_size="60KB")),
    "qwen2": ("Qwen2", {}, {}),
    "qwen2-tied-bf16-sharded": ("Qwen2", dict(tie_word_embeddings=True),
                                dict(dtype=torch.bfloat16, max_shard_size="60KB")),
    "qwen3": ("Qwen3", dict(head_dim=16), {}),
    "qwen3-tied-bias": ("Qwen3", dict(head_dim=8, attention_bias=True, tie_word_embeddings=True), {}),
    "qwen3-rope-llama3-bf16": ("Qwen3", dict(head_dim=16, rope_parameters=LLAMA3),
                               dict(dtype=torch.bfloat16)),
}


def make_model(kind, settings, classifier=False, seed=1, **extra):
    """A random model whose norms and biases differ from 1 and 0, so that leaving one out is seen."""
    torch.manual_seed(seed)
    config = getattr(transformers, kind + "Config")(**{**BASE, **settings, **extra})
    model = getattr(
        transformers, kind + ("ForSequenceClassification" if classifier else "ForCausalLM"))(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(1.0 if "norm" in name else 0.0,
                      0.25 if "norm" in name or name.endswith("bias") else 1.2 / p.shape[-1] ** 0.5)
    return model.eval()


def save(model, path, dtype=torch.float32, **how):
    model.to(dtype).save_pretrained(str(path), **how)
    return path


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    kind, settings, how = MODELS[request.param]
    path = save(make_model(kind, settings), tmp_path_factory.mktemp("model"), **how)
    shards = len(list(path.glob("*.safetensors")))
    assert (shards > 1) == ("max_shard_size" in how), f"{shards} files"
    return path


def random_case(vocab, lengths, seed, temperature, prompt=0):
    g = torch.Generator().manual_seed(seed)
    ids = [torch.randint(vocab, (n,), generator=g).tolist() for n in lengths]
    drop = 0 if prompt else 1
    case = {"input_ids": ids, "temperature": temperature,
            "dlogps": [torch.randn(n - drop, generator=g).double().tolist() for n in lengths],
            "dentropies": [torch.randn(n - drop, generator=g).double().tolist() for n in lengths]}
    if prompt:
        case["prompt_ids"] = torch.randint(vocab, (prompt,), generator=g).tolist()
    return case


def theirs(model, case):
    """Logits of every row of ours, values and gradients, with each sequence computed on its own, prompt
    included."""
    prompt, logits, logps, entropies, loss = case.get("prompt_ids", []), [], [], [], 0
    model.zero_grad()
    for i, ids in enumerate(case["input_ids"]):
        z = model(torch.tensor([prompt + ids])).logits[0]
        first = max(len(prompt) - 1, 0)
        lp, h = log_softmax_values(z[first:-1], torch.tensor((prompt + ids)[first + 1:]), case["temperature"])
        loss = (loss + (lp * torch.tensor(case["dlogps"][i], dtype=z.dtype)).sum()
                + (h * torch.tensor(case["dentropies"][i], dtype=z.dtype)).sum())
        if prompt and i == 0:
            logits.append(z[:len(prompt)])
        logits.append(z[len(prompt):-1] if prompt else z)
        logps.append(lp), entropies.append(h)
    loss.backward()
    return torch.cat(logits), torch.cat(logps), torch.cat(entropies), named_gradients(model)


def compare(build, folder, case, path):
    model = load(folder, build)
    got, limit = model_tool(build, folder, case, path), LIMITS[build]
    logits, logps, entropies, grads = theirs(model, case)
    close("logits", got["logits"], logits, limit["logits"])
    close("logps", got["logps"], logps, limit["logp"], absolute=True)
    close("entropies", got["entropies"], entropies, limit["logp"], absolute=True)
    close_gradients(got, grads, limit["grad"])
    assert set(got) == set(grads) | {"logits", "logps", "entropies"}


@pytest.mark.parametrize("build", ["f64", "f32"])
def test_sequences(folder, build, tmp_path):
    """Two sequences of different length in one batch."""
    vocab = transformers.AutoConfig.from_pretrained(str(folder)).vocab_size
    compare(build, folder, random_case(vocab, [23, 9], 3, 0.7), tmp_path)


@pytest.mark.parametrize("build", ["f64", "f32"])
def test_shared_prompt(folder, build, tmp_path):
    """One prompt, four completions: the tree (E31) against four whole sequences; one completion is a single
    token."""
    vocab = transformers.AutoConfig.from_pretrained(str(folder)).vocab_size
    compare(build, folder, random_case(vocab, [7, 1, 12, 4], 4, 1.3, prompt=17), tmp_path)


def test_long_positions(tmp_path):
    """Positions up to 1500 with a large rotary base: angles of hundreds of turns (E307)."""
    model = make_model("Llama", dict(max_position_embeddings=2048, num_hidden_layers=2,
                                     rope_parameters={"rope_type": "default", "rope_theta": 500000.0}))
    compare("f64", save(model, tmp_path), random_case(131, [1500], 5, 1.0), tmp_path)


def test_float_against_double(tmp_path):
    """The float build against the double build on the same folder (docs/numerics.md)."""
    folder = save(make_model("Qwen3", dict(head_dim=16, num_hidden_layers=8)), tmp_path)
    case = random_case(131, [40, 31], 6, 1.0)
    single, double = model_tool("f32", folder, case, tmp_path), model_tool("f64", folder, case, tmp_path)
    close("logits", single["logits"], double["logits"], 2e-5)
    close("logps", single["logps"], double["logps"], 2e-5, absolute=True)
    close_gradients(single, {k: v for k, v in double.items() if k not in ("logits", "logps", "entropies")},
                    5e-5)
