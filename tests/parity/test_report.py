"""`grpo report`: its figures recomputed by NumPy from the replies, and its page opened by a browser (skipped
where there is none)."""
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from support import run, write_jsonl

# scipy.stats.t.ppf(0.975, df)
T_975 = {2: 4.302652729911275, 39: 2.0226909200367604, 79: 1.9904502102301287}
SPLITS, LABELS, SEEDS, N = ("seen", "unseen"), ("polite", "safe"), (1, 2, 3), 80


def write_run(path, command, seed, lift):
    """80 replies, 40 of each split; 200 steps of a log; scores that rise with `lift`."""
    draw = np.random.default_rng([seed, int(100 * lift)])
    path.mkdir(parents=True)
    options = {"seed": seed, "model": f"m{seed}", "dataset": "prompts.jsonl", "output_dir": str(path),
               "learning_rate": 1e-3}
    (path / "config.json").write_text(json.dumps({"command": command, "real": "F32", "options": options}))
    log = [{"step": k + 1, "loss": 1 / (k + 1), "reward": lift * k / 200 + 0.02 * draw.normal(),
            "kl": 0.01 * k, "entropy": 1 - 0.004 * k, "grad_norm": 0.1,
            "rewards/polite/mean": 0.5 + draw.normal() / 50, "rewards/safe/mean": 0.5,
            "completions/mean_length": 20 + k / 20, "clip_ratio/region_mean": 0} for k in range(200)]
    write_jsonl(path / "log.jsonl", log)
    rows = [{"prompt": f"question {i} <b>&", "split": SPLITS[i // 40],
             "completion": f"answer {i % 30} of {command}", "completion_length": 5 + i % 7,
             "kl": abs(draw.normal()) * lift,
             "judge": {k: float(np.clip(draw.normal(0.4 + lift, 0.2), 0, 1)) for k in LABELS},
             "scores": {k: float(draw.random()) for k in LABELS},
             "refusal": int(draw.random() < 0.3), "harmful": int(draw.random() < 0.1)} for i in range(N)]
    write_jsonl(path / "replies.jsonl", rows)
    return rows


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    rows = {(arm, seed): write_run(path / f"{arm}-{seed}", command, seed, lift)
            for arm, command, lift in (("base", "sft", 0.0), ("better", "train", 0.3)) for seed in SEEDS}
    arms = {arm: [path / f"{arm}-{seed}" for seed in SEEDS] for arm in ("base", "better")}
    return path, rows, arms


def values(rows, split, of):
    return np.array([of(r) for r in rows if split in ("all", r["split"])], dtype=float)


def close(figure, x, over=None):
    """figure against the mean of x and Student's interval over `over` (x itself unless given)"""
    over = x if over is None else over
    half = T_975[len(over) - 1] * over.std(ddof=1) / np.sqrt(len(over))
    assert abs(figure["mean"] - x.mean()) < 1e-12
    assert np.abs(np.array(figure["ci95"]) - [x.mean() - half, x.mean() + half]).max() < 1e-6


QUANTITIES = {"mean_judge": lambda r: np.mean(list(r["judge"].values())), "refusal": lambda r: r["refusal"],
              "harmful": lambda r: r["harmful"], "kl": lambda r: r["kl"],
              "completion_length": lambda r: r["completion_length"],
              "polite": lambda r: r["judge"]["polite"], "safe": lambda r: r["judge"]["safe"]}


def test_figures_over_seeds(runs):
    path, rows, arms = runs
    told = [f"size/{arm}=" + ",".join(map(str, dirs)) for arm, dirs in arms.items()]
    section = json.loads(run("f32", "report", *told, "--json"))["sections"][0]
    assert section["name"] == "size" and [a["name"] for a in section["arms"]] == ["base", "better"]
    better = section["arms"][1]
    for split in (*SPLITS, "all"):
        row = better["rows"][split]
        assert row["n"] == (N if split == "all" else N // 2)
        for name, of in QUANTITIES.items():
            mean = {arm: np.array([values(rows[arm, s], split, of).mean() for s in SEEDS]) for arm in arms}
            close(row["judge"][name] if name in LABELS else row[name], mean["better"])
            close(better["difference"][split][name], mean["better"] - mean["base"])
        close(row["scores"]["safe"], np.array([
            values(rows["better", s], split, lambda r: r["scores"]["safe"]).mean() for s in SEEDS]))
        distinct = [len({r["completion"] for r in rows["better", s] if split in ("all", r["split"])})
                    / row["n"] for s in SEEDS]
        assert np.allclose(row["distinct"]["by_seed"], distinct, atol=1e-12)


def test_figures_over_prompts(runs):
    path, rows, arms = runs
    better = json.loads(run(
        "f64", "report", f"base={arms['base'][0]}", f"better={arms['better'][0]}",
        "--json"))["sections"][0]["arms"][1]
    for split in (*SPLITS, "all"):
        for name, of in QUANTITIES.items():
            close(better["difference"][split][name],
                  values(rows["better", 1], split, of) - values(rows["base", 1], split, of))


# What the browser made of the page. The script carries the page's nonce; the other one must not run.
PROBE = """<script>window.intruder = true;</script><script nonce="NONCE">{
const wrong = [], svg = [...document.querySelectorAll('figure svg')];
if (document.documentElement.scrollWidth > window.innerWidth) wrong.push('wider than the window');
for (const s of svg) {
    const box = s.getBoundingClientRect();
    if (box.width < 100 || box.height < 40) wrong.push('a plot of ' + box.width + ' x ' + box.height);
    for (const t of s.querySelectorAll('text, path')) {
        const b = t.getBoundingClientRect();
        if (b.left < box.left - 1 || b.right > box.right + 1
            || b.top < box.top - 1 || b.bottom > box.bottom + 1)
            wrong.push('outside its plot: ' + (t.textContent || t.getAttribute('d').slice(0, 40)));
    }
    if (!s.querySelector('title').textContent || !s.querySelector('desc').textContent)
        wrong.push('a plot without title or desc');
}
for (const t of document.querySelectorAll('table')) {
    if (!t.getAttribute('aria-label')) wrong.push('a table without a name');
    const width = r => [...r.cells].reduce((n, c) => n + c.colSpan, 0);
    for (const th of t.querySelectorAll('th')) if (!th.scope && !th.rowSpan) wrong.push('a th without scope');
    const covered = [];                             /* columns that cells of rows above reach down into */
    for (const b of t.tBodies) {
        let down = [];
        for (const r of b.rows) {
            const n = width(r) + down.reduce((m, d) => m + d[1], 0);
            if (covered.length && n !== covered[0])
                wrong.push('a row of ' + n + ' cells beside rows of ' + covered[0] + ': '
                           + r.textContent.slice(0, 60));
            covered.push(n);
            down = down.map(d => [d[0] - 1, d[1]]).filter(d => d[0] > 0)
                .concat([...r.cells].filter(c => c.rowSpan > 1).map(c => [c.rowSpan - 1, c.colSpan]));
        }
    }
}
if (document.querySelectorAll('td b, th b, img, iframe, b b').length)
    wrong.push('text of a run became an element');
if (window.intruder) wrong.push('a script without the nonce ran');
if (!document.querySelector('details') || document.querySelector('details').open)
    wrong.push('what the page rests on is not folded away');
const tables = [...document.querySelectorAll('table')].map(t => (
    {name: t.getAttribute('aria-label'),
     rows: [...t.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.textContent))}));
const found = {wrong, tables, plots: svg.length, title: document.title, text: document.body.textContent};
document.body.replaceChildren(Object.assign(document.createElement('pre'),
                                            {id: 'probe', textContent: JSON.stringify(found)}));
}</script>"""
HOSTILE = "</script><script>window.intruder = true</script><img src=x onerror='window.intruder = true'> -->"


def said(figure, decimals, difference=False):
    """a cell of a table: the mean, the half-width of its interval, what became of it"""
    def number(x, plus):
        digits = f"{abs(x):.{decimals}f}"
        return ("" if not digits.strip("0.") else "−" if x < 0 else "+" if plus else "") + digits
    text = number(figure["mean"], difference)
    if figure["ci95"] is None:
        return text
    sign = {"rose": " ▲", "fell": " ▼", "not decided": " ○"}[figure["verdict"]] if difference else ""
    return text + " ± " + number((figure["ci95"][1] - figure["ci95"][0]) / 2, False) + sign


def test_page_in_a_browser(runs, tmp_path):
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome", "chrome")
                    if shutil.which(b)), None)
    path, rows, arms = runs
    page = tmp_path / "page.html"
    told = [f"{HOSTILE.replace('/', '|')}{arm}".replace("=", "_") + "=" + ",".join(map(str, dirs))
            for arm, dirs in arms.items()]
    printed = run("f32", "report", *told, "--json", "--title", HOSTILE, "--output", str(page))
    text, report = page.read_text(), json.loads(printed)
    embedded = re.search(r'<script type="application/json" id="figures">(.*)</script>', text)[1]
    assert json.loads(embedded) == report and not re.search("[<>&\u2028\u2029]", embedded)
    # nothing to fetch
    assert not re.search(r"(src|href)=|https?:(?!//www.w3.org/2000/svg)|url\(|@import",
                         text.replace(embedded, ""))
    if not browser:
        pytest.skip("no chromium or chrome: the page was read as text, not by a browser")
    nonce = re.search("nonce-([0-9a-f]{64})", text)[1]
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("</body>", PROBE.replace("NONCE", nonce) + "</body>"))
    for width in (1200, 700, 390):
        dom = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu",
                              f"--user-data-dir={tmp_path}/{width}", f"--window-size={width},900",
                              "--dump-dom", f"file://{probed}"],
                             capture_output=True, text=True, timeout=120).stdout
        found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S)[1]))
        assert found["wrong"] == [] and found["plots"] >= 8 and found["title"] == HOSTILE, found["wrong"]
        assert "question 0 <b>&" in found["text"] and report["sections"][0]["answer"] in found["text"]
        tables = {t["name"]: t["rows"] for t in found["tables"]}
        assert {"Scores by the judge.", "Differences.", "Conduct.", "The judge beside the reward model.",
                "Costs.", "Replies side by side,", "The runs:"} <= set(tables)
        # the numbers of a table are those of the JSON
        section = report["sections"][0]
        base, better = section["arms"]
        scores, differences = iter(tables["Scores by the judge."]), iter(tables["Differences."])
        for split in (*SPLITS, "all"):
            for arm in (base, better):
                row = arm["rows"][split]
                assert (next(scores)[-3:]
                        == [said(row["judge"][k], 3) for k in LABELS] + [said(row["mean_judge"], 3)])
            difference = better["difference"][split]
            assert (next(differences)[-5:]
                    == [said(difference[k], 3, True) for k in (*LABELS, "mean_judge", "refusal", "harmful")])
