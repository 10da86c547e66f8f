#!/usr/bin/env python3
"""Writes tests/golden: dumps for `grpo verify` (docs/verify.md), right ones and ones with one known mistake each, made without grpo.c.

    build/parity-venv/bin/python tests/make_dumps.py [FOLDER]      # default: tests/golden; run by hand, the files are committed

class Right is GRPO as TRL 1.16 computes it, in PyTorch float64, one method a stage; derivatives come from automatic differentiation.
A mistake replaces one small method or number of it (the registry below). A dump is made by carrying a mistake through all stages,
every stored tensor rounded to the dump's type and read back by the stages after it. What verify is expected to say of a stage is not
written by hand: Right and every mistake compute that stage from the dump's own tensors, and the ones that give the stored numbers are
the expected set. mistakes.json lists it all; README.md says how to read it.
"""
import json
import math
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
NAN = float("nan")

DEFAULTS = dict(loss_type="dapo", importance_sampling_level="token", epsilon=0.2, epsilon_high=None, delta=None, beta=0.0, use_bias_correction_kl=True,
                scale_rewards="group", multi_objective_aggregation="sum_then_normalize", num_generations=8, reward_weights=None, temperature=1.0,
                gradient_accumulation_steps=1, steps_per_generation=None, max_completion_length=512, num_items_in_batch=None, world_size=1,
                top_entropy_quantile=1.0, entropy_coef=0.0, off_policy_mask_threshold=None, mask_truncated_completions=False,
                sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0,
                vllm_importance_sampling_mode="sequence_mask", vllm_importance_sampling_clip_min=None, vllm_importance_sampling_clip_max=3.0,
                eos_token_id=2, pad_token_id=0)

# stage -> tensor of the dump, in the order in which they are computed
ARRAY_STAGES = {"mask": "completion_mask", "loss_mask": "loss_mask", "rewards": "rewards", "advantages": "advantages", "isr": "importance_sampling_ratio",
                "ratio": "ratio", "kl": "per_token_kl", "per_token_loss": "per_token_loss", "loss": "loss", "dlogp": "grad_per_token_logps"}
COLUMNS = ("completion_ids", "completion_mask", "loss_mask", "per_token_logps", "old_per_token_logps", "sampling_per_token_logps", "ref_per_token_logps",
           "entropies", "importance_sampling_ratio", "ratio", "per_token_kl", "per_token_loss", "grad_per_token_logps")


# ---- what is right ------------------------------------------------------------------------------------------------

class Right:
    """GRPO of one dump. t holds the dump's tensors in float64; a stage that is there is read by later stages, not recomputed."""
    std_eps, correction = 1e-4, 1                   # E84
    label_eps, mo_eps, mo_correction = 1e-4, 1e-4, 1 # E62, E64
    scale_rewards = aggregation = level = None      # None: as the configuration says

    def __init__(self, config, tensors):
        self.c = {**DEFAULTS, **config}
        self.t = dict(tensors)
        if self.c["steps_per_generation"] is None:
            self.c["steps_per_generation"] = self.c["gradient_accumulation_steps"]
        if self.c["epsilon_high"] is None:
            self.c["epsilon_high"] = self.c["epsilon"]

    def get(self, stage):
        name = ARRAY_STAGES[stage]
        return self.t[name] if name in self.t else getattr(self, "make_" + stage)()

    # -- masks: up to and including the stop token (E119: nothing of a completion that was cut, if so configured)
    def make_mask(self):
        ids, c = self.t["completion_ids"], self.c
        ended = torch.cumsum((ids == c["eos_token_id"]).long(), 1)
        return ((ended - (ids == c["eos_token_id"]).long()) == 0).double() * self.drawn(ids)

    def drawn(self, ids):
        """1 where the sampler drew a token: a completion that was cut fills all columns here."""
        return torch.ones(ids.shape)

    def make_loss_mask(self):
        mask = self.get("mask")
        if self.c["mask_truncated_completions"]:
            ended = (self.t["completion_ids"] == self.c["eos_token_id"]).any(1, keepdim=True)
            mask = mask * ended
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
    def make_dlogp(self):
        logp = self.t["per_token_logps"].clone().requires_grad_()
        rho = self.ratio(logp)
        kl = self.kl_of(logp, rho) if self.c["beta"] else None
        return torch.autograd.grad(self.loss_of(self.token_loss(logp, rho, kl)), logp)[0]


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


def combine(*keys):
    return type("+".join(k[0] for k in keys), tuple(MISTAKES[k] for k in keys), {})


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


# -- masks: the tensor, and the mask that the loss is formed with while the tensor is right
def mask_mistake(name, config=None):
    def register(change):
        mistake(name, "mask", "tokens", config)(named("make_mask", lambda self: change(self, Right.make_mask(self))))
        mistake(name, "loss", "tokens", config)(named("aggregation_mask", lambda self: change(self, Right.aggregation_mask(self))))
    return register


def named(name, function):
    function.__name__ = name
    return function


@mask_mistake("D9-no-stop")
def _(self, m):
    return m * (self.t["completion_ids"] != self.c["eos_token_id"])


@mask_mistake("D9-no-first")
def _(self, m):
    first = torch.cumsum(m, 1) == 1
    return m * ~(first & (m > 0))


@mask_mistake("D9-pad-is-eos", dict(pad_token_id=2))
def _(self, m):
    return m * (self.t["completion_ids"] != self.c["pad_token_id"])


@mask_mistake("mask-with-padding")
def _(self, m):
    return torch.ones_like(m)


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


SCENARIOS = {f.__name__.replace("_", "-"): f for f in (scores, tokens, sampler, far_ratio, far_clip, far_reference, near_reference)}


# ---- files --------------------------------------------------------------------------------------------------------

TYPE = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDING = {"float64": 1e-10, "float32": 4e-6, "bfloat16": 3e-2, "float16": 4e-3}      # of the largest value in the tensor


def stages_of(config, t):
    """Stages that a dump of these inputs can hold."""
    yield from ("mask", "loss_mask")
    if "rewards_per_func" in t:
        yield from ("rewards", "advantages")
    if "per_token_logps" not in t:
        return
    if "rewards" in t and "rewards_per_func" not in t:
        yield "advantages"
    if "sampling_per_token_logps" in t:
        yield "isr"
    yield "ratio"
    if config.get("beta"):
        yield "kl"
    yield from ("per_token_loss", "loss", "dlogp")


def carry(cls, config, t, dtype):
    """All stages as cls computes them; every tensor as the dump's type holds it."""
    t = {k: stored(v, dtype) for k, v in t.items()}
    config = {**DEFAULTS, **config}
    if config["beta"] == 0:
        t.pop("ref_per_token_logps", None)
    if config["entropy_coef"] == 0 and config["top_entropy_quantile"] == 1:
        t.pop("entropies", None)
    for stage in stages_of(config, t):
        t[ARRAY_STAGES[stage]] = stored(getattr(cls(config, t), "make_" + stage)(), dtype)
    return t


def stored(x, dtype):
    return x if x.dtype == torch.int64 else x.to(TYPE[dtype]).double()


def same(a, b, dtype):
    """The same numbers but for rounding in the dump's type; not read where neither is finite."""
    if a.shape != b.shape:
        a, b = torch.broadcast_tensors(a, b)
    if not torch.equal(a.isnan(), b.isnan()):
        return False
    error = (a - b).nan_to_num(0.0).abs().max()
    return bool(error <= ROUNDING[dtype] * b.nan_to_num(0.0).abs().max())


def explain(stage, config, t, dtype):
    """"right", or the names of all mistakes that give the stored numbers of a stage from the stored numbers before it."""
    name = ARRAY_STAGES[stage]
    if name == "completion_mask":                       # where the mask is wrong, what counts as padding is not known
        inputs = {k: v for k, v in t.items() if k not in ("completion_mask", "loss_mask")}
    else:
        inputs = {k: v for k, v in t.items() if k != name}
    valid = valid_columns(name, t)

    def look(cls):
        try:
            return same(getattr(cls(config, inputs), "make_" + stage)() * valid, t[name] * valid, dtype)
        except NoSuchCase:
            return False
    if look(Right):
        return "right"
    return sorted({key[0] for key, cls in MISTAKES.items() if look(cls)})


def valid_columns(name, t):
    """Entries in padded columns are never read."""
    value = t[name]
    if name in ("completion_mask", "loss_mask") or name not in COLUMNS or value.shape[1] != t["completion_mask"].shape[1]:
        return torch.ones(value.shape)
    return t["completion_mask"]


class Writer:
    def __init__(self, folder):
        self.folder, self.manifest = folder, {}

    def write(self, name, cls, config, t, dtype="float32", layout="left", expect=None, options=(), keep=None, note=""):
        config, t = dict(config), carry(cls, config, t, dtype)
        found = {s: explain(s, config, t, dtype) for s in stages_of({**DEFAULTS, **config}, t) if ARRAY_STAGES[s] in t}
        for stage, names in (expect or {}).items():
            assert found[stage] == names or names in found[stage], f"{name}: {stage} is {found[stage]}, meant to be {names}"
        for stage, names in found.items():
            assert names, f"{name}: nothing explains {stage}"
        tensors = {k: v for k, v in t.items() if keep is None or k in keep}
        if torch.equal(t["loss_mask"], t["completion_mask"]):
            tensors.pop("loss_mask", None)
            found.pop("loss_mask", None)
        self.save(name, tensors if layout == "left" else LAYOUTS[layout](tensors), config, dtype)
        self.manifest[name + ".safetensors"] = dict(model=None, options=list(options), expect=found, exit=int(any(v != "right" for v in found.values())))

    def save(self, name, tensors, config, dtype):
        out = {}
        for k, v in tensors.items():
            if k.endswith("_ids"):
                out[k] = v.to(torch.uint8)
            elif k.endswith("_mask"):
                out[k] = v.to(torch.uint8)
            else:
                out[k] = v.to(TYPE[dtype])
            out[k] = out[k].contiguous()
        meta = {"format": "grpo-dump-1", "producer": "tests/make_dumps.py", "config": json.dumps({k: v for k, v in config.items() if v is not None}, sort_keys=True)}
        save_file(out, self.folder / (name + ".safetensors"), metadata=meta)

    def finish(self):
        text = "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(self.manifest.items())) + "\n}\n"
        (self.folder / "mistakes.json").write_text(text)


def rows_layout(t):
    """[B,T]: prompt and completion in one row; tensors of tokens speak of the token in their own column."""
    out = {k: v for k, v in t.items() if k not in COLUMNS and not k.startswith("prompt_")}
    out["input_ids"] = torch.cat([t["prompt_ids"], t["completion_ids"]], 1)
    out["attention_mask"] = torch.cat([t["prompt_mask"], t["completion_mask"]], 1)
    before = torch.zeros(t["prompt_ids"].shape)
    for k in COLUMNS:
        if k in t and k != "completion_ids":
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
        w.write(f"right-scale-{scale}", Right, *scores(dict(scale_rewards=scale)), "float64")
    for aggregation in ("normalize_then_sum", "mo_grpo"):
        w.write(f"right-{aggregation}", Right, *scores(dict(multi_objective_aggregation=aggregation)), "float64")
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo"):
        for level in ("token", "sequence"):
            c = dict(loss_type=loss, importance_sampling_level=level, beta=0.04, max_completion_length=8, gradient_accumulation_steps=2, steps_per_generation=4,
                     num_items_in_batch=170, **(dict(epsilon_high=1.1) if loss == "cispo" else {}))
            w.write(f"right-{loss}-{level}", Right, *tokens(c))


def write_mistakes(w):
    for (name, stage), (scenario, config) in NEEDS.items():
        dtype = "float64" if scenario == "scores" else "float32"
        w.write(f"{name}-{stage}", MISTAKES[name, stage], *SCENARIOS[scenario](config), dtype, expect={stage: name})


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    w = Writer(folder)
    write_right(w)
    write_mistakes(w)
    w.finish()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent / "golden")
