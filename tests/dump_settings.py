"""What honest trainers do otherwise, as settings of a dump's config, in PyTorch float64: what verify is held
against beside dump_math.py.

One class that reads the settings of docs/verify.md; derivatives come from automatic differentiation, so every
gradient is that of the formula above it. Written without a look at grpo.c's code. SETTINGS lists the dumps
that make_dumps.py writes."""
import math

import torch

from dump_math import NAN, Right

OTHER = dict(std_eps=1e-4, std_ddof=1, baseline="group", zero_std="divide", single_reply="zero",
             advantage_whitening="none", kl_estimator="k3",
             kl_clamp_log_ratio=None, kl_clamp=None, kl_gradient="estimator", kl_reward_coef=0.0,
             kl_reward="sequence", policy_term="loss_type",
             cispo_clip_min=None, cispo_clip_max=None, log_ratio_max=None, sequence_log_ratio_max=None,
             dual_clip=None, clip_cov_ratio=0.0, clip_cov_min=1.0,
             clip_cov_max=5.0, kl_cov_ratio=0.0, kl_cov_coef=1.0, loss_aggregation="loss_type",
             kl_aggregation="policy", entropy_aggregation="token_mean",
             aggregation_scope="micro", aggregation_length=None, count_empty_rows=True,
             num_sequences_in_batch=None, rejection_mode="none", rejection_min=None,
             rejection_max=None, vllm_importance_sampling_correction=False)


def within(x, low, high):
    return x.clamp(-math.inf if low is None else low, math.inf if high is None else high)


class Settings(Right):
    def __init__(self, config, *rest):
        super().__init__({**OTHER, **config}, *rest)

    # -- advantages (E126 to E129)
    def groups(self):
        if "group_ids" not in self.t:
            return super().groups()
        ids = self.t["group_ids"]
        return [torch.nonzero(ids == g)[:, 0] for g in ids.unique()]

    def normalized(self, r, rows, scale):
        c, x = self.c, r[rows]
        out = torch.empty_like(x)
        scored = [j for j in range(len(x)) if not x[j].isnan()]
        lengths = self.get("loss_mask").sum(1)[rows]
        for i in range(len(x)):
            others = x[[j for j in scored if j != i]]
            kind = c["baseline"]
            mean = (x[scored].mean() if kind == "group" else others.mean() if kind == "leave_one_out"
                    else r.nanmean() if kind == "batch" else
                    (lengths[scored] * x[scored]).sum() / lengths[scored].sum() if kind == "length_weighted"
                    else 0.0)
            deviation = (self.std(x, c["std_ddof"]) if scale == "group" else
                         self.std(r, c["std_ddof"]) if scale == "batch" else
                         self.std(others, c["std_ddof"]))
            if len(scored) == 1 and c["single_reply"] == "score":
                mean, deviation = 0.0, deviation if scale == "batch" else torch.tensor(1.0)
            undivided = scale == "none" or (deviation == 0 and c["zero_std"] == "keep")
            out[i] = (x[i] - mean) / (1.0 if undivided else deviation + c["std_eps"])
        return out

    @property
    def label_eps(self):
        return self.c["std_eps"]

    mo_eps = label_eps

    @property
    def mo_correction(self):
        return self.c["std_ddof"]

    def normalize_then_sum(self):
        s = self.weighted(self.z_scores(self.c["std_ddof"], self.c["std_eps"]))
        return s if self.c["advantage_whitening"].startswith("tokens") else self.whitened(s)

    def make_advantages(self):
        a, how = super().make_advantages(), self.c["advantage_whitening"]
        if how == "completions":
            a = (a - a.mean()) / (a.std() + self.c["std_eps"])
        elif how != "none":
            x = a[:, None].expand(self.get("loss_mask").shape)[self.get("loss_mask") > 0]
            a = (a - x.mean()) / ((x.var() + 1e-8).sqrt() if how == "tokens"
                                  else x.var(correction=0).clamp(min=1e-8).sqrt())
        if self.c["kl_reward_coef"] and self.c["kl_reward"] != "sequence":
            k = self.reward_kl()
            a = a[:, None] - self.c["kl_reward_coef"] * (
                k.flip(1).cumsum(1).flip(1) if self.c["kl_reward"] == "to_go" else k)
        return a

    # -- KL in the reward (E132)
    def reward_kl(self):
        return self.estimate(self.t["old_per_token_logps"]) * self.get("loss_mask")

    def sum_then_normalize(self):
        r, scale = self.get("rewards"), self.c["scale_rewards"]
        if self.c["kl_reward_coef"] and self.c["kl_reward"] == "sequence":
            r = r - self.c["kl_reward_coef"] * self.reward_kl().sum(1)
        a = torch.empty_like(r)
        for rows in self.groups():
            a[rows] = self.normalized(r, rows, scale)
        return a

    # -- KL in the loss (E130, E131)
    def estimate(self, logp):
        c = self.c
        d = within(
            self.t["ref_per_token_logps"] - logp,
            *((-c["kl_clamp_log_ratio"], c["kl_clamp_log_ratio"]) if c["kl_clamp_log_ratio"]
              else (None, None)))
        k = {"k1": -d, "k2": d * d / 2, "k3": torch.expm1(d) - d, "abs": d.abs()}[c["kl_estimator"]]
        if c["kl_gradient"] == "score_function":
            k = k * (logp - logp.detach()).exp()
        k = within(k, *((-c["kl_clamp"], c["kl_clamp"]) if c["kl_clamp"] else (None, None)))
        if c["kl_gradient"] == "none":
            k = k.detach()
        elif c["kl_gradient"] == "k2":
            k2 = (self.t["ref_per_token_logps"] - logp) ** 2 / 2
            k = k.detach() + k2 - k2.detach()
        return k

    def kl_of(self, logp, rho):
        k = self.estimate(logp)
        return k * rho if self.c["use_bias_correction_kl"] else k

    # -- the policy term (E133 to E137)
    def log_ratio(self, logp):
        most = self.c["log_ratio_max"]
        return within(super().log_ratio(logp), *((-most, most) if most else (None, None)))

    def ratio(self, logp):
        level, most = self.c["importance_sampling_level"], self.c["sequence_log_ratio_max"]
        if level == "token":
            return self.log_ratio(logp).exp()
        s = self.sequence_log_ratio(self.log_ratio(logp))
        return within(s if level == "sequence" else s.detach() + logp - logp.detach(), None, most).exp()

    def clipped(self, rho, a):
        most = self.c["dual_clip"]
        ell = super().clipped(rho, a)
        return ell if most is None else torch.where(a < 0, torch.minimum(ell, -a * most), ell)

    def policy_term(self, logp, rho, a):
        c, term = self.c, self.c["policy_term"]
        if term == "loss_type" and c["loss_type"] != "cispo":
            ell = super().policy_term(logp, rho, a)
        elif term == "ratio":
            ell = self.clipped(rho, a)
        elif term == "unclipped":
            ell = -rho * a
        elif term == "logp":
            ell = -a * logp
        else:
            low, high = c["cispo_clip_min"], c["cispo_clip_max"]
            weight = (rho.clamp(max=c["epsilon_high"]) if low is None and high is None
                      else within(rho, low, high))
            ell = -weight.detach() * a * logp
        if c["kl_cov_ratio"]:
            chosen = self.covariance(logp, a, torch.ones_like(logp), c["kl_cov_ratio"])
            ell = torch.where(chosen, ell + c["kl_cov_coef"] * self.log_ratio(logp).abs(), ell)
        if c["clip_cov_ratio"]:
            band = -rho.clamp(*self.bounds()) * a > -rho * a
            cov = self.products(logp, a)
            cut = ~band & (cov > c["clip_cov_min"]) & (cov < c["clip_cov_max"]) & (self.get("loss_mask") > 0)
            # make_dumps.py uses a ratio by which all of them are drawn
            ell = torch.where(cut, 0.0, ell)
        if "policy_mask" in self.t:
            ell = ell * self.t["policy_mask"]
        return ell

    def products(self, logp, a):
        m, logp = self.get("loss_mask") > 0, logp.detach()
        a = a.expand(logp.shape)
        return (a - a[m].mean()) * (logp - logp[m].mean())

    def covariance(self, logp, a, _, ratio):
        """The share `ratio` of the loss tokens whose product is the largest."""
        m = self.get("loss_mask") > 0
        cov = self.products(logp, a)[m]
        least = cov.topk(max(1, int(len(cov) * ratio))).values[-1]
        return m & (self.products(logp, a) >= least)

    # -- which tokens (E181)
    def make_isr(self):
        mode = self.c["vllm_importance_sampling_mode"]
        if not mode.startswith("geometric"):
            return super().make_isr()
        low, high = (self.c["vllm_importance_sampling_clip_" + k] for k in ("min", "max"))
        ratio = self.sampler_ratio("geometric")
        out = (ratio < (-math.inf if low is None else low)) | (ratio > (math.inf if high is None else high))
        return within(ratio, low, high) if mode.endswith("truncate") else torch.where(out, 0.0, ratio)

    def sampler_ratio(self, kind, m=None):
        m = super().make_loss_mask() if m is None else m
        if "loss_mask" in self.t:
            m = self.t["loss_mask"]
        e = ((self.t["old_per_token_logps"] - self.t["sampling_per_token_logps"]) * m).nan_to_num(0.0)
        return {"token": e,
                "sequence": e.sum(1, keepdim=True),
                "geometric": e.sum(1, keepdim=True) / m.sum(1, keepdim=True).clamp(min=1)}[kind].exp()

    def kept_by_sampler(self):
        c = self.c
        if c["rejection_mode"] == "none":
            return 1.0
        x = self.sampler_ratio(c["rejection_mode"])
        return ((x >= (-math.inf if c["rejection_min"] is None else c["rejection_min"]))
                & (x <= (math.inf if c["rejection_max"] is None else c["rejection_max"]))).double()

    def get(self, stage):
        x = super().get(stage)
        return x * self.kept_by_sampler() if stage == "loss_mask" else x

    # -- the sums (E138, E139)
    def token_loss(self, logp, rho, kl):
        a = self.get("advantages")
        a = a[:, None] if a.dim() == 1 else a
        ell = self.policy_term(logp, rho, a) * self.off_policy_mask(logp, a)
        if self.c["top_entropy_quantile"] < 1:
            ell = ell * self.entropy_mask()
        if self.c["vllm_importance_sampling_correction"] and self.c["loss_type"] != "vespo":
            ell = ell * self.get("isr")
        ell = ell + torch.zeros_like(logp)
        return ell if kl is None else ell + self.c["beta"] * kl

    def summed(self, x, how):
        c, m = self.c, self.get("loss_mask")
        n, rows = m.sum(1), (x * m).sum(1) * self.t.get("row_weights", 1.0)
        ga, world = c["gradient_accumulation_steps"], c["world_size"]
        if how == "loss_type":
            if not c["count_empty_rows"] and c["loss_type"] in ("grpo", "sapo", "dr_grpo", "luspo"):
                there = n > 0
                return self.aggregate_rows(rows[there], n[there], ga)
            return self.aggregate(x * self.t.get("row_weights", torch.ones(len(n)))[:, None], m, n, ga)
        n_row, n_token, after = (n > 0).sum() if not c["count_empty_rows"] else len(n), n.sum(), ga
        if c["aggregation_scope"] != "micro":
            share = ga / c["steps_per_generation"]
            n_row, n_token, after = ((c["num_sequences_in_batch"] or n_row) * share,
                                     (c["num_items_in_batch"] or n_token) * share, 1)
            if c["aggregation_scope"] == "ranks":
                after = 1 / world
        length = c["aggregation_length"] or m.shape[1]
        return {"token_mean": rows.sum() / n_token,
                "sequence_mean": (rows / n.clamp(min=1)).sum() / n_row,
                "sequence_sum": rows.sum() / n_row,
                "fixed_length": rows.sum() / n_row / length,
                "fixed_total": rows.sum() / length}[how] / after

    def aggregate_rows(self, rows, n, ga):
        c = self.c
        return {"grpo": rows / n,
                "sapo": rows / n,
                "dr_grpo": rows / c["max_completion_length"],
                "luspo": rows}[c["loss_type"]].mean() / ga

    def total(self, ell, kl):
        c = self.c
        loss = self.summed(ell, c["loss_aggregation"])
        if c["beta"]:
            loss = loss + self.summed(c["beta"] * kl, c["loss_aggregation"] if c["kl_aggregation"] == "policy"
                                      else c["kl_aggregation"])
        if c["entropy_coef"]:
            how = c["loss_aggregation"] if c["entropy_aggregation"] == "policy" else c["entropy_aggregation"]
            loss = loss - c["entropy_coef"] * self.summed(self.t["entropies"], how)
        return loss

    def make_loss(self):
        kl = self.get("kl") if self.c["beta"] else 0.0
        return self.total(self.get("per_token_loss") - self.c["beta"] * kl, kl)

    def loss_at(self, logp):
        rho = self.ratio(logp)
        return self.total(self.token_loss(logp, rho, None), self.kl_of(logp, rho) if self.c["beta"] else 0.0)


# ---- the dumps: name, scenario, settings, and what else is changed -----------------------------------------

def grouped(t):
    """Groups of 5, 1, 4 and 2 completions in no order."""
    t["group_ids"] = torch.tensor([7, 3, 7, 9, 7, 3, 9, 3, 7, 5, 3, 7])


def weighed(t):
    t["row_weights"] = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.5, 0.0, 1.0, 0.25, 1.0, 1.0, 3.0, 1.0])


def one_empty(t):
    """Two completions without a loss token."""
    t["loss_mask"] = Right({"eos_token_id": 2}, t).make_mask()
    t["loss_mask"][[1, 5]] = 0.0


def tool(t):
    """A tool's answer in the middle."""
    t["loss_mask"] = Right({"eos_token_id": 2}, t).make_mask()
    t["loss_mask"][0, 2:4], t["loss_mask"][4, 1] = 0.0, 0.0


def drawn(t):
    mask = (torch.arange(t["per_token_logps"].numel()) % 5 > 0).double()
    t["policy_mask"] = mask.view(t["per_token_logps"].shape)


def by_token(t):
    t["advantages"] = torch.linspace(-1.5, 1.5, t["per_token_logps"].numel()).view(t["per_token_logps"].shape)


KL = dict(beta=0.3, loss_type="bnpo", use_bias_correction_kl=False)
CORRECTED = {**KL, "use_bias_correction_kl": True}
TERM = dict(loss_type="bnpo")
SUMS = dict(beta=0.2, entropy_coef=0.05, use_bias_correction_kl=False, gradient_accumulation_steps=2,
            steps_per_generation=4, num_items_in_batch=170, world_size=3,
            num_sequences_in_batch=36)
SAMPLER = dict(loss_type="bnpo", vllm_importance_sampling_clip_min=0.9, vllm_importance_sampling_clip_max=1.1,
               vllm_importance_sampling_correction=True)

SETTINGS = [
    ("std", "scores", dict(std_ddof=0, std_eps=1e-6), None),
    *((f"baseline-{b}-{s}", "scores", dict(baseline=b, scale_rewards=s), None)
      for b in ("leave_one_out", "length_weighted", "batch", "none") for s in ("group", "none")),
    ("leave-one-out-std", "scores",
     dict(baseline="leave_one_out", scale_rewards="leave_one_out", std_eps=1e-6, zero_std="keep"), None),
    ("leave-one-out-batch", "scores", dict(baseline="leave_one_out", scale_rewards="batch"), None),
    ("single-reply", "scores", dict(single_reply="score", std_eps=1e-6), None),
    ("single-reply-none", "scores", dict(single_reply="score", scale_rewards="none"), None),
    ("groups", "scores", {}, grouped),
    ("groups-single", "scores", dict(single_reply="score", std_eps=1e-6), grouped),
    ("groups-mo", "scores", dict(multi_objective_aggregation="mo_grpo", std_ddof=0), grouped),
    ("groups-gdpo", "scores", dict(multi_objective_aggregation="normalize_then_sum"), grouped),
    *((f"whitening-{w}", "tokens", dict(scale_rewards="none", advantage_whitening=w), None)
      for w in ("completions", "tokens", "tokens_population")),
    ("whitening-gdpo", "scores",
     dict(multi_objective_aggregation="normalize_then_sum", advantage_whitening="tokens", std_eps=1e-6),
     lambda t: t["rewards_per_func"].nan_to_num_(0.5)),
    *((f"kl-{k}-{g}", "far-reference", {**KL, "kl_estimator": k, "kl_gradient": g}, None)
      for k in ("k1", "k2", "k3", "abs") for g in ("estimator", "score_function", "k2", "none")
      if (k, g) != ("k3", "estimator")),
    *((f"kl-clamp-{k}", "far-reference",
       {**KL, "kl_estimator": k, "kl_clamp": 0.3, "kl_clamp_log_ratio": 0.4}, None) for k in ("k1", "k3")),
    ("kl-clamp-score", "far-reference", {**KL, "kl_clamp": 0.08, "kl_gradient": "score_function"}, None),
    *((f"kl-corrected-{k}", "far-reference", {**CORRECTED, "kl_estimator": k, "kl_clamp": 0.3}, None)
      for k in ("k1", "k2", "k3")),
    ("kl-corrected-sequence", "far-reference",
     {**CORRECTED, "kl_estimator": "k2", "importance_sampling_level": "sequence"}, None),
    ("kl-reward", "tokens", dict(kl_reward_coef=0.1, kl_estimator="k1", loss_type="bnpo"), None),
    ("kl-reward-to-go", "tokens",
     dict(kl_reward_coef=0.1, kl_reward="to_go", kl_estimator="k3", kl_clamp=0.1, loss_type="bnpo"), None),
    ("kl-reward-token", "tokens",
     dict(kl_reward_coef=0.1, kl_reward="token", kl_estimator="k1", loss_type="bnpo"), None),
    *((f"term-{p}-{level}", "far-clip",
       {"loss_type": "cispo" if p == "ratio" else "bnpo", "policy_term": p,
        "importance_sampling_level": level, "cispo_clip_min": 0.7, "cispo_clip_max": 1.3}, None)
      for p in ("ratio", "unclipped", "logp", "cispo") for level in ("token", "sequence", "sequence_token")),
    ("term-cispo-band", "far-clip", dict(loss_type="cispo", cispo_clip_min=0.8, cispo_clip_max=1.28), None),
    ("term-cispo-above", "far-clip", dict(loss_type="cispo", cispo_clip_max=2.0), None),
    ("log-ratio-max", "far-clip", {**TERM, "policy_term": "unclipped", "log_ratio_max": 0.5}, None),
    ("log-ratio-max-sequence", "far-clip",
     {**TERM, "policy_term": "unclipped", "log_ratio_max": 0.5, "importance_sampling_level": "sequence"},
     None),
    ("sequence-log-ratio-max", "far-ratio",
     {**TERM, "policy_term": "unclipped", "sequence_log_ratio_max": 10,
      "importance_sampling_level": "sequence_token"}, None),
    ("sequence-log-ratio-max-sequence", "far-ratio",
     {**TERM, "policy_term": "unclipped", "sequence_log_ratio_max": 10,
      "importance_sampling_level": "sequence"}, None),
    *((f"dual-clip-{level}", "far-clip", {**TERM, "dual_clip": 1.3, "importance_sampling_level": level}, None)
      for level in ("token", "sequence", "sequence_token")),
    ("clip-cov", "far-clip", {**TERM, "clip_cov_ratio": 0.9, "clip_cov_min": 0.1, "clip_cov_max": 0.6}, None),
    ("policy-mask", "tokens", TERM, drawn),
    ("kl-cov", "far-clip", {**TERM, "policy_term": "unclipped", "kl_cov_ratio": 0.2, "kl_cov_coef": 0.7},
     None),
    ("advantages-by-token", "tokens", {**TERM, "advantage_level": "token"}, by_token),
    *((f"sum-{a}-{s}", "tokens", {**SUMS, "loss_aggregation": a, "aggregation_scope": s}, None)
      for a in ("token_mean", "sequence_mean", "sequence_sum", "fixed_length", "fixed_total")
      for s in ("micro", "update", "ranks")),
    ("sum-apart", "tokens",
     {**SUMS, "loss_aggregation": "token_mean", "kl_aggregation": "sequence_mean",
      "entropy_aggregation": "sequence_sum"}, None),
    ("sum-kl-apart", "tokens",
     {**SUMS, "loss_type": "grpo", "kl_aggregation": "token_mean", "aggregation_length": 20}, None),
    ("sum-entropy-policy", "tokens",
     {**SUMS, "loss_aggregation": "sequence_mean", "entropy_aggregation": "policy"}, None),
    ("sum-length", "tokens", {**SUMS, "loss_aggregation": "fixed_length", "aggregation_length": 100}, None),
    ("sum-weighed", "tokens",
     {**SUMS, "loss_aggregation": "token_mean", "kl_aggregation": "sequence_mean",
      "entropy_aggregation": "policy"}, weighed),
    ("sum-weighed-loss-type", "tokens", dict(loss_type="grpo", beta=0.1), weighed),
    *((f"sum-nonempty-{a}", "tokens", dict(loss_type="grpo", loss_aggregation=a, count_empty_rows=False),
       one_empty) for a in ("loss_type", "sequence_mean", "sequence_sum")),
    ("tool-mask", "tokens", dict(loss_type="grpo", beta=0.1), tool),
    *((f"sampler-{m}", "sampler", {**SAMPLER, "vllm_importance_sampling_mode": m, **extra}, None)
      for m, extra in (
        ("geometric_truncate", {}), ("geometric_mask", {}), ("token_truncate", dict(policy_term="logp")),
        ("sequence_mask", dict(policy_term="logp")))),
    *((f"rejection-{m}", "sampler",
       {**TERM, "rejection_mode": m, "rejection_min": 0.8, "rejection_max": 1.25}, None)
      for m in ("token", "sequence", "geometric")),
    ("rejection-and-weights", "sampler",
     {**SAMPLER, "vllm_importance_sampling_mode": "token_truncate", "rejection_mode": "geometric",
      "rejection_min": 0.95}, None),
    ("sampler-for-information", "sampler", TERM, None),
]
