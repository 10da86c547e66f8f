"""grpo.c beside PyTorch, transformers and TRL on this machine: the same work, the same threads, in turns.

Two processes live side by side, ours (grpo bench --turns) and PyTorch's (torch_side.py); each waits on a pipe
while the other is timed. A round is one turn of each; the ratio of a round is their time over ours, and a row
of the table is the median over its rounds, with the smallest and the largest round. Before anything is timed,
the losses and the gradient norms of both sides are compared for the same tokens, and sums of products
exactly: different work cannot be compared. Every row that has a goal (report.py) is measured, whatever it
takes; what the options leave out is told before anything is measured.

    python bench/bench.py                       all sections, from nothing: some 25 minutes on a fast machine
    python bench/bench.py --quick               the small models and few rounds
    python bench/bench.py --only train --sizes 1.35M
    python bench/bench.py --plan                only tells what would be measured and what left out
    python bench/bench.py --report              only writes docs/speed.md's tables and docs/speed.svg
"""
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
PAUSE = 0.02  # threads of the side that has just finished stop spinning within a few milliseconds


# name: shape, and the batch of a training step (sequences x tokens)
def shape(vocab, hidden, inner, layers, heads, kv_heads=None):
    return dict(vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                num_attention_heads=heads, num_key_value_heads=kv_heads or heads)


SIZES = {"0.23M": (shape(500, 64, 176, 4, 4), (16, 128)), "1.35M": (shape(1134, 128, 352, 6, 4), (16, 128)),
         "15M": (shape(32000, 288, 768, 6, 6), (4, 256)),
         "135M": (shape(49152, 576, 1536, 30, 9, 3), (2, 128))}
# prompts, group, prompt tokens, reply tokens of a whole step
STEPS = {"0.23M": [(8, 8, 32, 64), (8, 8, 256, 64)], "1.35M": [(8, 8, 32, 64), (8, 8, 256, 64)],
         "15M": [(1, 8, 256, 64)], "135M": [(1, 8, 256, 64)]}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--only", default="machine,train,threads,decode,grpo,trl,products,info,compiled,growth",
                    help="sections, with commas")
parser.add_argument("--sizes", default=",".join(SIZES), help="models, with commas")
parser.add_argument("--prompts", default="32,256", help="grpo, trl: lengths of prompts, with commas")
parser.add_argument(
    "--growth", default="threads,group,prompt,reply,parameters", help="growth: along which, with commas"
)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--rounds", type=int, default=9, help="rounds of a row at most")
parser.add_argument("--seconds", type=float, default=6, help="of a row, beyond its first 3 rounds")
parser.add_argument("--minutes", type=float, help="no row without a goal begins later than that")
parser.add_argument("--quick", action="store_true", help="two sizes, 5 rounds, short prompts")
parser.add_argument("--plan", action="store_true", help="tell what would be measured, and measure nothing")
parser.add_argument(
    "--report", action="store_true", help="write the page from earlier results, and measure nothing"
)
args = parser.parse_args()
if args.quick:
    args.sizes, args.rounds, args.seconds, args.prompts = "0.23M,1.35M", 5, 2, "32"
    args.minutes = args.minutes or 6
sizes = args.sizes.split(",")


# ---- the two sides -----------------------------------------------------------------------------------------


class NoAnswer(Exception):
    pass


class Side:
    def __init__(self, command, threads):
        env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
        env.update(OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True, env=env,
                                        cwd=ROOT)

    def turn(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while True:  # libraries may print what they like; ours begins with a brace
            got = self.process.stdout.readline()
            if not got:
                self.errors.seek(0)
                raise NoAnswer(f'bench: no answer to "{line[:60]}": {self.errors.read()[-2000:]}')
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
    more = [x for k, v in options.items() for x in (f"--{k.replace('_', '-')}", v)]
    return Side(
        [ROOT / "grpo", "bench", "--model", folder(size), "--turns", "--threads", threads] + more, threads
    )


def theirs(size=None, threads=None, trl=None, **options):
    threads = threads or args.threads
    command = [sys.executable, ROOT / "bench" / "torch_side.py", "--threads", threads]
    if size:
        command += ["--model", folder(size)]
    if trl:
        command += ["--trl", *trl]
    return Side(command + [x for k, v in options.items() for x in (f"--{k}", v)], threads)


MAKE_FOLDER = """
import json, sys, torch, transformers
torch.manual_seed(0)
c = transformers.LlamaConfig(**json.loads(sys.argv[2]), max_position_embeddings=1024,
                             tie_word_embeddings=True, bos_token_id=None, eos_token_id=None,
                             pad_token_id=None, rope_theta=10000.0)
transformers.LlamaForCausalLM(c).save_pretrained(sys.argv[1])
"""


def folder(size):
    """Random weights of that shape as a Hugging Face folder; both sides load it."""
    path = HOME / size
    if not (path / "model.safetensors").exists():
        subprocess.run([sys.executable, "-c", MAKE_FOLDER, str(path), json.dumps(SIZES[size][0])], check=True)
    return path


def rounds(a, a_line, b, b_line):
    """Answers of both in turns; three rounds at least, two of what takes long. Short works run once before
    they are timed, since the other side has emptied the caches."""
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
    return dict(ours=statistics.median(a for a, _ in pairs), theirs=statistics.median(b for _, b in pairs),
                ratio=statistics.median(ratio), low=min(ratio), high=max(ratio), rounds=len(pairs), **more)


def agree(what, mine, its, limit=2e-3, keys=("loss", "grad_norm")):
    for k in keys:
        if not abs(mine[k] - its[k]) <= limit * max(abs(its[k]), 1e-2):
            sys.exit(f"bench: {what}: {k} is {mine[k]:.9g} here and {its[k]:.9g} in PyTorch: "
                     "the two do not do the same work")


# a whole measurement begins from nothing
anew = args.only == parser.get_default("only") and not args.report
results = json.loads(RESULTS.read_text()) if RESULTS.exists() and not anew else {}


def keep(section, key, value):
    results.setdefault(section, {})[key] = value
    RESULTS.write_text(json.dumps(results, indent=1))
    shown = " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
    print(f"{section:9} {key:28} {shown}", flush=True)


# ---- sections: what measures one row, or the few that belong together --------------------------------------


def machine(key, n):
    with ours(sizes[0]) as a:
        r = [a.turn(f"machine {n}") for _ in range(5)]
        peak = {k: max(x[k] for x in r) for k in ("fma_peak_gflops", "read_peak_gigabytes_per_second")}
        keep("machine", key, dict(**peak, vectors=r[0]["vectors"]))


def products(key, size):
    """The matrices of a layer and the head: (rows n, cols k), and as many copies as the model has layers."""
    c, (batch, length) = SIZES[size]
    h, f, v, layers = c["hidden_size"], c["intermediate_size"], c["vocab_size"], c["num_hidden_layers"]
    rows = min(batch * length, 1024)
    layer = ((h, h, layers), (f, h, layers), (h, f, layers))
    kinds = [("nt", m, *of) for m in (1, 16, 64) for of in (*layer, (v, h, 1))]
    kinds += [
        (t, m, *of) for t in ("nt", "nn", "tn") for m, of in [(rows, x) for x in layer] + [(64, (v, h, 1))]
    ]
    with theirs() as b, ours(size) as a:
        for kind, m, n, k, copies in kinds:
            line = f"product {kind} {m} {n} {k} {copies} "
            mine, its = a.turn(line + "1"), b.turn(line + "1")
            if mine["check"] != its["check"]:
                sys.exit(f"bench: {line}: sum {mine['check']!r} here, {its['check']!r} in PyTorch")
            line += str(max(3, int(0.03 / max(mine["seconds"], its["seconds"]))))
            pairs = [(a.turn(line), b.turn(line)) for _ in range(min(args.rounds, 5))]
            gflops = 2 * m * n * k / statistics.median(x["seconds"] for x, _ in pairs) / 1e9
            keep("products", f"{size} {kind} {m}x{n}x{k}", spread(pairs, gflops=gflops))


def train(key, size, section="train"):
    batch, length = SIZES[size][1]
    with ours(size, batch=batch, length=length) as a, theirs(size, batch=batch, length=length) as b:
        told = a.turn("tell train")
        try:
            agree(f"train {size}", told, b.turn("check train " + json.dumps(told)))
            r = spread(rounds(a, "train", b, "train compiled" if section == "compiled" else "train"))
        except (NoAnswer, OSError) as e:  # torch.compile wants a C++ compiler, and memory
            if section != "compiled":
                raise
            keep(section, key, dict(failed=str(e).strip().splitlines()[-1]))
            return
        peak = results["machine"][str(args.threads)]["fma_peak_gflops"]
        for side, gflops, share in (("ours", "gflops", "share"), ("theirs", "their_gflops", "their_share")):
            r[gflops] = told["flops"] / r[side] / 1e9
            r[share] = r[gflops] / peak
        keep(section, key, r)


def compiled(key, size):
    train(key, size, "compiled")


def threads(key, size):
    """grpo.c against itself with one thread."""
    batch, length = SIZES[size][1]
    with ours(size, threads=1, batch=batch, length=length) as a, ours(size, batch=batch, length=length) as b:
        keep("threads", key, spread(rounds(b, "train", a, "train")))


def decode(key, size, prompts, group, cost):
    """Share: of what the machine reads when it reads again and again as many bytes as a decoded token."""
    line = "decode" if group > 1 else "decode_one"
    with theirs(size) as b, ours(
        size, prompts=8, num_generations=8, prompt_length=32, completion_length=cost
    ) as a:
        probe = a.turn(line)
        r = spread(rounds(a, line, b, f"generate {prompts} {group} 32 {cost}"))
        n = prompts * group * cost
        times = [a.turn(line)["decode_seconds"] for _ in range(5)]
        plain = f"machine {args.threads} {int(probe['bytes'] / (cost - 1))}"
        limit = max(a.turn(plain)["read_peak_gigabytes_per_second"] for _ in range(2))
        read = probe["bytes"] / statistics.median(times) / 1e9
        r.update(tokens_per_second=n / r["ours"], their_tokens_per_second=n / r["theirs"],
                 gigabytes_per_second=read, read_share=read / limit)
        keep("decode", key, r)


def options_of(prompts, group, p, c):
    return dict(prompts=prompts, num_generations=group, prompt_length=p, completion_length=c)


def grpo(key, size, *step):
    """A whole step by hand, and the most memory that each side's process ever had; again: the same with
    --gradient-checkpointing, beside itself."""
    with ours(size, **options_of(*step)) as a, theirs(size) as b:
        told = a.turn("tell grpo")
        agree(f"grpo {size}", told, b.turn("check grpo " + json.dumps(told)), keys=("grad_norm",))
        row = with_memory(rounds(a, "grpo", b, "grpo %d %d %d %d" % step))
        with ours(size, gradient_checkpointing="true", **options_of(*step)) as again:
            pairs = rounds(a, "grpo", again, "grpo")
            row.update(again=statistics.median(y["seconds"] / x["seconds"] for x, y in pairs),
                       again_memory=pairs[-1][1]["memory_bytes"])
        keep("grpo", key, row)


def trl(key, size, *step):
    with ours(size, **options_of(*step)) as a, theirs(size, trl=step) as b:
        keep("trl", key, with_memory(rounds(a, "grpo", b, "trl")))


def with_memory(answers):
    mine, its = answers[-1]
    return spread(
        answers, memory=mine["memory_bytes"], their_memory=its["memory_bytes"], imported=its["imported_bytes"]
    )


def growth(key, size, n_threads, *step):
    with theirs(size, threads=n_threads) as b, ours(size, threads=n_threads, **options_of(*step)) as a:
        keep("growth", key, spread(rounds(a, "grpo", b, "grpo %d %d %d %d" % step)))


def info(key):
    """What `grpo info --run` foretells of memory and time, and what the run then takes: small runs on the
    demonstration world, each of which wants the one before it."""
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    with tempfile.TemporaryDirectory() as at:
        at = Path(at)

        def world(name, *words):
            made = subprocess.run(
                [ROOT / "build" / "make_world", *map(str, words)], stdout=subprocess.PIPE, check=True
            )
            (at / name).write_bytes(made.stdout)

        def grpo(*words):
            return subprocess.run([ROOT / "grpo", *map(str, words)], cwd=at, env=env, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, check=True).stdout

        world("sft.jsonl", "sft", "--n", 2000, "--seed", 1)
        world("labelled.jsonl", "grammar", "--n", 400, "--seed", 101)
        world("rl.jsonl", "prompts", "--kind", "rl", "--n", 64, "--seed", 1003)
        grpo("init", "--tokenizer-data", "sft.jsonl", "--vocab-size", 768, "--hidden-size", 128,
             "--num-hidden-layers", 6, "--intermediate-size", 352, "--output-dir", "base")
        rows = ["--per-device-train-batch-size", 32, "--max-steps"]
        runs = dict(
            sft=["--model", "base", "--dataset", "sft.jsonl", *rows, 20],
            reward=["--model", "sft/final", "--dataset", "labelled.jsonl", *rows, 12],
            train=["--model", "sft/final", "--reward-model", "reward/final", "--dataset", "rl.jsonl",
                   "--max-completion-length", 64, *rows, 8],
        )
        for name, options in runs.items():
            foretold = json.loads(grpo("info", "--run", name, *options, "--json"))
            process = subprocess.Popen([ROOT / "grpo", name, *map(str, options), "--output-dir", name],
                                       cwd=at, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"bench: grpo {name} ended with {status}")
            lines = [json.loads(line) for line in (at / name / "timing.jsonl").read_text().splitlines()]
            times = [
                line["step_time"] for line in lines if "step_time" in line
            ]  # the last line is of the whole run
            keep(
                "info",
                name,
                dict(seconds=statistics.mean(times), foretold=foretold["step_seconds"],
                     memory=used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                     memory_foretold=foretold["memory_bytes"]),
            )


# ---- the plan ----------------------------------------------------------------------------------------------

SECTIONS = dict(machine=machine, products=products, train=train, compiled=compiled, threads=threads,
                decode=decode, grpo=grpo, trl=trl, growth=growth, info=info)


def rows_of(section, sizes, lengths):
    """(key, arguments) of a section's rows."""
    counts = sorted({1, args.threads})
    if section == "machine":
        return [(str(n), (n,)) for n in counts]
    if section in ("train", "compiled"):
        return [("{} {}x{}".format(size, *SIZES[size][1]), (size,)) for size in sizes]
    if section == "threads":
        return [(f"{size} train", (size,)) for size in sizes if args.threads > 1]
    if section == "decode":
        cost = {size: 32 if size == "135M" else 64 for size in sizes}
        return [(f"{size} {p * g} of {cost[size]}", (size, p, g, cost[size])) for size in sizes
                for p, g in ((8, 8), (1, 1))]
    if section in ("grpo", "trl"):
        return [("{} {}x{} {}+{}".format(size, *s), (size, *s)) for size in sizes for s in STEPS[size]
                if str(s[2]) in lengths]
    if section == "products":
        return [(size, (size,)) for size in sizes]
    if section == "info":
        return [(key, ()) for key in ("sft", "reward", "train")]
    base = dict(size="1.35M", threads=args.threads, prompts=4, group=8, prompt=32, reply=64)
    kinds = dict(
        threads=counts, group=(2, 4, 8, 16), prompt=(16, 64, 256), reply=(16, 64, 256), parameters=sizes
    )
    return [
        (f"{what} {x}",
         tuple({**base, **(dict(size=x, prompts=1) if what == "parameters" else {what: x})}.values()))
        for what in args.growth.split(",")
        for x in kinds[what]
    ]


def tell_plan():
    """What will be measured and what not, before anything is."""
    todo = [(s, k) for s in args.only.split(",") for k, _ in rows_of(s, sizes, args.prompts.split(","))]
    every = [(s, k) for s in args.only.split(",") for k, _ in rows_of(s, SIZES, ("32", "256"))]
    free = [f"{s} {k}" for s, k in todo if not report.has_goal(s, k)]
    missing = [f"{s} {k}" for s, k in every if report.has_goal(s, k) and (s, k) not in todo]
    print(f"bench: {len(todo)} rows; {len(todo) - len(free)} have a goal and are measured whatever it takes")
    if missing:
        print("bench: these options leave out rows that have a goal:", ", ".join(missing))
    if args.minutes and free:
        print(f"bench: left out if they would begin after {args.minutes:g} minutes:", ", ".join(free))
    sys.stdout.flush()


def measure():
    for section in args.only.split(","):
        for key, arguments in rows_of(section, sizes, args.prompts.split(",")):
            if section == "info" and key != "sft":  # all three are measured at once
                continue
            over = args.minutes and time.perf_counter() - BEGUN > 60 * args.minutes
            if over and not report.has_goal(section, key):
                print(
                    f"bench: left out, since {args.minutes:g} minutes are over: {section} {key}", flush=True
                )
            else:
                SECTIONS[section](key, *arguments)
    print(f"bench: {(time.perf_counter() - BEGUN) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    for name in args.only.split(","):
        if name not in SECTIONS:
            sys.exit(f"bench: --only: found \"{name}\", expected some of {', '.join(SECTIONS)}")
    HOME.mkdir(parents=True, exist_ok=True)
    if not args.report:
        tell_plan()
        if args.plan:
            sys.exit()
        measure()
    report.write(results, ROOT / "docs", args.threads)
