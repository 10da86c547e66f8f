"""Public disputes about GRPO trainers whose truth is known, rebuilt from dump_math.py: each is one small dump
and the name that verify must find.

    build/parity-venv/bin/python tests/disputes.py [FOLDER]        # default: tests/golden/disputes

No line of a program in dispute is here: what it does wrong is one of dump_mistakes.py, a mistake of this
file, or one number. tests/test_verify.c reads the committed dumps of it, tests/parity/test_disputes.py all of
them, made anew."""
import dataclasses
import json
import math
import pathlib
import sys

import torch

import make_dumps
from dump_math import Right
from dump_mistakes import MISTAKES, combine
from make_dumps import (EOS, GROUP, ROWS, SCENARIOS, array_stages, carry, model_stages, read_folder,
                        write_safetensors)

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
CLIP = dict(loss_type="grpo", epsilon=0.2, epsilon_high=0.28)
NO_BIAS = dict(loss_type="grpo", beta=0.04, use_bias_correction_kl=False)
WINDOW = dict(beta=0.04, gradient_accumulation_steps=4, steps_per_generation=4, num_items_in_batch=190)


@dataclasses.dataclass
class Dispute:
    key: str                    # program and number
    cause: str
    expect: dict                # stage: names, of which one must be found
    does: object = ()           # (name, stage) of dump_mistakes.py, several, or a class
    scenario: str = "tokens"
    config: dict = dataclasses.field(default_factory=dict)
    said: dict = dataclasses.field(default_factory=dict)        # what the metadata says instead
    after: object = None        # changes the tensors at the end
    stages: tuple = ()
    drop: tuple = ()            # tensors that this program does not show
    profile: str = None
    committed: bool = False


def times(factor, *names):
    """A number of tensors that is off by a constant."""
    def change(t, config):
        for k in names:
            t[k] = t[k] * factor
    return change


BOTH = ("loss", "grad_per_token_logps")


class Lonely(Right):
    """Every reply has an id of its own as group: mean 0, deviation 1."""
    def make_advantages(self):
        return self.get("rewards") / (1 + 1e-6)


class PassAtK(Right):
    """The best of a group gets its lead, and the others keep their scores."""
    def make_advantages(self):
        r, a = self.get("rewards"), self.get("rewards").clone()
        for rows in self.groups():
            best, second = r[rows].topk(2).values
            a[rows[int(r[rows].argmax())]] = best - second
        return a


class NegatedK1(Right):
    def k(self, d):
        return d


class ByMicroBatch(Right):
    """The mean over the micro-batch's tokens, by the share of samples."""
    def aggregate(self, l, m, n, ga):
        return (l * m).sum() / m.sum() / ga


class SummedRatio(Right):
    """The log-probabilities of a reply are summed before the ratio is taken."""
    def ratio(self, logp):
        return (self.log_ratio(logp) * self.get("loss_mask")).sum(1, keepdim=True).exp()


class Rejected(Right):
    """A reply that leaves the loss, and whose score stays in the group's mean, although the config says that
    it leaves both."""


def prompts_in_turn(t, config):
    """Prompts stand one after the other, again and again, and neighbours are taken for a group."""
    n = ROWS // GROUP
    order = [g * GROUP + j for j in range(GROUP) for g in range(n)]
    t["prompt_ids"], t["prompt_mask"] = t["prompt_ids"][order], t["prompt_mask"][order]


def tool_output(config):
    config, t = make_dumps.tokens(config)
    m = Right(config, t).make_mask()
    m[0, 2:4] = m[2, 1] = m[7, 3:5] = 0
    t["loss_mask"] = m
    return config, t


SCENARIOS["tool-output"] = tool_output

DISPUTES = [
    Dispute("trl-3187", "the denominator is the sum of all completion tokens, not of each completion",
            {"loss": ["D16-token-mean"], "dlogp": ["D16-token-mean"]}, ("D16-token-mean", "loss"),
            config=dict(loss_type="grpo", beta=0.04), committed=True),
    Dispute("trl-5619",
            "dapo's normalizer spans steps_per_generation micro-steps, not those that are accumulated",
            {"loss": ["D36-no-ga"]}, ("D36-no-ga", "loss"),
            config=dict(beta=0.04, gradient_accumulation_steps=2, steps_per_generation=4,
                        num_items_in_batch=170)),
    Dispute("ms-swift-10117", "dapo divides by the tokens of the whole window, and the Trainer by "
                              "gradient_accumulation_steps once more",
            {"loss": ["factor 1/gradient_accumulation_steps"],
             "dlogp": ["factor 1/gradient_accumulation_steps"]}, Right, config=WINDOW,
             after=times(1 / 4, *BOTH), committed=True),
    Dispute("verl-3741", "seq-mean-token-sum-norm sums over the rows and does not divide by their number",
            {"loss": ["factor completions", "D16-fixed-total"],
             "dlogp": ["factor completions", "D16-fixed-total"]}, Right,
            config=dict(loss_type="dr_grpo", max_completion_length=6), after=times(ROWS, *BOTH),
            committed=True),
    Dispute("verl-3805", "no stop token: padding counts in the response mask",
            {"mask": ["mask-padding-without-stop"]}, ("mask-padding-without-stop", "mask"), "cut-short"),
    Dispute("r1v-67", "rows of a group have different prompts", {"advantages": ["groups-side-by-side"]},
            Right, after=prompts_in_turn, stages=("mask", "advantages"), committed=True),
    Dispute("prime-rl-600", "prompts are repeated as a list, groups are windows over it",
            {"advantages": ["groups-side-by-side"]}, Right, "scores", after=prompts_in_turn),
    Dispute("trl-2769", "the old log-probabilities are the policy's own, detached: the ratio is 1",
            {"ratio": ["ratio-one"], "dlogp": ["ratio-one"]}, ("ratio-one", "ratio"),
            config=dict(loss_type="grpo", beta=0.04), committed=True),
    Dispute("grpo-flat-2", "mean and deviation are taken over the whole batch",
            {"advantages": ["batch-statistics"]}, ("batch-statistics", "advantages"), "scores"),
    Dispute("memgen-33", "what follows the stop token is filled with stop tokens and counts",
            {"mask": ["mask-with-padding"]}, ("mask-with-padding", "mask"),
            config=dict(loss_type="bnpo")),
    Dispute("verl-speco-29",
            "the gradient is averaged over the ranks although each has its share of the global sum",
            {"dlogp": ["factor 1/world_size"]}, Right,
            config=dict(loss_type="dapo", world_size=2, num_items_in_batch=90),
            after=times(1 / 2, "grad_per_token_logps")),
    Dispute("miles-3231", "the token sum is sent back without the token count",
            {"loss": ["not-divided"], "dlogp": ["not-divided"]}, ("not-divided", "loss"),
            config=dict(loss_type="bnpo", beta=0.04)),
    Dispute("slime-557", "log-probabilities are not at the temperature of the sampler",
            {"logps": ["D8-no-temperature"]}, ("D8-no-temperature", "logps"), "llama",
            stages=("mask", "logits", "logps")),
    Dispute("marin-1708", "the KL in the loss is logp - ref", {"kl": ["D15-k1"], "dlogp": ["D15-k1"]},
            ("D15-k1", "kl"), config=NO_BIAS),
    Dispute("grail-42", "the KL is ref - logp", {"kl": ["D15-k1 + factor -1"]}, NegatedK1, config=NO_BIAS),
    Dispute("rllm-776", "every reply has an id of its own, so that it is a group alone",
            {"advantages": ["num_generations=1", "reward-as-advantage"]}, Lonely, profile="verl",
            stages=("mask", "advantages")),
    Dispute("relax-173", "micro-batches times ranks too large",
            {"loss": ["factor gradient_accumulation_steps * world_size"]}, Right,
            config=dict(loss_type="dr_grpo", max_completion_length=100, gradient_accumulation_steps=4,
                        world_size=2), after=times(8, *BOTH), committed=True),
    Dispute("trl-4970", "padding is told by its id, which is the stop token's", {"mask": ["D9-pad-is-eos"]},
            ("D9-pad-is-eos", "mask"), config=dict(pad_token_id=EOS)),
    Dispute("minimind-575", "ratio A without the clip",
            {"per_token_loss": ["clip-missing"], "dlogp": ["clip-missing"]},
            ("clip-missing", "per_token_loss"), config=CLIP),
    Dispute("hands-on-modern-rl-75", "the ratio of the summed log-probabilities of a reply",
            {"ratio": ["level-sequence-sum"], "dlogp": ["level-sequence-sum"]}, SummedRatio,
            config=dict(loss_type="grpo")),
    Dispute("verl-5625", "token-mean is taken per micro-batch and then averaged",
            {"loss": ["D37-micro-mean"], "dlogp": ["D37-micro-mean"]}, ByMicroBatch, config=WINDOW),
    Dispute("trl-6369", "truncated completions leave the numerator, not the denominator",
            {"loss": ["left-out-counted"], "dlogp": ["left-out-counted"]},
            ("left-out-counted", "loss"),
            config=dict(loss_type="dapo", mask_truncated_completions=True, beta=0.04), committed=True),
    Dispute("liger-kernel-1082", "the loss is not corrected for the sampler",
            {"loss": ["D24-missing"], "dlogp": ["D24-missing"]}, ("D24-missing", "per_token_loss"), "sampler",
            config=dict(loss_type="grpo", vllm_importance_sampling_mode="token_truncate"),
            drop=("per_token_loss", "importance_sampling_ratio", "ratio"), committed=True),
    Dispute("unsloth-zoo-870", "the sequence's weight is a sum of ratios, not their product",
            {"isr": ["D24-sum-of-ratios"]}, ("D24-sum-of-ratios", "isr"), "sampler",
            config=dict(vllm_importance_sampling_mode="sequence_truncate")),
    Dispute("trl-5814", "the sequence's weight is a mean of log ratios, not their sum",
            {"isr": ["D24-token-mean"]}, ("D24-token-mean", "isr"), "sampler",
            config=dict(vllm_importance_sampling_mode="sequence_truncate")),
    Dispute("fla-1073", "the loss is negated twice", {"loss": ["factor -1"], "dlogp": ["factor -1"]}, Right,
            config=dict(loss_type="bnpo", beta=0.04), after=times(-1, *BOTH)),
    Dispute("toolrl-52", "beta times KL is subtracted", {"per_token_loss": ["kl-sign"], "dlogp": ["kl-sign"]},
            ("kl-sign", "per_token_loss"), config=NO_BIAS),
    Dispute("trl-2837", "the ratio is formed with the reference",
            {"ratio": ["ratio-to-reference"], "dlogp": ["ratio-to-reference"]},
            ("ratio-to-reference", "ratio"),
            config=dict(loss_type="grpo", beta=0.04)),
    Dispute("mlx-lm-lora-80", "the mask is that of the inputs, one before the targets",
            {"loss": ["mask-moved-right"], "dlogp": ["mask-moved-right"]}, ("mask-moved-right", "loss"),
            config=dict(loss_type="bnpo", beta=0.04)),
    Dispute("omnisafe-133", "entropy is minimised", {"loss": ["entropy-sign"]}, ("entropy-sign", "loss"),
            config=dict(entropy_coef=0.05)),
    Dispute("trl-6648", "the entropy bonus is divided by the window's tokens", {"loss": ["D26-n-item"]},
            ("D26-n-item", "loss"), config=dict(entropy_coef=0.05, num_items_in_batch=90)),
    Dispute("ml-diffucoder-15", "logits are cut at the wrong end: each token is predicted by its own row",
            {"logps": ["D10-shift"]}, ("D10-shift", "logps"), "llama",
            stages=("mask", "logps")),
    Dispute("trl-4975", "the tool's output counts in the loss",
            {"loss": ["loss-mask-ignored"], "dlogp": ["loss-mask-ignored"]}, ("loss-mask-ignored", "loss"),
            "tool-output", config=dict(loss_type="bnpo", beta=0.04),
            stages=("mask", "advantages", "ratio", "kl", "per_token_loss", "loss", "dlogp"), committed=True),
    Dispute("practical-rl-248", "the higher of the two is taken",
            {"per_token_loss": ["clip-maximum"], "dlogp": ["clip-maximum"]},
            ("clip-maximum", "per_token_loss"), config=CLIP),
    Dispute("verl-514", "an entropy bonus of 0.001 that nobody asked for", {"loss": ["entropy_coef=0.001"]},
            Right, config=dict(loss_type="bnpo", entropy_coef=0.001),
            said=dict(entropy_coef=0.0)),
    Dispute("nemo-rl-2506", "the KL's gradient lacks or has the score function's term",
            {"dlogp": ["kl-score-function"]}, ("kl-score-function", "dlogp"), config=NO_BIAS, committed=True),
    Dispute("dapo-31", "epsilon_high does not arrive: 0.2 where the config says 0.28",
            {"per_token_loss": ["clip-low-as-high"]}, ("clip-low-as-high", "per_token_loss"), config=CLIP),
    Dispute("openrlhf-727", "1e-8 beside the deviation", {"advantages": ["D1-eps-1e-8"]},
            ("D1-eps-1e-8", "advantages"), "scores"),
    Dispute("areal-285", "epsilon_high 0.23 where the config says 0.28",
            {"per_token_loss": ["epsilon_high=0.23"], "dlogp": ["epsilon_high=0.23"]}, Right,
            config=dict(CLIP, epsilon_high=0.23), said=dict(epsilon_high=0.28)),
    Dispute("easyr1-585", "pass@k: those that are not the best keep their scores", {"advantages": []},
            PassAtK, stages=("mask", "advantages")),
]


def model_of(dispute):
    case = SCENARIOS[dispute.scenario]({})
    return case[2] if len(case) == 3 else None


def write(dispute, folder, golden=GOLDEN):
    """The dump; the path, and the model's folder or None."""
    make_dumps.HERE = golden
    config, t, *model = SCENARIOS[dispute.scenario](dict(dispute.config))
    does = dispute.does
    if isinstance(does, tuple):
        does = combine(does) if isinstance(does[0], str) else combine(*does)
    w, h = read_folder(golden / model[0]) if model else (None, None)
    stages = list(dispute.stages or (model_stages("logps") if model else array_stages(config, t)))
    t = carry(does, config, t, stages, "float32", w, h)
    if dispute.after:
        dispute.after(t, config)
    for k in dispute.drop:
        t.pop(k, None)
    if torch.equal(t.get("loss_mask", t["completion_mask"]), t["completion_mask"]):
        t.pop("loss_mask", None)
    config = {k: v for k, v in {**config, **dispute.said}.items() if v is not None}
    whole = lambda k: k.endswith("_ids") or k.endswith("_mask")
    out = {k: v.to(torch.uint8 if whole(k) else torch.float32).contiguous() for k, v in t.items()}
    meta = {"format": "grpo-dump-1", "producer": "tests/disputes.py",
            "config": json.dumps(config, sort_keys=True),
            **({"dialect": dispute.profile} if dispute.profile else {})}
    path = folder / (dispute.key + ".safetensors")
    write_safetensors(path, out, meta)
    return path, model[0] if model else None


def main(folder):
    torch.set_default_dtype(torch.float64)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for d in DISPUTES:
        if d.committed:
            write(d, folder)
            lines.append(f"  {json.dumps(d.key + '.safetensors')}: "
                         f"{json.dumps(dict(cause=d.cause, expect=d.expect))}")
    (folder / "disputes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "disputes")
