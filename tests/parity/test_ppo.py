"""`grpo ppo` against an implementation in PyTorch that shares nothing with it (TRL 1.16 has no PPO): whole
generations of PPO with a critic, written here from the equations E140 to E155 with automatic differentiation.
Log lines, moments and weights of policy and critic are compared."""
import itertools
import json
import shlex
import shutil
import sys

import pytest
import torch
from reward_program import LABELS, scores
from safetensors.torch import load_file
from support import (DTYPE, LIMITS, adamw, close, close_gradients, drawn_again, load, read_jsonl, read_log,
                     run, unflatten, write_jsonl)
from test_grpo import TRIAL_LINES, WEIGHTS


@pytest.fixture(scope="module")
def value_folder(language, tmp_path_factory):
    """A reward model whose labels are two of the three that the scores have, in another order."""
    path = tmp_path_factory.mktemp("value")
    rows = [dict(r, labels={LABELS[2]: len(r["completion"]) / 40, LABELS[0]: i % 3 / 2})
            for i, r in enumerate(language.rows[:100])]
    run("f32", "reward", model=language.final, dataset=write_jsonl(path / "labelled.jsonl", rows),
        output_dir=path / "run", max_steps=30, learning_rate=3e-3)
    return path / "run" / "final"


def our_run(build, language, value_folder, path, options):
    """Log, and completions in order: (prompt, token ids, ended)."""
    asked = path / "asked.jsonl"
    command = " ".join(shlex.quote(str(x))
                       for x in [sys.executable, __file__.replace("test_ppo.py", "reward_program.py"), asked])

    def draw(rows):
        shutil.rmtree(path / "run", ignore_errors=True)
        asked.unlink(missing_ok=True)
        data = write_jsonl(path / "prompts.jsonl", [{"prompt": r["prompt"]} for r in rows])
        run(build, "ppo", model=language.final, dataset=data, output_dir=path / "run", reward_cmd=command,
            reward_weights=",".join(map(str, WEIGHTS)), value_model=value_folder, **options)
        drawn = [(a["prompt"], language.completion_ids(a["completion"], a["finish_reason"] == "stop"),
                  a["finish_reason"] == "stop", a["completion"])
                 for a in read_jsonl(asked)[TRIAL_LINES:]]
        return (read_log(path / "run" / "log.jsonl"), drawn,
                sum(len(language.prompt_ids(d[0])) + len(d[1]) for d in drawn))
    return drawn_again(language.rows, draw)


class Critic(torch.nn.Module):
    """E151: the trunk of a reward model and one output, the weighted sum of its labels' outputs."""

    def __init__(self, folder, build):
        super().__init__()
        whole = load(folder, build, classifier=True)
        self.model = whole.model
        label = whole.config.id2label
        weight = dict(zip(LABELS, WEIGHTS))
        self.score = torch.nn.Linear(whole.config.hidden_size, 1, bias=False, dtype=DTYPE[build])
        with torch.no_grad():
            self.score.weight[0] = sum(weight[label[k]] * whole.score.weight[k] for k in label)

    def forward(self, ids, n_prompt):
        return self.score(self.model(torch.tensor([ids])).last_hidden_state)[0, n_prompt - 1:-1, 0]


def logps(policy, ids, n_prompt, temperature):
    z = policy(torch.tensor([ids])).logits[0, n_prompt - 1:-1] / temperature
    lp = z.log_softmax(-1)
    return lp.gather(-1, torch.tensor(ids[n_prompt:])[:, None])[:, 0], -(lp.exp() * lp).sum(-1)


def whiten(x, keep_mean=False):
    """Over all tokens of a list of completions."""
    flat = torch.cat(x)
    out = [(r - flat.mean()) / (flat.var() + 1e-8).sqrt() for r in x]
    return [r + flat.mean() for r in out] if keep_mean else out


class Torch:
    """PPO by the book: one sequence at a time, no padding, no sharing."""

    def __init__(self, language, value_folder, build, o):
        self.o, self.language = o, language
        self.policy, self.ref, self.critic = (
            load(language.final, build), load(language.final, build), Critic(value_folder, build))
        self.optimiser = [adamw(m, o["learning_rate"], 0.0, eps=o["adam_epsilon"])
                          for m in (self.policy, self.critic)]
        self.optimiser[1].param_groups[0]["lr"] = self.optimiser[1].param_groups[1]["lr"] = o.get(
            "value_learning_rate", o["learning_rate"])
        self.seen, self.grads = [], []

    def rollout(self, drawn):
        o, T = self.o, self.o["temperature"]
        sequence = [(self.language.prompt_ids(p) + list(c), len(self.language.prompt_ids(p)))
                    for p, c, _, _ in drawn]
        score = [scores(p, text.removeprefix(" "), "stop" if ended else "length")
                 for p, _, ended, text in drawn]
        # E61: missing counts 0
        score = torch.tensor([sum(w * (x[k] or 0) for k, w in zip(LABELS, WEIGHTS)) for x in score],
                             dtype=torch.float64)
        if "missing_eos_penalty" in o:
            score -= (o["missing_eos_penalty"]
                      * torch.tensor([not ended for _, _, ended, _ in drawn], dtype=torch.float64))
        self.seen += score.tolist()
        everything = torch.tensor(self.seen, dtype=torch.float64)
        if o.get("score_norm") == "standardise":
            score = (score - everything.mean()) / (everything.std() + 1e-8)
        if o.get("score_norm") == "scale":
            score = score / (everything.std() + 1e-8)
        if "score_clip" in o:
            score = score.clamp(-o["score_clip"], o["score_clip"])
        with torch.no_grad():
            old = [logps(self.policy, *s, T)[0] for s in sequence]
            ref = [logps(self.ref, *s, T)[0] for s in sequence]
            value = [self.critic(*s) for s in sequence]
        kl = [(r - l).exp() - 1 - (r - l) if o.get("kl_estimator") == "k3" else l - r
              for l, r in zip(old, ref)]
        reward = [-o["kl_coef"] * k for k in kl]
        non_score = sum(r.sum().item() for r in reward) / len(reward)
        for r, s in zip(reward, score):
            r[-1] += s
        if o.get("whiten_rewards"):
            reward = whiten(reward, keep_mean=True)
        adv, ret = [], []
        for r, v in zip(reward, value):
            a = torch.zeros_like(v)
            for t in range(len(v)):                     # E144 as a sum over what follows, not as a recursion
                for u in range(t, len(v)):
                    after = v[u + 1] if u + 1 < len(v) else 0.0
                    a[t] += (o["gamma"] * o["lam"]) ** (u - t) * (r[u] + o["gamma"] * after - v[u])
            adv.append(a)
            ret.append(a + v)
        if o.get("whiten_advantages", True):
            adv = whiten(adv)
        told = {"objective/kl": sum(k.sum().item() for k in kl) / len(kl),
                "objective/entropy": -sum(l.sum().item() for l in old) / len(old),
                "objective/non_score_reward": non_score,
                "objective/rlhf_reward": non_score + score.mean().item(),
                "objective/scores": score.mean().item(), "val/num_eos_tokens": sum(e for _, _, e, _ in drawn)}
        return sequence, old, value, adv, ret, told

    def update(self, batch, which, train_policy, pretraining=()):
        """One minibatch: the completions numbered `which`."""
        o, (sequence, old, value, adv, ret, _) = self.o, batch
        c, cv = o["cliprange"], o["cliprange_value"]
        out = [logps(self.policy, *sequence[i], o["temperature"]) for i in which]
        cat = lambda x: torch.cat([x[i] for i in which])
        log_ratio = torch.cat([l for l, _ in out]) - cat(old)
        ratio, a = log_ratio.exp(), cat(adv)
        plain, cut = -a * ratio, -a * ratio.clamp(1 - c, 1 + c)
        pg = torch.max(plain, cut).mean()
        v, v_old, target = torch.cat([self.critic(*sequence[i]) for i in which]), cat(value), cat(ret)
        v_plain, v_cut = ((v - target) ** 2,
                          (torch.minimum(torch.maximum(v, v_old - cv), v_old + cv) - target) ** 2)
        vf = 0.5 * torch.max(v_plain, v_cut).mean()
        loss = pg + o["vf_coef"] * vf
        if pretraining:
            loss = (loss - o["ptx_coef"]
                    * torch.cat([logps(self.policy, *s, 1.0)[0] for s in pretraining]).mean())
        for opt in self.optimiser:
            opt.zero_grad()
        loss.backward()
        self.grads.append([{k: p.grad.clone() for k, p in m.named_parameters()}
                           for m in (self.policy, self.critic)])
        for m, opt in list(zip((self.policy, self.critic), self.optimiser))[0 if train_policy else 1:]:
            torch.nn.utils.clip_grad_norm_(m.parameters(), o["max_grad_norm"])
            opt.step()
        told = {"loss/value_avg": vf.item(), "val/clipfrac_avg": (v_cut > v_plain).double().mean().item()}
        if train_policy:
            told |= {"loss/policy_avg": pg.item(),
                     "policy/clipfrac_avg": (cut > plain).double().mean().item(),
                     "policy/approxkl_avg": 0.5 * (log_ratio ** 2).mean().item(),
                     "policy/entropy_avg": torch.cat([h for _, h in out]).mean().item(),
                     "val/ratio": ratio.mean().item()}
        return told


def compare_log(got, told, updates, limit):
    for key, value in told.items():
        close(key, got[key], value, limit, absolute=abs(value) < 1)
    for key in updates[0]:
        want = sum(u[key] for u in updates) / len(updates)
        close(key, got[key], want, limit, absolute=abs(want) < 1)
    if "val/ratio" in updates[0] and len(updates) > 1:
        close("val/ratio_var", got["val/ratio_var"],
              torch.tensor([u["val/ratio"] for u in updates], dtype=torch.float64).var().item(), limit,
              absolute=True)


def compare_weights(path, reference, limit, policy=True):
    state = load_file(path / "run" / "checkpoint.safetensors")
    for prefix, model, opt in (("partner.", reference.policy, reference.optimiser[0]),
                               ("", reference.critic, reference.optimiser[1]))[0 if policy else 1:]:
        named = list(model.named_parameters())
        moment, square, weights = [unflatten(state[prefix + k], named)
                                   for k in ("exp_avg", "exp_avg_sq", "weights")]
        for k, p in named:
            close(prefix + "exp_avg " + k, moment[k], opt.state[p]["exp_avg"], limit)
            close(prefix + "exp_avg_sq " + k, square[k], opt.state[p]["exp_avg_sq"], limit)
            close(prefix + k, weights[k], p, limit)


BASE = dict(num_generations=2, max_completion_length=16, per_device_train_batch_size=8, learning_rate=3e-3,
            lr_scheduler_type="constant", adam_epsilon=1e-6, max_grad_norm=0.5,
            num_ppo_epochs=3, max_steps=6, temperature=0.9, kl_coef=0.1, gamma=1.0, lam=0.95, cliprange=0.2,
            cliprange_value=0.2, vf_coef=0.1)
CASES = {
    "trl": {},
    "one-completion": dict(num_generations=1),
    "tight": dict(cliprange=0.02, cliprange_value=0.02, learning_rate=6e-3, seed=3),
    "k3": dict(kl_estimator="k3", gamma=0.97, lam=0.8),
    "penalty": dict(missing_eos_penalty=0.7, max_completion_length=10),
    "whiten": dict(whiten_rewards=True, whiten_advantages=False),
    "ppo-max": dict(score_norm="standardise", score_clip=0.8, value_learning_rate=1e-2, kl_coef=0.3),
    "scale-only": dict(score_norm="scale", score_clip=2.0),
    "slices": dict(slice_rows=1, vf_coef=1.0),
    "accumulate": dict(per_device_train_batch_size=4, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("name", CASES)
def test_generations(language, value_folder, name, tmp_path):
    """Two generations of three updates each, in double."""
    o = {**BASE, **CASES[name]}
    log, drawn = our_run("f64", language, value_folder, tmp_path, o)
    reference, n = Torch(language, value_folder, "f64", o), 8
    assert len(log) == 2 and len(drawn) == 2 * n
    for g in range(2):
        batch = reference.rollout(drawn[g * n:(g + 1) * n])
        updates = [reference.update(batch, range(n), True) for _ in range(o["num_ppo_epochs"])]
        compare_log(log[g], batch[-1], updates, 1e-9)
    if name == "tight":
        assert log[1]["policy/clipfrac_avg"] > 0.1 and log[1]["val/clipfrac_avg"] > 0.1
    compare_weights(tmp_path, reference, 1e-7)


def test_float(language, value_folder, tmp_path):
    """One update in float: metrics, the gradients of both networks, and after it the next."""
    o = {**BASE, "max_steps": 1, "num_ppo_epochs": 1, "max_grad_norm": 1000.0, "adam_epsilon": 1e-8}
    log, drawn = our_run("f32", language, value_folder, tmp_path, o)
    reference, limit = Torch(language, value_folder, "f32", o), LIMITS["f32"]
    batch = reference.rollout(drawn)
    compare_log(log[0], batch[-1], [reference.update(batch, range(8), True)], 5e-5)
    state = load_file(tmp_path / "run" / "checkpoint.safetensors")
    for prefix, model, grads in (("partner.", reference.policy, reference.grads[0][0]),
                                 ("", reference.critic, reference.grads[0][1])):
        moment = unflatten(state[prefix + "exp_avg"], list(model.named_parameters()))
        close_gradients({k: 10 * v for k, v in moment.items()}, grads, limit["grad"])


def test_first_gradient(language, value_folder, tmp_path):
    """The same in double."""
    o = {**BASE, "max_steps": 1, "num_ppo_epochs": 1, "max_grad_norm": 1000.0}
    log, drawn = our_run("f64", language, value_folder, tmp_path, o)
    reference = Torch(language, value_folder, "f64", o)
    batch = reference.rollout(drawn)
    compare_log(log[0], batch[-1], [reference.update(batch, range(8), True)], 1e-10)
    state = load_file(tmp_path / "run" / "checkpoint.safetensors")
    for prefix, model, grads in (("partner.", reference.policy, reference.grads[0][0]),
                                 ("", reference.critic, reference.grads[0][1])):
        moment = unflatten(state[prefix + "exp_avg"], list(model.named_parameters()))
        close_gradients({k: 10 * v for k, v in moment.items()}, grads, LIMITS["f64"]["grad"])


def test_minibatches(language, value_folder, tmp_path):
    """Two minibatches of whole groups: of all ways to deal four prompts out, one gives our weights."""
    o = {**BASE, "per_device_train_batch_size": 4, "num_mini_batches": 2, "num_ppo_epochs": 1, "max_steps": 2}
    log, drawn = our_run("f64", language, value_folder, tmp_path, o)
    found = 0
    for first in itertools.combinations(range(4), 2):
        reference = Torch(language, value_folder, "f64", o)
        batch = reference.rollout(drawn)
        deal = [[2 * p + k for p in prompts for k in range(2)]
                for prompts in (first, [p for p in range(4) if p not in first])]
        updates = [reference.update(batch, which, True) for which in deal]
        try:
            compare_log(log[0], batch[-1], updates, 1e-9)
            compare_weights(tmp_path, reference, 1e-7)
            found += 1
        except AssertionError:
            pass
    assert found == 1


def test_critic_warmup(language, value_folder, tmp_path):
    """E154: in the first generation the critic alone is trained."""
    o = {**BASE, "critic_warmup_steps": 1}
    log, drawn = our_run("f64", language, value_folder, tmp_path, o)
    reference = Torch(language, value_folder, "f64", o)
    batch = reference.rollout(drawn[:8])
    compare_log(log[0], batch[-1], [reference.update(batch, range(8), False) for _ in range(3)], 1e-9)
    assert log[0]["loss/policy_avg"] is None
    batch = reference.rollout(drawn[8:])
    assert abs(batch[-1]["objective/kl"]) < 1e-10
    compare_log(log[1], batch[-1], [reference.update(batch, range(8), True) for _ in range(3)], 1e-9)
    compare_weights(tmp_path, reference, 1e-7)


def test_pretraining_text(language, value_folder, tmp_path):
    """E155, with as many examples as a minibatch has completions, so that their order does not matter."""
    o = {**BASE, "num_ppo_epochs": 1, "max_steps": 1, "ptx_coef": 0.3}
    rows = language.rows[:8]
    log, drawn = our_run("f64", language, value_folder, tmp_path,
                         {**o, "ptx_dataset": write_jsonl(tmp_path / "ptx.jsonl", rows)})
    reference = Torch(language, value_folder, "f64", o)
    batch = reference.rollout(drawn)
    text = [(language.prompt_ids(r["prompt"]) + language.completion_ids(r["completion"]),
             len(language.prompt_ids(r["prompt"]))) for r in rows]
    compare_log(log[0], batch[-1], [reference.update(batch, range(8), True, text)], 1e-9)
    compare_weights(tmp_path, reference, 1e-7)


def test_value_folder(language, value_folder, tmp_path):
    """value/ is a sequence classifier with one label, that of the checkpoint."""
    our_run("f64", language, value_folder, tmp_path, {**BASE, "max_steps": 3})
    critic = load(tmp_path / "run" / "value", "f64", classifier=True)
    state = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert (critic.config.num_labels == 1
            and json.loads((tmp_path / "run" / "value" / "config.json").read_text())["id2label"]
            == {"0": "value"})
    for k, w in unflatten(state["weights"], list(critic.named_parameters())).items():
        close(k, dict(critic.named_parameters())[k], w, 0)
