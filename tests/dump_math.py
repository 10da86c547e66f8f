"""GRPO as TRL 1.16 computes it, on Llama, Qwen2 and Qwen3, in PyTorch float64, one method a stage: what
tests/make_dumps.py calls right.

Derivatives come from automatic differentiation. Methods are small, so that dump_mistakes.py can replace one.
Written without a look at grpo.c's code; tests/parity/test_verify.py holds it against transformers and a live
TRL trainer. Equation numbers as in the sources of grpo.c."""
import math

import torch

NAN = float("nan")

DEFAULTS = dict(loss_type="dapo", importance_sampling_level="token", epsilon=0.2, epsilon_high=None,
                delta=None, beta=0.0, use_bias_correction_kl=True,
                scale_rewards="group", multi_objective_aggregation="sum_then_normalize", num_generations=8,
                reward_weights=None, temperature=1.0,
                gradient_accumulation_steps=1, steps_per_generation=None, max_completion_length=512,
                num_items_in_batch=None, world_size=1,
                top_entropy_quantile=1.0, entropy_coef=0.0, off_policy_mask_threshold=None,
                mask_truncated_completions=False,
                sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, vespo_k_pos=2.0, vespo_lambda_pos=3.0,
                vespo_k_neg=3.0, vespo_lambda_neg=2.0,
                vllm_importance_sampling_mode="sequence_mask", vllm_importance_sampling_clip_min=None,
                vllm_importance_sampling_clip_max=3.0,
                eos_token_id=2, pad_token_id=0, top_k=0, max_grad_norm=1.0, weight_decay=0.0,
                learning_rate=1e-6, adam_beta1=0.9, adam_beta2=0.999,
                adam_epsilon=1e-8, step=1)

# stage -> tensor of the dump, in the order in which they are computed; grad and step are families of tensors,
# one a parameter
STAGES = {"mask": "completion_mask", "loss_mask": "loss_mask", "logits": "logits", "logps": "per_token_logps",
          "old": "old_per_token_logps",
          "ref": "ref_per_token_logps", "sampler": "sampling_per_token_logps", "entropies": "entropies",
          "rewards": "rewards", "advantages": "advantages",
          "isr": "importance_sampling_ratio", "ratio": "ratio", "kl": "per_token_kl",
          "per_token_loss": "per_token_loss", "loss": "loss",
          "dlogp": "grad_per_token_logps", "grad_norm": "grad_norm", "grad": "grad.", "step": "param."}


class NoSuchCase(Exception):
    """A mistake that these settings leave no room for."""


def only(condition):
    if not condition:
        raise NoSuchCase


# ---- the network (E1 to E25) -------------------------------------------------------------------------------

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
        wave, n0 = 2 * math.pi / f, rope["original_max_position_embeddings"]
        lo, hi = rope["low_freq_factor"], rope["high_freq_factor"]
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
        q, k, v = (self.head_norm(heads("q_proj"), layer + "q_norm.weight"),
                   self.head_norm(heads("k_proj"), layer + "k_norm.weight"),
                   heads("v_proj"))
        q, k = self.rounded(self.rotated(q, angle)), self.rounded(self.rotated(k, angle))
        k, v = (y.repeat_interleave(q.shape[1] // y.shape[1], 1) for y in (k, v))
        seen = torch.tril(torch.ones(time, time, dtype=torch.bool)) & (attended[:, None, None] > 0)
        # a padded row sees itself: no 0/0
        seen = seen | torch.eye(time, dtype=torch.bool)
        p = (self.rounded(q @ k.transpose(-1, -2))
             * self.score_scale(d)).masked_fill(~seen, -math.inf).softmax(-1)
        return self.linear(self.rounded(self.rounded(p) @ v).transpose(1, 2).reshape(batch, time, -1),
                           layer + "o_proj")

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
            x = self.rounded(x + self.attention(self.norm(x, self.w[at + "input_layernorm.weight"]),
                                                at + "self_attn.", angle, attended))
            n = self.norm(x, self.w[at + "post_attention_layernorm.weight"])
            gate = self.linear(n, at + "mlp.gate_proj")
            x = self.rounded(x + self.linear(
                self.rounded(self.rounded(gate * gate.sigmoid()) * self.linear(n, at + "mlp.up_proj")),
                at + "mlp.down_proj"))
        return self.rounded(self.norm(x, self.w["model.norm.weight"]) @ self.head().T)

    # -- E22, E23, E25: the row before a token predicts it
    def predicting(self, z):
        width, real = self.t["prompt_ids"].shape[1], self.t["prompt_mask"]
        # of the prompt, wherever its padding stands
        last = (real * torch.arange(1, width + 1)).argmax(1)
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

    # the first step of a run: the policy that sampled and the reference are the policy; the sampler reports
    # E29
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
        run = type(self)(self.c, {k: v for k, v in self.t.items()
                                  if k not in ("logits", "per_token_logps", "entropies")}, w, self.h)
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
        return {k: self.adamw(self.w[k], self.clipped_gradient(grads[k] * factor, self.w[k]),
                              moment("exp_avg.", k), moment("exp_avg_sq.", k)) for k in grads}

    def clipped_gradient(self, g, p):
        return g


# ---- GRPO --------------------------------------------------------------------------------------------------

class Right(Network):
    """GRPO of one dump. t holds the dump's tensors in float64; a stage that is there is read by later stages,
    not recomputed."""
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

    # -- masks: up to and including the stop token (E119: if asked for, nothing of a completion that was cut)
    def stops(self):
        return self.t["input_ids" if "input_ids" in self.t else "completion_ids"] == self.c["eos_token_id"]

    def make_mask(self):
        """A completion that was cut fills all columns, or ends where padding begins."""
        stops, ids = self.stops().long(), self.t["input_ids" if "input_ids" in self.t else "completion_ids"]
        filled = (ids != self.c["pad_token_id"]).flip(1).cumsum(1).flip(1) > 0
        mask = ((torch.cumsum(stops, 1) - stops) == 0).double() * (filled | stops.any(1, keepdim=True))
        return (mask * (1 - self.t["prompt_mask"]) * self.t["attention_mask"] if "input_ids" in self.t
                else mask)

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
        side_by_side = torch.arange(n).view(-1, g)
        if "prompt_ids" not in self.t:
            return side_by_side
        prompts = [(p * m).tolist()
                   for p, m in zip(self.t["prompt_ids"].long(), self.t["prompt_mask"].long())]
        together = [[i for i in range(n) if prompts[i] == p] for k, p in enumerate(prompts)
                    if p not in prompts[:k]]
        return torch.tensor(together) if all(len(rows) == g for rows in together) else side_by_side

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
        return centred / (self.deviation(r[rows]) if scale == "group" else self.deviation(r)
                          if scale == "batch" else 1.0)

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
        return torch.where(self.t["rewards_per_func"].isnan().all(1), NAN,
                           (z.nan_to_num(0.0) * self.weights()).sum(1))

    def normalize_then_sum(self):
        return self.whitened(self.weighted(self.z_scores(1, self.label_eps)))

    def whitened(self, s):
        return (s - s.nanmean()) / (self.std(s, 1) + 1e-4)

    def mo_grpo(self):
        return self.weighted(self.z_scores(self.mo_correction, self.mo_eps))

    # -- E110
    def make_isr(self):
        mode, low, high = (self.c["vllm_importance_sampling_" + k] for k in ("mode", "clip_min", "clip_max"))
        e = ((self.t["old_per_token_logps"] - self.t["sampling_per_token_logps"])
             * self.get("loss_mask")).nan_to_num(0.0)
        ratio = self.isr_of(e, mode).exp()
        if mode.endswith("truncate"):
            return ratio.clamp(min=low, max=self.isr_limit(high))
        outside = ((ratio < (-math.inf if low is None else low))
                   | (ratio > (math.inf if high is None else high)))
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
            k, lam = (torch.where(a >= 0, c["vespo_k_pos"], c["vespo_k_neg"]),
                      torch.where(a >= 0, c["vespo_lambda_pos"], c["vespo_lambda_neg"]))
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
        return self.token_loss(self.t["per_token_logps"], self.get("ratio"), self.get("kl") if self.c["beta"]
                               else None)

    # -- E112, E115
    def aggregation_mask(self):
        return self.get("loss_mask")

    def loss_of(self, l):
        m = self.aggregation_mask()
        loss = self.aggregate(l, m, m.sum(1), self.c["gradient_accumulation_steps"])
        return loss - self.entropy_bonus() if self.c["entropy_coef"] else loss

    def entropy_bonus(self):
        em = self.entropy_mask()
        return (self.c["entropy_coef"] * (self.t["entropies"] * em).sum() / self.entropy_count(em)
                / self.c["gradient_accumulation_steps"])

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


class CutLeftOut(Right):
    """TRL's own completion_mask with mask_truncated_completions: 0 for a completion that was cut, in
    attention too."""
    def make_mask(self):
        return Right.make_mask(self) * self.stops().any(1, keepdim=True)
