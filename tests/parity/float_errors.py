"""How far float is from double in grpo.c and in PyTorch, on the same model, tokens and derivatives by
log-probability (docs/numerics.md). Run by hand:

    build/parity-venv/bin/python tests/parity/float_errors.py MODEL TEXT [LENGTH]

Two sequences of LENGTH tokens (128) from the file TEXT. All errors are against grpo.c's double build;
gradients of the worst parameter, relative to its largest element, and of the median parameter. "supervised":
dlogp = -1/N everywhere. "grouped": +-1/N by sequence, as advantages are, which cancel in the sum."""
import pathlib
import sys
import tempfile

import torch
import transformers

from support import load, log_softmax_values, model_tool, named_gradients

torch.set_num_threads(2)


def theirs(folder, build, case):
    model = load(folder, build)
    logits, logps, loss = [], [], 0
    for ids, dlogp in zip(case["input_ids"], case["dlogps"]):
        z = model(torch.tensor([ids])).logits[0]
        lp, _ = log_softmax_values(z[:-1], torch.tensor(ids[1:]), 1.0)
        loss = loss + (lp * torch.tensor(dlogp, dtype=z.dtype)).sum()
        logits.append(z.detach()), logps.append(lp.detach())
    loss.backward()
    return {"logits": torch.cat(logits), "logps": torch.cat(logps), **named_gradients(model)}


def row(name, got, want):
    def gap(key):
        return ((got[key].double() - want[key].double()).abs().max().item(),
                want[key].double().abs().max().item())
    off, size = gap("logits")
    grads = sorted((o / s, k) for k in want if k not in ("logits", "logps", "entropies") for o, s in [gap(k)])
    print(f"{name:42s} {off / size:9.1e} {gap('logps')[0]:9.1e} {grads[-1][0]:9.1e} "
          f"{grads[len(grads) // 2][0]:9.1e}  {grads[-1][1]}", flush=True)


def main(folder, text, length=128):
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        pathlib.Path(text).read_text(), add_special_tokens=False).input_ids
    ids = [tokens[:length], tokens[length:2 * length]]
    n = 2 * (length - 1)
    print(f"{'against the double build':42s} {'logits':>9s} {'logp':>9s} {'gradient':>9s} {'median':>9s}  "
          f"worst parameter")
    with tempfile.TemporaryDirectory() as path:
        for name, sign in (("supervised", -1), ("grouped", 1)):
            case = {"input_ids": ids, "temperature": 1.0,
                    "dlogps": [[-1 / n] * (length - 1), [sign / n] * (length - 1)]}
            double = model_tool("f64", folder, case, pathlib.Path(path))
            row(f"{name}: grpo.c in float", model_tool("f32", folder, case, pathlib.Path(path)), double)
            row(f"{name}: PyTorch in float32", theirs(folder, "f32", case), double)
            if sign < 0:
                row(f"{name}: PyTorch in float64", theirs(folder, "f64", case), double)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
