"""`grpo dpo` against a live TRL DPOTrainer on the same pairs: log lines, gradients, moments and weights
(E160 to E179).

In double, TRL's log-probabilities (float32 inside its fused head) are computed by transformers' plain logits
instead; losses, metrics and the loop stay TRL's. In float TRL is as it is. A step takes all pairs, so that
neither order nor shuffling matters."""
import types

import pytest
import torch
from support import (DTYPE, LIMITS, checkpoint, close, close_gradients, close_parameters, load, read_log, run,
                     write_jsonl)
from test_grpo import Recorder

N = 6
STEPS = dict(per_device_train_batch_size=N, max_steps=3, learning_rate=1e-3, lr_scheduler_type="constant",
             adam_epsilon=1e-6, beta=0.3)


def rows(language):
    """Pairs of different lengths; the last has an earlier turn."""
    out = []
    for i in range(N):
        a, b = language.rows[2 * i], language.rows[2 * i + 1]
        out.append({"prompt": [{"role": "user", "content": a["prompt"]}],
                    "chosen": [{"role": "assistant", "content": a["completion"]}],
                    "rejected": [{"role": "assistant", "content": b["completion"]}]})
    out[-1]["prompt"] = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who?"},
                         {"role": "assistant", "content": "a dog."}] + out[-1]["prompt"]
    return out


def plain_head(model):
    """What TRL's fused head gives, from plain logits in the model's own precision."""
    forward = type(model).forward

    def patched(input_ids=None, attention_mask=None, labels=None, fused_lm_head=False, **_):
        z = forward(model, input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        if not fused_lm_head:
            return types.SimpleNamespace(logits=z)
        z, y = z[:, :-1], labels[:, 1:]
        lp = z.log_softmax(-1)
        taken = lambda x: torch.where(y != -100, x, torch.zeros_like(x))
        return types.SimpleNamespace(log_probs=taken(lp.gather(-1, y.clamp(min=0)[..., None])[..., 0]),
                                     entropy=taken(-(lp.exp() * lp).sum(-1)),
                                     log_sum_sq_probs=taken((2 * lp).logsumexp(-1)),
                                     mean_logits=taken(z.mean(-1)), is_top1=(z.argmax(-1) == y) & (y != -100))
    model.forward = patched


def trl_run(build, language, path, start, data, settings, monkeypatch):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    config = DPOConfig(output_dir=str(path / "trl"), logging_steps=1, save_strategy="no", report_to=[],
                       use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
                       optim="adamw_torch", **settings)
    recorder = Recorder()
    trainer = DPOTrainer(model=load(start, build), ref_model=load(start, build), args=config,
                         train_dataset=Dataset.from_list(data), processing_class=language.tokenizer,
                         callbacks=[recorder.callback])
    if build == "f64":
        plain_head(trainer.model)
        plain_head(trainer.ref_model)
        # TRL's casts of accuracies and of alpha_divergence's exponent
        monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
        if settings.get("f_divergence_type") == "alpha_divergence":
            monkeypatch.setattr(torch, "float32", torch.float64)            # the key of the exponent's limit
    trainer.train()
    return trainer, [h for h in trainer.state.log_history if "loss" in h], recorder.grads


def both(build, language, path, settings, monkeypatch):
    """TRL takes lists for loss_type and loss_weights, we take them with commas."""
    options = {**STEPS, **settings}
    ours = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in options.items()}
    data = rows(language)
    run(build, "dpo", model=language.final, dataset=write_jsonl(path / "pairs.jsonl", data),
        output_dir=path / "run", **ours)
    torch.set_default_dtype(DTYPE[build])
    try:
        trainer, theirs, grads = trl_run(build, language, path, language.final, data, options, monkeypatch)
    finally:
        torch.set_default_dtype(torch.float32)
    log = read_log(path / "run" / "log.jsonl")
    assert len(log) == len(theirs) == len(grads) == options["max_steps"]
    return log, theirs, grads, trainer


CASES = {
    "sigmoid": {},
    "ipo": dict(loss_type="ipo"),
    "hinge": dict(loss_type="hinge", beta=0.05),
    "robust": dict(loss_type="robust", label_smoothing=0.1),
    "exo_pair": dict(loss_type="exo_pair", label_smoothing=0.01),
    **{k: dict(loss_type=k) for k in ("nca_pair", "bco_pair", "sppo_hard", "aot_unpaired", "apo_zero",
                                      "apo_down", "discopop", "sft", "sigmoid_norm")},
    "aot": dict(loss_type="aot", label_smoothing=0.1),
    "several": dict(loss_type=["sigmoid", "ipo", "sft"], loss_weights=[1.0, 0.2, 0.5]),
    "forward_kl": dict(f_divergence_type="forward_kl"),
    "js_divergence": dict(f_divergence_type="js_divergence", loss_type="ipo"),
    "alpha_divergence": dict(f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.6),
    "ld_alpha": dict(ld_alpha=0.4),
    "use_weighting": dict(use_weighting=True),
    "cut": dict(max_length=40),
    "accumulate": dict(per_device_train_batch_size=N // 2, gradient_accumulation_steps=2, max_grad_norm=0.05,
                       weight_decay=0.1),
}
OURS_ONLY = {"step", "epoch", "learning_rate"}
THEIRS_ONLY = {"logits/chosen", "logits/rejected", "mean_token_accuracy"}


@pytest.mark.parametrize("name", CASES)
def test_run(language, name, tmp_path, monkeypatch):
    """Every log line of three steps, and moments and weights after the last, in double."""
    log, theirs, grads, trainer = both("f64", language, tmp_path, CASES[name], monkeypatch)
    for a, b in zip(log, theirs):
        for key, value in a.items():
            # TRL: the mean of the micro-batches' means
            if key in OURS_ONLY or (key == "entropy" and name == "accumulate"):
                continue
            close(f"step {a['step']} {key}", value, float(b[key]), 1e-10, absolute=abs(float(b[key])) < 1)
        assert THEIRS_ONLY <= set(b)
    if "accumulate" == name:
        return                                          # TRL decays norms' weights by its own list
    named = list(trainer.model.named_parameters())
    moment, square, weights = checkpoint(tmp_path / "run", named)
    for k, p in named:
        state = trainer.optimizer.state[p]
        close("exp_avg " + k, moment[k], state["exp_avg"], 1e-8)
        close("exp_avg_sq " + k, square[k], state["exp_avg_sq"], 1e-8)
        close(k, weights[k], p, 1e-8)


MAIN = ["sigmoid", "ipo", "hinge", "robust"]


@pytest.mark.parametrize("name", MAIN)
def test_float_run(language, name, tmp_path, monkeypatch):
    """Three steps in float, TRL unchanged."""
    log, theirs, _, _ = both("f32", language, tmp_path, CASES[name], monkeypatch)
    for a, b in zip(log, theirs):
        for key, value in a.items():
            if key not in OURS_ONLY:
                close(f"step {a['step']} {key}", value, float(b[key]), 5e-5, absolute=abs(float(b[key])) < 1)


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("name", MAIN)
def test_gradient(language, build, name, tmp_path, monkeypatch):
    """The gradient of one step and the weights after it; in float with TRL unchanged."""
    settings = {**CASES[name], "max_steps": 1, "max_grad_norm": 1000.0}
    log, theirs, grads, trainer = both(build, language, tmp_path, settings, monkeypatch)
    limit = LIMITS[build]
    named = list(trainer.model.named_parameters())
    moment, _, weights = checkpoint(tmp_path / "run", named)
    close("loss", log[0]["loss"], float(theirs[0]["loss"]), limit["loss"], absolute=True)
    close("grad_norm", log[0]["grad_norm"], float(theirs[0]["grad_norm"]), limit["norm"])
    close_gradients({k: 10 * v for k, v in moment.items()}, grads[0], limit["grad"])
    share = close_parameters(weights, {k: p.detach() for k, p in named}, grads[0], log[0]["learning_rate"],
                             limit["step"], limit["grad"])
    assert share > 0.1, share
