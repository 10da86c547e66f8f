"""Adapters against PEFT (E290): values, gradients, training steps, folders both ways, merging; a GRPO run
against TRL."""
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from support import (DTYPE, LIMITS, close, close_gradients, close_parameters, load, model_tool, read_log, run,
                     write_jsonl)
from test_grpo import DEFAULT, REUSE, our_run, trl_run
from test_model import make_model, random_case, save, theirs
from test_reward import LABELS, ids_of, labelled, our_scores, transformers_scores
from test_sft import examples, sft_loss, tokens

KINDS = {"llama-tied": ("Llama", dict(tie_word_embeddings=True)), "qwen2": ("Qwen2", {}),
         "qwen3": ("Qwen3", dict(head_dim=16))}
LORA = {
    # PEFT's choice of layers: q_proj and v_proj
    "default": dict(r=4, lora_alpha=16),
    "all": dict(r=3, lora_alpha=5, target_modules="all-linear"),
    "stabilised": dict(r=8, lora_alpha=16, use_rslora=True, target_modules=["down_proj", "o_proj", "k_proj"]),
    # a rank of more than two panels
    "wide": dict(r=40, lora_alpha=7, target_modules=["gate_proj", "up_proj"]),
}


def ours(name):
    """PEFT's name of a trained parameter in a model as the name in our files."""
    return name.replace(".modules_to_save.default.", ".").replace(".default.", ".")


def trained(model):
    return [(ours(k), p) for k, p in model.named_parameters() if p.requires_grad]


def adapt(model, seed=5, **settings):
    """An adapter whose B is not zero, and smaller than the layer beside it."""
    model = get_peft_model(model, LoraConfig(lora_dropout=0.0, **settings), autocast_adapter_dtype=False)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_" in name:
                p.copy_(torch.randn(p.shape, generator=g)
                        * (0.3 if ".lora_B" in name else 1.0) / p.shape[1] ** 0.5)
    return model.eval()


def pair(path, build, kind="llama-tied", classifier=False, **settings):
    """A base folder, an adapter that PEFT made and wrote, and the model that PEFT computes."""
    base = save(make_model(*KINDS[kind], classifier=False), path / "base")
    if classifier:
        torch.manual_seed(3)
        from transformers import AutoModelForSequenceClassification
        model = AutoModelForSequenceClassification.from_pretrained(
            str(base), num_labels=3, dtype=DTYPE[build], attn_implementation="sdpa", pad_token_id=0)
        model.config.pad_token_id = 0
    else:
        model = load(base, build)
    model = adapt(model, task_type="SEQ_CLS" if classifier else "CAUSAL_LM", **settings)
    model.save_pretrained(str(path / "adapter"))
    return base, path / "adapter", model


def adapter_checkpoint(path, named):
    """First and second moments and weights of a run's checkpoint, by name: layers ascending, in each q k v o
    gate up down, A before B."""
    order = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    shapes = {k: p.shape for k, p in named}

    def place(name):
        part = name.split(".")
        # score.weight first
        return ((int(part[part.index("layers") + 1]), order.index(part[-3]), part[-2])
                if "layers" in part else (-1, 0, ""))
    state, out = load_file(path / "checkpoint.safetensors"), []
    for key in ("exp_avg", "exp_avg_sq", "weights"):
        at, named_part = 0, {}
        for name in sorted(shapes, key=place):
            n = shapes[name].numel()
            named_part[name], at = state[key][at:at + n].view(shapes[name]), at + n
        assert at == state[key].numel()
        out.append(named_part)
    return out


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LORA)
def test_values_and_gradients(build, kind, name, tmp_path):
    """A folder that PEFT wrote: logits, log-probabilities, entropies and every gradient; nothing but the
    adapter has one."""
    _, adapter, model = pair(tmp_path, build, kind, **LORA[name])
    for case in (random_case(131, [23, 9], 3, 0.7), random_case(131, [7, 1, 12], 4, 1.3, prompt=17)):
        got, limit = model_tool(build, adapter, case, tmp_path), LIMITS[build]
        logits, logps, entropies, _ = theirs(model, case)
        close("logits", got["logits"], logits, limit["logits"])
        close("logps", got["logps"], logps, limit["logp"], absolute=True)
        close("entropies", got["entropies"], entropies, limit["logp"], absolute=True)
        grads = {k: p.grad for k, p in trained(model)}
        close_gradients(got, grads, limit["grad"])
        assert set(got) == set(grads) | {"logits", "logps", "entropies"}


# what PEFT saves beside or instead of a plain list of names
MODULES = {
    "pattern": dict(target_modules=r".*\.(q_proj|v_proj)$"),
    "pattern of one layer": dict(target_modules=r"model\.layers\.1\..*(q_proj|up_proj)"),
    "layers": dict(target_modules=["q_proj", "down_proj"], layers_to_transform=[0]),
    "head": dict(target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "embedding": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "both": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
    "larger vocabulary": dict(target_modules=["q_proj"]),
}


@pytest.mark.parametrize("kind", ["llama-tied", "qwen2"])
@pytest.mark.parametrize("name", MODULES)
def test_modules(kind, name, tmp_path):
    """Adapters for patterns and for some layers, with whole matrices beside them, tied or not."""
    base = save(make_model(*KINDS[kind]), tmp_path / "base")
    larger = 3 if name == "larger vocabulary" else 0
    model = load(base, "f64")
    if larger: model.resize_token_embeddings(model.config.vocab_size + larger)
    model = adapt(model, task_type="CAUSAL_LM", r=3, lora_alpha=5, **MODULES[name])
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "modules_to_save" in key:
                p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(9), dtype=p.dtype)
        if larger: model.get_input_embeddings().weight += 0.1
    model.save_pretrained(str(tmp_path / "adapter"))
    case = random_case(131 + larger, [23, 9], 3, 0.7)
    close("logits", model_tool("f64", tmp_path / "adapter", case, tmp_path)["logits"],
          theirs_logits(model, case), LIMITS["f64"]["logits"])


@pytest.mark.parametrize("kind", KINDS)
def test_classifier(kind, tmp_path):
    """A reward model of PEFT's (task SEQ_CLS, the scores under modules_to_save): scores and gradients, in
    float."""
    _, adapter, model = pair(tmp_path, "f32", kind, classifier=True, **LORA["all"])
    g = torch.Generator().manual_seed(2)
    ids = [torch.randint(1, 131, (n,), generator=g).tolist() for n in (5, 17, 1)]
    dscores = torch.randn(3, 3, generator=g)
    # our pad token is the base's: none, so every token counts, as none is PEFT's 0 here
    got = model_tool("f32", adapter, {"input_ids": ids, "dscores": dscores.tolist()}, tmp_path)
    scores = torch.stack([model(torch.tensor([x])).logits[0] for x in ids])
    (scores * dscores).sum().backward()
    close("scores", got["scores"], scores, LIMITS["f32"]["score"])
    grads = {k.replace("base_model.model.score", "score"): p.grad for k, p in trained(model)}
    assert "score.weight" in grads and set(got) == set(grads) | {"scores"}
    close_gradients(got, grads, LIMITS["f32"]["grad"])


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("name", LORA)
def test_one_step(language, build, name, tmp_path):
    """One AdamW step from PEFT's adapter, with clipping and decay of A and B; what we write, PEFT loads and
    computes alike."""
    rows, lr, limit = examples(language), 1e-3, LIMITS[build]
    model = adapt(load(language.final, build), task_type="CAUSAL_LM", **LORA[name])
    model.peft_config["default"].base_model_name_or_path = str(language.final)
    model.save_pretrained(str(tmp_path / "adapter"))
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    run(build, "sft", model=tmp_path / "adapter", dataset=write_jsonl(tmp_path / "data.jsonl", rows),
        output_dir=tmp_path / "run", per_device_train_batch_size=8, max_steps=1,
        learning_rate=lr, max_grad_norm=0.05, weight_decay=0.1)
    loss, _ = sft_loss(model, [tokens(language, r) for r in rows])
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    assert norm > 0.05
    grads = {k: p.grad.clone() for k, p in trained(model)}
    torch.optim.AdamW([p for _, p in trained(model)], lr=lr, weight_decay=0.1).step()
    log = read_log(tmp_path / "run" / "log.jsonl")[0]
    close("loss", log["loss"], loss.item(), limit["loss"])
    close("grad_norm", log["grad_norm"], norm.item(), limit["norm"])
    moment, _, weights = adapter_checkpoint(tmp_path / "run", trained(model))
    close_gradients({k: 10 * v for k, v in moment.items()}, grads, limit["grad"])
    share = close_parameters(weights, {k: p.detach() for k, p in trained(model)}, grads, lr, limit["step"],
                             limit["grad"])
    assert share > 0.2, share
    final = tmp_path / "run" / "final"
    again = PeftModel.from_pretrained(
        load(language.final, build), str(final), autocast_adapter_dtype=False).eval()
    close_parameters({ours(k): p for k, p in again.named_parameters() if ".lora_" in k},
                     {k: p.detach() for k, p in trained(model)}, grads, lr, limit["step"], limit["grad"])
    for k, p in model.named_parameters():
        if not p.requires_grad:
            assert torch.equal(p, before[k])
    case = random_case(260, [20], 8, 1.0)
    close("logits", model_tool(build, final, case, tmp_path)["logits"], theirs_logits(again, case),
          limit["logits"])


def theirs_logits(model, case):
    with torch.no_grad():
        return torch.cat([model(torch.tensor([ids])).logits[0] for ids in case["input_ids"]])


@pytest.mark.parametrize("build", ["f64", "f32"])
def test_fresh_adapter_in_peft(language, build, tmp_path):
    """An adapter that starts here, trained some steps: PEFT loads it with nothing missing, computes the same,
    and merges to the same weights."""
    run(build, "sft", model=language.base, dataset=language.data, output_dir=tmp_path / "run", max_steps=6,
        learning_rate=1e-2, use_peft=True, lora_r=6, lora_alpha=9.0,
        lora_target_modules="all-linear", use_rslora=True)
    final = tmp_path / "run" / "final"
    config = json.loads((final / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"] == str(language.base) and config["task_type"] == "CAUSAL_LM"
            and config["use_rslora"] and config["modules_to_save"] is None)
    model = PeftModel.from_pretrained(
        load(language.base, build), str(final), autocast_adapter_dtype=False).eval()
    written = load_file(final / "adapter_model.safetensors")
    assert {ours(k) for k, _ in model.named_parameters() if ".lora_" in k} == set(written)
    assert all(written[k].abs().max() > 0 for k in written)
    case = random_case(260, [31, 7], 9, 1.0)
    got = model_tool(build, final, case, tmp_path)
    close("logits", got["logits"], theirs_logits(model, case), LIMITS[build]["logits"])
    run(build, "merge", model=final, output_dir=tmp_path / "merged")
    merged = model.merge_and_unload()
    for k, w in load_file(tmp_path / "merged" / "model.safetensors").items():
        close(k, w, merged.state_dict()[k], {"f64": 1e-14, "f32": 1e-6}[build])
    close("merged logits", model_tool(build, tmp_path / "merged", case, tmp_path)["logits"], got["logits"],
          LIMITS[build]["logits"])


@pytest.mark.parametrize("build", ["f64", "f32"])
def test_reward_adapter_in_peft(language, build, tmp_path):
    """What `grpo reward --use-peft` writes, with PEFT on transformers' classifier."""
    from transformers import AutoModelForSequenceClassification
    rows = labelled(language)
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    run(build, "reward", model=language.final, dataset=data, output_dir=tmp_path / "run", max_steps=12,
        learning_rate=1e-2, per_device_train_batch_size=4, labels=",".join(LABELS),
        use_peft=True, lora_r=4, lora_alpha=8.0, lora_target_modules="all-linear")
    folder = tmp_path / "run" / "final"
    model = AutoModelForSequenceClassification.from_pretrained(
        str(language.final), num_labels=3, dtype=DTYPE[build], attn_implementation="sdpa")
    if build == "f64":
        from support import exact
        model = exact(model)
    model = PeftModel.from_pretrained(model, str(folder), autocast_adapter_dtype=False).eval()
    mean = torch.tensor(json.loads((folder / "config.json").read_text())["reward_mean"], dtype=torch.float64)
    got, want = (our_scores(build, folder, data, LABELS),
                 transformers_scores(model, ids_of(language, rows)).double())
    for k, name in enumerate(LABELS):
        close(name, got[:, k] - mean[k], want[:, k],
              LIMITS[build]["score"] * (1 + mean[k].abs().item() / want[:, k].abs().max().item()))


GRPO = {"defaults-beta": dict(DEFAULT, beta=0.1, max_steps=2),
        "reuse": dict(DEFAULT, **{**REUSE, "loss_type": "dapo"})}


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("name", GRPO)
def test_grpo_run(language, name, goes_on, tmp_path, monkeypatch):
    """A run of some steps in double against TRL's GRPOTrainer: every line of the log, the moments and the
    adapter at the end. The reference of a new adapter is the base; of one that goes on, the adapter that it
    was."""
    import test_grpo
    settings = GRPO[name]
    lora = dict(use_peft=True, lora_r=4, lora_alpha=8.0, lora_target_modules="all-linear")
    # the start: a rate of 0 writes the adapter that a run with this seed begins with
    first = dict(max_steps=1, learning_rate=0.0) if not goes_on else dict(max_steps=20, learning_rate=1e-2)
    run("f64", "sft", model=language.final, dataset=language.data, output_dir=tmp_path / "start", seed=42,
        **first, **lora)
    start = tmp_path / "start" / "final"
    options = settings if goes_on else {**settings, **lora}
    log, drawn = our_run("f64", language, tmp_path, start if goes_on else language.final,
                         {**options, "seed": 42})
    plain = test_grpo.load
    monkeypatch.setattr(
        test_grpo, "load",
        lambda folder, build: PeftModel.from_pretrained(
            plain(folder, build), str(start), is_trainable=True, autocast_adapter_dtype=False))
    torch.set_default_dtype(torch.float64)
    try:
        trainer, theirs_log, _ = trl_run("f64", language, tmp_path, language.final, drawn, settings,
                                         monkeypatch)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(log) == len(theirs_log) == settings["max_steps"]
    assert log[-1]["kl"] > 0
    for a, b in zip(log, theirs_log):
        for key in ("loss", "grad_norm", "kl", "reward", "entropy", "learning_rate",
                    "clip_ratio/region_mean"):
            if key in a and key in b:
                close(f"step {a['step']} {key}", a[key], float(b[key]), 1e-9, absolute=abs(float(b[key])) < 1)
    named = [(k, p) for k, p in trained(trainer.model) if ".ref." not in k]
    moment, _, weights = adapter_checkpoint(tmp_path / "run", named)
    for k, p in named:
        close("exp_avg " + k, moment[k], trainer.optimizer.state[p]["exp_avg"], 1e-7)
        close(k, weights[k], p, 1e-7)
