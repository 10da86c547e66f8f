#!/bin/sh
# test_experiment.sh: the experiment at the size of a grain: its stages, what is kept, what is refused; and
# the verdicts, from figures chosen here. Run from the project's root by `make test`.
root=$PWD
. tests/commands.sh
cd "$root" || exit 2
tables=build/experiment_tables

# holds NAME FILE PATTERN: a line of the file matches (basic regular expression)
holds() { if grep -q -e "$3" "$2"; then good; else bad "$1: found no line \"$3\""; fi; }
count() {
    n=$(grep -c -e "$3" "$2")
    if [ "$n" -eq "$4" ]; then good; else bad "$1: found $n lines \"$3\", expected $4"; fi
}

# ---- verdicts --------------------------------------------------------------------------------------
# report ARM=A,B,C=FLOPS[=SECONDS[=RATE[=SEEDS]]]...: a report of one scale in which every label, row and mean
# of an arm has these values by seed
report() {
    awk -v arms="$*" 'BEGIN {
        n = split(arms, arm, " ")
        split("benign lookalike unsafe adversarial unseen_wrapper unseen_template all", row, " ")
        split("politeness meaningfulness actionability safety", label, " ")
        printf "{\"sections\":["
        for (s = 1; s <= 2; s++) {
            printf "%s{\"name\":\"%s\",\"arms\":[", (s > 1 ? "," : ""), (s == 1 ? "0.25M" : "ablations")
            for (a = 1; a <= n; a++) {
                split(arm[a], p, "="); m = split(p[2], v, ",")
                flops = p[3]; seconds = p[4] == "" ? flops : p[4]; list = ""
                for (i = 1; i <= m; i++) list = list ((i > 1 ? "," : "")) v[i]
                figure = "{\"by_seed\":[" list "]}"
                seeds = p[6]; for (i = 1; i <= m && p[6] == ""; i++) seeds = seeds (i > 1 ? "," : "") i
                printf "%s{\"name\":\"%s\",\"seeds\":[%s],\"options\":{\"beta\":0.5," \
                    "\"learning_rate\":%s},\"rows\":{",
                    (a > 1 ? "," : ""), p[1], seeds, p[5] == "" ? 1 : p[5]
                for (r = 1; r <= 7; r++) {
                    printf "%s\"%s\":{\"n\":%s,\"judge\":{", (r > 1 ? "," : ""), row[r], 10 * r
                    for (k = 1; k <= 4; k++) printf "%s\"%s\":%s", (k > 1 ? "," : ""), label[k], figure
                    printf "},\"mean_judge\":%s,\"harmful\":%s,\"refusal\":%s," \
                        "\"completion_length\":%s,\"kl\":%s}", figure, figure, figure, figure, figure
                }
                printf "},\"cost\":{\"predicted_flops\":%s,\"measured_flops\":%s," \
                    "\"cpu_seconds\":%s,\"peak_rss_bytes\":%s}}", flops, flops, seconds, flops
            }
            printf "]}"
        }
        printf ",{\"name\":\"reward\",\"arms\":[{\"name\":\"four-scores\",\"seeds\":[1,2],\"held_out\":{" \
            "\"safety\":{\"n\":{\"mean\":600},\"r2\":{\"by_seed\":[0.5,0.7]}," \
            "\"bias\":{\"by_seed\":[0.1,0.1]}}}}]}"
        printf "]}\n"
    }'
}
# section FILE N: the paragraph of one claim
section() { awk -v n="$2" '/^## / { on = $2 == n "." } on' "$1" > "$t/section"; }

report SFT=0.5,0.52,0.48=1 GRPO=0.7,0.71,0.69=100 PPO=0.6,0.61,0.6=200 DPO=0.8,0.82,0.8=50 \
    PPO-time=0.7,0.69,0.72=100 > "$t/report.json"
$tables claims "$t/report.json" > "$t/claims.md" || bad "claims: exit code $?"
holds "what was run" "$t/claims.md" \
    'What was run:\*\* 0.25M, 3 seeds: SFT, GRPO, PPO, DPO, PPO-time\. ablations, 3 seeds: .* these alone'
count "the whole is no part" "$t/claims.md" 'not the whole experiment' 0
section "$t/claims.md" 1
holds "four scores on four rows rose" "$t/section" '^16 of 16 comparisons rose .* 0 fell'
holds "claim 1" "$t/section" 'Verdict: holds here\.'
section "$t/claims.md" 4
holds "a critic's cost" "$t/section" '0.25M, operations: 0.50'
holds "claim 4" "$t/section" 'Verdict: holds here\.'
section "$t/claims.md" 5; holds "better than PPO" "$t/section" 'Verdict: holds here\.'
section "$t/claims.md" 6; holds "no difference is no verdict" "$t/section" 'Verdict: not decided here\.'
section "$t/claims.md" 7; holds "worse than DPO" "$t/section" 'Verdict: does not hold here: the contrary does'
section "$t/claims.md" 8; holds "an arm that was not run" "$t/section" 'Verdict: not run\.'
section "$t/claims.md" 12; holds "sizes beyond a laptop" "$t/section" 'Verdict: cannot be tested here\.'
# mean difference of .2, .19, .21 is .2 with t(2) = 4.303 times .01 / sqrt 3 = .02484; the seeds are taken in
# pairs
$tables results "$t/report.json" "$t/report.json" > "$t/results.md" || bad "results: exit code $?"
holds "an interval by hand" "$t/results.md" '| benign, GRPO | .50 > .70 (+.20 ± .02)'
# GRPO - PPO = .1, .1, .09: sd .005774, so t(n - 1) sd / sqrt n < .05 asks 3 seeds (t(1) = 12.7: .0519 with 2)
holds "seeds needed" "$t/results.md" '| 0.25M, benign | 3 | 3 | 3 | 3 | 3 |'
holds "prompts a row" "$t/results.md" 'Prompts a row: benign 10, lookalike 20, .* unseen_template 60;'
holds "no search" "$t/results.md" '^Not made in this run'
holds "the reward model" "$t/results.md" \
    '^| four-scores, safety | 600 | .50 | .70 | .60 ± 1.27 | - | +.10 ± .00 |$'
for page in claims results; do
    [ $page = claims ] && second= || second=$t/report.json
    $tables $page "$t/report.json" ${second:+"$second"} 'STEPS 3 instead of 220' > "$t/page.md" ||
        bad "$page of a part: exit code $?"
    holds "a part: $page" "$t/page.md" 'This is not the whole experiment.*: STEPS 3 instead of 220\.'
done

# an arm of seeds 1 and 3: each against the run of its own seed, .6 - .7 and .7 - .9
report SFT=0.5,0.1,0.6=1 GRPO=0.7,0.8,0.9=100 PPO=0.6,0.7=100=100=1=1,3 > "$t/pairs.json"
$tables results "$t/pairs.json" "$t/pairs.json" > "$t/results.md" ||
    bad "results, seeds 1 and 3: exit code $?"
holds "seed by seed" "$t/results.md" '^| PPO | -.15 ± .64 |'
holds "the same seeds before and after" "$t/results.md" '^| benign, PPO | .55 > .65 (+.10 ± .00) |'

# counted against measured: PPO 2 / 1.9 of GRPO; DPO .5 / .7, of which its pairs .1 / .3
report SFT=0.5,0.6=1 GRPO=0.7,0.7,0.7=100 PPO=0.6,0.6=200=190 DPO=0.8,0.8=50=70 |
    sed 's/"measured_flops":50,"cpu_seconds":70/&,"data":{"predicted_flops":10,"measured_flops":10,'\
'"cpu_seconds":30}/' > "$t/cost.json"
$tables results "$t/cost.json" "$t/cost.json" > "$t/results.md" || bad "results, cost: exit code $?"
holds "seeds of arms" "$t/results.md" '0.25M, 3 seeds: SFT (2), GRPO, PPO (2), DPO (2)'
holds "costs agree" "$t/results.md" \
    '^- 0.25M, PPO: counted 2.00 of GRPO, measured 1.90: within 10 % (counted : measured 1.053)\.$'
holds "costs differ" "$t/results.md" \
    '^- 0.25M, DPO: counted 0.50 of GRPO, measured 0.70: NOT within 10 % (counted : measured 0.714)\. '\
'Of this 0.10 counted and 0.30 measured .* 0.40 and 0.40 .* took 3.00 times'
holds "the pairs' line" "$t/results.md" \
    '^| 0.25M, DPO: its pairs | 10 | 10 | 1.000 | 0.10 | 30 | 0.30 | 0.33 | 0.0 | - |$'

# the search: which candidate is best is computed, and what the tables used is read from their runs
report SFT=0.5=1 GRPO-1=0.6=1=1=1 GRPO-2=0.7=1=1=2 GRPO-3=0.65=1=1=3 PPO-1=0.6=1=1=4 PPO-2=0.6=1=1=5 \
    > "$t/search.json"
used() {
    report SFT=0.5=1 "GRPO=0.7=1=1=$1" "PPO=0.7=1=1=$2" > "$t/used.json"
    $tables results "$t/used.json" "$t/search.json" > "$t/results.md" || bad "results, search: exit code $?"
}
used 2 4
holds "the best is marked" "$t/results.md" '^| GRPO-2 (best) |'
count "of each method one" "$t/results.md" '(best)' 2
holds "the best was used" "$t/results.md" "^| GRPO | GRPO-2: learning_rate 2 | the search's best |$"
holds "the first of equals" "$t/results.md" "^| PPO | PPO-1: learning_rate 4 | the search's best |$"
holds "both" "$t/results.md" "use the search's best for 2 of 2 methods\."
used 3 6
holds "another candidate was used" "$t/results.md" \
    '^| GRPO | GRPO-2: learning_rate 2 | not the best but GRPO-3 (mean .65): learning_rate 3 |$'
holds "no candidate was used" "$t/results.md" '^| PPO | PPO-1: learning_rate 4 | learning_rate 6 |$'
holds "neither" "$t/results.md" "use the search's best for 0 of 2 methods; the others stand"
report SFT=0.5=1 GRPO=0.7=100 PPO=0.6=80 > "$t/one.json"
$tables claims "$t/one.json" > "$t/claims.md"
section "$t/claims.md" 1; holds "one seed decides nothing" "$t/section" 'Verdict: not decided here'
section "$t/claims.md" 4; holds "a dearer GRPO" "$t/section" 'Verdict: does not hold here\.'
report SFT=0.5,0.52,0.48=1 GRPO=0.3,0.31,0.29=100 > "$t/worse.json"
$tables claims "$t/worse.json" > "$t/claims.md"
section "$t/claims.md" 1
holds "a fall" "$t/section" '^0 of 16 comparisons rose .* 16 fell'
holds "claim 1 turned round" "$t/section" 'Verdict: does not hold here: the contrary does'
$tables claims "$t/none.json" > /dev/null 2> "$t/err"
if [ $? -eq 2 ] && [ "$(wc -l < "$t/err")" -eq 1 ]; then good
else bad "a missing report: $(cat "$t/err")"; fi

# ---- E58: one label --------------------------------------------------------------------------------
echo '{"prompt":"a","labels":{"politeness":1,"meaningfulness":0.5,"actionability":0.25,"safety":0}}' |
    build/make_world collapse --weights 0.5,0.25,0.125,4 > "$t/collapsed"
holds "a collapsed label" "$t/collapsed" '^{"prompt":"a","labels":{"overall":0.65625}}$'
echo '{"prompt":"a"}' | build/make_world collapse --weights 1,1,1,1 > /dev/null 2> "$t/err"
holds "no labels to collapse" "$t/err" '^<stdin>:1: found no "labels"'
build/make_world collapse --weights 1,1,1 < /dev/null > /dev/null 2> "$t/err"
holds "three weights" "$t/err" 'found "1,1,1", expected 4 numbers'

# ---- the stages ------------------------------------------------------------------------------------
grain() {
    make -s -f experiment/experiment.mk EXPERIMENT="$t/x" SCALES=0.25M SEEDS=1 N_SFT=1000 N_REWARD=30 \
        STEPS=2 N_EVAL=2 ABLATIONS="collapsed" SEARCHED= JOBS=1 "$@" 2> "$t/err"
}
if grain all; then good; else bad "the stages: $(tail -n 1 "$t/err")"; fi
count "every stage is told" "$t/err" '^\[[0-9]*/[0-9]*\] .* min left' \
    "$(find "$t/x" -name stage.txt | wc -l)"
holds "the last one" "$t/err" '^\[13/13\].* about 0 min left'
for arm in base GRPO PPO DPO PPO-time DPO-time collapsed; do
    count "replies of $arm" "$t/x/0.25M/1/$arm/run/replies.jsonl" '"judge":.*"scores":' 11
done
before=$(wc -l < "$t/x/seconds.txt")
if grain all && [ "$(wc -l < "$t/x/seconds.txt")" -eq "$before" ]; then good
else bad "finished stages were made again"; fi
# interrupted after its checkpoint: the same weights
sum() { cksum < "$t/x/0.25M/1/GRPO/run/final/model.safetensors"; }
whole=$(sum)
rm -r "$t/x/0.25M/1/GRPO/stage.txt" "$t/x/0.25M/1/GRPO/run/final"
if grain all && [ "$(sum)" = "$whole" ]; then good
else bad "an interrupted stage: $(tail -n 1 "$t/err")"; fi
if grain STEPS=3 all; then bad "another version was accepted"
else
    holds "another version" "$t/err" 'stage.txt: found ".* 2 updates.*", expected ".* 3 updates.*": '\
'this folder holds another version of the experiment'
fi

# the pages of a part say so, with what was set; those of the whole do not
if grain results; then good; else bad "the pages: $(tail -n 1 "$t/err")"; fi
for page in README.md claims.md; do
    holds "a part: $page" "$t/x/results/$page" '^\*\*This is not the whole experiment.*SCALES 0.25M '\
'instead of 0.25M 0.52M 2.0M; SEEDS 1 instead of 1 2 3; .* SEARCHED none; .* STEPS 2 instead of 220\.$'
done
holds "a part: report.html" "$t/x/results/report.html" \
    '"title":"[^"]*a smaller run: SCALES 0.25M instead of'
holds "the reward models of all arms" "$t/x/results/README.md" '^| collapsed, overall | '
make -n -s -f experiment/experiment.mk EXPERIMENT="$t/none" results > "$t/dry"
count "the whole is no part" "$t/dry" 'instead of' 0
count "the whole has its pages" "$t/dry" 'experiment_tables' 2

# a stage whose program fails says why, and is not made
if grain EXPERIMENT="$t/y" N_SFT=300 0.25M/1/init; then bad "a vocabulary that the texts do not give"
else holds "init fails" "$t/err" '^grpo init: .* entries, expected 799'; fi
rm -r "$t/x/reward/1"
echo '{"prompt":' > "$t/x/world/1/heldout_prompts.jsonl"
if grain reward/1; then bad "held-out prompts that are none were accepted"
else holds "sample fails" "$t/err" '^grpo sample: .*heldout_prompts.jsonl:1:'; fi

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
