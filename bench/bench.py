"""grpo.c beside PyTorch, transformers and TRL on this machine: the same work, the same threads, in turns.

Two processes live side by side, ours (grpo bench --turns) and PyTorch's (torch_side.py); each waits on a pipe while the other is timed. A
round is one turn of each; the ratio of a round is their time over ours, and a row of the table is the median over its rounds with the
smallest and the largest. Before anything is timed, loss and norm of the gradient of both sides are compared for the same tokens, and sums
of products exactly: different work cannot be compared. Rows begin until --minutes are over, those with a goal first; what was left out is told.

    python bench/bench.py                       all sections, from nothing, in 25 minutes
    python bench/bench.py --quick               the small models and few rounds
    python bench/bench.py --only train --sizes 1.35M
    python bench/bench.py --report              only docs/speed.md's tables and docs/speed.svg, from what was measured so far"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "bench"
RESULTS = HOME / "results.json"
BEGUN = time.perf_counter()
PAUSE = 0.02        # threads of the side that has just finished stop spinning within a few milliseconds

# name: shape, and the batch of a training step (sequences x tokens)
SIZES = {
    "0.23M": (dict(vocab_size=500, hidden_size=64, intermediate_size=176, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4), (16, 128)),
    "1.35M": (dict(vocab_size=1134, hidden_size=128, intermediate_size=352, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=4), (16, 128)),
    "15M": (dict(vocab_size=32000, hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=6), (4, 256)),
    "135M": (dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3), (2, 128)),
}
# prompts, group, prompt tokens, reply tokens of a whole step
STEPS = {"0.23M": [(8, 8, 32, 64), (8, 8, 256, 64)], "1.35M": [(8, 8, 32, 64), (8, 8, 256, 64)], "15M": [(1, 8, 256, 64)], "135M": [(1, 8, 256, 64)]}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--only", default="machine,train,threads,decode,grpo,trl,products,info,growth,compiled", help="sections, with commas")
parser.add_argument("--sizes", default=",".join(SIZES), help="models, with commas")
parser.add_argument("--prompts", default="32,256", help="grpo, trl: lengths of prompts, with commas")
parser.add_argument("--growth", default="threads,group,prompt,reply,parameters", help="growth: along which, with commas")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--rounds", type=int, default=9, help="rounds of a row at most")
parser.add_argument("--seconds", type=float, default=6, help="of a row, beyond its first 3 rounds")
parser.add_argument("--minutes", type=float, default=22, help="no row begins later than that")
parser.add_argument("--quick", action="store_true", help="two sizes, 5 rounds, short prompts")
parser.add_argument("--report", action="store_true", help="measure nothing")
args = parser.parse_args()
if args.quick:
    args.sizes, args.rounds, args.seconds, args.prompts, args.minutes = "0.23M,1.35M", 5, 2, "32", 6
sizes = args.sizes.split(",")


# ---- the two sides ----------------------------------------------------------------------------------------------------

class NoAnswer(Exception):
    pass


class Side:
    def __init__(self, command, threads):
        env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
        env.update(OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=env, cwd=ROOT)

    def turn(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while True:                             # libraries may print what they like; ours begins with a brace
            got = self.process.stdout.readline()
            if not got:
                self.errors.seek(0)
                raise NoAnswer(f"bench: no answer to \"{line[:60]}\": {self.errors.read()[-2000:]}")
            if got.startswith("{"):
                return json.loads(got)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def ours(size, threads=None, **options):
    threads = threads or args.threads
    return Side([ROOT / "grpo", "bench", "--model", folder(size), "--turns", "--threads", threads] + [x for k, v in options.items() for x in (f"--{k.replace('_', '-')}", v)], threads)


def theirs(size=None, threads=None, trl=None, **options):
    threads = threads or args.threads
    command = [sys.executable, ROOT / "bench" / "torch_side.py", "--threads", threads]
    if size:
        command += ["--model", folder(size)]
    if trl:
        command += ["--trl", *trl]
    return Side(command + [x for k, v in options.items() for x in (f"--{k}", v)], threads)


def folder(size):
    """Random weights of that shape as a Hugging Face folder; loaded by both sides."""
    path = HOME / size
    if not (path / "model.safetensors").exists():
        subprocess.run([sys.executable, "-c", """
import json, sys, torch, transformers
torch.manual_seed(0)
shape = json.loads(sys.argv[2])
c = transformers.LlamaConfig(**shape, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=None, rope_theta=10000.0)
transformers.LlamaForCausalLM(c).save_pretrained(sys.argv[1])
""", str(path), json.dumps(SIZES[size][0])], check=True)
    return path


def late(what):
    """No row begins when the time is over."""
    if time.perf_counter() - BEGUN < 60 * args.minutes:
        return False
    print(f"bench: left out, since {args.minutes:g} minutes are over: {what}", flush=True)
    return True


def rounds(a, a_line, b, b_line):
    """Answers of both in turns; three rounds at least, two of what takes long. Short works run once before they are timed: the other side has
    emptied the caches."""
    out = []
    first = [a.turn(a_line), b.turn(b_line)]
    warm, least = [x["seconds"] < 0.3 for x in first], 2 if sum(x["seconds"] for x in first) > 15 else 3
    begun = time.perf_counter()
    while len(out) < least or (len(out) < args.rounds and time.perf_counter() - begun < args.seconds):
        pair = []
        for side, line, twice in ((a, a_line, warm[0]), (b, b_line, warm[1])):
            time.sleep(PAUSE)
            if twice:
                side.turn(line)
            pair.append(side.turn(line))
        out.append(pair)
    return out


def spread(answers, **more):
    pairs = [(a["seconds"], b["seconds"]) for a, b in answers]
    ratio = [b / a for a, b in pairs]
    return dict(ours=statistics.median(a for a, _ in pairs), theirs=statistics.median(b for _, b in pairs), ratio=statistics.median(ratio), low=min(ratio), high=max(ratio), rounds=len(pairs), **more)


def agree(what, mine, its, limit=2e-3, keys=("loss", "grad_norm")):
    for k in keys:
        if not abs(mine[k] - its[k]) <= limit * max(abs(its[k]), 1e-2):
            sys.exit(f"bench: {what}: {k} is {mine[k]:.9g} here and {its[k]:.9g} in PyTorch: the two do not do the same work")


everything = args.only == parser.get_default("only")
results = json.loads(RESULTS.read_text()) if RESULTS.exists() and not (everything and not args.report) else {}


def keep(section, key, value):
    results.setdefault(section, {})[key] = value
    RESULTS.write_text(json.dumps(results, indent=1))
    shown = " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
    print(f"{section:9} {key:28} {shown}", flush=True)


def peaks():
    return results["machine"][str(args.threads)]


# ---- sections ---------------------------------------------------------------------------------------------------------

def machine():
    with ours(sizes[0]) as a:
        for n in sorted({1, args.threads}):
            r = [a.turn(f"machine {n}") for _ in range(5)]
            keep("machine", str(n), dict(fma_peak_gflops=max(x["fma_peak_gflops"] for x in r), read_peak_gigabytes_per_second=max(x["read_peak_gigabytes_per_second"] for x in r),
                                         vectors=r[0]["vectors"]))


def products():
    """The matrices of a layer and the head: (rows n, cols k), and as many copies as the model has layers."""
    with theirs() as b:
        for size in sizes:
            shape, (batch, length) = SIZES[size]
            h, f, v, layers = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"], shape["num_hidden_layers"]
            kinds = [("nt", m, n, k, c) for m in (1, 16, 64) for n, k, c in ((h, h, layers), (f, h, layers), (h, f, layers), (v, h, 1))]
            rows = min(batch * length, 1024)
            kinds += [(t, m, n, k, c) for t in ("nt", "nn", "tn") for m, n, k, c in ((rows, h, h, layers), (rows, f, h, layers), (rows, h, f, layers), (64, v, h, 1))]
            if late(f"products {size}"):
                return
            with ours(size) as a:
                for kind, m, n, k, copies in kinds:
                    line = f"product {kind} {m} {n} {k} {copies} "
                    mine, its = a.turn(line + "1"), b.turn(line + "1")
                    if mine["check"] != its["check"]:
                        sys.exit(f"bench: {line}: sum {mine['check']!r} here, {its['check']!r} in PyTorch")
                    times = max(3, int(0.03 / max(mine["seconds"], its["seconds"])))
                    pairs = []
                    for _ in range(min(args.rounds, 5)):
                        pairs.append((a.turn(line + str(times)), b.turn(line + str(times))))
                    keep("products", f"{size} {kind} {m}x{n}x{k}", spread(pairs, gflops=2 * m * n * k / statistics.median(x["seconds"] for x, _ in pairs) / 1e9))


def train(compiled=False):
    for size in sizes:
        batch, length = SIZES[size][1]
        if late(f"train {size} {'compiled' * compiled}"):
            continue
        key, section = f"{size} {batch}x{length}", "compiled" if compiled else "train"
        with ours(size, batch=batch, length=length) as a, theirs(size, batch=batch, length=length) as b:
            told = a.turn("tell train")
            try:
                agree(f"train {size}", told, b.turn("check train " + json.dumps(told)))
                r = spread(rounds(a, "train", b, "train compiled" if compiled else "train"))
            except (NoAnswer, OSError) as e:               # torch.compile wants a C++ compiler, and memory
                if not compiled:
                    raise
                keep(section, key, dict(failed=str(e).strip().splitlines()[-1]))
                continue
            flops = told["flops"]
            r.update(gflops=flops / r["ours"] / 1e9, their_gflops=flops / r["theirs"] / 1e9, share=flops / r["ours"] / 1e9 / peaks()["fma_peak_gflops"],
                     their_share=flops / r["theirs"] / 1e9 / peaks()["fma_peak_gflops"])
            keep(section, key, r)


def threads():
    """grpo.c against itself with one thread."""
    if args.threads == 1:
        return
    for size in sizes:
        batch, length = SIZES[size][1]
        if late(f"threads {size}"):
            continue
        with ours(size, threads=1, batch=batch, length=length) as a, ours(size, threads=args.threads, batch=batch, length=length) as b:
            keep("threads", f"{size} train", spread(rounds(b, "train", a, "train")))


def decode():
    """Share: of what the machine reads when it reads as many bytes again and again as a decoded token needs."""
    for size in sizes:
        cost = 64 if size != "135M" else 32
        with theirs(size) as b:
            for prompts, group in ((8, 8), (1, 1)):
                if late(f"decode {size} {prompts * group}"):
                    continue
                with ours(size, prompts=8, num_generations=8, prompt_length=32, completion_length=cost) as a:
                    line = "decode" if group > 1 else "decode_one"
                    probe = a.turn(line)
                    r = spread(rounds(a, line, b, f"generate {prompts} {group} 32 {cost}"))
                    n = prompts * group * cost
                    times = [a.turn(line)["decode_seconds"] for _ in range(5)]
                    limit = max(a.turn(f"machine {args.threads} {int(probe['bytes'] / (cost - 1))}")["read_peak_gigabytes_per_second"] for _ in range(2))
                    read = probe["bytes"] / statistics.median(times) / 1e9
                    r.update(tokens_per_second=n / r["ours"], their_tokens_per_second=n / r["theirs"], gigabytes_per_second=read, read_share=read / limit)
                    keep("decode", f"{size} {prompts * group} of {cost}", r)


def steps(with_trl=False):
    """Whole steps, and the most memory that each side's process ever had; again: the same with --gradient-checkpointing, beside itself."""
    section = "trl" if with_trl else "grpo"
    for size in sizes:
        for prompts, group, p, c in STEPS[size]:
            if str(p) not in args.prompts.split(",") or late(f"{section} {size} {prompts}x{group} {p}+{c}"):
                continue
            options = dict(prompts=prompts, num_generations=group, prompt_length=p, completion_length=c)
            with ours(size, **options) as a, theirs(size, trl=(prompts, group, p, c) if with_trl else None) as b:
                if not with_trl:
                    told = a.turn("tell grpo")
                    its = b.turn("check grpo " + json.dumps(told))
                    agree(f"grpo {size}", told, its, keys=("grad_norm",))
                line = "trl" if with_trl else f"grpo {prompts} {group} {p} {c}"
                answers = rounds(a, "grpo", b, line)
                mine, its = answers[-1]
                row = spread(answers, memory=mine["memory_bytes"], their_memory=its["memory_bytes"], imported=its["imported_bytes"])
                if not with_trl:
                    with ours(size, gradient_checkpointing="true", **options) as again:
                        pairs = rounds(a, "grpo", again, "grpo")
                        row.update(again=statistics.median(y["seconds"] / x["seconds"] for x, y in pairs), again_memory=pairs[-1][1]["memory_bytes"])
                keep(section, f"{size} {prompts}x{group} {p}+{c}", row)


def growth():
    base = dict(threads=args.threads, prompts=4, group=8, prompt=32, reply=64, size="1.35M")
    kinds = dict(threads=sorted({1, args.threads}), group=(2, 4, 8, 16), prompt=(16, 64, 256), reply=(16, 64, 256), parameters=sizes)
    for what in args.growth.split(","):
        for value in kinds[what]:
            if late(f"growth {what} {value}"):
                continue
            o = {**base, **(dict(size=value, prompts=1) if what == "parameters" else {what: value})}
            with theirs(o["size"], threads=o["threads"]) as b:
                with ours(o["size"], threads=o["threads"], prompts=o["prompts"], num_generations=o["group"], prompt_length=o["prompt"], completion_length=o["reply"]) as a:
                    keep("growth", f"{what} {value}", spread(rounds(a, "grpo", b, f"grpo {o['prompts']} {o['group']} {o['prompt']} {o['reply']}")))


def info():
    """What `grpo info --run` foretells of memory and time, and what the run then takes. Small runs on the demonstration world."""
    if late("info"):
        return
    world = [ROOT / "build" / "make_world"]
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    with tempfile.TemporaryDirectory() as at:
        at = Path(at)
        for name, words in (("sft", ("sft", "--n", 2000, "--seed", 1)), ("labelled", ("grammar", "--n", 400, "--seed", 101)), ("rl", ("prompts", "--kind", "rl", "--n", 64, "--seed", 1003))):
            (at / f"{name}.jsonl").write_bytes(subprocess.run([str(w) for w in world + list(words)], stdout=subprocess.PIPE, check=True).stdout)

        def grpo(*words):
            return subprocess.run([ROOT / "grpo", *map(str, words)], cwd=at, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout

        grpo("init", "--tokenizer-data", "sft.jsonl", "--vocab-size", 768, "--hidden-size", 128, "--num-hidden-layers", 6, "--intermediate-size", 352, "--output-dir", "base")
        rows = ["--per-device-train-batch-size", 32, "--max-steps"]
        runs = dict(sft=["--model", "base", "--dataset", "sft.jsonl", *rows, 20], reward=["--model", "sft/final", "--dataset", "labelled.jsonl", *rows, 12],
                    train=["--model", "sft/final", "--reward-model", "reward/final", "--dataset", "rl.jsonl", "--max-completion-length", 64, *rows, 8])
        for name, options in runs.items():
            foretold = json.loads(grpo("info", "--run", name, *options, "--json"))
            process = subprocess.Popen([ROOT / "grpo", name, *map(str, options), "--output-dir", name], cwd=at, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"bench: grpo {name} ended with {status}")
            lines = [json.loads(line) for line in (at / name / "timing.jsonl").read_text().splitlines()]
            times = [line["step_time"] for line in lines if "step_time" in line]       # the last line is of the whole run
            keep("info", name, dict(seconds=statistics.mean(times), foretold=foretold["step_seconds"], memory=used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                                    memory_foretold=foretold["memory_bytes"]))


SECTIONS = dict(machine=machine, products=products, train=train, compiled=lambda: train(True), threads=threads, decode=decode, grpo=steps, trl=lambda: steps(True), growth=growth, info=info)


if __name__ == "__main__":
    HOME.mkdir(parents=True, exist_ok=True)
    if not args.report:
        for name in args.only.split(","):
            if name not in SECTIONS:
                sys.exit(f"bench: --only: found \"{name}\", expected some of {', '.join(SECTIONS)}")
            SECTIONS[name]()
        print(f"bench: {(time.perf_counter() - BEGUN) / 60:.1f} minutes", flush=True)
    report.write(results, ROOT / "docs", args.threads)
