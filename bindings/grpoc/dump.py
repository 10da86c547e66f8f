"""A dump (docs/verify.md): what a trainer computed for one batch, gathered while it computes and written as
one safetensors file. PyTorch tensors and NumPy arrays are taken alike; torch is not imported here."""
import difflib
import json
import math
import pathlib

import numpy as np

NAMES = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "input_ids", "attention_mask",
         "loss_mask", "rewards_per_func", "logits", "per_token_logps", "old_per_token_logps",
         "sampling_per_token_logps", "ref_per_token_logps", "entropies", "rewards", "advantages",
         "importance_sampling_ratio", "ratio", "per_token_kl", "per_token_loss", "loss",
         "grad_per_token_logps", "grad_norm", "group_ids", "policy_mask", "row_weights"}
FAMILIES = ("grad.", "exp_avg.", "exp_avg_sq.", "param.")
KINDS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
         "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"}


class Dump:
    """Gathers and writes one dump:

        with grpoc.Dump("step1.safetensors", profile="verl-0.9", num_generations=8) as dump:
            dump.add(rewards=rewards, advantages=advantages)
            ...
            dump.add(per_token_logps=logps, old_per_token_logps=old, per_token_loss=token_loss, loss=loss)
        print(dump.verify())

    The keywords are the settings of docs/verify.md or the profile's own option names. The file is written
    when the block ends without an exception; `write` does the same without a block. compute_dtype: in what
    precision the numbers were computed, where their own type does not tell; producer: free text."""

    def __init__(self, path, profile=None, compute_dtype=None, producer="grpoc", **config):
        self.path, self.profile = pathlib.Path(path), profile
        self.compute_dtype, self.producer = compute_dtype, producer
        self.config, self.tensors = config, {}

    def add(self, tensors=None, **named):
        """Keeps a copy of each tensor as it is now; None is left out. tensors: a dictionary, for names with a
        dot."""
        for name, x in {**(tensors or {}), **named}.items():
            if name not in NAMES and not name.startswith(FAMILIES):
                near = difflib.get_close_matches(name, NAMES, 1)
                raise KeyError(f"{name}: no tensor of a dump; "
                               + (f"did you mean {near[0]}? " if near else "")
                               + "docs/verify.md lists them")
            if x is not None:
                self.tensors[name] = array(name, x)
        return self

    def declare(self, **config):
        """Adds settings, or changes them."""
        self.config.update(config)
        return self

    def gradients(self, model):
        """grad.NAME of every parameter of a PyTorch model; call it before clipping."""
        return self.add({"grad." + k: p.grad for k, p in model.named_parameters()})

    def moments(self, model, optimizer):
        """AdamW's moments of every parameter; call it before the step. Before the first one there are
        none."""
        for m in ("exp_avg", "exp_avg_sq"):
            self.add({f"{m}.{k}": optimizer.state.get(p, {}).get(m) for k, p in model.named_parameters()})
        return self

    def parameters(self, model):
        """param.NAME of every parameter; call it after the step."""
        return self.add({"param." + k: p for k, p in model.named_parameters()})

    def write(self):
        """Writes the file in one piece and returns its path."""
        config = {k: v for k, v in self.config.items()
                  if v is not None and not (isinstance(v, float) and math.isnan(v))}
        meta = {"format": "grpo-dump-1", "config": json.dumps(config, sort_keys=True),
                "producer": self.producer, "profile": self.profile, "compute_dtype": self.compute_dtype}
        header, data, at = {"__metadata__": {k: v for k, v in meta.items() if v}}, [], 0
        for name, (kind, shape, raw) in sorted(self.settled().items()):
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
            data.append(raw)
            at += len(raw)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
        part.replace(self.path)
        return self.path

    def settled(self):
        """A Python number has no precision of its own; it gets that of the arrays beside it. As a double it
        would be held to a double's tolerance, though a trainer in float made it."""
        arrays = [kind for kind, _, _ in self.tensors.values() if kind in ("F64", "F32", "F16", "BF16")]
        double = bool(arrays) and all(kind == "F64" for kind in arrays)
        return {name: x if x[0] != "number" else ("F64", x[1], x[2].tobytes()) if double else
                ("F32", x[1], x[2].astype(np.float32).tobytes()) for name, x in self.tensors.items()}

    def verify(self, **options):
        """grpoc.verify of the written file."""
        from .program import verify
        return verify(self.path, **options)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.write()


def array(name, x):
    """(safetensors' name of the type, shape, bytes) of a tensor or array; of a Python number ("number",
    shape, array)."""
    number = isinstance(x, (bool, int, float, list, tuple))
    if hasattr(x, "detach"):            # a PyTorch tensor
        x = x.detach().cpu().contiguous()
        kind = str(x.dtype).split(".")[-1]
        if kind == "bfloat16":          # which NumPy lacks: its bits
            import torch
            x = x.view(torch.int16)
        x = x.numpy()
    else:
        x = np.asarray(x)
        kind = x.dtype.name
    if name.endswith("_mask"):
        x, kind, number = x != 0, "bool", False
    elif name.endswith("_ids"):
        x, kind, number = x.astype(np.int64), "int64", False
    elif kind.startswith(("int", "uint", "bool")):
        x, number = x.astype(np.float64), True
    if number:
        return "number", x.shape, x.astype(np.float64)
    if kind not in KINDS:
        raise TypeError(f"{name}: found {kind}, expected float64, float32, bfloat16 or float16")
    return KINDS[kind], x.shape, np.ascontiguousarray(x).tobytes()
