"""The equations of grpo.c for Python: NumPy arrays in, NumPy arrays out, nothing but ctypes in between
(docs/use-in-ci.md).

Numbers are doubles (libgrpo64, from the installed package, or from build/lib in a clone after `make lib`);
GRPO_LIB=PATH chooses another library, libgrpo32 computes in float. Batches are TRL's: arrays [B, T] of B
completions, padded to T, and a mask that is 1 where a token counts. Completions of one prompt lie side by
side. NaN is a missing score.
Equation numbers are those of grpo.h, variants.h, reward.h and baselines/combine.h, which say all else."""
import ctypes as C
import os
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
FILE = "libgrpo64.dylib" if sys.platform == "darwin" else "libgrpo64.so"
PATH = (os.environ.get("GRPO_LIB")
        or next((p for p in [HERE / "bin" / FILE] if p.exists()), HERE.parents[1] / "build" / "lib" / FILE))
lib = C.CDLL(str(PATH))
real, c_real = (np.float32, C.c_float) if "libgrpo32" in Path(PATH).name else (np.float64, C.c_double)
NAMES = {"loss_type": "loss_type_names", "importance_sampling_level": "importance_sampling_level_names",
         "scale_rewards": "scale_rewards_names",
         "multi_objective_aggregation": "multi_objective_aggregation_names",
         "missing_labels": "missing_labels_names",
         "importance_sampling_mode": "importance_sampling_mode_names", "baseline": "baseline_names",
         "zero_std": "zero_std_names", "single_reply": "single_reply_names",
         "advantage_whitening": "advantage_whitening_names", "kl_estimator": "kl_loss_names",
         "kl_gradient": "kl_gradient_names", "policy_term": "policy_term_names",
         "loss_aggregation": "loss_aggregation_names", "kl_aggregation": "other_aggregation_names",
         "entropy_aggregation": "other_aggregation_names", "aggregation_scope": "aggregation_scope_names"}


LENGTH_WEIGHTED = BY_TOKENS = 2                         # BASELINE_LENGTH, WHITEN_TOKENS


def struct(name, fields):
    """fields: "type: names", in the order of the header."""
    kinds = {"double": C.c_double, "int": C.c_int, "bool": C.c_bool, "size": C.c_size_t, "array": C.c_void_p}
    listed = [(n, kinds[line.split(":")[0].strip()]) for line in fields.strip().splitlines()
              for n in line.split(":")[1].split()]
    return type(name, (C.Structure,), {"_fields_": listed})


Config = struct("GrpoConfig", """
    int: loss_type importance_sampling_level
    double: epsilon epsilon_high delta dual_clip beta
    bool: use_bias_correction_kl
    double: top_entropy_quantile off_policy_mask_threshold sapo_temperature_pos sapo_temperature_neg \
        vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg entropy_coef
    bool: use_adaptive_entropy
    double: entropy_target entropy_coef_delta entropy_coef_min entropy_coef_max
    int: scale_rewards multi_objective_aggregation missing_labels
    double: std_eps
    int: std_ddof baseline zero_std single_reply advantage_whitening kl_estimator
    double: kl_clamp_log_ratio kl_clamp
    int: kl_gradient policy_term
    double: cispo_clip_min cispo_clip_max log_ratio_max sequence_log_ratio_max
    int: loss_aggregation kl_aggregation entropy_aggregation aggregation_scope
    double: aggregation_length
    bool: count_empty_rows
    double: clip_cov_ratio clip_cov_min clip_cov_max kl_cov_ratio kl_cov_coef
    int: num_generations num_iterations max_completion_length
    bool: mask_truncated_completions importance_sampling_correction
    int: importance_sampling_mode
    double: importance_sampling_clip_min importance_sampling_clip_max""")
In = struct("GrpoIn", "size: n_completion\narray: offset logp old ref sampler isr_token isr_sequence mask "
            "entropy advantage advantage_token row_weight policy_mask kl_cov")
Window = struct("GrpoWindow", "double: n_item\n"
                "int: n_process gradient_accumulation_steps steps_per_generation\n"
                "bool: training\ndouble: entropy_coef n_sequence")
Micro = struct("GrpoMicro",
               "size: n_completion\ndouble: n_token entropy_threshold n_entropy_token n_nonempty")
Sums = struct("GrpoSums", "double: policy entropy_bonus weighed_bonus n_token n_completion kl entropy "
              "n_entropy low high region cispo n_ratio phi low_min high_max")
RewardStats = struct("GrpoRewardStats", "double: reward reward_std frac_reward_zero_std")
IsrStats = struct("IsrStats", "double: logp_difference_mean logp_difference_max ratio_mean")
Metrics = struct("GrpoMetrics", "double: policy_loss kl entropy clip_low_mean clip_low_min clip_high_mean "
                 "clip_high_max clip_region_mean cispo_clip_ratio vespo_phi_seq_mean")
for function in (lib.grpo_loss_value, lib.grpo_k3, lib.combine_pair_loss, lib.reward_label_weight_sum):
    function.restype = C.c_double
lib.variant_isr_per_token.restype = lib.grpo_config_check.restype = lib.choice_parse.restype = C.c_bool


def numbers(x, dtype=None):
    return None if x is None else np.ascontiguousarray(x, dtype or real)


def at(x):
    """Where an array lies; None: NULL."""
    return None if x is None else C.c_void_p(x.ctypes.data)


def size(n):
    return C.c_size_t(n)


def config(**options):
    """TRL 1.16's defaults with the given options; None where TRL has None; a ValueError tells what does not
    fit."""
    c, error = Config(), C.create_string_buffer(4096)
    lib.grpo_config_default(C.byref(c))
    for key, value in options.items():
        if key not in dict(Config._fields_):
            raise ValueError(f"{key}: no such option")
        if key in NAMES and isinstance(value, str):
            found = C.c_int()
            if not lib.choice_parse(C.byref(found), (C.c_char_p * 16).in_dll(lib, NAMES[key]),
                                    value.encode(), key.encode(), error):
                raise ValueError(error.value.decode())
            value = found.value
        setattr(c, key, float("nan") if value is None else value)
    if not lib.grpo_config_check(C.byref(c), error):
        raise ValueError(error.value.decode())
    return c


def advantages(scores, weights=None, lengths=None, **options):
    """E60 to E64, E82 to E87, E126 to E129: scores [n, K] to advantages [n]; also reward [n], reward_mean,
    reward_std, frac_reward_zero_std. num_generations completions a group; lengths [n]: their loss tokens,
    where baseline or advantage_whitening need them."""
    c, x = config(**options), numbers(scores)
    x = x.reshape(len(x), -1)
    n, k = x.shape
    if n % c.num_generations:
        raise ValueError(f"{n} completions are no multiple of num_generations {c.num_generations}")
    w, lengths = numbers(np.ones(k) if weights is None else weights, np.float64), numbers(lengths, np.float64)
    if lengths is None and (c.baseline == LENGTH_WEIGHTED or c.advantage_whitening >= BY_TOKENS):
        raise ValueError("lengths [n]: needed by this baseline or advantage_whitening")
    adv, reward, stats = np.empty(n, real), np.empty(n, real), RewardStats()
    lib.grpo_score_advantage(at(adv), at(reward), C.byref(stats), at(x), at(w), at(lengths), size(n),
                             size(k), size(c.num_generations), C.byref(c))
    return {"advantages": adv, "rewards": reward, "reward": stats.reward, "reward_std": stats.reward_std,
            "frac_reward_zero_std": stats.frac_reward_zero_std}


def rloo_advantages(rewards, num_generations, normalize=False, std_eps=1e-4):
    """E89."""
    x = numbers(rewards)
    adv = np.empty_like(x)
    lib.variant_rloo_advantage(at(adv), at(x), size(x.size), size(num_generations), C.c_bool(normalize),
                               C.c_double(std_eps))
    return adv


def kl(logps, ref_logps):
    """E94, E95: arrays k1, k2, k3 and their derivatives by logps dk1, dk2, dk3."""
    a, b = np.broadcast_arrays(np.asarray(logps, np.float64), np.asarray(ref_logps, np.float64))
    value, slope = np.empty(a.shape + (3,)), np.empty(a.shape + (3,))
    for i in np.ndindex(a.shape):
        k, dk = (C.c_double * 3)(), (C.c_double * 3)()
        lib.grpo_kl(k, dk, C.c_double(a[i]), C.c_double(b[i]))
        value[i], slope[i] = k[:], dk[:]
    return {f"{d}k{j + 1}": x[..., j] for d, x in (("", value), ("d", slope)) for j in range(3)}


def loss(logps, advantages, old_logps=None, ref_logps=None, mask=None, entropies=None, sampling_logps=None,
         importance_sampling_ratio=None, num_items_in_batch=None, num_processes=1,
         gradient_accumulation_steps=1, steps_per_generation=1, training=True, **options):
    """E90 to E117 of one micro-batch: loss, dlogps and (given entropies) dentropies [B, T], and TRL's metrics
    that exist for these settings. old_logps None: on policy (E81). num_items_in_batch None: the loss tokens
    of this batch. importance_sampling_ratio: [B, T] or [B, 1], of `importance_ratio`."""
    c, x = config(**options), numbers(logps)
    b, t = x.shape
    old, ref, ent, sampler, isr, adv = map(
        numbers,
        (old_logps, ref_logps, entropies, sampling_logps, importance_sampling_ratio, advantages))
    m = numbers(np.ones(x.shape) if mask is None else np.asarray(mask) != 0, np.uint8)
    for name, a in (("old_logps", old), ("ref_logps", ref), ("mask", m), ("entropies", ent),
                    ("sampling_logps", sampler)):
        if a is not None and a.shape != x.shape:
            raise ValueError(f"{name}: shape {a.shape}, expected {x.shape}")
    if (adv.shape != (b,) or (isr is not None and isr.shape not in (x.shape, (b, 1)))
            or (c.beta and ref is None)):
        raise ValueError("expected advantages [B]; importance_sampling_ratio [B, T] or [B, 1]; "
                         "ref_logps if beta is not 0")
    if c.use_adaptive_entropy:
        raise ValueError("use_adaptive_entropy: its state belongs to the training loop; "
                         "give the entropy_coef that acts")
    offset, by_token = numbers(np.arange(b + 1) * t, np.uintp), isr is not None and isr.shape == x.shape
    batch = In(b, at(offset), at(x), at(old), at(ref), at(sampler), at(isr) if by_token else None,
               None if by_token else at(isr), at(m), at(ent), at(adv))
    n_item = float(m.sum() if num_items_in_batch is None else num_items_in_batch)
    window = Window(n_item, num_processes, gradient_accumulation_steps, steps_per_generation, training,
                    c.entropy_coef)
    micro, sums, metrics, scratch = Micro(), Sums(), Metrics(), np.empty(x.size + 1)
    dlogp, dentropy = np.zeros_like(x), np.zeros_like(x)
    lib.grpo_micro(C.byref(micro), C.byref(batch), C.byref(c), at(scratch))
    lib.grpo_sums_start(C.byref(sums))
    lib.grpo_loss(C.byref(sums), at(dlogp), at(dentropy), C.byref(batch), C.byref(c), C.byref(window),
                  C.byref(micro))
    lib.grpo_metrics(C.byref(metrics), C.byref(sums), C.byref(c), C.byref(window))
    names = [n.decode() for n in (C.c_char_p * len(Metrics._fields_)).in_dll(lib, "grpo_metric_names")]
    out = {n: v for n, v in zip(names, (getattr(metrics, f) for f, _ in Metrics._fields_))
           if v == v and (ent is not None or n != "entropy")}
    out.update(loss=lib.grpo_loss_value(C.byref(sums), C.byref(window), C.byref(micro)), dlogps=dlogp)
    return out if ent is None else dict(out, dentropies=dentropy)


def importance_ratio(old_logps, sampling_logps, mask, mode="sequence_mask", clip_min=None, clip_max=3.0):
    """E110: ratio [B, T] in token modes, else [B, 1]; logp_difference_mean, logp_difference_max, ratio_mean.
    NaN: unknown to the sampler."""
    old, sampler, m, stats = (numbers(old_logps), numbers(sampling_logps),
                              numbers(np.asarray(mask) != 0, np.uint8), IsrStats())
    b, t = old.shape
    code = config(importance_sampling_mode=mode).importance_sampling_mode
    ratio = np.empty((b, t if lib.variant_isr_per_token(code) else 1), real)
    offset = numbers(np.arange(b + 1) * t, np.uintp)
    low, high = (float("nan") if v is None else v for v in (clip_min, clip_max))
    lib.variant_importance_ratio(at(ratio), C.byref(stats), at(old), at(sampler), at(m), at(offset), size(b),
                                 code, C.c_double(low), C.c_double(high))
    return dict({f: getattr(stats, f) for f, _ in IsrStats._fields_}, ratio=ratio)


def regression_loss(scores, labels, label_weights=None):
    """E42, E43: loss and dscores [n, K]; a NaN label is missing."""
    s, y, w = numbers(scores), numbers(labels), numbers(label_weights, np.float64)
    n, k = s.shape
    value, ds = C.c_double(0), np.empty_like(s)
    total = lib.reward_label_weight_sum(at(y), at(w), size(n), size(k))
    lib.reward_regression_loss(C.byref(value), at(ds), at(s), at(y), at(w), size(n), size(k),
                               C.c_double(total))
    return {"loss": value.value, "dscores": ds}
