"""Writes a dump for `grpo verify` (docs/verify.md): a dictionary of tensors and one of settings. Needs torch and safetensors only.

    from torch_dump import write_dump
    write_dump("step1.safetensors", {"rewards": rewards, "advantages": advantages}, {"num_generations": 8, "scale_rewards": "group"})

Names, shapes and settings are those of docs/verify.md; a dump may hold as few tensors as one likes. `gradients(model)` and `parameters(model)` give
the families grad.NAME and param.NAME."""
import json
import math
import pathlib

import torch
from safetensors.torch import save_file

NAMES = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "input_ids", "attention_mask", "loss_mask", "rewards_per_func", "logits", "per_token_logps",
         "old_per_token_logps", "sampling_per_token_logps", "ref_per_token_logps", "entropies", "rewards", "advantages", "importance_sampling_ratio", "ratio",
         "per_token_kl", "per_token_loss", "loss", "grad_per_token_logps", "grad_norm"}
FAMILIES = ("grad.", "exp_avg.", "exp_avg_sq.", "param.")


def write_dump(path, tensors, config, producer="", dialect=None, compute_dtype=None):
    """tensors: name to tensor (None: left out); config: TRL's option names. The file is written in one piece. Returns its path."""
    unknown = [k for k in tensors if k not in NAMES and not k.startswith(FAMILIES)]
    if unknown:
        raise KeyError(f"a dump has no tensor {unknown[0]}; docs/verify.md lists them")
    out = {}
    for name, x in tensors.items():
        if x is None:
            continue
        x = torch.as_tensor(x).detach().cpu()
        if name.endswith("_mask"):
            x = x.to(torch.uint8)
        elif name.endswith("_ids"):
            x = x.to(torch.int32)
        out[name] = x.clone().contiguous()          # a copy: tied tensors share memory, which safetensors refuses
    meta = {"format": "grpo-dump-1", "config": json.dumps({k: v for k, v in config.items() if not (isinstance(v, float) and math.isnan(v))}, sort_keys=True)}
    meta.update({k: v for k, v in (("producer", producer), ("dialect", dialect), ("compute_dtype", compute_dtype)) if v})
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(out, path.with_suffix(".part"), metadata=meta)
    path.with_suffix(".part").replace(path)
    return path


def gradients(model):
    """grad.NAME of every parameter that has a gradient; call it before clipping."""
    return {"grad." + k: p.grad for k, p in model.named_parameters() if p.grad is not None}


def parameters(model):
    return {"param." + k: p for k, p in model.named_parameters()}


def moments(model, optimizer):
    """AdamW's moments; call it before the step. Empty before the first one."""
    state = optimizer.state
    return {f"{m}.{k}": state[p][m] for k, p in model.named_parameters() for m in ("exp_avg", "exp_avg_sq") if m in state.get(p, {})}
