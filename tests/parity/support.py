"""What the parity tests share: the programs under test, PyTorch models in exact double precision, and the
tolerances.

transformers computes norms, rotary angles and softmax in float32 even when the weights are float64; exact()
replaces those three places by float64, so that a double comparison means what it says. Tests in float use
transformers as it is. """
import json
import math
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

torch.set_num_threads(1)

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings"))
BUILDS = {"f32": ROOT / "grpo", "f64": ROOT / "grpo64"}
DTYPE = {"f32": torch.float32, "f64": torch.float64}

# docs/numerics.md: double against PyTorch float64; float against PyTorch float32. Relative to the largest
# magnitude of the tensor, logp absolute.
LIMITS = {
    "f64": {"logits": 1e-11, "logp": 1e-11, "loss": 1e-12, "grad": 1e-10, "norm": 1e-10, "step": 1e-6,
            "score": 1e-11, "advantage": 1e-12},
    "f32": {"logits": 3e-5, "logp": 3e-5, "loss": 2e-6, "grad": 5e-5, "norm": 5e-5, "step": 1e-2,
            "score": 3e-5, "advantage": 1e-6},
}


# ---- the programs ------------------------------------------------------------------------------------------

def run(build, command, *args, stdin=None, **options):
    """grpo COMMAND with options as keywords (learning_rate=1e-3 is --learning-rate 1e-3); its standard
    output."""
    line = [str(BUILDS[build]), command, *map(str, args)]
    for key, value in options.items():
        if value is True:
            value = "true"
        elif value is False:
            value = "false"
        line += ["--" + key.replace("_", "-"), repr(value) if isinstance(value, float) else str(value)]
    done = subprocess.run(line, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(line)}\nexit {done.returncode}: {done.stderr}"
    return done.stdout


def drawn_again(rows, draw):
    """The log and the completions of draw(prompts file's rows), of the first of ten orders of the rows in
    which every completion's text gives its tokens back: a special token, which a policy may draw, has no
    text."""
    for k in range(10):
        log, drawn, n_tokens = draw(rows[k:] + rows[:k])
        if log[-1]["num_tokens"] == n_tokens:
            return log, drawn
    raise AssertionError("in ten orders of the prompts a completion's text does not give its tokens back")


def model_tool(build, folder, case, path):
    """Tensors of tests/model_tool.c for one case."""
    (path / "case.json").write_text(json.dumps(case))
    tool = ROOT / "build" / build / "tests" / "model_tool"
    done = subprocess.run([str(tool), str(folder), str(path / "case.json"), str(path / "out.safetensors")],
                          capture_output=True, text=True)
    assert done.returncode == 0, f"{tool} {folder}: {done.stderr}"
    return load_file(path / "out.safetensors")


def compute(build, kind, inputs):
    """One case of `grpo compute`."""
    return json.loads(
        run(build, "compute", stdin=json.dumps({"kind": kind, "inputs": inputs}) + "\n"))["outputs"]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_log(path):
    """The steps of a run's log, without what it cost."""
    return [line for line in read_jsonl(path) if "cost" not in line]


# ---- PyTorch in double -------------------------------------------------------------------------------------

def inverse_frequencies(config):
    """E9 and E12 in double."""
    rope = config.rope_parameters
    d = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    f = [rope["rope_theta"] ** (-2.0 * i / d) for i in range(d // 2)]
    if rope["rope_type"] == "linear":
        f = [x / rope["factor"] for x in f]
    elif rope["rope_type"] == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        n0 = rope["original_max_position_embeddings"]
        for i, x in enumerate(f):
            u = 2 * math.pi / x
            if u > n0 / low:
                f[i] = x / rope["factor"]
            elif u >= n0 / high:
                s = (n0 / u - low) / (high - low)
                f[i] = (1 - s) * x / rope["factor"] + s * x
    else:
        assert rope["rope_type"] == "default", rope
    return torch.tensor(f, dtype=torch.float64)


class ExactRotary(torch.nn.Module):
    def __init__(self, config, theirs):
        super().__init__()
        self.f = inverse_frequencies(config)
        assert torch.allclose(self.f, theirs.inv_freq.double(), rtol=1e-6,
                              atol=0), "transformers has other frequencies"

    def forward(self, x, position_ids):
        angle = position_ids[..., None].double() * self.f
        both = torch.cat((angle, angle), -1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)


def exact(model):
    """The model in float64, with the three float32 islands of transformers in float64 too. Changes and
    returns the model."""
    model.double()
    assert model.config._attn_implementation == "sdpa"       # the eager form has a softmax in float32
    trunk = model.model
    trunk.rotary_emb = ExactRotary(model.config, trunk.rotary_emb)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = lambda x, m=module: F.rms_norm(x, (x.shape[-1],), m.weight, m.variance_epsilon)
    return model


def load(folder, build, classifier=False):
    """A folder as transformers loads it, in the precision of a build."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    cls = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model, info = cls.from_pretrained(str(folder), dtype=DTYPE[build], attn_implementation="sdpa",
                                      output_loading_info=True)
    # PyTorch's embedding drops the gradient of rows that look up pad_token_id; the mathematics (E20) and we
    # do not. It shows where the padding token stands in a text, as the end of turn does in SmolLM2
    model.get_input_embeddings().padding_idx = None
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    return exact(model).eval() if build == "f64" else model.eval()


def log_softmax_values(logits, targets, temperature=1.0):
    """E23 and E25: log-probability and entropy of each row's target."""
    lp = (logits / temperature).log_softmax(-1)
    return lp.gather(-1, targets[..., None])[..., 0], -(lp.exp() * lp).sum(-1)


def named_gradients(model):
    """Gradients by name; a tied head appears once, as the embedding."""
    return {k: p.grad for k, p in model.named_parameters()}


# ---- comparisons -------------------------------------------------------------------------------------------

def close(name, got, want, limit, absolute=False):
    """got and want differ by at most limit times the largest |want| (absolute: by limit)."""
    # a Python number would become float32
    double = lambda x: x.detach().double() if torch.is_tensor(x) else torch.tensor(x, dtype=torch.float64)
    got, want = double(got), double(want)
    assert got.shape == want.shape, f"{name}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    assert torch.isfinite(got).all() and torch.isfinite(want).all(), f"{name}: not finite"
    if want.numel() == 0:
        return 0.0
    scale = 1.0 if absolute else max(want.abs().max().item(), 1e-300)
    error = (got - want).abs()
    worst = error.max().item() / scale
    at = np.unravel_index(int(error.argmax()), got.shape)
    assert worst <= limit, (f"{name}{list(map(int, at))}: {got[at].item():.17g}, expected "
                            f"{want[at].item():.17g}: off by {worst:.3g}, allowed {limit:g}")
    return worst


def close_gradients(got, want, limit):
    """Every parameter of want is in got, each close on its own scale; a tensor whose gradient is rounding
    noise beside all others (below a thousandth of the largest) is judged on that scale."""
    top = max(g.abs().max().item() for g in want.values())
    for name, g in want.items():
        assert name in got, f"{name}: no gradient"
        own = g.abs().max().item()
        close(name, got[name], g, limit * max(1.0, 1e-3 * top / max(own, 1e-300)))


def close_parameters(got, want, grad, lr, limit, grad_limit):
    """The tolerances of docs/numerics.md: parameters after AdamW steps in units of lr, only where the
    gradient exceeds its own tolerance (elsewhere AdamW follows the sign of rounding noise). Returns the share
    of elements that was compared."""
    compared = total = 0
    for name, w in want.items():
        g = grad[name].double()
        # m/(sqrt(v)+eps) with g off by d changes by about d/|g|: the part of the limit that this may use up
        # is one half
        sure = g.abs() > max(2 * grad_limit / limit, 10 * grad_limit) * g.abs().max()
        error = ((got[name].double() - w.double()).abs() / lr)[sure]
        total += w.numel()
        compared += int(sure.sum())
        if error.numel():
            # a parameter itself is stored in float: one rounding of the largest weight is no error of the
            # step
            slack = w.abs().max().item() * torch.finfo(got[name].dtype).eps / lr
            assert error.max().item() <= limit + slack, (
                f"{name}: off by {error.max().item():.3g} lr, allowed {limit:g}")
    assert compared > 0
    return compared / total


# ---- checkpoints -------------------------------------------------------------------------------------------

# the canonical order of a layer's parameters, as far as it has them (model.h)
LAYER = ["input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.q_proj.bias",
         "self_attn.k_proj.weight", "self_attn.k_proj.bias",
         "self_attn.v_proj.weight", "self_attn.v_proj.bias", "self_attn.q_norm.weight",
         "self_attn.k_norm.weight", "self_attn.o_proj.weight",
         "self_attn.o_proj.bias", "post_attention_layernorm.weight", "mlp.gate_proj.weight",
         "mlp.gate_proj.bias", "mlp.up_proj.weight",
         "mlp.up_proj.bias", "mlp.down_proj.weight", "mlp.down_proj.bias"]


def unflatten(flat, named):
    """One array in canonical order (embedding, layers, final norm, head) to tensors by name."""
    shapes = {k: p.shape for k, p in named}
    layers = 1 + max(int(k.split(".")[2]) for k in shapes if k.startswith("model.layers."))
    order = ["model.embed_tokens.weight"] + [
        f"model.layers.{i}.{n}" for i in range(layers) for n in LAYER if f"model.layers.{i}.{n}" in shapes]
    order += ["model.norm.weight"] + [k for k in ("lm_head.weight", "score.weight") if k in shapes]
    assert sorted(order) == sorted(shapes)
    out, at = {}, 0
    for name in order:
        n = shapes[name].numel()
        out[name], at = flat[at:at + n].view(shapes[name]), at + n
    assert at == flat.numel()
    return out


def checkpoint(path, named):
    """First and second moments and weights of a run's checkpoint, by name."""
    state = load_file(path / "checkpoint.safetensors")
    return [unflatten(state[k], named) for k in ("exp_avg", "exp_avg_sq", "weights")]


def adamw(model, lr, weight_decay, **settings):
    """torch.optim.AdamW with weight decay on matrices only (E283)."""
    named = list(model.named_parameters())
    return torch.optim.AdamW([{"params": [p for _, p in named if p.dim() == 2], "weight_decay": weight_decay},
                              {"params": [p for _, p in named if p.dim() < 2], "weight_decay": 0.0}], lr=lr,
                              **settings)
