"""`grpo train` against a live TRL GRPOTrainer: the completions that our run drew are handed to TRL, which
scores them with the same functions, and trains its own copy of the model; log lines, gradients, moments and
weights are compared, step by step.

In double, TRL's log-probabilities (float32 inside its fused head) are computed by transformers' plain logits
instead; advantages, loss, masks, metrics and the loop stay TRL's. In float TRL is as it is. One thing is
switched off in both: TRL deals the completions of a generation out to micro-batches at random, we keep a
prompt's group together (the tree of E31)."""
import shlex
import shutil
import sys

import pytest
import torch
from reward_program import LABELS, scores
from support import (DTYPE, LIMITS, checkpoint, close, close_gradients, close_parameters, drawn_again, load,
                     log_softmax_values, read_jsonl, read_log, run, write_jsonl)

WEIGHTS = [0.5, 1.0, 0.25]
TRIAL_LINES = 2         # a scoring program is asked twice before the run


def our_run(build, language, path, start, options):
    """Runs `grpo train`; its log, and its completions in order: (prompt, token ids)."""
    asked = path / "asked.jsonl"
    command = " ".join(shlex.quote(str(x)) for x in [
        sys.executable, __file__.replace("test_grpo.py", "reward_program.py"), asked])

    def draw(rows):
        shutil.rmtree(path / "run", ignore_errors=True)
        asked.unlink(missing_ok=True)
        data = write_jsonl(path / "prompts.jsonl", [{"prompt": r["prompt"]} for r in rows])
        run(build, "train", model=start, dataset=data, output_dir=path / "run", reward_cmd=command,
            reward_weights=",".join(map(str, WEIGHTS)), **options)
        drawn = [(a["prompt"], language.completion_ids(a["completion"], a["finish_reason"] == "stop"))
                 for a in read_jsonl(asked)[TRIAL_LINES:]]
        return (read_log(path / "run" / "log.jsonl"), drawn,
                sum(len(language.prompt_ids(p)) + len(c) for p, c in drawn))
    return drawn_again(language.rows, draw)


def plain_logps(trainer, temperature, model, input_ids, attention_mask, logits_to_keep, **_):
    z = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -logits_to_keep - 1:-1]
    logp, entropy = log_softmax_values(z, input_ids[:, -logits_to_keep:], temperature)
    return logp, entropy, None


class Recorder:
    """Gradients as the optimiser sees them, after clipping."""

    def __init__(self):
        from transformers import TrainerCallback
        grads = self.grads = []

        class Callback(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
                grads.append({k: p.grad.detach().clone() for k, p in model.named_parameters()
                              if p.grad is not None})
        self.callback = Callback()


def trl_run(build, language, path, start, drawn, settings, monkeypatch):
    import trl.trainer.grpo_trainer as module
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    cls, config_cls = GRPOTrainer, GRPOConfig
    if settings.get("loss_type") == "gmpo":
        from trl.experimental.gmpo import GMPOConfig, GMPOTrainer
        cls, config_cls, settings = (GMPOTrainer, GMPOConfig,
                                     {k: v for k, v in settings.items() if k != "loss_type"})
    monkeypatch.setattr(module, "shuffle_sequence_dict", lambda batch: batch)
    group = settings["num_generations"]
    config = config_cls(output_dir=str(path / "trl"), shuffle_dataset=False, reward_weights=WEIGHTS,
                        logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False,
                        gradient_checkpointing=False, disable_tqdm=True, optim="adamw_torch", **settings)

    def reward(label):
        def f(prompts, completions, completion_ids, **_):
            out = []
            for p, c, ids in zip(prompts, completions, completion_ids):
                text = c[0]["content"]
                out.append(scores(p[-1]["content"], text.removeprefix(" "),
                                  "stop" if ids[-1] == language.end else "length")[label])
            return out
        f.__name__ = label
        return f

    order = [drawn[i][0] for i in range(0, len(drawn), group)]
    recorder = Recorder()
    trainer = cls(
        model=load(start, build), reward_funcs=[reward(k) for k in LABELS], args=config,
        processing_class=language.tokenizer, callbacks=[recorder.callback],
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": p}]} for p in order]))
    given = iter(drawn)

    def generate(prompt_ids, *_, **__):
        out = []
        for ids in prompt_ids:
            prompt, completion = next(given)
            assert list(ids) == language.prompt_ids(prompt), "TRL asks for another prompt"
            out.append(completion)
        return out, None
    trainer._generate_single_turn = generate
    if build == "f64":
        # TRL's casts of masks, lengths and of the entropies whose quantile it takes
        monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
        if trainer.ref_model is not None:
            trainer.ref_model = load(start, build)
        trainer._get_per_token_logps_and_entropies = lambda *a, **k: plain_logps(
            trainer, config.temperature, *a, **{n: v for n, v in k.items()})
    trainer.train()
    assert next(given, None) is None, "TRL used fewer completions"
    return trainer, [h for h in trainer.state.log_history if "loss" in h], recorder.grads


DEFAULT = dict(num_generations=4, max_completion_length=16, per_device_train_batch_size=8, learning_rate=1e-3,
               max_steps=2)
REUSE = dict(num_iterations=2, beta=0.05, max_steps=4, learning_rate=1e-3, lr_scheduler_type="constant",
             adam_epsilon=1e-6)
ACCUMULATE = dict(per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=4,
                  max_steps=4)

CASES = {
    "defaults": {},
    "beta": dict(beta=0.1),
    "temperature": dict(temperature=0.8, beta=0.1, num_iterations=2, max_steps=4),
    **{f"reuse-{loss}": dict(REUSE, loss_type=loss)
       for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "sapo", "vespo", "luspo")},
    "reuse-cispo": dict(REUSE, loss_type="cispo", epsilon_high=1.05),
    "reuse-gmpo": dict(REUSE, loss_type="gmpo", epsilon=0.4, epsilon_high=0.4),
    **{f"accumulate-{loss}": dict(REUSE, **{**ACCUMULATE}, loss_type=loss)
       for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "sapo", "vespo", "luspo", "cispo")},
    "accumulate-several-generations": dict(REUSE, per_device_train_batch_size=4,
                                           gradient_accumulation_steps=4, steps_per_generation=2,
                                           num_iterations=1, max_steps=2, seed=7),
    **{f"sequence-{loss}": dict(REUSE, loss_type=loss, importance_sampling_level="sequence", epsilon=0.02,
                                epsilon_high=0.03) for loss in ("grpo", "dapo", "luspo", "bnpo")},
    "sequence-no-correction": dict(REUSE, loss_type="grpo", importance_sampling_level="sequence",
                                   use_bias_correction_kl=False),
    "k3-without-correction": dict(REUSE, use_bias_correction_kl=False),
    "two-sided-clip": dict(REUSE, delta=1.3, epsilon=0.1, epsilon_high=0.15),
    "clip-higher": dict(REUSE, epsilon=0.1, epsilon_high=0.28),
    "scale-batch": dict(REUSE, scale_rewards="batch"),
    "scale-none": dict(REUSE, scale_rewards="none"),
    "normalize-then-sum": dict(REUSE, multi_objective_aggregation="normalize_then_sum"),
    "entropy-quantile": dict(REUSE, top_entropy_quantile=0.4),
    "entropy-quantile-accumulate": dict(REUSE, **{**ACCUMULATE}, top_entropy_quantile=0.4, loss_type="grpo"),
    "entropy-bonus": dict(REUSE, entropy_coef=0.02),
    "entropy-bonus-quantile": dict(REUSE, **{**ACCUMULATE}, entropy_coef=0.02, top_entropy_quantile=0.4),
    "entropy-adaptive": dict(REUSE, use_adaptive_entropy=True, entropy_coef=0.01, entropy_target=1.0,
                             entropy_coef_delta=0.004),
    "off-policy-mask": dict(REUSE, off_policy_mask_threshold=0.001),
    "mask-truncated": dict(REUSE, mask_truncated_completions=True, max_completion_length=12),
    "mask-truncated-bnpo": dict(REUSE, mask_truncated_completions=True, max_completion_length=12,
                                loss_type="bnpo"),
    "all-together": dict(REUSE, **{**ACCUMULATE}, loss_type="grpo", importance_sampling_level="sequence",
                         scale_rewards="batch", entropy_coef=0.01, top_entropy_quantile=0.7, temperature=1.2,
                         mask_truncated_completions=True, delta=1.5, weight_decay=0.1, max_grad_norm=0.05,
                         off_policy_mask_threshold=0.0005, seed=1),
}
OURS_ONLY = {"step", "epoch", "label_share/short", "label_share/letters", "label_share/mixed"}


def both(build, language, path, name, settings, monkeypatch):
    options = {k: v for k, v in {**DEFAULT, **settings}.items()}
    log, drawn = our_run(build, language, path, language.final, options)
    # TRL makes quotients of counts, such as n/(n-1), in the default type
    torch.set_default_dtype(DTYPE[build])
    try:
        trainer, theirs, grads = trl_run(build, language, path, language.final, drawn, options, monkeypatch)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(log) == len(theirs) == len(grads) == options["max_steps"]
    return log, theirs, grads, trainer


@pytest.mark.parametrize("name", CASES)
def test_run(language, name, tmp_path, monkeypatch):
    """Every log line, and the moments and weights after the last step, in double."""
    log, theirs, grads, trainer = both("f64", language, tmp_path, name, CASES[name], monkeypatch)
    for a, b in zip(log, theirs):
        for key, value in a.items():
            if key in OURS_ONLY or key not in b:
                continue
            close(f"step {a['step']} {key}", value, float(b[key]), 1e-9, absolute=abs(float(b[key])) < 1)
        missing = set(a) - set(b) - OURS_ONLY
        generated = {k for k in missing
                     if k.startswith(("reward", "frac_reward", "completions/", "num_tokens"))}
        assert missing <= generated and (not generated or a["step"] > 1), (
            f"TRL does not log {sorted(missing)}")
    named = list(trainer.model.named_parameters())
    moment, square, weights = checkpoint(tmp_path / "run", named)
    state = trainer.optimizer.state
    for k, p in named:
        close("exp_avg " + k, moment[k], state[p]["exp_avg"], 1e-7)
        close("exp_avg_sq " + k, square[k], state[p]["exp_avg_sq"], 1e-7)
        close(k, weights[k], p, 1e-7)


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("name", ["beta", "reuse-dapo", "reuse-grpo"])
def test_first_step(language, build, name, tmp_path, monkeypatch):
    """The gradient of one step (aligned or not), and the weights after it; in float with TRL unchanged."""
    settings = {**CASES[name], "max_steps": 1, "adam_epsilon": 1e-8, "max_grad_norm": 1000.0}
    log, theirs, grads, trainer = both(build, language, tmp_path, name, settings, monkeypatch)
    limit = LIMITS[build]
    named = list(trainer.model.named_parameters())
    moment, _, weights = checkpoint(tmp_path / "run", named)
    close("loss", log[0]["loss"], float(theirs[0]["loss"]), limit["loss"], absolute=True)
    close("grad_norm", log[0]["grad_norm"], float(theirs[0]["grad_norm"]), limit["norm"])
    close_gradients({k: 10 * v for k, v in moment.items()}, grads[0], limit["grad"])
    share = close_parameters(weights, {k: p.detach() for k, p in named}, grads[0], log[0]["learning_rate"],
                             limit["step"], limit["grad"])
    assert share > 0.1, share
