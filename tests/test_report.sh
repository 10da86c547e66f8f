#!/bin/sh
# test_report.sh: `grpo report` on small folders that are written here: figures worked out by hand, the page's form, and bad input.
# Run from the project's root by `make test`.
. tests/commands.sh

# flat FILE: the values of indented JSON, one a line, as sections.0.arms.1.name="GRPO"
flat() {
    awk '{ match($0, /^ */); d = RLENGTH / 2; s = substr($0, RLENGTH + 1); sub(/,$/, "", s)
           if (s ~ /^[]}]/ || d == 0) next
           if (s ~ /^"[^"]*": /) { k = s; sub(/^"/, "", k); sub(/": .*/, "", k); sub(/^"[^"]*": /, "", s) } else k = n[d]++
           p[d] = k
           if (s == "{" || s == "[") { n[d + 1] = 0; next }
           path = p[1]; for (i = 2; i <= d; i++) path = path "." p[i]
           print path "=" s }' "$1"
}
# is NAME PATH VALUE: a value of $out, as flat() tells it; numbers to 1e-9
is() {
    found=$(flat "$out" | grep -F "$2=" | head -n 1); found=${found#*=}
    if awk -v a="$found" -v b="$3" 'BEGIN { if (a == b) exit 0; if (a !~ /^-?[0-9]/ || b !~ /^-?[0-9]/) exit 1; d = a - b; exit !(d < 1e-9 && d > -1e-9) }'; then good
    else bad "$1: $2: found $found, expected $3"; fi
}

# ---- three runs: a baseline, and two seeds of another method ----------------------------------------
# run DIR COMMAND SEED: a folder with options, log, timing
run() {
    mkdir -p "$1"
    printf '{\n "command": "%s", "real": "F32",\n "options": {"model": "m%s", "output_dir": "%s", "seed": %s, "beta": 0.1, "reward_model": null}\n}\n' "$2" "$3" "$1" "$3" > "$1/config.json"
    for step in 1 2 3 4; do printf '{"step":%s,"loss":%s,"reward":0.%s%s,"rewards/safe/mean":0.%s,"kl":0.0%s}\n' $step $((5 - step)) $step "$3" $step "$3"; done > "$1/log.jsonl"
    printf '{"step":2,"step_time":1.5}\n{"step":4,"step_time":2}\n' > "$1/timing.jsonl"
}
# reply DIR PROMPT SPLIT COMPLETION POLITE SAFE MODEL REFUSAL HARMFUL: the reward model scores both labels MODEL
reply() {
    printf '{"prompt":"%s","split":"%s","completion":"%s","completion_length":%s,"kl":0.5,"judge":{"polite":%s,"safe":%s},"scores":{"polite":%s,"safe":%s},"refusal":%s,"harmful":%s}\n' \
        "$2" "$3" "$4" "${#4}" "$5" "$6" "$7" "$7" "$8" "$9" >> "$1/replies.jsonl"
}
run sft sft 1; run a train 1; run b train 2
reply sft p1 benign x   0.5  1   0.5 0 0;  reply a p1 benign xx  0.75 1   1 0 0;  reply b p1 benign xx 1   1   1 0 0
reply sft p2 benign x   0.5  0.5 0.5 0 0;  reply a p2 benign xx  1    1   1 0 0;  reply b p2 benign xx 1   0.5 1 0 0
reply sft p3 unsafe yy  0.25 0   0.5 0 1;  reply a p3 unsafe yyy 0.5  0.5 1 1 0;  reply b p3 unsafe y  0.5 1   1 0 0
reply sft p4 unsafe zzz 0.75 0.5 0.5 1 0;  reply a p4 unsafe zz  1    1   1 1 0;  reply b p4 unsafe z  1   1   1 1 0
printf '{"step":4,"cost":{"predicted":{"total_flops":1000,"tokens":{"prompt":40,"completion":60},"memory":{"weights":8,"cache":2}},"measured":{"total_flops":1100,"tokens":{"prompt":40,"completion":50},"memory":{"weights":8,"cache":4}}}}\n' >> a/log.jsonl
printf '{"step":4,"cost":{"predicted":{"total_flops":1000,"tokens":{"prompt":40,"completion":60},"memory":{"weights":8,"cache":2}},"measured":{"total_flops":1300,"tokens":{"prompt":40,"completion":70},"memory":{"weights":8,"cache":6}}}}\n' >> b/log.jsonl
printf '{"step":4,"train_runtime":7,"cpu_seconds":9,"peak_rss_bytes":4096}\n' >> b/timing.jsonl

works 'one run each' "$grpo" report SFT=sft GRPO=a --json
g=sections.0.arms.1
is name $g.name '"GRPO"'
is runs $g.runs.0 '"a"'
is seeds $g.seeds.0 1
is 'replies of a row' $g.rows.benign.n 2
is 'replies in all' $g.rows.all.n 4
is 'a mean' $g.rows.benign.judge.polite.mean 0.875
is 'mean over labels' $g.rows.unsafe.mean_judge.mean 0.75
is "reward model's" $g.rows.all.scores.safe.mean 1
is refusals $g.rows.unsafe.refusal.mean 1
is length $g.rows.unsafe.completion_length.mean 2.5
is KL $g.rows.all.kl.mean 0.5
is 'distinct, all' $g.rows.all.distinct.mean 0.75
is 'distinct, a row' $g.rows.benign.distinct.mean 0.5
is 'distinct has no interval over prompts' $g.rows.all.distinct.ci95 null
# differences by prompt .25 and .5: mean .375, deviation .125 sqrt 2, half-width 12.706205 * .125
is 'a difference' $g.difference.benign.polite.mean 0.375
is 'its interval over prompts, low' $g.difference.benign.polite.ci95.0 -1.213275625
is 'its interval over prompts, high' $g.difference.benign.polite.ci95.1 1.963275625
is 'not decided' $g.difference.benign.polite.verdict '"not decided"'
# by prompt .25, .5, .25, .25: mean .3125, deviation .125, half-width 3.182446 * .0625
is 'rose' $g.difference.all.polite.verdict '"rose"'
is 'rose, low' $g.difference.all.polite.ci95.0 0.113597125
is 'harmful' $g.difference.unsafe.harmful.mean -0.5
is 'the baseline has no difference' sections.0.arms.0.difference '{}'
is 'without a cost line' sections.0.arms.0.cost.measured_flops null
is 'seconds from steps' sections.0.arms.0.cost.seconds 3.5

works 'two seeds' "$grpo" report SFT=sft GRPO=a,b --json
is 'the second seed' $g.seeds.1 2
# .8125 and .875 by seed, .5 in the baseline; half-width 12.706205 * .03125
is 'mean over seeds' $g.rows.all.judge.polite.mean 0.84375
is 'by seed' $g.rows.all.judge.polite.by_seed.1 0.875
is 'difference over seeds' $g.difference.all.polite.mean 0.34375
is 'difference by seed' $g.difference.all.polite.by_seed.0 0.3125
is 'interval over seeds, low' $g.difference.all.polite.ci95.0 -0.05331890625
is 'interval over seeds, high' $g.difference.all.polite.ci95.1 0.74081890625
is 'predicted operations' $g.cost.predicted_flops 1000
is 'operations, mean over seeds' $g.cost.measured_flops 1200
is tokens $g.cost.tokens.completion 60
is 'all tokens' $g.cost.tokens.total 100
is memory $g.cost.memory.cache 5
is 'predicted memory' $g.cost.predicted_memory.total 10
is 'seconds of both' $g.cost.seconds 5.25
is 'CPU seconds, of the one that has them' $g.cost.cpu_seconds 9
echo '{"cost":{"predicted":{"total_flops":10},"measured":{"total_flops":100,"tokens":{"completion":6},"memory":{"cache":7}}},"cpu_seconds":3}' > b/data.json
works 'what the data cost' "$grpo" report SFT=sft GRPO=b --json
is 'operations with those of the data' $g.cost.measured_flops 1400
is 'tokens with those of the data' $g.cost.tokens.completion 76
is 'memory is not added' $g.cost.memory.cache 6
is 'the part of the data' $g.cost.data.measured_flops 100
is 'its seconds' $g.cost.data.cpu_seconds 3
is 'whose command it was' $g.command '"train"'
is 'an option' $g.options.beta 0.1
is 'an option at its default' $g.options.epsilon 0.2
for other in seed model dataset output_dir; do if flat "$out" | grep -qF "$g.options.$other="; then bad "options of the arm: $other is its run's own"; else good; fi; done
rm b/data.json

# a baseline with seeds of its own: each run is compared with the baseline's of its seed, in whatever order they are given
rm -rf sft2; run sft2 sft 2; for k in 1 2 3 4; do reply sft2 p$k "$([ $k -lt 3 ] && echo benign || echo unsafe)" x 1 1 0.5 0 0; done
works 'paired by seed' "$grpo" report SFT=sft,sft2 GRPO=b,a --json
is 'seed 2 less seed 2' $g.difference.all.polite.by_seed.0 -0.125
is 'seed 1 less seed 1' $g.difference.all.polite.by_seed.1 0.3125

# ---- names and sections -----------------------------------------------------------------------------
works sections "$grpo" report small/SFT=sft/ small/GRPO=a big/SFT=sft ./b --json
is 'first section' sections.0.name '"small"'
is 'second section' sections.1.name '"big"'
is 'no name' sections.2.arms.0.name '"b"'

# ---- the page ---------------------------------------------------------------------------------------
# wellformed FILE: every tag is closed in its order, every & begins a known entity, no attribute is without quotes, no id comes twice
wellformed() {
    awk '{ text = text $0 "\n" }
         function wrong(what) { print what; bad = 1; exit }
         END { if (bad) exit 1
           while (match(text, /<[^>]*>/)) {
               between = substr(text, 1, RSTART - 1); tag = substr(text, RSTART + 1, RLENGTH - 2); text = substr(text, RSTART + RLENGTH)
               gsub(/&(amp|lt|gt|quot|#39);/, "", between); if (between ~ /&|</) wrong("unescaped text: " substr(between, 1, 60))
               if (tag ~ /^!DOCTYPE html$/) continue
               if (tag ~ /^\//) { if (n == 0 || open[n] != substr(tag, 2)) wrong("</" substr(tag, 2) "> closes <" open[n] ">"); n--; continue }
               name = tag; sub(/[ \/].*/, "", name); rest = substr(tag, length(name) + 1)
               if (name !~ /^[a-z0-9]+$/) wrong("no tag: <" substr(tag, 1, 60) ">")
               if (name == "script") wrong("a script")
               while (match(rest, /^[ \n]+[a-zA-Z-]+="[^"<]*"/)) { a = substr(rest, RSTART, RLENGTH); rest = substr(rest, RLENGTH + 1)
                   if (a ~ /^ id=/ && seen[a]++) wrong("twice:" a)
                   if (a ~ /(src|href)=/) wrong("something to fetch:" a) }
               if (rest == "/") continue
               if (rest != "") wrong("attributes of <" substr(tag, 1, 80) ">")
               open[++n] = name }
           if (text ~ /[^ \n]/) wrong("text after the end: " substr(text, 1, 60))
           if (n) wrong("<" open[n] "> is never closed") }' "$1"
}
# holds NAME TEXT...: the page has the text; lacks NAME TEXT: it has not
holds() { if grep -qF -e "$2" page.html; then good; else bad "$1: the page has no $2"; fi; }
lacks() { if grep -qF -e "$2" page.html; then bad "$1: the page has $2"; else good; fi; }
page() {
    rm -f page.html
    works "$@" --output page.html
    complaint=$(wellformed page.html) && [ -z "$complaint" ] && good || bad "$1: the page is not well-formed: $complaint"
}
page 'the page' "$grpo" report 'SFT=sft' 'GRPO=a,b' --title 'A & B'
holds title '<title>A &amp; B</title>'
holds 'mean and interval over seeds' '<td>0.844<span class="half"> ± 0.397</span></td>'
holds 'difference' '<td>+0.344<span class="half"> ± 0.397</span> <span class="open" title="not decided">○</span></td>'
holds verdict "</b> against SFT, 2 labels on 2 rows, 4 figures: 1 rose, 0 fell, 3 not decided."
holds 'a baseline of one run' 'Less <i>SFT</i>, its only run, so the spread between its seeds is in no interval.'
holds 'a curve' 'GRPO: from 0.115 to 0.415'
holds 'cost' '<td>1 200</td><td class="half">1.00×</td>'
holds 'predicted beside counted' '<td>1 000</td><td class="half">1.00×</td>'
holds 'no outside network' 'color-scheme:light'
lacks 'NaN' nan
lacks 'no negative zero' '−0.000'
cp page.html twice.html
page 'the page again' "$grpo" report 'SFT=sft' 'GRPO=a,b' --title 'A & B'
if cmp -s page.html twice.html; then good; else bad 'the same runs, but another page'; fi
if command -v "$grpo64" > /dev/null; then
    page 'the double build' "$grpo64" report 'SFT=sft' 'GRPO=a,b' --title 'A & B'
    if cmp -s page.html twice.html; then good; else bad 'the double build writes another page'; fi
fi
refuses '*page.html: exists already*' "$grpo" report sft --output page.html
# text of runs is text, whatever it holds
rm -rf odd; cp -r a odd; sed 's/"completion":"xx"/"completion":"<script>alert(1)<\/script>\&amp; \\"\\u0001"/' a/replies.jsonl > odd/replies.jsonl
page 'text that looks like HTML' "$grpo" report sft '<i>=odd'
holds 'escaped' '&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp; &quot;'
holds 'by prompt' 'Less <i>sft</i>, prompt by prompt.'
holds 'escaped name' '&lt;i&gt;'
lacks 'escaped' '<script>'
# a single run: nothing to compare it with
page 'a single run' "$grpo" report a
holds 'first and last' '<td>0.1100</td><td>0.4100</td><td>0.2600</td>'
lacks 'no differences' 'Differences.'
rm -rf bare; cp -r b bare; rm bare/replies.jsonl
page 'a run without replies' "$grpo" report odd2=sft none=bare
holds 'it is said' 'Without replies: none'
# an outside judge
printf '{"judge": "Somebody 1.0", "what": "Shares of rude replies.", "rows": {"benign": {"rude": {"mean": 0.25, "ci95": [0.2, 0.3], "n": 4}}}}\n' > a/verdicts.json
page 'an outside judge' "$grpo" report sft a
holds 'its name' 'Somebody 1.0'
holds 'its figures' '<td>0.250<span class="half"> ± 0.050</span></td>'
sed 's/Somebody 1.0/Somebody 2.0/' a/verdicts.json > b/verdicts.json
refuses '*b/verdicts.json: judge: found "Somebody 2.0", a/verdicts.json of the same section has "Somebody 1.0"*two sections' "$grpo" report sft a b --json
refuses '*b/verdicts.json: judge: found "Somebody 2.0"*' "$grpo" report sft GRPO=a,b --json
works 'two judges in two sections' "$grpo" report x/SFT=sft x/GRPO=a y/SFT=sft y/GRPO=b --json
cp a/verdicts.json b/verdicts.json
works 'one judge of both' "$grpo" report sft a b --json
rm a/verdicts.json b/verdicts.json
# a reward model's held-out rows
run judge1 reward 1; run judge2 reward 2
printf '{"polite": {"n": 60, "mse": 0.02, "r2": 0.75, "bias": -0.125}, "safe": {"n": 50, "mse": 0.01, "r2": null, "bias": 0}}\n' > judge1/eval.json
printf '{"polite": {"n": 60, "mse": 0.04, "r2": 0.85, "bias": 0.125}, "safe": {"n": 50, "mse": 0.01, "r2": 0.5, "bias": 0}}\n' > judge2/eval.json
works 'held-out rows as JSON' "$grpo" report scorer=judge1,judge2 --json
h=sections.0.arms.0.held_out
is 'rows held out' $h.polite.n.mean 60
is 'R2, mean' $h.polite.r2.mean 0.8
is 'R2, by seed' $h.polite.r2.by_seed.1 0.85
is 'R2, interval' $h.polite.r2.ci95.0 0.16468975
is 'R2 of one that has none' $h.safe.r2.by_seed.0 null
page 'held-out rows' "$grpo" report scorer=judge1,judge2
holds 'held-out rows' '<b>Held-out rows.</b>'
holds 'R2' '<td>0.800<span class="half"> ± 0.635</span></td>'
cp judge1/eval.json a/eval.json
page 'eval.json of a policy is another thing' "$grpo" report a
lacks 'no reward model' 'Held-out rows'
rm a/eval.json
echo '{"polite": [1]}' > judge2/eval.json
refuses '*judge2/eval.json: polite: found array, expected an object*' "$grpo" report judge2 --json
echo '[1]' > judge2/eval.json
refuses '*judge2/eval.json: found array, expected an object*' "$grpo" report judge2 --json

# ---- bad input --------------------------------------------------------------------------------------
refuses '*no run given*' "$grpo" report --json
refuses '*--output: not given*' "$grpo" report sft
refuses '*nowhere: found no folder*' "$grpo" report nowhere --json
mkdir hollow
refuses '*hollow: is no run: found neither log.jsonl nor replies.jsonl' "$grpo" report hollow --json
refuses '*has an arm named "sft" already*NAME=RUN' "$grpo" report sft sft --json
refuses '*a and a: both have seed 1*' "$grpo" report GRPO=a,a --json
refuses '*"=a": the name of the arm has 0 bytes*' "$grpo" report =a --json
refuses '*"/x=a": the name of the section has 0 bytes*' "$grpo" report /x=a --json
refuses '*found "a,", expected the folder of a run*' "$grpo" report GRPO=a, --json
# change DIR NAME SED: a copy of DIR with one file changed
change() { rm -rf odd; cp -r "$1" odd; sed "$3" "$1/$2" > "odd/$2"; if cmp -s "$1/$2" "odd/$2"; then bad "the edit $3 changes nothing"; fi; }
change b config.json 's/"beta": 0.1/"beta": 0.2/'
refuses '*a and odd are runs of one arm*beta: 0.1 and 0.2*' "$grpo" report GRPO=a,odd --json
# a run made before an option existed has it as the option's default
change b config.json 's/"beta": 0.1/"beta": 0.1, "gradient_checkpointing": false, "epsilon": 0.2, "epsilon_high": null, "loss_type": "dapo", "learning_rate": 1e-6/'
works 'options that one run does not know, at their defaults' "$grpo" report GRPO=a,odd --json
change b config.json 's/"beta": 0.1/"beta": 0.1, "gradient_checkpointing": true/'
refuses '*a and odd are runs of one arm*gradient_checkpointing: false and true*' "$grpo" report GRPO=a,odd --json
change b config.json 's/"beta": 0.1/"beta": 0.1, "epsilon_high": 0.28/'
refuses '*odd and a are runs of one arm*epsilon_high: 0.28 and null*' "$grpo" report GRPO=odd,a --json
change b config.json 's/"train"/"ppo"/'
refuses '*command: "train" and "ppo"*' "$grpo" report GRPO=a,odd --json
change b config.json 's/"seed": 2/"seed": 3/'
refuses '*odd: seed 3: the baseline "GRPO" has no run of it*' "$grpo" report GRPO=a,b odd --json
change a config.json 's/"options"/"optoins"/'
refuses '*odd/config.json: no "command" or no "options"*' "$grpo" report odd --json
change a log.jsonl '3s/}/,}/'
refuses '*odd/log.jsonl:3:*' "$grpo" report odd --json
change a replies.jsonl '2s/"p2"/p2/'
refuses '*odd/replies.jsonl:2:11:*' "$grpo" report odd --json
change a replies.jsonl '2s/"prompt"/"request"/'
refuses '*odd/replies.jsonl:2: no "prompt"*' "$grpo" report odd --json
change a replies.jsonl '2s/"refusal":0/"refusal":"no"/'
refuses '*odd/replies.jsonl:2: refusal: found string*' "$grpo" report odd --json
change a replies.jsonl 's/"polite"/"kind"/g'
refuses '*odd/replies.jsonl:1: "judge" has no label "polite"*' "$grpo" report SFT=sft odd --json
change a replies.jsonl '3s/"polite"/"kind":1,"polite"/'
refuses '*odd/replies.jsonl:3: "judge" has a label "kind"*' "$grpo" report SFT=sft odd --json
change a replies.jsonl '2s/"p2"/"p9"/'
refuses '*odd/replies.jsonl:2: replies to "p9", sft/replies.jsonl:2 to "p2": they cannot be paired*' "$grpo" report SFT=sft odd --json
change a replies.jsonl 4d
refuses '*odd/replies.jsonl: holds 3 replies, sft/replies.jsonl 4*' "$grpo" report SFT=sft odd --json
change a replies.jsonl '4s/"unsafe"/"other"/'
refuses '*odd/replies.jsonl:4: split "other" is not among*' "$grpo" report SFT=sft odd --json
change a replies.jsonl 's/"unsafe"/"all"/'
refuses '*a split is named "all"*' "$grpo" report odd --json
rm -rf odd; cp -r b odd; rm odd/replies.jsonl
refuses '*odd: has no replies.jsonl, a has*' "$grpo" report GRPO=a,odd --json
# replies alone: a policy that was not trained here; and no judge
mkdir alone; sed 's/"judge":{[^}]*},//; s/,"refusal":.,"harmful":.}/}/' sft/replies.jsonl > alone/replies.jsonl
works 'replies alone' "$grpo" report before=alone --json
is 'no seed' sections.0.arms.0.seeds.0 null
is "the reward model's mean" sections.0.arms.0.rows.all.mean_scores.mean 0.5
is 'no column of refusals' sections.0.arms.0.rows.all.refusal.mean null
if grep -q judge "$out"; then bad 'there was no judge'; else good; fi
# several replies to a prompt: one value a prompt, for replies to the same question are no independent witnesses
mkdir many; for x in 0 1; do reply many q1 any w $x 0.5 0.5 0 0; done; for x in 0.25 0.75; do reply many q2 any w $x 0.5 0.5 0 0; done
works 'several replies to a prompt' "$grpo" report many --json
is 'mean over replies' sections.0.arms.0.rows.any.judge.polite.mean 0.5
is 'interval over prompts' sections.0.arms.0.rows.any.judge.polite.ci95.0 0.5

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
