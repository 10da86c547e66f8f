"""What other programs do instead, one small change of dump_math.Right each: the registry that
tests/make_dumps.py makes dumps from.

A name may stand at several stages. Each registration says which data show it (a scenario of make_dumps.py)
and with which settings."""
import math

import torch

from dump_math import DEFAULTS, Right, only

NAN = float("nan")
CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
MISTAKES = {}       # (name, stage): class
NEEDS = {}          # (name, stage): the scenario that shows it, and its configuration


def mistake(name, stage, scenario=None, config=None, **numbers):
    """Registers a mistake: the decorated function replaces the method of Right with its name; numbers replace
    numbers. `stage` is the first one that shows it. Without a scenario it shows in that of the registration
    before."""
    def register(method=None):
        body = dict(numbers)
        if method is not None:
            body[method.__name__] = method
        MISTAKES[name, stage] = type(name, (Right,), body)
        if scenario:
            NEEDS[name, stage] = (scenario, config or {})
        return method
    return register


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
@mistake("unscored-as-zero", "advantages", "scores")
def sum_then_normalize(self):
    r = self.get("rewards")
    return Right.sum_then_normalize(type(self)(self.c, {**self.t, "rewards": r.nan_to_num(0.0)}))


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


@mistake("groups-side-by-side", "advantages", "in-turn")
def groups(self):
    prompts = torch.as_tensor(Right.groups(self))
    rows = torch.arange(prompts.numel()).view(-1, self.c["num_generations"])
    only(not torch.equal(rows, prompts))
    return rows


def by_settings(name, stage, scenario, config=None, where=lambda c, t: True, **settings):
    """What a setting of dump_settings.py would give, done although it is not declared."""
    from dump_settings import OTHER, Settings

    def start(self, c, t, *rest):
        full = {**OTHER, **DEFAULTS, **c}
        only(where(full, t) and any(full[k] != v for k, v in settings.items()))
        length = ({} if full["max_completion_length"] == DEFAULTS["max_completion_length"]
                  else dict(aggregation_length=full["max_completion_length"]))
        Settings.__init__(self, {**c, **length,
                                 "vllm_importance_sampling_correction": "sampling_per_token_logps" in t,
                                 **settings}, t, *rest)
    MISTAKES[name, stage] = type(name, (Settings,), {"__init__": start})
    NEEDS[name, stage] = (scenario, config or {})


plain = lambda c, t: c["multi_objective_aggregation"] == "sum_then_normalize"
by_settings("leave-one-out", "advantages", "scores", where=plain, baseline="leave_one_out",
            scale_rewards="leave_one_out", zero_std="keep", std_eps=1e-6)
by_settings("reward-as-advantage", "advantages", "scores", where=plain, baseline="none", scale_rewards="none")
by_settings("batch-baseline", "advantages", "scores", where=plain, baseline="batch", scale_rewards="none")
by_settings("length-weighted", "advantages", "scores", where=plain, baseline="length_weighted",
            scale_rewards="none")
by_settings("whitened-again", "advantages", "scores", where=plain, advantage_whitening="completions")
by_settings("whitened-tokens", "advantages", "scores", where=plain, advantage_whitening="tokens")
by_settings("whitened-tokens-population", "advantages", "scores", where=plain,
            advantage_whitening="tokens_population")
by_settings("logp-for-ratio", "per_token_loss", "tokens", dict(beta=0.04, loss_type="grpo"),
            where=lambda c, t: c["loss_type"] in CLIPPED, policy_term="logp")
by_settings("D16-fixed-total", "loss", "tokens",
            dict(beta=0.04, loss_type="dr_grpo", max_completion_length=8), loss_aggregation="fixed_total")
by_settings("kl-token-mean", "loss", "tokens", dict(beta=0.04, loss_type="grpo"),
            where=lambda c, t: c["beta"] != 0, kl_aggregation="token_mean")
by_settings("kl-sequence-mean", "loss", "tokens", dict(beta=0.04, loss_type="bnpo"),
            where=lambda c, t: c["beta"] != 0, kl_aggregation="sequence_mean")


mistake("aggregation-sum", "advantages", "scores", dict(multi_objective_aggregation="normalize_then_sum"),
        aggregation="sum_then_normalize")()
mistake("aggregation-gdpo", "advantages", "scores", aggregation="normalize_then_sum")()
mistake("aggregation-mo", "advantages", "scores", aggregation="mo_grpo")()
mistake("D6-population", "advantages", "scores", dict(multi_objective_aggregation="mo_grpo"),
        mo_correction=0)()
mistake("D6-eps-0", "advantages", "scores", dict(multi_objective_aggregation="mo_grpo"), mo_eps=0.0)()


@mistake("D7-token-whitening", "advantages", "scores", dict(multi_objective_aggregation="normalize_then_sum"),
         label_eps=1e-6)
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
        return getattr(Right, "make_" + stage)(
            type(self)({**self.c, "temperature": change(self.c["temperature"])}, self.t, self.w, self.h))
    return named("make_" + stage, make)


for _stage in ("logps", "old", "ref", "sampler"):
    model_mistake("D8-no-temperature", stage=_stage)(at_temperature(_stage, lambda tau: 1.0))
    model_mistake("temperature-twice", stage=_stage)(at_temperature(_stage, lambda tau: tau * tau))
    model_mistake("temperature-multiplied", stage=_stage)(at_temperature(_stage, lambda tau: 1 / tau))
    model_mistake("D8-temperature-eps", stage=_stage, dtype="float64")(
        at_temperature(_stage, lambda tau: tau + 1e-7))


@model_mistake("D8-no-temperature", stage="entropies")
def temperature(self):
    return 1.0


@model_mistake("D10-shift")
@model_mistake("D10-shift", stage="logits")
def predicting(self, z):
    return z[:, self.t["prompt_ids"].shape[1]:]


@model_mistake("D11-positions", "llama-right")
def positions(self, attended):
    return torch.arange(attended.shape[1]).expand(attended.shape)


@model_mistake("D13-interleaved")
@model_mistake("D13-interleaved", stage="logits")
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
    model_mistake(f"norm-eps-1e-{round(-math.log10(_eps))}", _folder, dtype="float64")(
        named("norm_eps", lambda self, eps=_eps: eps))


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
    model_mistake("D28-logits-" + _half, stage="logits")(
        named("make_logits", lambda self, half=half: half(Right.make_logits(self))))
    model_mistake("logps-" + _half)(named("make_logps", lambda self, half=half: half(Right.make_logps(self))))
    model_mistake("throughout-" + _half)(named("rounded", lambda self, x, half=half: half(x)))


@model_mistake("old-after-update", "cispo", "old")
def make_old(self):
    w = self.make_step()
    return Right(self.c, {k: v for k, v in self.t.items() if k != "logits"}, w, self.h).make_logps()


@model_mistake("D17-recomputed-old", stage="old")
def make_old(self):
    old = Right.make_old(self)
    return old + 2e-3 * torch.sin(torch.arange(old.numel())).view(old.shape)


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
        mistake(name, "mask", scenario, config)(
            named("make_mask", lambda self: change(self, Right.make_mask(self))))
        mistake(name, "loss", scenario, config)(
            named("aggregation_mask", lambda self: change(self, Right.aggregation_mask(self))))
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


@mask_mistake("mask-padding-without-stop", scenario="cut-short")
def _(self, m):
    only("completion_ids" in self.t)
    return torch.where(self.stops().any(1, keepdim=True), m, torch.ones_like(m))


@mask_mistake("mask-moved-left")
def _(self, m):
    return torch.cat([m[:, 1:], 0 * m[:, :1]], 1)


@mask_mistake("mask-moved-right")
def _(self, m):
    return torch.cat([0 * m[:, :1], m[:, :-1]], 1)


def truncated_mistake(name, leave_out, **config):
    change = lambda self, m: m * self.stops().any(1, keepdim=True) if leave_out else self.get("mask")

    def loss_mask(self):
        only(self.c["mask_truncated_completions"] != leave_out)
        return change(self, Right.make_mask(self))

    def aggregation_mask(self):
        only(self.c["mask_truncated_completions"] != leave_out)
        return change(self, Right.aggregation_mask(self))
    if leave_out:               # a mask that leaves nothing out is not written
        mistake(name, "loss_mask", "tokens", config)(named("make_loss_mask", loss_mask))
    mistake(name, "loss", "tokens", config)(aggregation_mask)


truncated_mistake("truncated-left-out", True, beta=0.04)
truncated_mistake("truncated-counted", False, beta=0.04, mask_truncated_completions=True)


@mistake("loss-mask-ignored", "loss", "tokens", dict(beta=0.04, mask_truncated_completions=True))
def aggregation_mask(self):
    only("loss_mask" in self.t)
    return self.get("mask")


# -- correction for the sampler
@mistake("D24-token-mean", "isr", "sampler")
def isr_of(self, e, mode):
    return e.sum(1, keepdim=True) / self.count(self.get("loss_mask")) if mode.startswith("sequence") else e


@mistake("D24-sum-of-ratios", "isr", "sampler")
def isr_of(self, e, mode):
    known = self.get("loss_mask") * ~self.t["sampling_per_token_logps"].isnan()
    return (e.exp() * known).sum(1, keepdim=True).log() if mode.startswith("sequence") else e


@mistake("D24-missing", "per_token_loss", "sampler")
def token_loss(self, logp, rho, kl):
    only("sampling_per_token_logps" in self.t)
    t = {k: v for k, v in self.t.items() if k != "sampling_per_token_logps"}
    return Right.token_loss(type(self)(self.c, t), logp, rho, kl)


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


mistake("level-token", "ratio", "tokens", dict(importance_sampling_level="sequence", beta=0.04),
        level="token")()
mistake("level-sequence", "ratio", "tokens", dict(beta=0.04), level="sequence")()
@mistake("level-sequence-sum", "ratio", "tokens", dict(beta=0.04), level="sequence")
def sequence_log_ratio(self, lr):
    only(self.c["importance_sampling_level"] == "token")
    return (lr * self.get("loss_mask")).sum(1, keepdim=True)


mistake("level-sequence-token", "ratio", "tokens", dict(beta=0.04), level="sequence_token")()


@mistake("ratio-one", "ratio", "tokens")
def old(self, logp):
    return logp.detach()


@mistake("ratio-to-reference", "ratio", "tokens", dict(beta=0.04))
def old(self, logp):
    only("ref_per_token_logps" in self.t)
    return self.t["ref_per_token_logps"]


@mistake("ratio-to-sampler", "ratio", "sampler")
def old(self, logp):
    only("sampling_per_token_logps" in self.t)
    s = self.t["sampling_per_token_logps"]
    return torch.where(s.isnan(), Right.old(self, logp), s)


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


@mistake("D15-k3-plus", "dlogp", "tokens", dict(beta=0.04, loss_type="grpo", use_bias_correction_kl=False))
def k(self, d):
    k2 = d * d / 2
    return Right.k(self, d).detach() + k2 - k2.detach()


@kl_mistake("D15-abs")
def k(self, d):
    return d.abs()


@kl_mistake("kl-of-old")
def kl_of(self, logp, rho):
    k = self.k(self.t["ref_per_token_logps"] - self.old(logp))
    return k * rho.detach() if self.bias_correction() else k


def slope_mistake(name, **config):
    return mistake(name, "dlogp", "tokens", dict(dict(beta=0.04, loss_type="grpo"), **config))


@slope_mistake("kl-detached")
def kl_of(self, logp, rho):
    return Right.kl_of(self, logp, rho).detach() + 0 * logp


@slope_mistake("kl-score-function", use_bias_correction_kl=False)
def kl_of(self, logp, rho):
    only(not self.bias_correction())
    return self.k(self.t["ref_per_token_logps"] - logp) * (logp - logp.detach()).exp()


@slope_mistake("gradient-detached")
def policy_term(self, logp, rho, a):
    return Right.policy_term(self, logp, rho, a).detach() + 0 * logp


@slope_mistake("gradient-without-ratio")
def policy_term(self, logp, rho, a):
    only(self.c["loss_type"] in CLIPPED)
    ell = Right.policy_term(self, logp, rho, a)
    return ell.detach() + (ell - ell.detach()) / rho.detach()


# -- loss of a token
def token_mistake(name, scenario="tokens", **config):
    return mistake(name, "per_token_loss", scenario,
                   dict(dict(beta=0.04, loss_type="grpo", epsilon=0.2, epsilon_high=0.28), **config))


@token_mistake("D18-paper", loss_type="cispo")
def cispo_weight(self, rho):
    return rho.clamp(*self.bounds())


@token_mistake("clip-swapped")
def bounds(self):
    return 1 - self.c["epsilon_high"], 1 + self.c["epsilon"]


@token_mistake("clip-low-as-high")
def bounds(self):
    return 1 - self.c["epsilon"], 1 + self.c["epsilon"]


@token_mistake("clip-missing")
def bounds(self):
    return -1e30, 1e30


@token_mistake("clip-low-missing")
def bounds(self):
    return -1e30, 1 + self.c["epsilon_high"]


@token_mistake("clip-high-missing")
def bounds(self):
    return 1 - self.c["epsilon"], 1e30


@token_mistake("clip-in-log")
def bounds(self):
    return math.exp(-self.c["epsilon"]), math.exp(self.c["epsilon_high"])


@token_mistake("clip-alone")
def clipped(self, rho, a):
    only(self.delta() is None)
    return -rho.clamp(*self.bounds()) * a


@token_mistake("clip-maximum")
def clipped(self, rho, a):
    only(self.delta() is None)
    return -torch.maximum(rho * a, rho.clamp(*self.bounds()) * a)


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
    paid = (self.c["beta"]
            * ((self.t["old_per_token_logps"] - self.t["ref_per_token_logps"])
               * self.get("loss_mask")).sum(1))
    return Right(self.c, {**self.t, "rewards": self.get("rewards") - paid}).make_advantages()


for _stage in ("advantages", "per_token_loss"):
    mistake("D15-in-reward", _stage, "tokens", dict(beta=0.04), kl_weight=lambda self: 0.0)(
        named("make_advantages", advantages_of_what_is_left))


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


@loss_mistake("mean-over-padding", loss_type="grpo")
def aggregate(self, l, m, n, ga):
    return (l * m).mean() / ga


@loss_mistake("padding-not-counted", loss_type="grpo")
def aggregate(self, l, m, n, ga):
    return Right.aggregate(self, (l.sum(1) / n.clamp(min=1))[:, None] * m, m, n, ga)


@loss_mistake("left-out-counted", loss_type="bnpo", mask_truncated_completions=True)
def aggregate(self, l, m, n, ga):
    all = self.get("mask")
    return Right.aggregate(self, l * m, all, all.sum(1), ga)


@loss_mistake("not-divided")
def aggregate(self, l, m, n, ga):
    return (l * m).sum() / ga


@loss_mistake("entropy-sign", entropy_coef=0.05)
def entropy_bonus(self):
    return -Right.entropy_bonus(self)


@loss_mistake("entropy-missing", entropy_coef=0.05)
def entropy_bonus(self):
    return 0.0


@loss_mistake("luspo-110", loss_type="luspo")
def aggregate(self, l, m, n, ga):
    only(self.c["loss_type"] == "luspo")
    return (l * n[:, None]).mean() / ga


@loss_mistake("D38-dropped", loss_type="grpo")
def loss_of(self, l):
    only("rewards" in self.t)
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
    "trl-1.9.0": ["D15-no-bias-correction", "D36-no-ga", "luspo-110", "D26-n-item"],
    "verl": ["D1-eps-1e-6", "D2-single-scored", "D7-token-whitening", "D15-clamp", "D18-paper",
             "D16-nonempty", "lr-clamp-20", "dual-clip-3", "D15-no-bias-correction"],
    "openrlhf": ["D1-eps-1e-9", "D15-no-bias-correction", "D16-nonempty", "lr-clamp-20"],
    "dr_grpo": ["scale-none", "D16-dr-grpo-sum"],
    "paper": ["D1-eps-0", "D15-no-bias-correction", "D18-paper"],
}


# what of a dialect belongs to some losses only
LOSSES = {"D36-no-ga": ("dapo", "cispo", "vespo"), "D26-n-item": ("dapo", "cispo", "vespo"),
          "luspo-110": ("luspo",), "D16-nonempty": ("grpo", "sapo"), "D16-dr-grpo-sum": ("dr_grpo",)}


def dialect_keys(name, config):
    loss = {**DEFAULTS, **config}["loss_type"]
    return [next(k for k in MISTAKES if k[0] == n) for n in DIALECTS[name] if loss in LOSSES.get(n, (loss,))]
