"""PyTorch's side of the measurements: a process that waits for its turn on stdin and answers with a line of
JSON.

    train [compiled]                 a training step: forward, loss, backward, clip, AdamW
    generate PROMPTS GROUP P C       transformers' generate with its cache
    grpo PROMPTS GROUP P C           a whole GRPO step, written by hand and tight: every prompt is prefilled
                                     once, its cache repeated for the group, sampling in one batch, one
                                     forward for the log-probabilities, one backward
    trl                              a whole step of TRL's GRPOTrainer (a process of its own: --trl PROMPTS
                                     GROUP P C)
    product KIND m n k copies times  torch.mm
    check train|grpo JSON            loss and norm of the gradient for inputs that the other side tells

Weights and threads are the same on both sides, tokens are random, and no reply ends before its C tokens."""
import argparse
import json
import os
import resource
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--length", type=int, default=64)
parser.add_argument("--learning-rate", type=float, default=1e-4)
parser.add_argument("--trl", type=int, nargs=4, metavar=("PROMPTS", "GROUP", "P", "C"))
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch

torch.set_num_threads(args.threads)
torch.manual_seed(1)


def memory(peak=True):
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def answer(**result):
    print(json.dumps(result), flush=True)


# ---- products ----------------------------------------------------------------------------------------------

def fill(rows, cols):
    i = torch.arange(rows * cols, dtype=torch.int64)
    return (((i * 7 + i // 13) % 15) / 8 - 0.875).float().view(rows, cols)


def product(kind, m, n, k, copies, times):
    x, y, w = fill(m, k), fill(m, n), fill(n, k)
    weights = [w.clone() if kind != "tn" else torch.zeros(n, k) for _ in range(copies)]
    call = {"nt": lambda w: torch.mm(x, w.t(), out=y), "nn": lambda w: torch.mm(y, w, out=x),
            "tn": lambda w: w.addmm_(y.t(), x)}[kind]
    check = None
    with torch.no_grad():
        for i in range(copies):
            call(weights[i])
            if check is None:
                out = (y if kind == "nt" else x if kind == "nn" else weights[0]).double().flatten()
                check = (out * (1 + torch.arange(out.numel()) % 5)).sum().item()
        start = time.perf_counter()
        for i in range(times):
            call(weights[i % copies])
        seconds = (time.perf_counter() - start) / times
    return dict(seconds=seconds, check=check)


# ---- the model ---------------------------------------------------------------------------------------------

if args.model:
    import transformers
    transformers.logging.set_verbosity_error()
    from transformers import AutoModelForCausalLM, DynamicCache, GenerationConfig
    imported = memory(peak=False)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).train()
    vocab = model.config.vocab_size
    params = list(model.parameters())


def optimiser():
    return torch.optim.AdamW(params, lr=args.learning_rate, weight_decay=0.0, fused=True)


def update(optim):
    norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
    optim.step()
    optim.zero_grad(set_to_none=True)
    return norm.item()


def train_step(forward, ids, optim):
    logits = forward(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, vocab), ids[:, 1:].reshape(-1))
    loss.backward()
    return loss.item(), update(optim)


def sample(prompt, group, new):
    """Tokens [prompts * group, new]; each prompt computed once."""
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        logits = model(input_ids=prompt, past_key_values=cache, use_cache=True,
                       logits_to_keep=1).logits[:, -1]
        cache.batch_repeat_interleave(group)
        logits = logits.repeat_interleave(group, 0)
        out = []
        for _ in range(new):
            out.append(torch.multinomial(torch.softmax(logits, -1), 1))
            if len(out) < new:
                logits = model(input_ids=out[-1], past_key_values=cache, use_cache=True,
                               logits_to_keep=1).logits[:, -1]
    return torch.cat(out, 1).clone()


def grpo_loss(prompt, completion, advantage):
    """On-policy: the ratio is 1, its gradient is not. DAPO's normalisation: by the tokens of the step."""
    new = completion.shape[1]
    logits = model(input_ids=torch.cat([prompt, completion], 1), use_cache=False,
                   logits_to_keep=new + 1).logits[:, :-1]
    logp = -torch.nn.functional.cross_entropy(logits.reshape(-1, vocab), completion.reshape(-1),
                                              reduction="none").view_as(completion)
    ratio = torch.exp(logp - logp.detach())
    return -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).sum() / completion.numel()


def advantages(n, group):
    r = (torch.arange(n) % 7 / 7).view(-1, group)
    return ((r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)).view(-1, 1)


def grpo_step(prompts, group, p, c, optim):
    prompt = torch.randint(vocab, (prompts, p))
    completion = sample(prompt, group, c)
    loss = grpo_loss(prompt.repeat_interleave(group, 0), completion, advantages(prompts * group, group))
    loss.backward()
    return loss.item(), update(optim)


def check(what, told):
    """Loss and norm of the gradient at the weights as loaded, with no step taken."""
    if what == "train":
        ids = torch.tensor(told["batch"])
        logits = model(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, vocab), ids[:, 1:].reshape(-1))
    else:
        loss = grpo_loss(torch.tensor(told["prompts"]), torch.tensor(told["completions"]),
                         torch.tensor(told["advantages"])[:, None])
    loss.backward()
    norm = torch.sqrt(sum((p.grad.double() ** 2).sum() for p in params)).item()
    for p in params:
        p.grad = None
    return dict(loss=loss.item(), grad_norm=norm)


# ---- TRL ---------------------------------------------------------------------------------------------------

def trl(prompts, group, p, c):
    """GRPOTrainer holds the loop; a callback at the end of each step answers and waits for the next turn."""
    import tempfile
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer
    imported = memory(peak=False)
    # an end that no sample can draw
    words = Tokenizer(models.WordLevel({**{str(i): i for i in range(vocab)}, "</s>": vocab}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="0",
                                        unk_token="0")
    state = {}

    class Turns(TrainerCallback):
        def wait(self):
            line = sys.stdin.readline()
            if not line:
                sys.stdout.flush()
                os._exit(0)
            state["start"] = time.perf_counter()

        def on_train_begin(self, *a, **k):
            self.wait()

        def on_step_end(self, *a, **k):
            seconds = time.perf_counter() - state["start"]
            assert state["lengths"] == {c}, f"TRL's replies have {state['lengths']} tokens, expected {c}"
            answer(seconds=seconds, memory_bytes=memory(), imported_bytes=imported)
            self.wait()

    def reward(completions, completion_ids, **_):
        state["lengths"] = {len(x) for x in completion_ids}
        return [i % 7 / 7 for i in range(len(completions))]

    rows = [" ".join(map(str, torch.randint(1, vocab, (p,)).tolist())) for _ in range(64 * prompts)]
    with tempfile.TemporaryDirectory() as out:
        config = GRPOConfig(output_dir=out, per_device_train_batch_size=prompts * group,
                            num_generations=group, max_completion_length=c, max_steps=100000,
                            learning_rate=args.learning_rate, lr_scheduler_type="constant",
                            logging_strategy="no", save_strategy="no", report_to=[], use_cpu=True, bf16=False,
                            gradient_checkpointing=False, disable_tqdm=True, beta=0.0, temperature=1.0,
                            top_p=1.0, top_k=0)
        GRPOTrainer(model=model, reward_funcs=[reward], args=config, processing_class=tokenizer,
                    callbacks=[Turns()],
                    train_dataset=Dataset.from_list([{"prompt": r} for r in rows])).train()


# ---- turns -------------------------------------------------------------------------------------------------

def main():
    optim = compiled = None
    if args.model:
        ids = torch.randint(vocab, (args.batch, args.length))
    for line in sys.stdin:
        what, *rest = line.split(None, 2)
        if what == "product":
            kind, *sizes = line.split()[1:]
            answer(**product(kind, *map(int, sizes)))
            continue
        if what == "check":
            answer(**check(rest[0], json.loads(rest[1])))
            continue
        if what == "generate":
            prompts, group, p, c = map(int, line.split()[1:])
            prompt = torch.randint(vocab, (prompts, p)).repeat_interleave(group, 0)
            config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=c,
                                      pad_token_id=0, eos_token_id=None, use_cache=True)
            model.eval()
            start = time.perf_counter()
            with torch.inference_mode():
                out = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)
            seconds = time.perf_counter() - start
            model.train()
            assert out.shape == (prompts * group, p + c), f"generate: {tuple(out.shape)}"
            answer(seconds=seconds, memory_bytes=memory(), imported_bytes=imported)
            continue
        optim = optim or optimiser()
        if what == "train" and rest:
            if compiled is None:
                compiled = torch.compile(model, dynamic=False)
        start = time.perf_counter()
        loss, norm = (train_step(compiled if rest else model, ids, optim) if what == "train"
                      else grpo_step(*map(int, line.split()[1:]), optim))
        answer(seconds=time.perf_counter() - start, loss=loss, grad_norm=norm, memory_bytes=memory(),
               imported_bytes=imported)


if args.trl:
    trl(*args.trl)
else:
    main()
