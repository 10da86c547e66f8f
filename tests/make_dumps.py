#!/usr/bin/env python3
"""Writes tests/golden: dumps for `grpo verify` (docs/verify.md), right ones and ones with one known mistake each, made without grpo.c.

    build/parity-venv/bin/python tests/make_dumps.py [FOLDER]      # default: tests/golden; run by hand, the files are committed

class Right is GRPO as TRL 1.16 computes it, in PyTorch float64, one method a stage; derivatives come from automatic differentiation.
A mistake replaces one small method or number of it (the registry below). A dump is made by carrying a mistake through all stages,
every stored tensor rounded to the dump's type and read back by the stages after it. What verify is expected to say of a stage is not
written by hand: Right and every mistake compute that stage from the dump's own tensors, and the ones that give the stored numbers are
the expected set. mistakes.json lists it all; README.md says how to read it.
"""
import itertools
import json
import math
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

NAN = float("nan")

DEFAULTS = dict(loss_type="dapo", importance_sampling_level="token", epsilon=0.2, epsilon_high=None, delta=None, beta=0.0, use_bias_correction_kl=True,
                scale_rewards="group", multi_objective_aggregation="sum_then_normalize", num_generations=8, reward_weights=None, temperature=1.0,
                gradient_accumulation_steps=1, steps_per_generation=None, max_completion_length=512, num_items_in_batch=None, world_size=1,
                top_entropy_quantile=1.0, entropy_coef=0.0, off_policy_mask_threshold=None, mask_truncated_completions=False,
                sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0,
                vllm_importance_sampling_mode="sequence_mask", vllm_importance_sampling_clip_min=None, vllm_importance_sampling_clip_max=3.0,
                eos_token_id=2, pad_token_id=0, top_k=0, max_grad_norm=1.0, weight_decay=0.0, learning_rate=1e-6, adam_beta1=0.9, adam_beta2=0.999,
                adam_epsilon=1e-8, step=1)

# stage -> tensor of the dump, in the order in which they are computed; grad and step are families of tensors, one a parameter
STAGES = {"mask": "completion_mask", "loss_mask": "loss_mask", "logits": "logits", "logps": "per_token_logps", "old": "old_per_token_logps",
          "ref": "ref_per_token_logps", "sampler": "sampling_per_token_logps", "entropies": "entropies", "rewards": "rewards", "advantages": "advantages", "isr": "importance_sampling_ratio",
                "ratio": "ratio", "kl": "per_token_kl", "per_token_loss": "per_token_loss", "loss": "loss", "dlogp": "grad_per_token_logps", "grad_norm": "grad_norm", "grad": "grad.", "step": "param."}
COLUMNS = ("input_ids", "attention_mask", "completion_ids", "completion_mask", "loss_mask", "per_token_logps", "old_per_token_logps", "sampling_per_token_logps", "ref_per_token_logps",
           "entropies", "importance_sampling_ratio", "ratio", "per_token_kl", "per_token_loss", "grad_per_token_logps")


# ---- the network (E1 to E25) --------------------------------------------------------------------------------------

class Network:
    """Llama, Qwen2 and Qwen3 on padded rows; w: float64 tensors by Hugging Face's names, h: config.json."""

    def rounded(self, x):
        """After every operation: a program in half precision rounds here."""
        return x

    def positions(self, attended):
        return (attended.cumsum(1) - 1).clamp(min=0)

    def rope(self):
        return self.h.get("rope_parameters") or {"rope_type": "default", "rope_theta": 10000.0}

    def frequencies(self, d):
        rope = self.rope()
        f = torch.tensor([rope["rope_theta"] ** (-2 * i / d) for i in range(d // 2)])
        return self.scaled(f, rope) if rope["rope_type"] == "llama3" else f

    def scaled(self, f, rope):
        """E12."""
        wave, n0, lo, hi = 2 * math.pi / f, rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
        share = ((n0 / wave - lo) / (hi - lo)).clamp(0, 1)
        return (1 - share) * f / rope["factor"] + share * f

    def rotated(self, x, angle):
        """E10; x [B,H,T,d], angle [B,T,d/2]: the two halves of a head are the pairs."""
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def norm_eps(self):
        return self.h["rms_norm_eps"]

    def norm(self, x, w):
        return self.rounded(w * self.rounded(x * (x.pow(2).mean(-1, keepdim=True) + self.norm_eps()).rsqrt()))

    def head_norm(self, x, name):
        return self.norm(x, self.w[name]) if name in self.w else x

    def linear(self, x, name):
        y = x @ self.w[name + ".weight"].T
        return self.rounded(y + self.bias(name) if name + ".bias" in self.w else y)

    def bias(self, name):
        return self.w[name + ".bias"]

    def score_scale(self, d):
        return d ** -0.5

    def attention(self, x, layer, angle, attended):
        batch, time = attended.shape
        d = self.h.get("head_dim") or self.h["hidden_size"] // self.h["num_attention_heads"]
        heads = lambda name: self.linear(x, layer + name).view(batch, time, -1, d).transpose(1, 2)
        q, k, v = self.head_norm(heads("q_proj"), layer + "q_norm.weight"), self.head_norm(heads("k_proj"), layer + "k_norm.weight"), heads("v_proj")
        q, k = self.rounded(self.rotated(q, angle)), self.rounded(self.rotated(k, angle))
        k, v = (y.repeat_interleave(q.shape[1] // y.shape[1], 1) for y in (k, v))
        seen = torch.tril(torch.ones(time, time, dtype=torch.bool)) & (attended[:, None, None] > 0)
        seen = seen | torch.eye(time, dtype=torch.bool)                         # a padded row sees itself: no 0/0
        p = (self.rounded(q @ k.transpose(-1, -2)) * self.score_scale(d)).masked_fill(~seen, -math.inf).softmax(-1)
        return self.linear(self.rounded(self.rounded(p) @ v).transpose(1, 2).reshape(batch, time, -1), layer + "o_proj")

    def head(self):
        return self.w["lm_head.weight"] if "lm_head.weight" in self.w else self.w["model.embed_tokens.weight"]

    def embedding(self):
        return self.w["model.embed_tokens.weight"]

    def network(self, ids, attended):
        """Logits of every row [B,T,V]."""
        x = self.embedding()[ids]
        d = self.h.get("head_dim") or self.h["hidden_size"] // self.h["num_attention_heads"]
        angle = self.positions(attended)[..., None] * self.frequencies(d)
        for i in range(self.h["num_hidden_layers"]):
            at = f"model.layers.{i}."
            x = self.rounded(x + self.attention(self.norm(x, self.w[at + "input_layernorm.weight"]), at + "self_attn.", angle, attended))
            n = self.norm(x, self.w[at + "post_attention_layernorm.weight"])
            gate = self.linear(n, at + "mlp.gate_proj")
            x = self.rounded(x + self.linear(self.rounded(self.rounded(gate * gate.sigmoid()) * self.linear(n, at + "mlp.up_proj")), at + "mlp.down_proj"))
        return self.rounded(self.norm(x, self.w["model.norm.weight"]) @ self.head().T)

    # -- E22, E23, E25: the row before a token predicts it
    def predicting(self, z):
        width, real = self.t["prompt_ids"].shape[1], self.t["prompt_mask"]
        last = (real * torch.arange(1, width + 1)).argmax(1)                    # of the prompt, wherever its padding stands
        return torch.cat([z[torch.arange(len(z)), last][:, None], z[:, width:-1]], 1)

    def make_logits(self):
        ids = torch.cat([self.t["prompt_ids"], self.t["completion_ids"]], 1)
        return self.predicting(self.network(ids, torch.cat([self.t["prompt_mask"], self.get("mask")], 1)))

    def temperature(self):
        return self.c["temperature"]

    def over_all(self, z):
        """Logits that the probabilities are formed of."""
        return z

    def logps_of(self, z):
        lp = (self.over_all(z) / self.temperature()).log_softmax(-1)
        return lp.gather(-1, self.t["completion_ids"][..., None])[..., 0]

    def make_logps(self):
        return self.logps_of(self.get("logits"))

    def make_entropies(self):
        lp = (self.get("logits") / self.temperature()).log_softmax(-1)
        return -(lp.exp() * lp).sum(-1)

    # the first step of a run: the policy that sampled and the reference are the policy; the sampler reports E29
    def make_old(self):
        return self.logps_of(self.get("logits"))

    make_ref = make_old

    def make_sampler(self):
        z = self.get("logits")
        return self.logps_of(z.masked_fill(~self.kept(z), -math.inf))

    def kept(self, z):
        """top_k alone is used here."""
        k = self.c["top_k"]
        return z >= z.topk(k, -1).values[..., -1:] if k else torch.ones(z.shape, dtype=torch.bool)

    # -- E6 to E21 by automatic differentiation, E280 to E284
    def make_grad(self):
        w = {k: v.clone().requires_grad_() for k, v in self.w.items()}
        run = type(self)(self.c, {k: v for k, v in self.t.items() if k not in ("logits", "per_token_logps", "entropies")}, w, self.h)
        z = run.make_logits()
        logp = run.logps_of(z) * self.get("mask")
        if "grad_per_token_logps" in self.t:
            seed = (self.t["grad_per_token_logps"] * self.get("mask") * logp).sum()
        else:
            run.t["logits"] = z
            run.t["entropies"] = run.make_entropies()
            run.t.setdefault("old_per_token_logps", logp.detach())
            seed = run.loss_at(logp)
        grads = torch.autograd.grad(seed, list(w.values()), allow_unused=True)
        return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(w.items(), grads)}

    def gradients(self):
        """The dump's own, where it has them all; what is missing is computed."""
        given = {k[5:]: v for k, v in self.t.items() if k.startswith("grad.")}
        return given if len(given) == len(self.w) else {**self.make_grad(), **given}

    def make_grad_norm(self):
        return sum(g.pow(2).sum() for g in self.gradients().values()).sqrt()

    def clip_factor(self, n):
        return min(1.0, self.c["max_grad_norm"] / (n + 1e-6))

    def decay(self, p):
        return self.c["weight_decay"] if p.dim() == 2 else 0.0

    def adamw(self, p, g, m, v):
        c, t = self.c, self.c["step"]
        p = p * (1 - c["learning_rate"] * self.decay(p))
        m = m + (1 - c["adam_beta1"]) * (g - m)
        v = c["adam_beta2"] * v + (1 - c["adam_beta2"]) * g * g
        return p - c["learning_rate"] * self.direction(m, v, *self.corrections(t))

    def corrections(self, t):
        return 1 - self.c["adam_beta1"] ** t, 1 - self.c["adam_beta2"] ** t

    def direction(self, m, v, one, two):
        return m / one / ((v / two).sqrt() + self.c["adam_epsilon"])

    def make_step(self):
        factor, grads = self.clip_factor(self.get("grad_norm")), self.gradients()
        moment = lambda kind, k: self.t.get(kind + k, torch.zeros_like(self.w[k]))
        return {k: self.adamw(self.w[k], self.clipped_gradient(grads[k] * factor, self.w[k]), moment("exp_avg.", k), moment("exp_avg_sq.", k)) for k in grads}

    def clipped_gradient(self, g, p):
        return g


# ---- GRPO ---------------------------------------------------------------------------------------------------------

class Right(Network):
    """GRPO of one dump. t holds the dump's tensors in float64; a stage that is there is read by later stages, not recomputed."""
    std_eps, correction = 1e-4, 1                   # E84
    label_eps, mo_eps, mo_correction = 1e-4, 1e-4, 1 # E62, E64
    scale_rewards = aggregation = level = None      # None: as the configuration says

    def __init__(self, config, tensors, weights=None, shape=None):
        self.c = {**DEFAULTS, **config}
        self.t, self.w, self.h = dict(tensors), weights, shape
        if self.c["steps_per_generation"] is None:
            self.c["steps_per_generation"] = self.c["gradient_accumulation_steps"]
        if self.c["epsilon_high"] is None:
            self.c["epsilon_high"] = self.c["epsilon"]

    def get(self, stage):
        name = STAGES[stage]
        return self.t[name] if name in self.t else getattr(self, "make_" + stage)()

    # -- masks: up to and including the stop token (E119: nothing of a completion that was cut, if so configured)
    def stops(self):
        return self.t["input_ids" if "input_ids" in self.t else "completion_ids"] == self.c["eos_token_id"]

    def make_mask(self):
        """A completion that was cut fills all columns."""
        stops = self.stops().long()
        mask = ((torch.cumsum(stops, 1) - stops) == 0).double()
        return mask * (1 - self.t["prompt_mask"]) * self.t["attention_mask"] if "input_ids" in self.t else mask

    def make_loss_mask(self):
        mask = self.get("mask")
        if self.c["mask_truncated_completions"]:
            mask = mask * self.stops().any(1, keepdim=True)
        return mask

    # -- E60, E61
    def weights(self):
        return torch.tensor(self.c["reward_weights"] or [1.0] * self.t["rewards_per_func"].shape[1])

    def filled(self, r):
        return r.nan_to_num(0.0)

    def make_rewards(self):
        r = self.t["rewards_per_func"]
        return torch.where(r.isnan().all(1), NAN, (self.filled(r) * self.weights()).sum(1))

    # -- E62 to E64, E82 to E87
    def groups(self):
        """Rows of each group."""
        g = self.c["num_generations"]
        n = len(self.t["rewards_per_func" if "rewards_per_func" in self.t else "rewards"])
        return torch.arange(n).view(-1, g)

    def std(self, x, correction):
        x = x[~x.isnan()]
        return x.std(correction=correction) if len(x) > correction else torch.tensor(NAN)

    def mean(self, x):
        return x.nanmean()

    def deviation(self, x):
        """What a centred reward is divided by."""
        return self.std(x, self.correction) + self.std_eps

    def make_advantages(self):
        aggregation = self.aggregation or self.c["multi_objective_aggregation"]
        return getattr(self, aggregation)().nan_to_num(0.0)

    def sum_then_normalize(self):
        r, scale = self.get("rewards"), self.scale_rewards or self.c["scale_rewards"]
        a = torch.empty_like(r)
        for rows in self.groups():
            a[rows] = self.normalized(r, rows, scale)
        return a

    def normalized(self, r, rows, scale):
        centred = r[rows] - self.baseline(r, rows, scale)
        return centred / (self.deviation(r[rows]) if scale == "group" else self.deviation(r) if scale == "batch" else 1.0)

    def baseline(self, r, rows, scale):
        return self.mean(r[rows])

    def z_scores(self, correction, eps):
        only("rewards_per_func" in self.t)
        r = self.t["rewards_per_func"]
        z = torch.empty_like(r)
        for rows in self.groups():
            for k in range(r.shape[1]):
                x = r[rows, k]
                std = self.std(x, correction)
                z[rows, k] = 0 * x if std == 0 else (x - self.mean(x)) / (std + eps)
        return z

    def weighted(self, z):
        return torch.where(self.t["rewards_per_func"].isnan().all(1), NAN, (z.nan_to_num(0.0) * self.weights()).sum(1))

    def normalize_then_sum(self):
        return self.whitened(self.weighted(self.z_scores(1, self.label_eps)))

    def whitened(self, s):
        return (s - s.nanmean()) / (self.std(s, 1) + 1e-4)

    def mo_grpo(self):
        return self.weighted(self.z_scores(self.mo_correction, self.mo_eps))

    # -- E110
    def make_isr(self):
        mode, low, high = (self.c["vllm_importance_sampling_" + k] for k in ("mode", "clip_min", "clip_max"))
        e = ((self.t["old_per_token_logps"] - self.t["sampling_per_token_logps"]) * self.get("loss_mask")).nan_to_num(0.0)
        ratio = self.isr_of(e, mode).exp()
        if mode.endswith("truncate"):
            return ratio.clamp(min=low, max=self.isr_limit(high))
        outside = (ratio < (-math.inf if low is None else low)) | (ratio > (math.inf if high is None else high))
        return torch.where(outside, 0.0, ratio)

    def isr_limit(self, high):
        return high

    def isr_of(self, e, mode):
        return e.sum(1, keepdim=True) if mode.startswith("sequence") else e

    # -- E90 to E96
    def old(self, logp):
        return self.t.get("old_per_token_logps", logp.detach())

    def count(self, m):
        return m.sum(1, keepdim=True).clamp(min=1)

    def log_ratio(self, logp):
        return logp - self.old(logp)

    def sequence_log_ratio(self, lr):
        m = self.get("loss_mask")
        return (lr * m).sum(1, keepdim=True) / self.count(m)

    def ratio(self, logp):
        lr, level = self.log_ratio(logp), self.level or self.c["importance_sampling_level"]
        if level == "token":
            return lr.exp()
        s = self.sequence_log_ratio(lr)
        return s.exp() if level == "sequence" else (s.detach() + logp - logp.detach()).exp()

    def make_ratio(self):
        return self.ratio(self.t["per_token_logps"])

    def k(self, d):
        return torch.expm1(d) - d

    def kl_of(self, logp, rho):
        k = self.k(self.t["ref_per_token_logps"] - logp)
        return k * rho if self.bias_correction() else k

    def bias_correction(self):
        return self.c["use_bias_correction_kl"]

    def make_kl(self):
        return self.kl_of(self.t["per_token_logps"], self.get("ratio"))

    # -- E99 to E105, E108, E109, E111
    def bounds(self):
        return 1 - self.c["epsilon"], 1 + self.c["epsilon_high"]

    def delta(self):
        return self.c["delta"]

    def clipped(self, rho, a):
        first = rho if self.delta() is None else rho.clamp(max=self.delta())
        return -torch.minimum(first * a, rho.clamp(*self.bounds()) * a)

    def cispo_weight(self, rho):
        return rho.clamp(max=self.c["epsilon_high"])

    def policy_term(self, logp, rho, a):
        c, loss = self.c, self.c["loss_type"]
        if loss == "cispo":
            return -self.cispo_weight(rho).detach() * a * logp
        if loss == "sapo":
            tau = torch.where(a > 0, c["sapo_temperature_pos"], c["sapo_temperature_neg"])
            return -torch.sigmoid(tau * (rho - 1)) * 4 / tau * a
        if loss == "vespo":
            w = (self.log_ratio(logp).clamp(-20, 20) * self.get("loss_mask")).sum(1, keepdim=True)
            if "importance_sampling_ratio" in self.t:
                w = w + self.get("isr").log().clamp(math.log(1e-8), 20).sum(1, keepdim=True)
            w = w.clamp(math.log(1e-8), 20)
            k, lam = torch.where(a >= 0, c["vespo_k_pos"], c["vespo_k_neg"]), torch.where(a >= 0, c["vespo_lambda_pos"], c["vespo_lambda_neg"])
            return -(lam + k * w - lam * w.exp()).exp().detach() * a * logp
        return self.clipped(rho, a)

    def entropy_mask(self):
        q, m = self.c["top_entropy_quantile"], self.get("loss_mask")
        if q >= 1:
            return m
        h = self.t["entropies"]
        return (h >= torch.quantile(h[m > 0], 1 - q)).double() * m

    def off_policy_mask(self, logp, a):
        limit, m = self.c["off_policy_mask_threshold"], self.get("loss_mask")
        if limit is None:
            return 1.0
        seen = (self.t.get("sampling_per_token_logps", self.old(logp)) - logp.detach()).nan_to_num(0.0)
        return ((a >= 0) | ((seen * m).sum(1, keepdim=True) / self.count(m) <= limit)).double()

    def token_loss(self, logp, rho, kl):
        a = self.get("advantages")[:, None]
        ell = self.policy_term(logp, rho, a) * self.off_policy_mask(logp, a)
        if self.c["top_entropy_quantile"] < 1:
            ell = ell * self.entropy_mask()
        if "sampling_per_token_logps" in self.t and self.c["loss_type"] != "vespo":
            ell = ell * self.get("isr")
        ell = ell + torch.zeros_like(logp)
        return ell if kl is None else ell + self.kl_weight() * kl

    def kl_weight(self):
        return self.c["beta"]

    def make_per_token_loss(self):
        return self.token_loss(self.t["per_token_logps"], self.get("ratio"), self.get("kl") if self.c["beta"] else None)

    # -- E112, E115
    def aggregation_mask(self):
        return self.get("loss_mask")

    def loss_of(self, l):
        m = self.aggregation_mask()
        loss = self.aggregate(l, m, m.sum(1), self.c["gradient_accumulation_steps"])
        return loss - self.entropy_bonus() if self.c["entropy_coef"] else loss

    def entropy_bonus(self):
        em = self.entropy_mask()
        return self.c["entropy_coef"] * (self.t["entropies"] * em).sum() / self.entropy_count(em) / self.c["gradient_accumulation_steps"]

    def entropy_count(self, em):
        return em.sum().clamp(min=1)

    def n_item(self, m):
        n = self.c["num_items_in_batch"]
        return max(m.sum().item() if n is None else n, 1) / self.c["world_size"]

    def aggregate(self, l, m, n, ga):
        c, rows = self.c, (l * m).sum(1)
        loss = c["loss_type"]
        if loss in ("grpo", "sapo"):
            return (rows / n.clamp(min=1)).mean() / ga
        if loss == "bnpo":
            return rows.sum() / m.sum().clamp(min=1) / ga
        if loss == "dr_grpo":
            return rows.sum() / (len(rows) * c["max_completion_length"]) / ga
        if loss == "luspo":
            return rows.mean() / ga
        return rows.sum() / (self.n_item(m) * ga / c["steps_per_generation"])

    def make_loss(self):
        return self.loss_of(self.get("per_token_loss"))

    # -- E113, E114, from the log-probabilities on; nothing stored in between is used
    def loss_at(self, logp):
        rho = self.ratio(logp)
        kl = self.kl_of(logp, rho) if self.c["beta"] else None
        return self.loss_of(self.token_loss(logp, rho, kl))

    def make_dlogp(self):
        logp = self.t["per_token_logps"].clone().requires_grad_()
        return torch.autograd.grad(self.loss_at(logp), logp)[0]


# ---- the mistakes -------------------------------------------------------------------------------------------------

MISTAKES = {}       # (name, stage): class
NEEDS = {}          # (name, stage): the scenario that shows it, and its configuration


def mistake(name, stage, scenario=None, config=None, **numbers):
    """Registers a mistake: the decorated function replaces the method of Right with its name; numbers replace numbers. `stage` is the first
    one that shows it. Without a scenario it shows in that of the registration before."""
    def register(method=None):
        body = dict(numbers)
        if method is not None:
            body[method.__name__] = method
        MISTAKES[name, stage] = type(name, (Right,), body)
        if scenario:
            NEEDS[name, stage] = (scenario, config or {})
        return method
    return register


class NoSuchCase(Exception):
    """A mistake that these settings leave no room for."""


def only(condition):
    if not condition:
        raise NoSuchCase


def named(name, function):
    function.__name__ = name
    return function


def combine(*keys):
    return type("+".join(k[0] for k in keys), tuple(MISTAKES[k] for k in keys) or (Right,), {})


# -- rewards
@mistake("D3-missing-mean", "rewards", "scores")
def filled(self, r):
    out = r.clone()
    for rows in self.groups():
        means = r[rows].nanmean(0).expand(len(rows), -1)
        out[rows] = torch.where(r[rows].isnan(), means, r[rows]).nan_to_num(0.0)
    return out


@mistake("D4-first-label", "rewards", "scores")
def weights(self):
    w = Right.weights(self)
    return torch.cat([w[:1], 0 * w[1:]])


@mistake("weights-normalised", "rewards", "scores")
def weights(self):
    return Right.weights(self) / Right.weights(self).sum()


@mistake("weights-ignored", "rewards", "scores")
def weights(self):
    return torch.ones_like(Right.weights(self))


# -- advantages
mistake("D1-population", "advantages", "scores", correction=0)()
mistake("D1-eps-0", "advantages", "scores", std_eps=0.0)()
mistake("D1-eps-1e-6", "advantages", "scores", std_eps=1e-6)()
mistake("D1-eps-1e-8", "advantages", "scores", std_eps=1e-8)()
mistake("D1-eps-1e-9", "advantages", "scores", std_eps=1e-9)()
mistake("D1-population-1e-8", "advantages", "scores", correction=0, std_eps=1e-8)()


@mistake("D1-eps-in-root", "advantages", "scores")
def deviation(self, x):
    return (self.std(x, 1) ** 2 + 1e-4).sqrt()


@mistake("D2-single-scored", "advantages", "scores")
def normalized(self, r, rows, scale):
    alone = scale == "group" and (~r[rows].isnan()).sum() == 1
    return r[rows] / (1 + self.std_eps) if alone else Right.normalized(self, r, rows, scale)


@mistake("D3-nan-to-zero", "advantages", "scores", dict(multi_objective_aggregation="normalize_then_sum"))
def z_scores(self, correction, eps):
    t = {**self.t, "rewards_per_func": self.t["rewards_per_func"].nan_to_num(0.0)}
    return Right(self.c, t).z_scores(correction, eps)


@mistake("D5-batch-mean", "advantages", "scores", dict(scale_rewards="batch"))
def baseline(self, r, rows, scale):
    return r.nanmean() if scale == "batch" else r[rows].nanmean()


@mistake("batch-statistics", "advantages", "scores")
def normalized(self, r, rows, scale):
    only(scale == "group")
    return (r[rows] - r.nanmean()) / self.deviation(r)


mistake("scale-none", "advantages", "scores", scale_rewards="none")()
mistake("scale-batch", "advantages", "scores", scale_rewards="batch")()
mistake("scale-group", "advantages", "scores", dict(scale_rewards="none"), scale_rewards="group")()


@mistake("no-baseline", "advantages", "scores")
def baseline(self, r, rows, scale):
    return 0.0


@mistake("rloo", "advantages", "scores")
def normalized(self, r, rows, scale):
    n = (~r[rows].isnan()).sum()
    return (r[rows] - r[rows].nanmean()) * n / (n - 1)


@mistake("groups-interleaved", "advantages", "scores")
def groups(self):
    return Right.groups(self).reshape(self.c["num_generations"], -1).T


mistake("aggregation-sum", "advantages", "scores", dict(multi_objective_aggregation="normalize_then_sum"), aggregation="sum_then_normalize")()
mistake("aggregation-gdpo", "advantages", "scores", aggregation="normalize_then_sum")()
mistake("aggregation-mo", "advantages", "scores", aggregation="mo_grpo")()
mistake("D6-population", "advantages", "scores", dict(multi_objective_aggregation="mo_grpo"), mo_correction=0)()
mistake("D6-eps-0", "advantages", "scores", dict(multi_objective_aggregation="mo_grpo"), mo_eps=0.0)()


@mistake("D7-token-whitening", "advantages", "scores", dict(multi_objective_aggregation="normalize_then_sum"), label_eps=1e-6)
def whitened(self, s):
    n = self.get("loss_mask").sum(1)
    mean = (n * s).nansum() / n.sum()
    return (s - mean) * ((n * (s - mean) ** 2).nansum() / (n.sum() - 1) + 1e-8) ** -0.5


@mistake("D38-nan", "advantages", "scores")
def make_advantages(self):
    a = Right.make_advantages(self)
    for rows in self.groups():
        if self.std(self.get("rewards")[rows], 1) == 0:
            a[rows] = NAN
    return a


# -- the network: what shows in the log-probabilities shows in every model stage
def model_mistake(name, folder="llama", stage="logps", dtype="float32", **numbers):
    return mistake(name, stage, folder, dict(dtype=dtype), **numbers)


def at_temperature(stage, change):
    """The log-probabilities of one stage at another temperature."""
    def make(self):
        return getattr(Right, "make_" + stage)(type(self)({**self.c, "temperature": change(self.c["temperature"])}, self.t, self.w, self.h))
    return named("make_" + stage, make)


for _stage in ("logps", "old", "ref", "sampler"):
    model_mistake("D8-no-temperature", stage=_stage)(at_temperature(_stage, lambda tau: 1.0))
    model_mistake("temperature-twice", stage=_stage)(at_temperature(_stage, lambda tau: tau * tau))
    model_mistake("D8-temperature-eps", stage=_stage, dtype="float64")(at_temperature(_stage, lambda tau: tau + 1e-7))


@model_mistake("D10-shift")
def predicting(self, z):
    return z[:, self.t["prompt_ids"].shape[1]:]


@model_mistake("D11-positions", "llama-right")
def positions(self, attended):
    return torch.arange(attended.shape[1]).expand(attended.shape)


@model_mistake("D13-interleaved")
def rotated(self, x, angle):
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


@model_mistake("D13-theta-10000")
def rope(self):
    return {**Right.rope(self), "rope_theta": 10000.0}


@model_mistake("D13-no-scaling")
def scaled(self, f, rope):
    return f


@model_mistake("D14-head-zero")
def head(self):
    return 0 * Right.head(self)


@model_mistake("qkv-bias-missing", "qwen2")
def bias(self, name):
    return 0.0


@model_mistake("qk-norm-missing", "qwen3")
def head_norm(self, x, name):
    return x


for _eps, _folder in ((1e-5, "qwen2"), (1e-6, "llama"), (1e-8, "llama")):
    model_mistake(f"norm-eps-1e-{round(-math.log10(_eps))}", _folder, dtype="float64")(named("norm_eps", lambda self, eps=_eps: eps))


@model_mistake("attention-scale-missing")
def score_scale(self, d):
    return 1.0


@model_mistake("D27-kept-only", "top-k")
def over_all(self, z):
    return z.masked_fill(~self.kept(z), -math.inf)


HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
for _half, _type in HALF.items():
    half = lambda x, t=_type: x.to(t).to(x.dtype)
    model_mistake("D28-logits-" + _half)(named("over_all", lambda self, z, half=half: half(z)))
    model_mistake("logps-" + _half)(named("make_logps", lambda self, half=half: half(Right.make_logps(self))))
    model_mistake("throughout-" + _half)(named("rounded", lambda self, x, half=half: half(x)))


@model_mistake("old-after-update", "cispo", "old")
def make_old(self):
    w = self.make_step()
    return Right(self.c, {k: v for k, v in self.t.items() if k != "logits"}, w, self.h).make_logps()


@model_mistake("D17-recomputed-old", stage="old")
def make_old(self):
    return Right.make_old(self) + real(random(5).uniform(-2e-3, 2e-3, self.t["completion_ids"].shape))


@model_mistake("D14-untied-head", "qwen2", "grad")
def head(self):
    return Right.head(self).detach()


@model_mistake("D14-untied-embedding", "qwen2", "grad")
def embedding(self):
    return Right.embedding(self).detach()


# -- the step
def step_mistake(name, **numbers):
    return mistake(name, "step", "third-step", **numbers)


@step_mistake("D29-l2", decay=lambda self, p: 0.0)
def clipped_gradient(self, g, p):
    return g + Right.decay(self, p) * p


@step_mistake("D29-eps-inside")
def direction(self, m, v, one, two):
    return m / (v.sqrt() + self.c["adam_epsilon"]) * two ** 0.5 / one


@step_mistake("D29-decay-all")
def decay(self, p):
    return self.c["weight_decay"]


@step_mistake("D29-no-clip")
def clip_factor(self, n):
    return 1.0


@step_mistake("clip-norm-eps-0")
def clip_factor(self, n):
    return min(1.0, self.c["max_grad_norm"] / n)


@step_mistake("D29-no-bias-correction")
def corrections(self, t):
    return 1.0, 1.0


# -- masks: the tensor, and the mask that the loss is formed with while the tensor is right
def mask_mistake(name, config=None, scenario="tokens"):
    def register(change):
        mistake(name, "mask", scenario, config)(named("make_mask", lambda self: change(self, Right.make_mask(self))))
        mistake(name, "loss", scenario, config)(named("aggregation_mask", lambda self: change(self, Right.aggregation_mask(self))))
    return register


@mask_mistake("D9-no-stop")
def _(self, m):
    return m * ~self.stops()


@mask_mistake("D9-no-first")
def _(self, m):
    first = torch.cumsum(m, 1) == 1
    return m * ~(first & (m > 0))


@mask_mistake("D9-pad-is-eos", dict(pad_token_id=2))
def _(self, m):
    only("completion_ids" in self.t)
    return m * (self.t["completion_ids"] != self.c["pad_token_id"])


@mask_mistake("mask-with-padding")
def _(self, m):
    return torch.ones_like(m)


@mask_mistake("mask-with-prompt", scenario="rows")
def _(self, m):
    only("input_ids" in self.t)
    return torch.maximum(m, self.t["prompt_mask"])


@mask_mistake("D9-with-prompt", scenario="rows")
def _(self, m):
    only("input_ids" in self.t)
    first = torch.cumsum(m, 1) == 1
    return torch.maximum(m, torch.cat([first[:, 1:] & (m[:, 1:] > 0), first[:, :1] & False], 1).double())


# -- correction for the sampler
@mistake("D24-token-mean", "isr", "sampler")
def isr_of(self, e, mode):
    return e.sum(1, keepdim=True) / self.count(self.get("loss_mask")) if mode.startswith("sequence") else e


@mistake("D24-truncate-2", "isr", "sampler", dict(vllm_importance_sampling_mode="token_truncate"))
def isr_limit(self, high):
    return 2.0


@mistake("D24-none", "isr", "sampler")
def isr_of(self, e, mode):
    return 0 * Right.isr_of(self, e, mode)


# -- ratio
@mistake("D19-sum", "ratio", "tokens", dict(importance_sampling_level="sequence"))
def sequence_log_ratio(self, lr):
    return (lr * self.get("loss_mask")).sum(1, keepdim=True)


@mistake("D19-clamp-10", "ratio", "far-ratio", dict(importance_sampling_level="sequence"))
def sequence_log_ratio(self, lr):
    return Right.sequence_log_ratio(self, lr).clamp(max=10)


@mistake("lr-clamp-20", "ratio", "far-ratio")
def log_ratio(self, logp):
    return Right.log_ratio(self, logp).clamp(-20, 20)


@mistake("ratio-inverted", "ratio", "tokens")
def log_ratio(self, logp):
    return -Right.log_ratio(self, logp)


mistake("level-token", "ratio", "tokens", dict(importance_sampling_level="sequence", beta=0.04), level="token")()
mistake("level-sequence", "ratio", "tokens", dict(beta=0.04), level="sequence")()
mistake("level-sequence-token", "ratio", "tokens", dict(beta=0.04), level="sequence_token")()


# -- KL
def kl_mistake(name, scenario="tokens", **config):
    return mistake(name, "kl", scenario, dict(beta=0.04, loss_type="grpo", **config))


@kl_mistake("D15-k1")
def k(self, d):
    return -d


@kl_mistake("D15-k2")
def k(self, d):
    return d * d / 2


@kl_mistake("D15-swapped")
def k(self, d):
    return torch.expm1(-d) + d


@kl_mistake("D15-clamp", "far-reference", use_bias_correction_kl=False)
def k(self, d):
    d = d.clamp(-20, 20)
    return (torch.expm1(d) - d).clamp(-10, 10)


@kl_mistake("D15-no-bias-correction")
def bias_correction(self):
    return False


@kl_mistake("D15-bias-correction", use_bias_correction_kl=False)
def bias_correction(self):
    return True


@kl_mistake("D15-naive-k3", "near-reference", use_bias_correction_kl=False)
def k(self, d):
    d = d.float()
    return (d.exp() - d - 1).double()


@mistake("D15-k3-plus", "dlogp", "tokens", dict(beta=0.04, loss_type="grpo", use_bias_correction_kl=False))
def k(self, d):
    k2 = d * d / 2
    return Right.k(self, d).detach() + k2 - k2.detach()


# -- loss of a token
def token_mistake(name, scenario="tokens", **config):
    return mistake(name, "per_token_loss", scenario, dict(dict(beta=0.04, loss_type="grpo", epsilon=0.2, epsilon_high=0.28), **config))


@token_mistake("D18-paper", loss_type="cispo")
def cispo_weight(self, rho):
    return rho.clamp(*self.bounds())


@token_mistake("clip-swapped")
def bounds(self):
    return 1 - self.c["epsilon_high"], 1 + self.c["epsilon"]


@token_mistake("clip-low-as-high")
def bounds(self):
    return 1 - self.c["epsilon"], 1 + self.c["epsilon"]


@token_mistake("dual-clip-3", "far-clip")
def delta(self):
    return 3.0


@token_mistake("delta-missing", "far-clip", delta=1.5)
def delta(self):
    return None


@token_mistake("kl-sign")
def kl_weight(self):
    return -self.c["beta"]


@token_mistake("kl-missing")
def kl_weight(self):
    return 0.0


def advantages_of_what_is_left(self):
    only("ref_per_token_logps" in self.t and "old_per_token_logps" in self.t)
    paid = self.c["beta"] * ((self.t["old_per_token_logps"] - self.t["ref_per_token_logps"]) * self.get("loss_mask")).sum(1)
    return Right(self.c, {**self.t, "rewards": self.get("rewards") - paid}).make_advantages()


for _stage in ("advantages", "per_token_loss"):
    mistake("D15-in-reward", _stage, "tokens", dict(beta=0.04), kl_weight=lambda self: 0.0)(named("make_advantages", advantages_of_what_is_left))


@token_mistake("loss-sign")
def policy_term(self, logp, rho, a):
    return -Right.policy_term(self, logp, rho, a)


# -- aggregation
def loss_mistake(name, scenario="tokens", **config):
    return mistake(name, "loss", scenario, dict(beta=0.04, **config))


WINDOW = dict(num_items_in_batch=90, max_completion_length=8)


@loss_mistake("D16-sequence-mean", **WINDOW)
def aggregate(self, l, m, n, ga):
    return ((l * m).sum(1) / n.clamp(min=1)).mean() / ga


@loss_mistake("D16-token-mean", loss_type="grpo")
def aggregate(self, l, m, n, ga):
    return (l * m).sum() / m.sum() / ga


@loss_mistake("D16-global-token-mean", **WINDOW, loss_type="grpo")
def aggregate(self, l, m, n, ga):
    return (l * m).sum() / self.n_item(m)


@loss_mistake("D16-group-token-mean", **WINDOW)
def aggregate(self, l, m, n, ga):
    g = self.c["num_generations"]
    return ((l * m).sum(1).view(-1, g).sum(1) / n.view(-1, g).sum(1).clamp(min=1)).mean() / ga


@loss_mistake("D16-dr-grpo-sum", loss_type="dr_grpo", max_completion_length=8)
def aggregate(self, l, m, n, ga):
    return (l * m).sum() / len(n) / ga


@loss_mistake("D16-nonempty", loss_type="grpo", mask_truncated_completions=True)
def aggregate(self, l, m, n, ga):
    return ((l * m).sum(1) / n.clamp(min=1)).sum() / (n > 0).sum() / ga


@loss_mistake("D16-fixed-length", **WINDOW)
def aggregate(self, l, m, n, ga):
    return (l * m).sum() / (len(n) * self.c["max_completion_length"]) / ga


@loss_mistake("D36-no-ga", gradient_accumulation_steps=2, steps_per_generation=4, num_items_in_batch=170)
def aggregate(self, l, m, n, ga):
    only(self.c["loss_type"] in ("dapo", "cispo", "vespo"))
    return (l * m).sum() / self.n_item(m)


@loss_mistake("D37-micro-mean", gradient_accumulation_steps=2, num_items_in_batch=90)
def aggregate(self, l, m, n, ga):
    only(self.c["loss_type"] in ("dapo", "cispo", "vespo"))
    return (l * m).sum() / m.sum() / ga


@loss_mistake("ga-missing", gradient_accumulation_steps=2, loss_type="grpo")
def aggregate(self, l, m, n, ga):
    return Right.aggregate(self, l, m, n, 1)


@loss_mistake("luspo-110", loss_type="luspo")
def aggregate(self, l, m, n, ga):
    only(self.c["loss_type"] == "luspo")
    return (l * n[:, None]).mean() / ga


@loss_mistake("D38-dropped", loss_type="grpo")
def loss_of(self, l):
    live = torch.cat([(self.std(self.t["rewards"][r], 1) != 0).expand(len(r)) for r in self.groups()])
    t = {k: v[live] if v.dim() and len(v) == len(live) else v for k, v in self.t.items()}
    return Right(self.c, t).loss_of(l[live])


@loss_mistake("D25-kept-denominator", loss_type="grpo", top_entropy_quantile=0.5)
def aggregate(self, l, m, n, ga):
    only(self.c["top_entropy_quantile"] < 1)
    kept = self.entropy_mask().sum(1)
    return ((l * m).sum(1) / kept.clamp(min=1)).mean() / ga


@loss_mistake("D26-n-item", entropy_coef=0.05, num_items_in_batch=90)
def entropy_count(self, em):
    only(self.c["loss_type"] in ("dapo", "cispo", "vespo"))
    return self.n_item(em)


# -- what other programs mean to do
DIALECTS = {
    "trl-1.10": ["D15-no-bias-correction", "D36-no-ga", "luspo-110", "D26-n-item"],
    "verl": ["D1-eps-1e-6", "D2-single-scored", "D7-token-whitening", "D15-clamp", "D18-paper", "D16-nonempty", "lr-clamp-20", "dual-clip-3", "D15-no-bias-correction"],
    "openrlhf": ["D1-eps-1e-9", "D15-no-bias-correction", "D16-nonempty", "lr-clamp-20"],
    "dr_grpo": ["scale-none", "D16-dr-grpo-sum"],
    "paper": ["D1-eps-0", "D15-no-bias-correction", "D18-paper"],
}


LOSSES = {"D36-no-ga": ("dapo", "cispo", "vespo"), "D26-n-item": ("dapo", "cispo", "vespo"), "luspo-110": ("luspo",), "D16-nonempty": ("grpo", "sapo"),
          "D16-dr-grpo-sum": ("dr_grpo",)}        # what of a dialect belongs to some losses only


def dialect_keys(name, config):
    loss = {**DEFAULTS, **config}["loss_type"]
    return [next(k for k in MISTAKES if k[0] == n) for n in DIALECTS[name] if loss in LOSSES.get(n, (loss,))]


# ---- data ---------------------------------------------------------------------------------------------------------

GROUP, ROWS, WIDTH, PROMPT, EOS = 3, 12, 6, 3, 2
LENGTH = [6, 3, 5, 1, 6, 2, 4, 6, 3, 2, 5, 4]
CUT = {4, 7}                                    # completions that end without a stop token


def random(seed):
    return np.random.RandomState(seed)          # whose stream is promised never to change


def real(x):
    return torch.tensor(np.asarray(x, dtype=np.float64))


def ids_and_masks(r, eos_inside=False):
    ids = r.randint(3, 60, size=(ROWS, WIDTH))
    for i, n in enumerate(LENGTH):
        if i not in CUT:
            ids[i, n - 1] = EOS
        ids[i, n:] = EOS if eos_inside else 0
    prompt = r.randint(3, 60, size=(ROWS // GROUP, PROMPT)).repeat(GROUP, 0)
    mask = np.ones((ROWS, PROMPT))
    mask[3:6, 0] = prompt[3:6, 0] = 0           # one prompt is shorter: padded on the left
    return dict(prompt_ids=torch.tensor(prompt), prompt_mask=real(mask), completion_ids=torch.tensor(ids))


def scores(config):
    """Three labels: a group with one label of one member missing, a group without spread, one with a single scored member, and one whose
    spread is 1e-5, so that every epsilon counts."""
    r = random(1)
    s = r.uniform(0.1, 0.9, size=(ROWS, 3)).round(3)
    s[1, 2] = NAN
    s[3:6] = [0.5, 0.25, 0.75]                  # their weighted sum and its mean are exact
    s[6], s[8] = NAN, NAN
    s[9:12] = s[9] + 1e-5 * np.array([[0, 1, 0], [1, 0, 2], [2, 1, 1]])
    t = dict(rewards_per_func=real(s), **ids_and_masks(r))
    return dict(reward_weights=[1.0, 0.5, 2.0], num_generations=GROUP, eos_token_id=EOS, **config), t


def tokens(config, shift=0.35, apart=0.5):
    """Log-probabilities: ratios outside the band on both sides with either sign of the advantage, at the token and at the sequence level;
    unequal lengths; the second group without spread; two completions cut."""
    r = random(2)
    config = dict(num_generations=GROUP, eos_token_id=EOS, **config)
    t = ids_and_masks(r, config.get("pad_token_id") == EOS)
    t["rewards"] = real(r.uniform(0, 1, ROWS).round(3))
    t["rewards"][3:6] = 0.5
    pad = 1 - padding(config, t)
    logp = r.uniform(-3, -0.5, (ROWS, WIDTH))
    lr = r.uniform(-0.4, 0.4, (ROWS, WIDTH)) + np.array([1, -1, 1, -1, 0.5, 0, -1, 1, 0, 1, -0.2, -1])[:, None] * shift
    up, down = Right(config, t).get("advantages")[:GROUP].argmax(), Right(config, t).get("advantages")[:GROUP].argmin()
    lr[up, :2], lr[down, :2] = np.log([1.24, 1.04]), np.log([0.76, 0.96])           # between 0.2 and 0.28 on the side where it counts
    t["per_token_logps"] = real(logp) * pad
    t["old_per_token_logps"] = real(logp - lr) * pad
    t["ref_per_token_logps"] = real(logp + r.uniform(-apart, apart, logp.shape)) * pad
    t["entropies"] = real(r.uniform(0.1, 2.5, logp.shape)) * pad
    return config, t


def padding(config, t):
    return 1 - Right(config, t).make_mask()


def rows(config):
    """Prompt and completion in one row; tokens of the prompt have log-probabilities too, the same in all three."""
    config, t = tokens(config)
    wide = rows_layout({**t, "completion_mask": Right(config, t).make_mask()})
    del wide["completion_mask"]
    for k in ("per_token_logps", "old_per_token_logps", "ref_per_token_logps"):
        wide[k] = wide[k] - wide["prompt_mask"]
    return config, wide


def sampler(config):
    config, t = tokens(config)
    r = random(3)
    t["sampling_per_token_logps"] = t["old_per_token_logps"] - real(r.uniform(-0.5, 0.6, (ROWS, WIDTH))) * (1 - padding(config, t))
    t["sampling_per_token_logps"][2, 1] = NAN                               # one that the sampler did not report
    t["sampling_per_token_logps"][0, 0] = t["old_per_token_logps"][0, 0] - 1.2
    return config, t


def far_ratio(config):
    """Log-ratios of about 12 in one completion and of 22 in one token."""
    config, t = tokens(config)
    t["old_per_token_logps"][0] = t["per_token_logps"][0] - 12
    t["old_per_token_logps"][1, 1] = t["per_token_logps"][1, 1] - 22
    return config, t


def far_clip(config):
    """Ratios of 4 and 2 where the advantage is negative."""
    config, t = tokens(config)
    a = Right(config, t).get("advantages")
    row = int(a[:GROUP].argmin())
    t["old_per_token_logps"][row, 0] = t["per_token_logps"][row, 0] - math.log(4)
    t["old_per_token_logps"][row, 1] = t["per_token_logps"][row, 1] - math.log(2)
    return config, t


def far_reference(config):
    config, t = tokens(config)
    t["ref_per_token_logps"][0, 1] = t["per_token_logps"][0, 1] + 3
    return config, t


def near_reference(config):
    """The reference within 1e-3: k3 below 5e-7, where exp(D) - D - 1 in float32 is noise."""
    return tokens(config, apart=1e-3)


# -- tiny model folders, and a batch for each
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
SHAPE = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=EOS, pad_token_id=0)
FOLDERS = {"llama": ("Llama", dict(rms_norm_eps=1e-5, rope_parameters=LLAMA3, tie_word_embeddings=False)),
           "qwen2": ("Qwen2", dict(rms_norm_eps=1e-6, tie_word_embeddings=True)),
           "qwen3": ("Qwen3", dict(rms_norm_eps=1e-6, head_dim=8, tie_word_embeddings=False))}


def write_folder(folder, name):
    """Random weights that bfloat16 holds, small at the embedding, so that the epsilon of the norms counts."""
    import transformers
    kind, settings = FOLDERS[name]
    model = getattr(transformers, kind + "ForCausalLM")(getattr(transformers, kind + "Config")(**SHAPE, **settings))
    r = random(10 + list(FOLDERS).index(name))
    with torch.no_grad():
        for k, p in model.named_parameters():
            size = 0.25 if "norm" in k else 0.5 if k.endswith("bias") else 0.02 if "embed" in k and name != "qwen2" else 1.2 / p.shape[-1] ** 0.5
            p.copy_(torch.tensor(r.standard_normal(p.shape)) * size + (1.0 if "norm" in k else 0.0))
    model.to(torch.bfloat16).save_pretrained(folder / name)
    return folder / name


def read_folder(path):
    from safetensors.torch import load_file
    return {k: v.double() for k, v in load_file(path / "model.safetensors").items()}, json.loads((path / "config.json").read_text())


def model_case(folder, config):
    """Two prompts, the second shorter, three completions each, at temperature 0.7."""
    r, width = random(20), 5
    ids = r.randint(3, 60, size=(6, width))
    for i, n in enumerate([5, 3, 4, 5, 1, 5]):
        ids[i, n:] = 0
        if i != 3:
            ids[i, n - 1] = EOS
    prompt = r.randint(3, 60, size=(2, 4)).repeat(3, 0)
    prompt[3:, :2] = 0
    t = dict(prompt_ids=torch.tensor(prompt), prompt_mask=real(prompt > 0), completion_ids=torch.tensor(ids), rewards=real([0.2, 0.9, 0.4, 0.8, 0.1, 0.3]))
    return dict(num_generations=3, temperature=0.7, eos_token_id=EOS, pad_token_id=0, **config), t, folder


def llama(config):
    return model_case("llama", config)


def qwen2(config):
    return model_case("qwen2", config)


def qwen3(config):
    return model_case("qwen3", config)


def llama_right(config):
    config, t, folder = llama(config)
    return config, right_prompts(t), folder


def top_k(config):
    """Completions of five tokens, each among the five most probable."""
    config, t, folder = llama(config)
    config["top_k"] = 5
    r, ids = random(21), t["completion_ids"]
    w, h = read_folder(HERE / folder)
    for at in range(ids.shape[1]):
        best = Right(config, {**t, "completion_mask": torch.ones(ids.shape)}, w, h).make_logits()[:, at].topk(5, -1).indices
        ids[:, at] = best[torch.arange(len(ids)), torch.tensor(r.randint(5, size=len(ids)))]
    assert (ids != EOS).all()
    return config, t, folder


def cispo(config):
    """Weights of cispo at its default bound are all 0.2: the update does not depend on the old log-probabilities."""
    return model_case("llama", dict(loss_type="cispo", learning_rate=0.01, **config))


def third_step(config):
    """Moments from two steps before; a gradient small enough for the epsilons to count, and clipped."""
    config, t, folder = model_case("qwen2", dict(loss_type="dr_grpo", max_completion_length=1000, learning_rate=0.01, weight_decay=0.1, adam_epsilon=1e-4,
                                                 max_grad_norm=2e-3, step=3, **config))
    r = random(22)
    for k, v in read_folder(HERE / folder)[0].items():
        t["exp_avg." + k] = real(r.standard_normal(v.shape) * 1e-4)
        t["exp_avg_sq." + k] = real(r.uniform(1e-10, 1e-7, v.shape))
    return config, t, folder


SCENARIOS = {f.__name__.replace("_", "-"): f for f in (scores, tokens, sampler, far_ratio, far_clip, far_reference, near_reference, rows, llama, qwen2, qwen3, llama_right, top_k,
                                                       cispo, third_step)}
HERE = pathlib.Path(__file__).resolve().parent / "golden"       # where the folders are read; main() sets it


# ---- files --------------------------------------------------------------------------------------------------------

TYPE = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDING = {"float64": 1e-10, "float32": 4e-6, "bfloat16": 3e-2, "float16": 4e-3}      # of the largest value in the tensor
MODEL_STAGES = ("logits", "logps", "old", "ref", "sampler", "entropies", "grad", "grad_norm", "step")
FAMILIES = ("grad.", "param.", "exp_avg.", "exp_avg_sq.")


def array_stages(config, t):
    """Stages that a dump of these inputs can hold without a model."""
    yield from ("mask", "loss_mask")
    if "rewards_per_func" in t:
        yield "rewards"
    yield "advantages"
    if "per_token_logps" not in t:
        return
    if "sampling_per_token_logps" in t:
        yield "isr"
    yield "ratio"
    if config.get("beta"):
        yield "kl"
    yield from ("per_token_loss", "loss", "dlogp")


def model_stages(stage):
    """What a dump with a mistake in one of the model's stages holds."""
    return {"old": ["mask", "logps", "old"], "grad": ["mask", "advantages", "logps", "dlogp", "grad"],
            "step": ["mask", "advantages", "logps", "dlogp", "grad", "grad_norm", "step"]}.get(stage, ["mask", stage])


def judged(stage, t, model):
    """Whether the dump has what the stage is computed from."""
    return stage not in MODEL_STAGES + ("rewards",) or (model if stage != "rewards" else "rewards_per_func" in t)


def tensors_of(stage, t):
    name = STAGES[stage]
    return [k for k in t if k.startswith(name)] if name in FAMILIES else [k for k in t if k == name]


def carry(cls, config, t, stages, dtype, w, h):
    """The stages as cls computes them; every tensor as the dump's type holds it."""
    t = {k: stored(v, dtype) for k, v in t.items()}
    config = {**DEFAULTS, **config}
    if config["beta"] == 0:
        t.pop("ref_per_token_logps", None)
    if config["entropy_coef"] == 0 and config["top_entropy_quantile"] == 1:
        t.pop("entropies", None)
    for stage in stages:
        value = getattr(cls(config, t, w, h), "make_" + stage)()
        t.update({STAGES[stage] + k: stored(v, dtype) for k, v in value.items()} if isinstance(value, dict) else {STAGES[stage]: stored(value, dtype)})
    return t


def stored(x, dtype):
    return x if x.dtype == torch.int64 else x.detach().to(TYPE[dtype]).double()


def same(a, b, dtype):
    """The same numbers but for rounding in the dump's type."""
    if not torch.equal(a.isnan(), b.isnan()):
        return False
    error = (a - b).nan_to_num(0.0).abs().max()
    return bool(error <= ROUNDING[dtype] * b.nan_to_num(0.0).abs().max())


def explain(stage, config, t, dtype, w, h, dialect=None, pairs=False, computed=None):
    """"right", or the names of all mistakes that give the stored numbers of a stage from the stored numbers before it."""
    names = tensors_of(stage, t)
    inputs = {k: v for k, v in t.items() if k not in names and not (stage == "mask" and k == "loss_mask")}

    def value(cls):
        try:
            x = getattr(cls(config, inputs, w, h), "make_" + stage)()
        except NoSuchCase:
            return None
        return {STAGES[stage] + k: v.detach() for k, v in x.items()} if isinstance(x, dict) else {STAGES[stage]: x.detach()}

    def gives(cls):
        x = value(cls)
        return x is not None and all(same(*valid(k, x[k], t), computed or dtype) for k in names)
    if gives(Right):
        return "right"
    keys = dialect_keys(dialect, config) if dialect else []
    if keys and gives(combine(*keys)):
        needed = {key[0] for key in keys if not gives(combine(*[k for k in keys if k[0] != key[0]]))}
        return {"right as": dialect, "by": sorted(needed)}
    one = {key[0] for key, cls in MISTAKES.items() if gives(cls)}
    if one or not pairs:
        return sorted(one)
    right = value(Right)
    differs = lambda x: x is not None and any(x[k].shape != right[k].shape or not torch.equal(x[k], right[k]) for k in names)
    live = [key for key, cls in MISTAKES.items() if differs(value(cls))]
    two = [(a, b) for a, b in itertools.combinations(live, 2) if a[0] != b[0] and not shared_methods(a, b)]
    return sorted({" + ".join(sorted((a[0], b[0]))) for a, b in two if gives(combine(a, b))})


def shared_methods(a, b):
    own = lambda key: {k for k in vars(MISTAKES[key]) if not k.startswith("__")}
    return own(a) & own(b)


def valid(name, value, t):
    """Both values of a tensor, 0 in padded columns, which are never read; a different shape has other values."""
    given = t[name]
    if value.shape != given.shape:
        value, given = torch.broadcast_tensors(value, given)
    if name in COLUMNS and not name.endswith("_mask") and given.shape[1] > 1:
        out = t["completion_mask"] == 0
        value, given = value.clone(), given.clone()
        value[out], given[out] = 0, 0
    return value, given


class Writer:
    def __init__(self, folder):
        self.folder, self.manifest = folder, {}

    def write(self, name, cls, config, t, model=None, stages=None, dtype="float32", layout="left", expect=None, options=(), keep=None, meta=None, pairs=False):
        """One dump. expect: stage and name that must be among what explains it. keep: tells which tensors of families are written."""
        config = dict(config)
        w, h = read_folder(self.folder / model) if model else (None, None)
        t = carry(cls, config, t, stages or list(array_stages(config, t)), dtype, w, h)
        t = {k: v for k, v in t.items() if keep is None or not k.startswith(FAMILIES) or keep(k)}
        if torch.equal(t.get("loss_mask", t["completion_mask"]), t["completion_mask"]):
            t.pop("loss_mask", None)
        dialect = (meta or {}).get("dialect")
        found = {s: explain(s, config, t, dtype, w, h, dialect, pairs, (meta or {}).get("compute_dtype")) for s in STAGES if tensors_of(s, t) and judged(s, t, model)}
        for stage, names in (expect or {}).items():
            assert found[stage] == names or names in found[stage] or "right as" in found[stage], f"{name}: {stage} is {found[stage]}, meant to be {names}"
        for stage, names in found.items():
            assert names, f"{name}: nothing explains {stage}"
        self.save(name, t if layout == "left" else LAYOUTS[layout](t), config, dtype, meta or {})
        self.manifest[name + ".safetensors"] = dict(model=model, options=list(options), expect=found, exit=int(any(v != "right" and "right as" not in v for v in found.values())))

    def save(self, name, tensors, config, dtype, meta):
        whole = lambda k: k.endswith("_ids") or k.endswith("_mask")
        out = {k: v.to(torch.uint8 if whole(k) else TYPE[dtype]).contiguous() for k, v in tensors.items()}
        config = json.dumps({k: v for k, v in config.items() if v is not None}, sort_keys=True)
        save_file(out, self.folder / (name + ".safetensors"), metadata={"format": "grpo-dump-1", "producer": "tests/make_dumps.py", "config": config, **meta})

    def finish(self):
        text = "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(self.manifest.items())) + "\n}\n"
        (self.folder / "mistakes.json").write_text(text)


def rows_layout(t):
    """[B,T]: prompt and completion in one row; tensors of tokens speak of the token in their own column."""
    out = {k: v for k, v in t.items() if k not in COLUMNS and not k.startswith("prompt_")}
    out["input_ids"] = torch.cat([t["prompt_ids"], t["completion_ids"]], 1)
    out["attention_mask"] = torch.cat([t["prompt_mask"], t["completion_mask"]], 1)
    before = torch.zeros(t["prompt_ids"].shape)
    out["prompt_mask"] = torch.cat([t["prompt_mask"], torch.zeros(t["completion_ids"].shape)], 1)
    for k in COLUMNS[3:]:
        if k in t:
            out[k] = t[k] if t[k].shape[1] == 1 else torch.cat([before, t[k]], 1)
    return out


def right_prompts(t):
    """Prompts padded on the right."""
    out = dict(t)
    ids, mask = t["prompt_ids"].clone(), t["prompt_mask"].clone()
    for i in range(len(ids)):
        n = int(mask[i].sum())
        ids[i], mask[i] = torch.cat([ids[i, len(ids[i]) - n:], 0 * ids[i, n:]]), torch.cat([mask[i, len(ids[i]) - n:], 0 * mask[i, n:]])
    out["prompt_ids"], out["prompt_mask"] = ids, mask
    return out


LAYOUTS = {"rows": rows_layout, "right": right_prompts}


# ---- what is written ----------------------------------------------------------------------------------------------

def write_right(w):
    for scale in ("group", "batch", "none"):
        w.write(f"right-scale-{scale}", Right, *scores(dict(scale_rewards=scale)), dtype="float64")
    for aggregation in ("normalize_then_sum", "mo_grpo"):
        w.write(f"right-{aggregation}", Right, *scores(dict(multi_objective_aggregation=aggregation)), dtype="float64")
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo"):
        for level in ("token", "sequence"):
            c = dict(loss_type=loss, importance_sampling_level=level, beta=0.04, max_completion_length=8, gradient_accumulation_steps=2, steps_per_generation=4,
                     num_items_in_batch=170, **(dict(epsilon_high=1.1) if loss == "cispo" else {}))
            w.write(f"right-{loss}-{level}", Right, *tokens(c))


    for name, scenario, config in (
            ("masked-truncated", "tokens", dict(loss_type="grpo", mask_truncated_completions=True)),
            ("delta", "far-clip", dict(delta=1.5)),
            ("entropy", "tokens", dict(entropy_coef=0.05, top_entropy_quantile=0.4)),
            ("off-policy-mask", "tokens", dict(off_policy_mask_threshold=0.1)),
            ("two-processes", "tokens", dict(world_size=2, num_items_in_batch=90)),
            ("rows", "rows", dict(beta=0.04)),
            *((mode, "sampler", dict(vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_min=0.8)) for mode in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"))):
        w.write("right-" + name, Right, *SCENARIOS[scenario](config))
    for dtype in ("float64", "bfloat16", "float16"):
        w.write("right-" + dtype, Right, *tokens(dict(beta=0.04)), dtype=dtype)
    # the network: everything once, then each folder, layout and type with less
    whole = ["mask", "logits", "logps", "old", "ref", "sampler", "entropies", "advantages", "ratio", "kl", "per_token_loss", "loss", "dlogp", "grad", "grad_norm", "step"]
    config = dict(beta=0.04, learning_rate=0.01, weight_decay=0.1, max_grad_norm=0.1)
    w.write("right-llama", Right, *llama(config), stages=whole)
    some = lambda k: k.endswith(PARTS)
    for folder in ("qwen2", "qwen3"):
        w.write("right-" + folder, Right, *SCENARIOS[folder](config), stages=whole[:1] + whole[2:], keep=some)
    w.write("right-third-step", Right, *third_step({}), stages=model_stages("step"), dtype="float64", keep=some)
    values = ["mask", "logps", "old", "entropies"]
    w.write("right-llama-prompts-right", Right, *llama_right({}), stages=values)
    w.write("right-llama-rows", Right, *llama({}), stages=values, layout="rows")
    w.write("right-llama-float64", Right, *llama({}), stages=values, dtype="float64")
    w.write("right-llama-bfloat16", Right, *llama({}), stages=values, dtype="bfloat16")
    w.write("right-llama-computed-in-bfloat16", MISTAKES["throughout-bf16", "logps"], *llama({}), stages=["mask", "logps"], meta=dict(compute_dtype="bfloat16"))


PARTS = ("layers.0.self_attn.q_proj.bias", "layers.0.self_attn.k_proj.weight", "model.norm.weight")


def write_mistakes(w):
    for (name, stage), (scenario, config) in NEEDS.items():
        config = dict(config)
        dtype = config.pop("dtype", "float64" if scenario in ("scores", "third-step") else "float32")
        case = SCENARIOS[scenario](config)
        stages = model_stages(stage) if len(case) == 3 else None
        keep = None
        if name == "old-after-update":
            stages = ["mask", "advantages", "logps", "old", "step"]
        elif stage == "grad":
            keep = lambda k: k == "grad.model.embed_tokens.weight"
        elif stage == "step":
            keep = lambda k: k.endswith(PARTS)
        w.write(f"{name}-{stage}", MISTAKES[name, stage], *case, stages=stages, dtype=dtype, expect={stage: name}, keep=keep)


def write_pairs(w):
    for scenario, config, stage, *names in (
            ("scores", {}, "rewards", "D3-missing-mean", "weights-normalised"),
            ("scores", {}, "advantages", "D1-population", "groups-interleaved"),
            ("tokens", dict(beta=0.04, loss_type="grpo"), "kl", "D15-k2", "D15-no-bias-correction"),
            ("tokens", dict(beta=0.04, loss_type="grpo", epsilon_high=0.28), "per_token_loss", "clip-swapped", "kl-sign"),
            ("tokens", dict(loss_type="grpo", gradient_accumulation_steps=2), "loss", "D9-no-stop", "ga-missing"),
            ("llama", {}, "logps", "D10-shift", "D8-no-temperature"),
            ("qwen2", {}, "logps", "D13-interleaved", "qkv-bias-missing")):
        cls = combine(*[(n, stage) for n in names])
        case = SCENARIOS[scenario](config)
        w.write("+".join(names), cls, *case, stages=model_stages(stage) if len(case) == 3 else None, dtype="float64" if scenario == "scores" else "float32",
                expect={stage: " + ".join(names)}, pairs=True)


def write_dialects(w):
    far = dict(beta=0.04, loss_type="grpo", mask_truncated_completions=True)
    accumulate = dict(beta=0.04, gradient_accumulation_steps=2, steps_per_generation=4, num_items_in_batch=170)
    for dialect, scenario, config in (
            ("trl-1.10", "tokens", accumulate), ("trl-1.10", "tokens", dict(beta=0.04, loss_type="luspo")), ("trl-1.10", "tokens", dict(entropy_coef=0.05, num_items_in_batch=90)),
            ("verl", "scores", {}), ("verl", "scores", dict(multi_objective_aggregation="normalize_then_sum")), ("verl", "far-clip", far),
            ("verl", "far-reference", far), ("verl", "far-ratio", far), ("verl", "tokens", dict(loss_type="cispo")),
            ("openrlhf", "scores", {}), ("openrlhf", "far-ratio", far),
            ("dr_grpo", "scores", {}), ("dr_grpo", "tokens", dict(loss_type="dr_grpo", max_completion_length=8)),
            ("paper", "scores", {}), ("paper", "tokens", dict(loss_type="cispo", beta=0.04))):
        name = "-".join(["as", dialect, scenario, *[str(config[k]) for k in ("loss_type", "multi_objective_aggregation", "gradient_accumulation_steps", "entropy_coef") if k in config]])
        w.write(name, combine(*dialect_keys(dialect, config)), *SCENARIOS[scenario](config), dtype="float64" if scenario == "scores" else "float32", meta=dict(dialect=dialect))


def main(folder):
    global HERE
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    HERE = folder
    folder.mkdir(parents=True, exist_ok=True)
    w = Writer(folder)
    for name in FOLDERS:
        write_folder(folder, name)
    write_right(w)
    write_mistakes(w)
    write_pairs(w)
    write_dialects(w)
    w.finish()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
