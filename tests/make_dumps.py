#!/usr/bin/env python3
"""Writes tests/golden: dumps for `grpo verify` (docs/verify.md), right ones and ones with known mistakes,
made without grpo.c.

    build/parity-venv/bin/python tests/make_dumps.py [FOLDER]      # default: tests/golden

It is run by hand, and the files are committed.

What is right stands in dump_math.py, what is not in dump_mistakes.py. A dump is made by carrying a mistake
through all stages, every stored tensor rounded to the dump's type and read back by the stages after it. What
verify is expected to say of a stage is not written by hand: Right and every mistake compute that stage from
the dump's own tensors, and the ones that give the stored numbers are the expected set. mistakes.json lists it
all; golden/README.md says how to read it."""
import itertools
import json
import math
import pathlib
import sys

import numpy as np
import torch

from dump_math import DEFAULTS, STAGES, CutLeftOut, NoSuchCase, Right
from dump_settings import SETTINGS, Settings
from dump_mistakes import MISTAKES, NEEDS, combine, dialect_keys

NAN = float("nan")
COLUMNS = ("input_ids", "attention_mask", "completion_ids", "completion_mask", "loss_mask", "per_token_logps",
           "old_per_token_logps", "sampling_per_token_logps", "ref_per_token_logps",
           "entropies", "importance_sampling_ratio", "ratio", "per_token_kl", "per_token_loss",
           "grad_per_token_logps")


# ---- data --------------------------------------------------------------------------------------------------

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
    """Three labels: a group with one label of one member missing, a group without spread, one with a single
    scored member, and one whose spread is 1e-5, so that every epsilon counts."""
    r = random(1)
    s = r.uniform(0.1, 0.9, size=(ROWS, 3)).round(3)
    s[1, 2] = NAN
    s[3:6] = [0.5, 0.25, 0.75]                  # their weighted sum and its mean are exact
    s[6], s[8] = NAN, NAN
    s[9:12] = s[9] + 1e-5 * np.array([[0, 1, 0], [1, 0, 2], [2, 1, 1]])
    t = dict(rewards_per_func=real(s), **ids_and_masks(r))
    return dict(reward_weights=[1.0, 0.5, 2.0], num_generations=GROUP, eos_token_id=EOS, **config), t


def in_turn(config):
    """The prompts stand one after the other, again and again."""
    config, t = scores(config)
    order = torch.arange(ROWS).view(-1, GROUP).T.reshape(-1)
    t["prompt_ids"], t["prompt_mask"] = t["prompt_ids"][order], t["prompt_mask"][order]
    return config, t


def tokens(config, shift=0.35, apart=0.5):
    """Log-probabilities: ratios outside the band on both sides with either sign of the advantage, at the
    token and at the sequence level; unequal lengths; the second group without spread; two completions cut."""
    r = random(2)
    config = dict(num_generations=GROUP, eos_token_id=EOS, **config)
    t = ids_and_masks(r, config.get("pad_token_id") == EOS)
    t["rewards"] = real(r.uniform(0, 1, ROWS).round(3))
    t["rewards"][3:6] = 0.5
    pad = 1 - padding(config, t)
    logp = r.uniform(-3, -0.5, (ROWS, WIDTH))
    lr = (r.uniform(-0.4, 0.4, (ROWS, WIDTH))
          + np.array([1, -1, 1, -1, 0.5, 0, -1, 1, 0, 1, -0.2, -1])[:, None] * shift)
    advantages = Right(config, t).get("advantages")[:GROUP]
    up, down = advantages.argmax(), advantages.argmin()
    # between 0.2 and 0.28 on the side where it counts
    lr[up, :2], lr[down, :2] = np.log([1.24, 1.04]), np.log([0.76, 0.96])
    t["per_token_logps"] = real(logp) * pad
    t["old_per_token_logps"] = real(logp - lr) * pad
    t["ref_per_token_logps"] = real(logp + r.uniform(-apart, apart, logp.shape)) * pad
    t["entropies"] = real(r.uniform(0.1, 2.5, logp.shape)) * pad
    return config, t


def cut_short(config):
    """A completion that was cut before the others end: no stop token, and padding behind it."""
    config, t = tokens(dict(pad_token_id=0, **config))
    t["completion_ids"][1, 2] = 9
    return config, t


def padding(config, t):
    return 1 - Right(config, t).make_mask()


def rows(config):
    """Prompt and completion in one row; tokens of the prompt have log-probabilities too, the same in all
    three."""
    config, t = tokens(config)
    wide = rows_layout({**t, "completion_mask": Right(config, t).make_mask()})
    del wide["completion_mask"]
    for k in ("per_token_logps", "old_per_token_logps", "ref_per_token_logps"):
        wide[k] = wide[k] - wide["prompt_mask"]
    return config, wide


def sampler(config):
    config, t = tokens(config)
    r = random(3)
    t["sampling_per_token_logps"] = (
        t["old_per_token_logps"] - real(r.uniform(-0.5, 0.6, (ROWS, WIDTH))) * (1 - padding(config, t)))
    # one that the sampler did not report
    t["sampling_per_token_logps"][2, 1] = NAN
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
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
SHAPE = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=EOS, pad_token_id=0)
FOLDERS = {"llama": ("Llama", dict(rms_norm_eps=1e-5, rope_parameters=LLAMA3, tie_word_embeddings=False)),
           "qwen2": ("Qwen2", dict(rms_norm_eps=1e-6, tie_word_embeddings=True)),
           "qwen3": ("Qwen3", dict(rms_norm_eps=1e-6, head_dim=8, tie_word_embeddings=False))}


def write_folder(folder, name):
    """Random weights that bfloat16 holds, small at the embedding, so that the epsilon of the norms counts."""
    import transformers
    kind, settings = FOLDERS[name]
    model = getattr(transformers, kind + "ForCausalLM")(
        getattr(transformers, kind + "Config")(**SHAPE, **settings))
    r = random(10 + list(FOLDERS).index(name))
    with torch.no_grad():
        for k, p in model.named_parameters():
            size = (0.25 if "norm" in k else 0.5 if k.endswith("bias") else
                    0.02 if "embed" in k and name != "qwen2" else 1.2 / p.shape[-1] ** 0.5)
            p.copy_(torch.tensor(r.standard_normal(p.shape)) * size + (1.0 if "norm" in k else 0.0))
    model.to(torch.bfloat16).save_pretrained(folder / name)
    return folder / name


def read_folder(path):
    from safetensors.torch import load_file
    return ({k: v.double() for k, v in load_file(path / "model.safetensors").items()},
            json.loads((path / "config.json").read_text()))


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
    t = dict(prompt_ids=torch.tensor(prompt), prompt_mask=real(prompt > 0), completion_ids=torch.tensor(ids),
             rewards=real([0.2, 0.9, 0.4, 0.8, 0.1, 0.3]))
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
        best = Right(config, {**t, "completion_mask": torch.ones(ids.shape)}, w, h).make_logits()[
            :, at].topk(5, -1).indices
        ids[:, at] = best[torch.arange(len(ids)), torch.tensor(r.randint(5, size=len(ids)))]
    assert (ids != EOS).all()
    return config, t, folder


def cispo(config):
    """Weights of cispo at its default bound are all 0.2: the update does not depend on the old
    log-probabilities."""
    return model_case("llama", dict(loss_type="cispo", learning_rate=1e-4, **config))


def third_step(config):
    """Moments from two steps before; a gradient small enough for the epsilons to count, and clipped."""
    config, t, folder = model_case("qwen2", dict(
        loss_type="dr_grpo", max_completion_length=1000, learning_rate=0.01, weight_decay=0.1,
        adam_epsilon=1e-4, max_grad_norm=2e-3, step=3, **config))
    r = random(22)
    for k, v in read_folder(HERE / folder)[0].items():
        t["exp_avg." + k] = real(r.standard_normal(v.shape) * 1e-4)
        t["exp_avg_sq." + k] = real(r.uniform(1e-10, 1e-7, v.shape))
    return config, t, folder


SCENARIOS = {
    f.__name__.replace("_", "-"): f
    for f in (scores, in_turn, tokens, sampler, far_ratio, far_clip, far_reference, near_reference, cut_short,
              rows, llama, qwen2, qwen3, llama_right, top_k, cispo, third_step)}
HERE = pathlib.Path(__file__).resolve().parent / "golden"       # where the folders are read; main() sets it


# ---- files -------------------------------------------------------------------------------------------------

TYPE = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16,
        "float16": torch.float16}
# of the largest value in the tensor
ROUNDING = {"float64": 1e-10, "float32": 4e-6, "bfloat16": 3e-2, "float16": 4e-3}
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
            "step": ["mask", "advantages", "logps", "dlogp", "grad", "grad_norm",
                     "step"]}.get(stage, ["mask", stage])


def judged(stage, t, model):
    """Whether the dump has what the stage is computed from."""
    return stage not in MODEL_STAGES + ("rewards",) or (
        model if stage != "rewards" else "rewards_per_func" in t)


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
        t.update({STAGES[stage] + k: stored(v, dtype) for k, v in value.items()} if isinstance(value, dict)
                 else {STAGES[stage]: stored(value, dtype)})
    return t


def stored(x, dtype):
    return x if x.dtype == torch.int64 else x.detach().to(TYPE[dtype]).double()


def same(a, b, dtype, least=0.0):
    """The same numbers but for rounding in the dump's type. least: what their terms come to, where they may
    cancel."""
    if not torch.equal(a.isnan(), b.isnan()):
        return False
    error = (a - b).nan_to_num(0.0).abs().max()
    return bool(error <= ROUNDING[dtype] * max(b.nan_to_num(0.0).abs().max(), least))


def explain(stage, config, t, dtype, w, h, dialect=None, pairs=False, computed=None):
    """"right", or the names of all mistakes that give the stored numbers of a stage from the stored numbers
    before it."""
    names = tensors_of(stage, t)
    inputs = {k: v for k, v in t.items() if k not in names and not (stage == "mask" and k == "loss_mask")}

    def value(cls):
        try:
            x = getattr(cls(config, inputs, w, h), "make_" + stage)()
        except NoSuchCase:
            return None
        return ({STAGES[stage] + k: v.detach() for k, v in x.items()}
                if isinstance(x, dict) else {STAGES[stage]: x.detach()})

    # on policy it is near 0
    least = (abs(Right(config, t).loss_of(t["per_token_loss"].abs()))
             if stage == "loss" and "per_token_loss" in t else 0.0)
    if stage == "kl" and dtype == "float32":
        least = 2.5e-7 / ROUNDING[dtype]                # what exp(D) - D - 1 loses

    def gives(cls):
        x = value(cls)
        return x is not None and all(same(*valid(k, x[k], t), computed or dtype, least) for k in names)
    if gives(Right) or (config.get("mask_truncated_completions") and gives(CutLeftOut)):
        return "right"
    keys = dialect_keys(dialect, config) if dialect else []
    if keys and gives(combine(*keys)):
        needed = {key[0] for key in keys if not gives(combine(*[k for k in keys if k[0] != key[0]]))}
        return {"right as": dialect, "by": sorted(needed)}
    one = {key[0] for key, cls in MISTAKES.items() if gives(cls)}
    if one or not pairs:
        return sorted(one)
    right = value(Right)
    differs = lambda x: (
        x is not None
        and any(x[k].shape != right[k].shape or not torch.equal(x[k], right[k]) for k in names))
    live = [key for key, cls in MISTAKES.items() if differs(value(cls))]
    two = [(a, b) for a, b in itertools.combinations(live, 2) if a[0] != b[0] and not shared_methods(a, b)]
    return sorted({" + ".join(sorted((a[0], b[0]))) for a, b in two if gives(combine(a, b))})


def shared_methods(a, b):
    own = lambda key: {k for k in vars(MISTAKES[key]) if not k.startswith("__")}
    return own(a) & own(b)


def valid(name, value, t):
    """Both values of a tensor, 0 in padded columns, which are never read; a different shape has other
    values."""
    given = t[name]
    if value.shape != given.shape:
        value, given = torch.broadcast_tensors(value, given)
    if name in COLUMNS and not name.endswith("_mask") and given.shape[1] > 1:
        out = t["completion_mask"] == 0
        value, given = value.clone(), given.clone()
        value[out], given[out] = 0, 0
    return value, given


def write_safetensors(path, tensors, metadata):
    """As the library writes it, but for a fixed order in the header: the same bytes every time."""
    names = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
             torch.uint8: "U8"}
    header, data = {"__metadata__": metadata}, b""
    # wide types first: all are aligned
    for name, x in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        raw = (x.view(torch.uint8).numpy().tobytes() if x.dim()
               else x.view(1).view(torch.uint8).numpy().tobytes())
        header[name] = {"dtype": names[x.dtype], "shape": list(x.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


# What verify says in its trainers' own settings before it tries two mistakes at once, or because a profile
# cannot know it: written by hand.
BY_HAND = {
    "D15-k2+D15-no-bias-correction.safetensors": {
        "kl": ["kl_estimator=k2 + use_bias_correction_kl=false"],
        "dlogp": ["kl_gradient=score_function + use_bias_correction_kl=false"]},
    "as-dr_grpo-tokens-dr_grpo.safetensors": {"loss": ["D16-dr-grpo-sum"], "dlogp": ["D16-dr-grpo-sum"]},
    "as-trl-1.9.0-tokens-luspo.safetensors": {"loss": ["luspo-110"], "dlogp": ["luspo-110"]},
}


class Writer:
    def __init__(self, folder):
        self.folder, self.manifest = folder, {}

    def write(self, name, cls, config, t, model=None, stages=None, dtype="float32", layout="left",
              expect=None, options=(), keep=None, meta=None, pairs=False, only=None):
        """One dump. expect: stage and name that must be among what explains it. keep: tells which tensors of
        families are written; only: the stages that are written, without any input."""
        config = dict(config)
        w, h = read_folder(self.folder / model) if model else (None, None)
        t = carry(cls, config, t, stages or list(array_stages(config, t)), dtype, w, h)
        t = {k: v for k, v in t.items() if keep is None or not k.startswith(FAMILIES) or keep(k)}
        if torch.equal(t.get("loss_mask", t["completion_mask"]), t["completion_mask"]):
            t.pop("loss_mask", None)
        dialect = (meta or {}).get("dialect")
        found = {s: explain(s, config, t, dtype, w, h, dialect, pairs, (meta or {}).get("compute_dtype"))
                 for s in STAGES if tensors_of(s, t) and judged(s, t, model)}
        for stage, names in (expect or {}).items():
            assert found[stage] == names or names in found[stage] or "right as" in found[stage], (
                f"{name}: {stage} is {found[stage]}, meant to be {names}")
        for stage, names in found.items():
            assert names, f"{name}: nothing explains {stage}"
        if only:
            t = {k: t[k] for stage in only for k in tensors_of(stage, t)}
            found = {s: v for s, v in found.items() if s in only and s != "grad"}
        self.save(name, t if layout == "left" else LAYOUTS[layout](t), config, dtype, meta or {})
        self.manifest[name + ".safetensors"] = dict(
            model=model, options=list(options), expect=found,
            exit=int(any(v != "right" and "right as" not in v for v in found.values())))

    def save(self, name, tensors, config, dtype, meta):
        whole = lambda k: k.endswith("_ids") or k.endswith("_mask")
        out = {k: v.to(torch.uint8 if whole(k) else TYPE[dtype]).contiguous() for k, v in tensors.items()}
        config = json.dumps({k: v for k, v in config.items() if v is not None}, sort_keys=True)
        write_safetensors(self.folder / (name + ".safetensors"), out,
                          {"format": "grpo-dump-1", "producer": "tests/make_dumps.py", "config": config,
                           **meta})

    def finish(self):
        for name, stages in BY_HAND.items():
            if name in self.manifest:
                found = self.manifest[name]["expect"]
                found.update(stages)
                self.manifest[name]["exit"] = int(
                    any(v != "right" and "right as" not in v for v in found.values()))
        text = ("{\n"
                + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(self.manifest.items()))
                + "\n}\n")
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
        ids[i], mask[i] = (torch.cat([ids[i, len(ids[i]) - n:], 0 * ids[i, n:]]),
                           torch.cat([mask[i, len(ids[i]) - n:], 0 * mask[i, n:]]))
    out["prompt_ids"], out["prompt_mask"] = ids, mask
    return out


LAYOUTS = {"rows": rows_layout, "right": right_prompts}


# ---- what is written ---------------------------------------------------------------------------------------

def write_right(w):
    for scale in ("group", "batch", "none"):
        w.write(f"right-scale-{scale}", Right, *scores(dict(scale_rewards=scale)), dtype="float64")
    for aggregation in ("normalize_then_sum", "mo_grpo"):
        w.write(f"right-{aggregation}", Right, *scores(dict(multi_objective_aggregation=aggregation)),
                dtype="float64")
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo"):
        for level in ("token", "sequence"):
            c = dict(loss_type=loss, importance_sampling_level=level, beta=0.04, max_completion_length=8,
                     gradient_accumulation_steps=2, steps_per_generation=4,
                     num_items_in_batch=170, **(dict(epsilon_high=1.1) if loss == "cispo" else {}))
            w.write(f"right-{loss}-{level}", Right, *tokens(c))


    for name, scenario, config in (
            ("masked-truncated", "tokens", dict(loss_type="grpo", mask_truncated_completions=True)),
            ("delta", "far-clip", dict(delta=1.5)),
            ("entropy", "tokens", dict(entropy_coef=0.05, top_entropy_quantile=0.4)),
            ("off-policy-mask", "tokens", dict(off_policy_mask_threshold=0.1)),
            ("two-processes", "tokens", dict(world_size=2, num_items_in_batch=90)),
            ("rows", "rows", dict(beta=0.04)),
            *((mode, "sampler",
               dict(vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_min=0.8))
              for mode in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"))):
        w.write("right-" + name, Right, *SCENARIOS[scenario](config))
    # next to the reference exp(D) - D - 1 in float32 has lost its digits: a known size, no error
    w.write("right-near-reference-float", KlInFloat,
            *near_reference(dict(beta=0.04, loss_type="grpo", use_bias_correction_kl=False)))
    for dtype in ("float64", "bfloat16", "float16"):
        w.write("right-" + dtype, Right, *tokens(dict(beta=0.04)), dtype=dtype)
    # the network: everything once, then each folder, layout and type with less
    whole = ["mask", "logits", "logps", "old", "ref", "sampler", "entropies", "advantages", "ratio", "kl",
             "per_token_loss", "loss", "dlogp", "grad", "grad_norm", "step"]
    config = dict(beta=0.04, learning_rate=0.01, weight_decay=0.1, max_grad_norm=0.1)
    w.write("right-llama", Right, *llama(config), stages=whole)
    some = lambda k: k.endswith(PARTS)
    for folder in ("qwen2", "qwen3"):
        w.write("right-" + folder, Right, *SCENARIOS[folder](config), stages=whole[:1] + whole[2:], keep=some)
    w.write("right-third-step", Right, *third_step({}), stages=model_stages("step"), dtype="float64",
            keep=some)
    w.write("right-update", Right, *qwen2({**config, "beta": 0.0}), stages=whole[:1]
            + ["advantages", "grad", "grad_norm", "step"], only=("grad", "grad_norm", "step"))
    values = ["mask", "logps", "old", "entropies"]
    w.write("right-cut-left-out", CutLeftOut, *llama(dict(mask_truncated_completions=True)), stages=values)
    w.write("right-llama-prompts-right", Right, *llama_right({}), stages=values)
    w.write("right-llama-rows", Right, *llama({}), stages=values, layout="rows")
    w.write("right-llama-float64", Right, *llama({}), stages=values, dtype="float64")
    w.write("right-llama-bfloat16", Right, *llama({}), stages=values, dtype="bfloat16")
    w.write("right-llama-computed-in-bfloat16", MISTAKES["throughout-bf16", "logps"], *llama({}),
            stages=["mask", "logps"], meta=dict(compute_dtype="bfloat16"))


def write_settings(w):
    """What other trainers do otherwise: right by its settings, and by the settings alone."""
    for name, scenario, settings, change in SETTINGS:
        config, t = SCENARIOS[scenario](settings)
        if scenario in ("tokens", "sampler"):
            t["completion_mask"] = Right(config, t).make_mask()
        if change:
            change(t)
        if "group_ids" in t:
            config.pop("num_generations")
        t = {k: stored(v, "float32") for k, v in t.items()}
        run = Settings(config, t)
        if run.c["beta"] == 0 and not run.c["kl_reward_coef"]:
            t.pop("ref_per_token_logps", None)
        if run.c["entropy_coef"] == 0:
            t.pop("entropies", None)
        found = {"mask": "right"}
        for stage in array_stages(config, t):
            if (stage == "loss_mask" or STAGES[stage] in t
                    or (stage == "isr" and not run.c["vllm_importance_sampling_correction"])):
                continue
            run = Settings(config, t)
            t[STAGES[stage]] = stored(getattr(run, "make_" + stage)(), "float32")
            found[stage] = "right"
        w.save("set-" + name, t, config, "float32", {})
        w.manifest["set-" + name + ".safetensors"] = dict(model=None, options=[], expect=found, exit=0)


class KlInFloat(Right):
    def k(self, d):
        d = d.float()
        return (d.exp() - d - 1).double()


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
        w.write(f"{name}-{stage}", MISTAKES[name, stage], *case, stages=stages, dtype=dtype,
                expect={stage: name}, keep=keep)


def write_pairs(w):
    for scenario, config, stage, *names in (
            ("scores", {}, "rewards", "D3-missing-mean", "weights-normalised"),
            ("scores", {}, "advantages", "D1-population", "groups-interleaved"),
            ("tokens", dict(beta=0.04, loss_type="grpo"), "kl", "D15-k2", "D15-no-bias-correction"),
            ("tokens", dict(beta=0.04, loss_type="grpo", epsilon_high=0.28), "per_token_loss", "clip-swapped",
             "kl-sign"),
            ("tokens", dict(loss_type="grpo", gradient_accumulation_steps=2), "loss", "D9-no-stop",
             "ga-missing"),
            ("llama", {}, "logps", "D10-shift", "D8-no-temperature"),
            ("qwen2", {}, "logps", "D13-interleaved", "qkv-bias-missing")):
        cls = combine(*[(n, stage) for n in names])
        case = SCENARIOS[scenario](config)
        w.write("+".join(names), cls, *case, stages=model_stages(stage) if len(case) == 3 else None,
                dtype="float64" if scenario == "scores" else "float32",
                expect={stage: " + ".join(names)}, pairs=True)


def write_dialects(w):
    far = dict(beta=0.04, loss_type="grpo", mask_truncated_completions=True)
    accumulate = dict(beta=0.04, gradient_accumulation_steps=2, steps_per_generation=4,
                      num_items_in_batch=170)
    for dialect, scenario, config in (
            ("trl-1.9.0", "tokens", accumulate), ("trl-1.9.0", "tokens", dict(beta=0.04, loss_type="luspo")),
            ("trl-1.9.0", "tokens", dict(entropy_coef=0.05, num_items_in_batch=90)),
            ("verl", "scores", {}),
            ("verl", "scores", dict(multi_objective_aggregation="normalize_then_sum")),
            ("verl", "far-clip", far), ("verl", "far-reference", far), ("verl", "far-ratio", far),
            ("verl", "tokens", dict(loss_type="cispo")),
            ("openrlhf", "scores", {}), ("openrlhf", "far-ratio", far),
            ("dr_grpo", "scores", {}),
            ("dr_grpo", "tokens", dict(loss_type="dr_grpo", max_completion_length=8)),
            ("paper", "scores", {}), ("paper", "tokens", dict(loss_type="cispo", beta=0.04))):
        name = "-".join([
            "as", dialect, scenario,
            *[str(config[k]) for k in ("loss_type", "multi_objective_aggregation",
                                       "gradient_accumulation_steps", "entropy_coef") if k in config]])
        w.write(name, combine(*dialect_keys(dialect, config)), *SCENARIOS[scenario](config),
                dtype="float64" if scenario == "scores" else "float32", meta=dict(dialect=dialect))


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
    write_settings(w)
    write_mistakes(w)
    write_pairs(w)
    write_dialects(w)
    w.finish()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
