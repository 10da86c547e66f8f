"""Tables for docs/speed.md and the picture docs/speed.svg, from build/bench/results.json."""

import math

BEGIN, END = ("<!-- measured: make bench writes what stands between these two lines -->",
              "<!-- end of what was measured -->")
WORKS = [("train", "training step, PyTorch"), ("compiled", "training step, torch.compile"),
         ("decode", "decoding together, transformers"), ("grpo", "GRPO step, PyTorch by hand"),
         ("trl", "GRPO step, TRL")]


def milliseconds(s):
    return f"{1e3 * s:.3g} ms" if s < 1 else f"{s:.3g} s"


def megabytes(b):
    return f"{b / 1e6:.0f} MB" if b < 1e9 else f"{b / 1e9:.2f} GB"


def ratio(r):
    return f"**{r['ratio']:.2f}** ({r['low']:.2f} to {r['high']:.2f}, {r['rounds']})"


def table(head, rows):
    return (
        "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
                  + ["| " + " | ".join(map(str, r)) + " |" for r in rows])
        + "\n"
    )


def geometric(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def product_groups(results):
    """Rows of the products by (model, what they stand for)."""
    groups = {}
    for k, r in results.get("products", {}).items():
        size, kind, shape = k.split()
        m = int(shape.split("x")[0])
        what = (f"decoding, {m} row{'s' * (m > 1)}"
                if kind == "nt" and m <= 64 and not (m == 64 and f"{size} nn {shape}" in results["products"])
                else f"training, {kind}")
        groups.setdefault((size, what), []).append(r)
    return groups


# ---- the goals: what was to be reached, as a share of the machine or as a ratio ---------------------

# work | against | goal | section | key | what is taken from that row of the results: a value, a share a/b, or
# how far a is off b
GOALS = [
    row.split(" | ")
    for row in """\
matrix products, shapes of training | torch.mm (MKL), mean ratio | at least 0.95 | products | \
training, nt nn tn | ratio
matrix products, 1 to 16 rows | torch.mm (MKL), mean ratio | at least 1.2 | products | decoding, 1 16 | ratio
matrix products, 64 rows | torch.mm (MKL), mean ratio | at least 1.05 | products | decoding, 64 | ratio
training step 0.23M 16x128 | PyTorch, eager | at least 2.2 | train | 0.23M 16x128 | ratio
training step 1.35M 16x128 | PyTorch, eager | at least 1.8 | train | 1.35M 16x128 | ratio
training step 15M 4x256 | PyTorch, eager | at least 1.45 | train | 15M 4x256 | ratio
training step 135M 2x128 | PyTorch, eager | at least 1.5 | train | 135M 2x128 | ratio
training step 0.23M 16x128 | PyTorch, compiled | at least 1.7 | compiled | 0.23M 16x128 | ratio
training step 1.35M 16x128 | PyTorch, compiled | at least 1.5 | compiled | 1.35M 16x128 | ratio
training step 15M 4x256 | PyTorch, compiled | at least 1.35 | compiled | 15M 4x256 | ratio
training step 135M 2x128 | PyTorch, compiled | at least 1.4 | compiled | 135M 2x128 | ratio
training step 0.23M 16x128 | the machine's multiply-add peak, share | at least 0.6 | train | \
0.23M 16x128 | share
training step 1.35M 16x128 | the machine's multiply-add peak, share | at least 0.7 | train | \
1.35M 16x128 | share
training step 15M 4x256 | the machine's multiply-add peak, share | at least 0.75 | train | 15M 4x256 | share
training step 135M 2x128 | the machine's multiply-add peak, share | at least 0.75 | train | 135M 2x128 | share
decoding, 1.35M 64 of 64 | transformers' generate | at least 6 | decode | 1.35M 64 of 64 | ratio
decoding, 15M 64 of 64 | transformers' generate | at least 5 | decode | 15M 64 of 64 | ratio
decoding, 135M 64 of 32 | transformers' generate | at least 3 | decode | 135M 64 of 32 | ratio
decoding, 15M 1 of 64 | the machine's reading of as many bytes, share | at least 0.85 | decode | \
15M 1 of 64 | read_share
decoding, 135M 1 of 32 | the machine's reading of as many bytes, share | at least 0.85 | decode | \
135M 1 of 32 | read_share
GRPO step 1.35M 8x8 32+64 | PyTorch by hand | at least 3 | grpo | 1.35M 8x8 32+64 | ratio
GRPO step 1.35M 8x8 32+64 | TRL | at least 4 | trl | 1.35M 8x8 32+64 | ratio
GRPO step 1.35M 8x8 256+64 | PyTorch by hand | at least 5 | grpo | 1.35M 8x8 256+64 | ratio
GRPO step 1.35M 8x8 256+64 | TRL | at least 6 | trl | 1.35M 8x8 256+64 | ratio
GRPO step 135M 1x8 256+64 | PyTorch by hand | at least 3 | grpo | 135M 1x8 256+64 | ratio
GRPO step 135M 1x8 256+64 | TRL | at least 4 | trl | 135M 1x8 256+64 | ratio
peak memory of GRPO step 135M 1x8 256+64 | PyTorch by hand, share | at most 0.5 | grpo | \
135M 1x8 256+64 | memory / their_memory
the same with --gradient-checkpointing | PyTorch by hand, share | at most 0.5 | grpo | \
135M 1x8 256+64 | again_memory / their_memory
threads, 0.23M train | one thread of grpo.c | at least 1.8 | threads | 0.23M train | ratio
threads, 1.35M train | one thread of grpo.c | at least 1.8 | threads | 1.35M train | ratio
threads, 15M train | one thread of grpo.c | at least 1.8 | threads | 15M train | ratio
threads, 135M train | one thread of grpo.c | at least 1.8 | threads | 135M train | ratio
info --run sft, time | the run, off by | at most 0.2 | info | sft | foretold off seconds
info --run sft, memory | the run, off by | at most 0.2 | info | sft | memory_foretold off memory
info --run reward, time | the run, off by | at most 0.2 | info | reward | foretold off seconds
info --run reward, memory | the run, off by | at most 0.2 | info | reward | memory_foretold off memory
info --run train, time | the run, off by | at most 0.2 | info | train | foretold off seconds
info --run train, memory | the run, off by | at most 0.2 | info | train | \
memory_foretold off memory""".splitlines()
]


def has_goal(section, key):
    """Whether a goal needs this row. All products and the machine's peaks enter some goal."""
    return section in ("machine", "products") or any(goal[3:5] == [section, key] for goal in GOALS)


def taken(results, section, key, what):
    """The number that a goal asks for; None where it was not measured."""
    if section == "products":
        part, kinds = key.split(", ")
        wanted = [f"{part}, {kind}" for kind in kinds.split()]
        return geometric(
            [x["ratio"] for (_, name), rows in product_groups(results).items()
             if name in wanted or name.split(" row")[0] in wanted for x in rows]
        )
    row, words = results.get(section, {}).get(key, {}), what.split()
    if words[0] not in row:
        return None
    if len(words) == 1:
        return row[what]
    share = row[words[0]] / row[words[2]]
    return share if words[1] == "/" else abs(share - 1)


def goal_rows(results):
    rows = []
    for work, against, goal, *where in GOALS:
        got, bound = taken(results, *where), float(goal.split()[-1])
        reached = got is not None and (got <= bound if goal.startswith("at most") else got >= bound)
        rows.append(
            [work, against, goal, "" if got is None else f"{got:.2f}",
             "not measured" if got is None else "yes" if reached else "no"]
        )
    return rows


def tables(results, threads):
    out, peak = [], results["machine"][str(threads)]
    out.append(
        "### What was to be reached\n\n"
        + table(["work", "against", "goal", "measured", "reached"], goal_rows(results))
    )
    out.append(
        "### The machine\n\n"
        + table(
            ["threads", "multiply-adds, float", "memory read", "vectors"],
            [
                [n, f"{m['fma_peak_gflops']:.0f} GFLOP/s", f"{m['read_peak_gigabytes_per_second']:.1f} GB/s",
                 m["vectors"]]
                for n, m in results["machine"].items()
            ],
        )
    )
    for key, title in (
        (
            "train",
            "### A training step: forward, loss, backward, clip, AdamW; "
            "transformers' LlamaForCausalLM as it is",
        ),
        ("compiled", "### The same with torch.compile"),
    ):
        if key in results:
            out.append(
                title
                + "\n\n"
                + table(
                    ["model, batch", "grpo.c", "share of peak", "PyTorch", "share of peak",
                     "ratio (smallest to largest, rounds)"],
                    [
                        (
                            [k, "", "", r["failed"].replace("|", " ")[:120], "", ""]
                            if "failed" in r
                            else [k, milliseconds(r["ours"]), f"{100 * r['share']:.0f} %",
                                  milliseconds(r["theirs"]), f"{100 * r['their_share']:.0f} %", ratio(r)]
                        )
                        for k, r in results[key].items()
                    ],
                )
            )
    if "decode" in results:
        out.append(
            "### Decoding after prompts of 32 tokens, against transformers' generate with its cache\n\n"
            + table(
                ["model, replies of tokens", "grpo.c", "transformers", "ratio", "grpo.c reads",
                 "share of a plain read"],
                [
                    [k, f"{r['tokens_per_second']:,.0f} tokens/s",
                     f"{r['their_tokens_per_second']:,.0f} tokens/s", ratio(r),
                     f"{r['gigabytes_per_second']:.1f} GB/s", f"{100 * r['read_share']:.0f} %"]
                    for k, r in results["decode"].items()
                ],
            )
        )
    keys = [k for k in results.get("grpo", {})] + [
        k for k in results.get("trl", {}) if k not in results.get("grpo", {})
    ]
    if keys:
        rows = []
        for k in keys:
            g, t = results.get("grpo", {}).get(k), results.get("trl", {}).get(k)
            rows.append(
                [k, milliseconds((g or t)["ours"]), milliseconds(g["theirs"]) if g else "",
                 ratio(g) if g else "", milliseconds(t["theirs"]) if t else "", ratio(t) if t else ""]
            )
        out.append(
            "### A whole GRPO step: completions, scores, log-probabilities, update\n\n"
            + table(
                ["model, prompts x replies, tokens", "grpo.c", "PyTorch by hand", "ratio", "TRL", "ratio"],
                rows,
            )
        )
    rows = []
    for k in keys:
        g, t = results.get("grpo", {}).get(k), results.get("trl", {}).get(k)
        theirs = [
            f"{megabytes(x['their_memory'])} ({megabytes(x['their_memory'] - x['imported'])})" if x else ""
            for x in (g, t)
        ]
        again = (
            f"{megabytes(g['again_memory'])}, {g['again_memory'] / g['their_memory']:.2f}, "
            f"{g['again']:.2f} times as long"
            if g and "again" in g
            else ""
        )
        rows.append(
            [k, megabytes((g or t)["memory"]), *theirs,
             f"{(g or t)['memory'] / (g or t)['their_memory']:.2f}", again]
        )
    if rows:
        out.append(
            "### Peak memory of that step; in brackets without what the imports alone take\n\n"
            + table(
                ["model, prompts x replies, tokens", "grpo.c", "PyTorch by hand", "TRL",
                 "grpo.c's share of PyTorch's", "with --gradient-checkpointing: memory, share, time"],
                rows,
            )
        )
    if "products" in results:
        rows = [
            [size, what, f"{min(x['ratio'] for x in r):.2f}", f"**{geometric([x['ratio'] for x in r]):.2f}**",
             f"{max(x['ratio'] for x in r):.2f}", len(r),
             f"{100 * max(x['gflops'] for x in r) / peak['fma_peak_gflops']:.0f} %"]
            for (size, what), r in product_groups(results).items()
        ]
        out.append(
            "### Matrix products against torch.mm (MKL): y = x W' (nt), dx = dy W (nn), dW += dy' x (tn)\n\n"
            + table(
                ["model", "shapes", "smallest ratio", "mean ratio", "largest", "shapes measured",
                 "best share of peak"],
                rows,
            )
        )
    if "growth" in results:
        out.append(
            "### How a GRPO step of the 1.35M model grows (4 prompts of 32 tokens, 8 replies of 64, "
            "one thing changed at a time)\n\n"
            + table(
                ["changed (parameters: 1 prompt)", "grpo.c", "PyTorch by hand", "ratio"],
                [[k, milliseconds(r["ours"]), milliseconds(r["theirs"]), ratio(r)]
                 for k, r in results["growth"].items()],
            )
        )
    if "threads" in results:
        out.append(
            f"### {threads} threads against 1, grpo.c alone\n\n"
            + table(
                ["model", f"{threads} threads", "1 thread", "ratio"],
                [[k, milliseconds(r["ours"]), milliseconds(r["theirs"]), ratio(r)]
                 for k, r in results["threads"].items()],
            )
        )
    if "info" in results:
        out.append(
            "### What info --run foretells, against runs of a 1.3M model\n\n"
            + table(
                ["run", "seconds a step", "foretold", "off by", "peak memory", "foretold", "off by"],
                [
                    [k, milliseconds(r["seconds"]), milliseconds(r["foretold"]),
                     f"{100 * (r['foretold'] / r['seconds'] - 1):+.0f} %", megabytes(r["memory"]),
                     megabytes(r["memory_foretold"]),
                     f"{100 * (r['memory_foretold'] / r['memory'] - 1):+.0f} %"]
                    for k, r in results["info"].items()
                ],
            )
        )
    return "\n".join(out)


# ---- the picture -----------------------------------------------------------------------------------

COLOURS = ["#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677"]
SIDES = [("grpo.c", COLOURS[0]), ("PyTorch by hand", COLOURS[4])]


def text(x, y, s, anchor="start", size=12, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {more}>{s}</text>'


def bars(results, x0, y0, width, height):
    """Ratios by model: a group of bars for each size; 1 is where both are equally fast."""
    sizes = sorted(
        {k.split()[0] for key, _ in WORKS for k in results.get(key, {})}, key=lambda s: float(s[:-1])
    )
    values = {}
    for i, (key, _) in enumerate(WORKS):
        for k, r in results.get(key, {}).items():
            if key == "decode" and " 1 of " in k or "failed" in r:
                continue
            values.setdefault((k.split()[0], i), []).append(r)
    if not values:
        return ""
    top = max(r["high"] for v in values.values() for r in v)
    top = min(top, 1.15 * max(r["ratio"] for v in values.values() for r in v))
    y = lambda v: y0 + height - height * min(v, top) / top
    out = [
        text(x0, y0 - 14, "How many times as fast as ... (median; line: smallest and largest round)", size=13,
             more='font-weight="bold"')
    ]
    step = next(s for s in (0.5, 1, 2, 5, 10) if top / s <= 8)
    for n in range(int(top / step) + 1):
        v = n * step
        out.append(
            f'<line x1="{x0}" x2="{x0 + width}" y1="{y(v):.1f}" y2="{y(v):.1f}" '
            f'stroke="{"#444" if v == 1 else "#ddd"}"/>'
            + text(x0 - 6, y(v) + 4, f"{v:g}", "end", 11)
        )
    slot = width / len(sizes)
    for s, size in enumerate(sizes):
        mine = [(i, r) for i in range(len(WORKS)) for r in values.get((size, i), [])]
        w = min(24, (slot - 20) / max(len(mine), 1))
        left = x0 + s * slot + (slot - w * len(mine)) / 2
        for b, (i, r) in enumerate(mine):
            x = left + b * w
            out.append(
                f'<rect x="{x:.1f}" y="{y(r["ratio"]):.1f}" width="{w - 2:.1f}" '
                f'height="{y0 + height - y(r["ratio"]):.1f}" fill="{COLOURS[i]}"/>'
            )
            out.append(
                f'<line x1="{x + w / 2 - 1:.1f}" x2="{x + w / 2 - 1:.1f}" y1="{y(r["low"]):.1f}" '
                f'y2="{y(r["high"]):.1f}" stroke="#222"/>'
            )
        out.append(text(x0 + (s + 0.5) * slot, y0 + height + 18, size + " parameters", "middle"))
    for i, (key, name) in enumerate(WORKS):
        lx, ly = x0 + (i % 3) * 260, y0 + height + 40 + (i // 3) * 18
        out.append(f'<rect x="{lx}" y="{ly - 10}" width="12" height="12" fill="{COLOURS[i]}"/>'
                   + text(lx + 18, ly, name))
    out.append(
        text(x0, y0 + height + 78, "GRPO step: two bars of a colour are prompts of 32 and of 256 tokens.",
             size=11)
    )
    return "".join(out)


def lines(results, what, title, x0, y0, width, height):
    points = sorted((float(k.split()[1].rstrip("M")), r["ours"], r["theirs"])
                    for k, r in results.get("growth", {}).items() if k.split()[0] == what)
    if len(points) < 2:
        return ""
    low, high = min(min(p[1:]) for p in points) / 1.3, max(max(p[1:]) for p in points) * 1.3
    x = lambda v: x0 + width * math.log(v / points[0][0]) / math.log(points[-1][0] / points[0][0])
    y = lambda v: y0 + height - height * math.log(v / low) / math.log(high / low)
    out = [
        text(x0, y0 - 10, title, size=12, more='font-weight="bold"'),
        f'<rect x="{x0}" y="{y0}" width="{width}" height="{height}" fill="none" stroke="#ccc"/>',
    ]
    for e in range(-3, 3):
        for m in (1, 2, 5):
            v = m * 10.0**e
            if low < v < high:
                out.append(
                    f'<line x1="{x0}" x2="{x0 + width}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#eee"/>'
                    + text(x0 - 4, y(v) + 4, f"{v:g} s", "end", 10)
                )
    for v, *_ in points:
        out.append(text(x(v), y0 + height + 14, f"{v:g}", "middle", 10))
    for i, (_, colour) in enumerate(SIDES):
        out.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
            f'points="{" ".join(f"{x(p[0]):.1f},{y(p[1 + i]):.1f}" for p in points)}"/>'
        )
        out += [f'<circle cx="{x(p[0]):.1f}" cy="{y(p[1 + i]):.1f}" r="3" fill="{colour}"/>' for p in points]
    return "".join(out)


def picture(results):
    out = [bars(results, 50, 50, 820, 230)]
    for i, (what, title) in enumerate(
        (("threads", "threads"), ("group", "replies of a prompt"), ("prompt", "tokens of a prompt"),
         ("reply", "tokens of a reply"), ("parameters", "million parameters"))
    ):
        out.append(lines(results, what, title, 50 + 178 * i, 425, 135, 150))
    out.append(
        text(50, 396,
             "Seconds of a GRPO step at 1.35M parameters, one thing changed at a time (axes logarithmic)",
             size=13, more='font-weight="bold"')
        if "growth" in results
        else ""
    )
    if "growth" in results:
        out += [text(50 + 80 * i, 612, name, more=f'fill="{colour}" font-weight="bold"')
                for i, (name, colour) in enumerate(SIDES)]
    height = 625 if "growth" in results else 380
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="920" height="{height}" '
        f'viewBox="0 0 920 {height}" font-family="sans-serif">'
        f'<rect width="920" height="{height}" fill="white"/>' + "".join(out) + "</svg>\n"
    )


def write(results, docs, threads):
    page = (docs / "speed.md").read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    (docs / "speed.md").write_text(before + BEGIN + "\n\n" + tables(results, threads) + "\n" + END + after)
    (docs / "speed.svg").write_text(picture(results))
