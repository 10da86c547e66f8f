#!/bin/sh
# test_report.sh: `grpo report` on small folders that are written here: figures worked out by hand, the page's
# safety, and bad input. Run from the project's root by `make test`.
template=$PWD/report/page.html
. tests/commands.sh

# flat FILE: the values of indented JSON, one a line, as sections.0.arms.1.name="GRPO"
flat() {
    awk '{ match($0, /^ */); d = RLENGTH / 2; s = substr($0, RLENGTH + 1); sub(/,$/, "", s)
           if (s ~ /^[]}]/ || d == 0) next
           if (s ~ /^"[^"]*": /) {
               k = s; sub(/^"/, "", k); sub(/": .*/, "", k); sub(/^"[^"]*": /, "", s)
           } else k = n[d]++
           p[d] = k
           if (s == "{" || s == "[") { n[d + 1] = 0; next }
           path = p[1]; for (i = 2; i <= d; i++) path = path "." p[i]
           print path "=" s }' "$1"
}
# is NAME PATH VALUE: a value of $out, as flat() tells it; numbers to 1e-9
is() {
    found=$(flat "$out" | grep -F "$2=" | head -n 1); found=${found#*=}
    if awk -v a="$found" -v b="$3" 'BEGIN {
        if (a == b) exit 0
        if (a !~ /^-?[0-9]/ || b !~ /^-?[0-9]/) exit 1
        d = a - b; exit !(d < 1e-9 && d > -1e-9) }'; then good
    else bad "$1: $2: found $found, expected $3"; fi
}

# ---- three runs: a baseline, and two seeds of another method ----------------------------------------
# run DIR COMMAND SEED: a folder with options, log, timing
run() {
    mkdir -p "$1"
    printf '{\n "command": "%s", "real": "F32",\n "options": {"model": "m%s", "output_dir": "%s", '\
'"seed": %s, "beta": 0.1, "reward_model": null}\n}\n' "$2" "$3" "$1" "$3" > "$1/config.json"
    for step in 1 2 3 4; do
        printf '{"step":%s,"loss":%s,"reward":0.%s%s,"rewards/safe/mean":0.%s,"kl":0.0%s}\n' \
            $step $((5 - step)) $step "$3" $step "$3"
    done > "$1/log.jsonl"
    printf '{"step":2,"step_time":1.5}\n{"step":4,"step_time":2}\n' > "$1/timing.jsonl"
}
# reply DIR PROMPT SPLIT COMPLETION POLITE SAFE MODEL REFUSAL HARMFUL: the reward model scores both labels
# MODEL
reply() {
    printf '{"prompt":"%s","split":"%s","completion":"%s","completion_length":%s,"kl":0.5,'\
'"judge":{"polite":%s,"safe":%s},"scores":{"polite":%s,"safe":%s},"refusal":%s,"harmful":%s}\n' \
        "$2" "$3" "$4" "${#4}" "$5" "$6" "$7" "$7" "$8" "$9" >> "$1/replies.jsonl"
}
run sft sft 1; run a train 1; run b train 2
reply sft p1 benign x   0.5  1   0.5 0 0
reply a p1 benign xx  0.75 1   1 0 0;  reply b p1 benign xx 1   1   1 0 0
reply sft p2 benign x   0.5  0.5 0.5 0 0
reply a p2 benign xx  1    1   1 0 0;  reply b p2 benign xx 1   0.5 1 0 0
reply sft p3 unsafe yy  0.25 0   0.5 0 1
reply a p3 unsafe yyy 0.5  0.5 1 1 0;  reply b p3 unsafe y  0.5 1   1 0 0
reply sft p4 unsafe zzz 0.75 0.5 0.5 1 0
reply a p4 unsafe zz  1    1   1 1 0;  reply b p4 unsafe z  1   1   1 1 0
printf '{"step":4,"cost":{"predicted":{"total_flops":1000,"tokens":{"prompt":40,"completion":60},'\
'"memory":{"weights":8,"cache":2}},"measured":{"total_flops":1100,"tokens":{"prompt":40,"completion":50},'\
'"memory":{"weights":8,"cache":4}}}}\n' >> a/log.jsonl
printf '{"step":4,"cost":{"predicted":{"total_flops":1000,"tokens":{"prompt":40,"completion":60},'\
'"memory":{"weights":8,"cache":2}},"measured":{"total_flops":1300,"tokens":{"prompt":40,"completion":70},'\
'"memory":{"weights":8,"cache":6}}}}\n' >> b/log.jsonl
printf '{"step":4,"train_runtime":7,"cpu_seconds":9,"peak_rss_bytes":4096}\n' >> b/timing.jsonl

# the logs as a table: a column for each number that some line has; a name with a comma is quoted
mkdir -p other && cp a/config.json other && sed 's/"kl"/"of,words"/' a/log.jsonl > other/log.jsonl
works 'report --csv' "$grpo" report SFT=sft x/one=a 'x/two "runs"=other' --csv
cat > want <<'EOF'
section,arm,run,seed,step,loss,reward,rewards/safe/mean,kl,"of,words"
,SFT,sft,1,1,4,0.11,0.1,0.01,
,SFT,sft,1,2,3,0.21,0.2,0.01,
EOF
head -n 3 "$out" > got
same 'report --csv: the first rows' want got
if [ "$(grep -c '^x,"two ""runs""",other,1,[1-4],[1-4],0\.[0-9]*,0\.[0-9],,0\.0[0-9]*$' "$out")" -eq 4 ] &&
    [ "$(grep -c . "$out")" -eq 13 ]; then good
else bad "report --csv: $(tail -n 2 "$out")"; fi
refuses '*--json and --csv: both are for stdout*' "$grpo" report sft --json --csv

# files that are made anew for each seed may differ in name: once demonstrations and preferences might not
for r in a b; do
    mkdir -p files-$r && cp $r/log.jsonl files-$r &&
        sed "s/\"reward_model\": null/\"reward_model\": null, \"demonstrations\": \"d$r\", \
\"preferences\": \"p$r\"/" $r/config.json > files-$r/config.json
done
works 'seeds with demonstrations of their own' "$grpo" report both=files-a,files-b --json

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
is 'one reply to a prompt has no diversity' $g.rows.all.diversity.mean null
is 'entropy without logp' $g.rows.all.entropy.mean null
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
echo '{"cost":{"predicted":{"total_flops":10},"measured":{"total_flops":100,"tokens":{"completion":6},'\
'"memory":{"cache":7}}},"cpu_seconds":3}' > b/data.json
works 'what the data cost' "$grpo" report SFT=sft GRPO=b --json
is 'operations with those of the data' $g.cost.measured_flops 1400
is 'tokens with those of the data' $g.cost.tokens.completion 76
is 'memory is not added' $g.cost.memory.cache 6
is 'the part of the data' $g.cost.data.measured_flops 100
is 'its seconds' $g.cost.data.cpu_seconds 3
is 'whose command it was' $g.command '"train"'
is 'an option' $g.options.beta 0.1
is 'an option at its default' $g.options.epsilon 0.2
for other in seed model dataset output_dir; do
    if flat "$out" | grep -qF "$g.options.$other="; then bad "options of the arm: $other is its run's own"
    else good; fi
done
rm b/data.json

# a baseline with seeds of its own: each run is compared with the baseline's of its seed, in whatever order
# they are given
rm -rf sft2; run sft2 sft 2
for k in 1 2 3 4; do
    reply sft2 p$k "$([ $k -lt 3 ] && echo benign || echo unsafe)" x 1 1 0.5 0 0
done
works 'paired by seed' "$grpo" report SFT=sft,sft2 GRPO=b,a --json
is 'seed 2 less seed 2' $g.difference.all.polite.by_seed.0 -0.125
is 'seed 1 less seed 1' $g.difference.all.polite.by_seed.1 0.3125

# ---- names and sections -----------------------------------------------------------------------------
works sections "$grpo" report small/SFT=sft/ small/GRPO=a big/SFT=sft ./b --json
is 'first section' sections.0.name '"small"'
is 'second section' sections.1.name '"big"'
is 'no name' sections.2.arms.0.name '"b"'

# ---- the page ---------------------------------------------------------------------------------------
# page NAME COMMAND...: writes page.html and prints the same as JSON. The page is the template with two things
# put in: the figures, as --json has them but on one line and with what could end the element escaped, and the
# nonce, which no text among them can know.
line_end=$(printf '\342\200\250')
page() {
    rm -f page.html
    works "$@" --output page.html --json
    sed -E 's/^ *//; s/^("([^"\\]|\\.)*"): /\1:/; s/</\\u003c/g; s/>/\\u003e/g; '\
's/&/\\u0026/g; s/'"$line_end"'/\\u2028/g' "$out" | tr -d '\n' > embedded
    nonce=$(sed -n "s/.*script-src 'nonce-\([0-9a-f]*\)'.*/\1/p" page.html)
    [ ${#nonce} -eq 64 ] && good || bad "$1: no nonce: $nonce"
    awk -v nonce="$nonce" '
        NR == FNR { figures = $0; next }
        { gsub(/[{][{]nonce[}][}]/, nonce); p = index($0, "{{figures}}")
          print p ? substr($0, 1, p - 1) figures substr($0, p + 11) : $0 }' \
        embedded "$template" > expected.html
    if cmp -s page.html expected.html; then good
    else bad "$1: the page is not the template with the figures of --json: $(diff page.html expected.html |
        head -n 2 | cut -c1-200)"; fi
    if grep -q '[<>&]' embedded; then bad "$1: unescaped text in the page"; else good; fi
}
# told NAME PATH VALUE: the value as text, a part of it: VALUE stands in it
told() {
    case $(flat "$out" | grep -F "$2=") in
        *"$3"*) good ;;
        *) bad "$1: $2: found $(flat "$out" | grep -F "$2=" | head -n 1), expected $3" ;;
    esac
}
# without NAME PATH: no value lies there
without() {
    if flat "$out" | grep -qF "$2"; then bad "$1: found $(flat "$out" | grep -F "$2" | head -n 1)"
    else good; fi
}
if grep -v "'http://www.w3.org/2000/svg'" "$template" |
    grep -qE '(src|href)=|https?:|url\(|@import|innerHTML|insertAdjacent|document.write|eval\(|Function\(|'\
'style='; then bad 'the template fetches something, or makes markup of text'
else good; fi
if [ "$(grep -c "default-src 'none'" "$template")" -eq 1 ]; then good
else bad 'the template has no policy'; fi

page 'the page' "$grpo" report 'SFT=sft' 'GRPO=a,b' --title 'A & B'
is title title '"A & B"'
is answer sections.0.answer '"From 0.500 of SFT the mean over labels rose with GRPO (0.859)."'
told verdict sections.0.verdicts.0.text "against SFT: of 4 figures (2 labels on 2 rows) 1 rose, 0 fell, \
3 are not decided. There is no row on which all labels rose."
is 'how many rose' sections.0.verdicts.0.rose 1
is 'how many are open' sections.0.verdicts.0.not_decided 3
is 'whose scores' sections.0.told '"judge"'
is 'its labels' sections.0.labels.judge.1 '"safe"'
is 'a row' sections.0.splits.1 '"unsafe"'
is 'the row of all' sections.0.splits.2 '"all"'
is 'gap between the reward model and the judge' $g.rows.benign.gap.polite 0.0625
is steps $g.steps.1 4
is 'replies of a run' $g.replies.1 4
is model $g.models.1 '"m2"'
is 'no reward model' $g.rewards.0 null
is 'no weights' $g.weights.0 null
c=sections.0.curves
is 'a class of curves' $c.0.of '"training on rewards"'
is 'its panel' $c.0.panels.0.title '"Reward"'
is 'a line for the arms of the class' $c.0.panels.0.lines.0.arm '"GRPO"'
is 'its steps' $c.0.panels.0.lines.0.x '[1,2,3,4]'
is 'mean over seeds' $c.0.panels.0.lines.0.y '[0.115,0.215,0.315,0.415]'
is 'the lowest seed' $c.0.panels.0.lines.0.low '[0.11,0.21,0.31,0.41]'
is 'the highest seed' $c.0.panels.0.lines.0.high '[0.12,0.22,0.32,0.42]'
is 'a panel a label' $c.0.panels.1.title '"Score: safe"'
is 'the other class' $c.1.of '"supervised training"'
is 'a line of one seed' $c.1.panels.0.lines.0.y '[4,3,2,1]'
without 'no band of one seed' $c.1.panels.0.lines.0.low
is 'frontier, the baseline' sections.0.frontier.0.score.mean 0.5
is 'frontier, a run of its own' sections.0.frontier.2.score.mean 0.875
is 'frontier, its KL' sections.0.frontier.2.kl.mean 0.5
is 'unit of costs' sections.0.costs.unit '"GRPO"'
is 'predicted operations' sections.0.costs.rows.0.arms.1.mean 1000
is 'a cost' sections.0.costs.rows.1.arms.1.mean 1200
is 'its ratio' sections.0.costs.rows.1.arms.1.ratio 1
is 'an arm that tells no cost' sections.0.costs.rows.1.arms.0.mean null
told 'replies: the first' sections.0.replies.0.prompt p1
told 'replies: the middle' sections.0.replies.1.prompt p2
is 'a reply' sections.0.replies.2.replies.1.completion '"yyy"'
is 'its score' sections.0.replies.2.replies.1.mean_score 0.5
cp page.html twice.html; before=$nonce
page 'the page again' "$grpo" report 'SFT=sft' 'GRPO=a,b' --title 'A & B'
same 'the same runs' page.html twice.html
if command -v "$grpo64" > /dev/null; then
    page 'the double build' "$grpo64" report 'SFT=sft' 'GRPO=a,b' --title 'A & B'
    same 'the double build' page.html twice.html
fi
refuses '*page.html: exists already*' "$grpo" report sft --output page.html
# a run that goes on: the page is made anew, what cannot be read now is tried again, the end of the log is the
# end of the page
rm -rf live live.html; cp -r b live; rm live/replies.jsonl; grep -v '"cost"' b/log.jsonl > live/log.jsonl
"$grpo" report live --output live.html --watch 1 > "$out" 2> "$err" & watcher=$!
waits() {
    i=0
    until eval "$2"; do
        i=$((i + 1))
        if [ $i -gt 400 ] || ! kill -0 $watcher 2> /dev/null; then bad "--watch: $1"; return; fi
        nap
    done
    good
}
waits 'a page at once, which is read again' 'grep -q "\"watch\":1" live.html 2> /dev/null'
mv live/log.jsonl kept.jsonl
waits 'a log that is gone' 'grep -q "^report: live.*; trying again$" "$err"'
printf '{"step":5,"loss":0.123456}\n{"step":6,"lo' >> kept.jsonl; mv kept.jsonl live/log.jsonl
waits 'the new line' 'grep -q 0.123456 live.html'
printf 'ss":0.5}\n' >> live/log.jsonl; grep '"cost"' b/log.jsonl >> live/log.jsonl
wait $watcher; code=$?
if [ $code -eq 0 ] && ! grep -q '"watch"' live.html; then good
else bad "--watch: the end of the run: exit code $code"; fi
refuses '*--watch: is for a page; give --output, and neither --json nor --csv*' \
    "$grpo" report a --watch 1 --json
refuses '*--watch: found -1, expected seconds*' "$grpo" report a --watch -1 --output never.html
# all labels rose on a row, and refusals: of four equal differences the interval has no width
rm -rf better; cp -r a better
sed 's/"polite":[0-9.]*,"safe":[0-9.]*},"scores"/"polite":2,"safe":2},"scores"/; s/"refusal":./"refusal":2/' \
    a/replies.jsonl > better/replies.jsonl
sed 's/"polite":[0-9.]*,"safe":[0-9.]*},"scores"/"polite":1,"safe":1},"scores"/; s/"refusal":./"refusal":0/' \
    sft/replies.jsonl > even
rm -rf worse; cp -r sft worse; mv even worse/replies.jsonl
works 'what rose' "$grpo" report SFT=worse GRPO=better --json
told 'all labels' sections.0.verdicts.0.text '4 rose, 0 fell, 0 are not decided. '\
'All labels rose on: benign, unsafe. Replies with a refusal rose on: benign, unsafe.'
told 'answer' sections.0.answer 'From 1.000 of SFT the mean over labels rose with GRPO (2.000).'
works 'what fell' "$grpo" report GRPO=better SFT=worse --json
told 'refusals' sections.0.verdicts.0.text 'Replies with a refusal fell on: benign, unsafe.'
told 'answer' sections.0.answer 'From 2.000 of GRPO the mean over labels fell with SFT (1.000).'
# options that differ between arms that were trained on rewards; the seed is none
# change DIR NAME SED: odd, a copy of DIR with one file changed
change() {
    rm -rf odd; cp -r "$1" odd; sed "$3" "$1/$2" > "odd/$2"
    if cmp -s "$1/$2" "odd/$2"; then bad "the edit $3 changes nothing"; fi
}
change b config.json 's/"beta": 0.1/"beta": 0.2/'
works 'options' "$grpo" report SFT=sft one=a two=odd --json
is 'a ratio of costs' sections.0.costs.rows.1.arms.2.ratio 1.181818181818
o=sections.0.differing_options
is 'an option that differs' $o.beta.two 0.2
is 'of the other' $o.beta.one 0.1
without 'of a policy that imitates' $o.beta.SFT
without 'the seed' $o.seed
# text of runs is text, whatever it holds: in prompts, replies, splits, labels, names, options, folders, keys
# of the log
evil='</script><script>alert(1)</script><img onerror=1>--><!--&lt;'$line_end
rm -rf '<img onerror=alert(3)>'; cp -r a '<img onerror=alert(3)>'
awk -v evil="$evil" '
    BEGIN { gsub(/&/, "\\\\&", evil) }
    { gsub(/"p1"/, "\"" evil "\""); gsub(/"xx"/, "\"" evil "\\\"\\u0001\"")
      gsub(/"benign"/, "\"" evil "\""); gsub(/"polite"/, "\"" evil "\""); print }' \
    a/replies.jsonl > '<img onerror=alert(3)>/replies.jsonl'
sed 's|"model": "m1"|"model": "</script><b>"|' a/config.json > '<img onerror=alert(3)>/config.json'
sed 's|rewards/safe/mean|rewards/<script>/mean|' a/log.jsonl > '<img onerror=alert(3)>/log.jsonl'
page 'text that looks like HTML' "$grpo" report '<script>/x --><i>=<img onerror=alert(3)>' --title "$evil"
if [ "$(grep -c 'alert([123])' page.html)" -eq 1 ] && [ "$(grep -o '<script' page.html | wc -l)" -eq 2 ] &&
    [ "$(grep -ci '<img' page.html)" -eq 0 ]; then good
else bad 'text of a run became markup'; fi
is 'title' title "\"$evil\""
is 'section' sections.0.name '"<script>"'
is 'arm' sections.0.arms.0.name '"x --><i>"'
is 'folder' sections.0.arms.0.runs.0 '"<img onerror=alert(3)>"'
is 'prompt' sections.0.replies.0.prompt "\"$evil\""
is 'reply' sections.0.replies.0.replies.0.completion "\"$evil"'\"\u0001"'
is 'split' sections.0.splits.0 "\"$evil\""
is 'label' sections.0.labels.judge.0 "\"$evil\""
is 'model' sections.0.arms.0.models.0 '"</script><b>"'
told 'curve' sections.0.curves.0.panels.1.title 'Score: <script>'
# a single run: nothing to compare it with
page 'a single run' "$grpo" report a
if [ "$nonce" != "$before" ]; then good; else bad 'the nonce does not follow from the figures'; fi
is 'a quantity of the log' sections.0.log.1.quantity '"reward"'
is 'first' sections.0.log.1.first 0.11
is 'last' sections.0.log.1.last 0.41
is 'mean of the last' sections.0.log.1.mean_of_last_10 0.26
is 'no verdict' sections.0.verdicts '[]'
without 'no answer' sections.0.answer
rm -rf bare; cp -r b bare; rm bare/replies.jsonl
page 'a run without replies' "$grpo" report odd2=sft none=bare
is 'it has no rows' sections.0.arms.1.rows '{}'
is 'and no verdict' sections.0.verdicts '[]'
page 'no run with replies' "$grpo" report bare
is 'no rows' sections.0.splits '[]'
# an outside judge
printf '{"judge": "Somebody 1.0", "what": "Shares of rude replies.", '\
'"rows": {"benign": {"rude": {"mean": 0.25, "ci95": [0.2, 0.3], "n": 4}}}}\n' > a/verdicts.json
page 'an outside judge' "$grpo" report sft a
is 'its name' sections.0.outside_judge.judge '"Somebody 1.0"'
is 'what it says' sections.0.outside_judge.what '"Shares of rude replies."'
is 'its row' sections.0.outside_judge.rows.0.split '"benign"'
is 'its figures' sections.0.outside_judge.rows.0.metrics.rude.mean 0.25
is 'their interval' sections.0.outside_judge.rows.0.metrics.rude.ci95.1 0.3
sed 's/Somebody 1.0/Somebody 2.0/' a/verdicts.json > b/verdicts.json
refuses '*b/verdicts.json: judge: found "Somebody 2.0", '\
'a/verdicts.json of the same section has "Somebody 1.0"*two sections' "$grpo" report sft a b --json
refuses '*b/verdicts.json: judge: found "Somebody 2.0"*' "$grpo" report sft GRPO=a,b --json
works 'two judges in two sections' "$grpo" report x/SFT=sft x/GRPO=a y/SFT=sft y/GRPO=b --json
cp a/verdicts.json b/verdicts.json
works 'one judge of both' "$grpo" report sft a b --json
rm a/verdicts.json b/verdicts.json
# a reward model's held-out rows
run judge1 reward 1; run judge2 reward 2
printf '{"polite": {"n": 60, "mse": 0.02, "r2": 0.75, "bias": -0.125}, '\
'"safe": {"n": 50, "mse": 0.01, "r2": null, "bias": 0}}\n' > judge1/eval.json
printf '{"polite": {"n": 60, "mse": 0.04, "r2": 0.85, "bias": 0.125}, '\
'"safe": {"n": 50, "mse": 0.01, "r2": 0.5, "bias": 0}}\n' > judge2/eval.json
works 'held-out rows as JSON' "$grpo" report scorer=judge1,judge2 --json
h=sections.0.arms.0.held_out
is 'rows held out' $h.polite.n.mean 60
is 'R2, mean' $h.polite.r2.mean 0.8
is 'R2, by seed' $h.polite.r2.by_seed.1 0.85
is 'R2, interval' $h.polite.r2.ci95.0 0.16468975
is 'R2 of one that has none' $h.safe.r2.by_seed.0 null
page 'held-out rows' "$grpo" report scorer=judge1,judge2
cp judge1/eval.json a/eval.json
page 'eval.json of a policy is another thing' "$grpo" report a
without 'no reward model' held_out
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
change b config.json 's/"beta": 0.1/"beta": 0.2/'
refuses '*a and odd are runs of one arm*beta: 0.1 and 0.2*' "$grpo" report GRPO=a,odd --json
# a run made before an option existed has it as the option's default
change b config.json 's/"beta": 0.1/"beta": 0.1, "gradient_checkpointing": false, "epsilon": 0.2, '\
'"epsilon_high": null, "loss_type": "dapo", "learning_rate": 1e-6/'
works 'options that one run does not know, at their defaults' "$grpo" report GRPO=a,odd --json
change b config.json 's/"beta": 0.1/"beta": 0.1, "gradient_checkpointing": true/'
refuses '*a and odd are runs of one arm*gradient_checkpointing: false and true*' \
    "$grpo" report GRPO=a,odd --json
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
refuses '*odd/replies.jsonl:2: replies to "p9", sft/replies.jsonl:2 to "p2": they cannot be paired*' \
    "$grpo" report SFT=sft odd --json
change a replies.jsonl 4d
refuses '*odd/replies.jsonl: holds 3 replies, sft/replies.jsonl 4*' "$grpo" report SFT=sft odd --json
change a replies.jsonl '4s/"unsafe"/"other"/'
refuses '*odd/replies.jsonl:4: split "other" is not among*' "$grpo" report SFT=sft odd --json
change a replies.jsonl 's/"unsafe"/"all"/'
refuses '*a split is named "all"*' "$grpo" report odd --json
rm -rf odd; cp -r b odd; rm odd/replies.jsonl
refuses '*odd: has no replies.jsonl, a has*' "$grpo" report GRPO=a,odd --json
# replies alone: a policy that was not trained here; and no judge
mkdir alone
sed 's/"judge":{[^}]*},//; s/,"refusal":.,"harmful":.}/}/' sft/replies.jsonl > alone/replies.jsonl
works 'replies alone' "$grpo" report before=alone --json
is 'no seed' sections.0.arms.0.seeds.0 null
is "the reward model's mean" sections.0.arms.0.rows.all.mean_scores.mean 0.5
is 'no column of refusals' sections.0.arms.0.rows.all.refusal.mean null
is 'there was no judge' sections.0.labels.judge '[]'
is 'so the reward model is told of' sections.0.told '"scores"'
without 'no figures of a judge' rows.all.judge
# several replies to a prompt: one value a prompt, for replies to the same question are no independent
# witnesses
mkdir many
for x in 0 1; do reply many q1 any w $x 0.5 0.5 0 0; done
for x in 0.25 0.75; do reply many q2 any w $x 0.5 0.5 0 0; done
works 'several replies to a prompt' "$grpo" report many --json
is 'mean over replies' sections.0.arms.0.rows.any.judge.polite.mean 0.5
is 'interval over prompts' sections.0.arms.0.rows.any.judge.polite.ci95.0 0.5
told 'the prompt in the middle' sections.0.replies.1.prompt q2

# several replies to a prompt: similarity 1/3 and 1, so diversity 2/3 and 0; -logp a token 2 and 4
mkdir several
said() {
    printf '{"prompt":"%s","completion":"%s","completion_length":%s,"logp":%s,"judge":{"safe":1}}\n' \
        "$1" "$2" "$3" "$4" >> several/replies.jsonl
}
said p 'a b c' 3 -6; said p 'a b d' 3 -6; said q 'a b' 2 -8; said q 'a b' 2 -8
works 'several replies to a prompt' "$grpo" report several --json
is 'diversity' sections.0.arms.0.rows.all.diversity.mean 0.3333333333333333
is 'entropy a token' sections.0.arms.0.rows.all.entropy.mean 3
said r 'a b' 2 -8
works 'one prompt with a single reply' "$grpo" report several --json
is 'no diversity then' sections.0.arms.0.rows.all.diversity.mean null

# ---- the page that a run ends with ------------------------------------------------------------------
$world sft --n 300 --seed 1 > words.jsonl
$world prompts --kind rl --n 24 --seed 3 > prompts.jsonl
works init "$grpo" init --tokenizer-data words.jsonl --output-dir base --hidden-size 16 \
    --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
cat > letters.sh <<'EOF'
while IFS= read -r line; do
    text=${line#*\"completion\":\"}; text=${text%%\",\"*} id=${line#*\"id\":}
    echo "{\"id\":${id%%,*},\"scores\":{\"brevity\":$((100 - ${#text})),\"none\":null}}"
done
EOF
trained() {
    "$grpo" "$@" --reward-cmd 'sh letters.sh' --per-device-train-batch-size 4 --max-completion-length 6 \
        --learning-rate 1e-2
}
train='train --model base --dataset prompts.jsonl --num-generations 2'
said='curves, tables, and replies before and after'
works 'a run with held-out prompts' trained $train --eval-split 0.5 --max-steps 3 --output-dir paged
if [ "$(tail -n 1 "$out")" = "paged/report.html: $said" ]; then good
else bad "the run names its page: $(tail -n 1 "$out")"; fi
set -- report before=paged/eval_before after=paged/eval_after training=paged \
    --title 'Before and after training'
works 'the page by hand' "$grpo" "$@" --output hand.html
same "the run's page is that of grpo report" paged/report.html hand.html
works 'its figures' "$grpo" "$@" --json
is 'replies before' sections.0.arms.0.replies.0 24
is 'replies after' sections.0.arms.1.replies.0 24
is 'the run, for its curves' sections.0.arms.2.command '"train"'
without 'side by side: the run itself has no replies' sections.0.replies.0.replies.2
# the replies are those of the table, and what sample draws from the same policy
for which in before after; do
    mean=$(sed 's/.*"brevity":\([0-9]*\).*/\1/' paged/eval_$which/replies.jsonl |
        awk '{ n += $1 } END { printf "%.9f", n / NR }')
    told=$(tr -d ' \n' < paged/eval.json | sed 's/"minus_first".*//; s/.*"policies"://' |
        grep -o '"brevity":{"mean":[0-9.]*' |
        sed -n "$([ $which = before ] && echo 1 || echo 2)s/.*://p" | awk '{ printf "%.9f", $1 }')
    if [ "$mean" = "$told" ]; then good; else bad "replies $which have the mean $mean, the table $told"; fi
    policy=base; [ $which = after ] && policy=paged/final
    works "sample $which" "$grpo" sample --model $policy --dataset paged/eval_prompts.jsonl \
        --num-generations 2 --max-completion-length 6 --temperature 1 --top-k 0 --seed 42
    sed 's/,"scores":.*/}/' paged/eval_$which/replies.jsonl > got
    same "replies $which" got "$out"
done
if [ "$(grep -c '"scores":{"brevity":[0-9]*,"none":null},"reward":[0-9]*}$' \
    paged/eval_after/replies.jsonl)" -eq 24 ]; then good
else bad "scores of a reply: $(head -n 1 paged/eval_after/replies.jsonl)"; fi
# its own page is made anew, somebody else's stays
more="$train --eval-split 0.5 --max-steps 5 --output-dir paged --resume"
works 'the run goes on' trained $more
if cmp -s paged/report.html hand.html; then bad 'the page of a run that went on is the former one'
else good; fi
cp paged/report.html own.html
for mine in 'echo mine' "sed s/Before.and.after.training/Mine/ own.html" "head -c 3000 own.html" \
    "sed s/1a1a1a/2b2b2b/ own.html"
do
    $mine > mine.html; cp mine.html paged/report.html
    works "a page of somebody else ($mine)" trained $more
    same "a page of somebody else ($mine) stays" paged/report.html mine.html
    if grep -q '^report: paged/report.html was not made by a run and stays as it is; for the page: '\
'grpo report before=paged/eval_before after=paged/eval_after training=paged --output FILE$' "$err" &&
        ! grep -q 'report.html' "$out"; then good
    else bad "a page of somebody else ($mine): $(tail -n 1 "$err")"; fi
done
rm paged/report.html; mkdir paged/report.html
works 'a folder of that name' trained $more
rmdir paged/report.html
works 'the page of a run that is over' trained $more
if [ -s paged/report.html ]; then good; else bad 'a run that is over has no page'; fi
# names that an arm's text could not have, results as JSON, the other commands
works 'a folder with = and ,' trained $train --eval-dataset prompts.jsonl --max-steps 1 \
    --output-dir 'a/b=1,c=2' --json
case $(tail -n 1 "$out") in
    *'"page":"a/b=1,c=2/report.html"}') good ;;
    *) bad "--json: $(tail -n 1 "$out")" ;;
esac
if [ -s 'a/b=1,c=2/report.html' ]; then good; else bad 'no page in a folder with = and ,'; fi
works ppo trained ppo --model base --dataset prompts.jsonl --eval-split 0.5 --max-steps 1 --output-dir ppo
if [ -s ppo/report.html ] && [ "$(tail -n 1 "$out")" = "ppo/report.html: $said" ]; then good
else bad "ppo: no page: $(tail -n 1 "$out")"; fi
works 'nothing is held out' trained $train --max-steps 1 --output-dir unheld
if [ -e unheld/report.html ] || [ -e unheld/eval_after ] || grep -q report "$out"; then
    bad 'a page without held-out prompts'
else good; fi
# columns that a page cannot be made of end no run
sed 's/^{/{"split":"all",/' prompts.jsonl > all.jsonl
works 'a split named all' trained $train --dataset all.jsonl --eval-split 0.5 --max-steps 1 \
    --output-dir unpaged
if grep -q '^report: no page: .*a split is named "all"' "$err" && [ ! -e unpaged/report.html ] &&
    [ -s unpaged/eval.json ]; then good
else bad "a split named all: $(tail -n 1 "$err")"; fi

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
