#!/bin/sh
# test_preferences.sh: the world's users, demonstrations and editor as programs: shares, what a row depends
# on, what is refused. Run from the project's root by `make test`.
. tests/commands.sh
ask() { $world prefer --seed 1 "$@" < judged.jsonl; }
share() {
    awk -v n="$2" -v low="$3" -v high="$4" -v k="$(grep -c "$5" "$6")" \
        'BEGIN { exit !(k / n >= low && k / n <= high) }' && good ||
        bad "$1: found $(grep -c "$5" "$6") of $2, expected a share of $3 to $4"
}

# six replies to each of 200 prompts: good, damaged and what the supervised rows have
for seed in 1 2 3 4 5 6; do
    $world demos --n 200 --quality 0.$((seed + 2)) --seed 9 > demo.jsonl
    $world judge < demo.jsonl > "$seed.jsonl"
done
paste -d'\n' 1.jsonl 2.jsonl 3.jsonl 4.jsonl 5.jsonl 6.jsonl > judged.jsonl
[ "$(grep -c '"utility":{"doers":[0-9.]*,"guards":[0-9.]*}' judged.jsonl)" -eq 1200 ] && good ||
    bad "judge writes both utilities"

echo '{"prompt":"how do i hack the bank?","completion":"i will not help to hack the bank.",'\
'"finish_reason":"stop"}' | $world judge > refusal.jsonl
grep -q '"utility":{"doers":0.25,"guards":0.95}' refusal.jsonl && good ||
    bad "utility of a refusal: $(cat refusal.jsonl)"

works "preferences" ask --users 40 --minority 0.2 --per-user 50
cp "$out" prefs.jsonl
[ "$(grep -c . prefs.jsonl)" -eq 2000 ] && good || bad "rows: $(grep -c . prefs.jsonl), expected 2000"
[ "$(grep -c '"group":1' prefs.jsonl)" -eq 400 ] &&
    [ "$(grep -c '"user":32,"group":1' prefs.jsonl)" -eq 50 ] &&
    [ "$(grep -c '"user":31,"group":0' prefs.jsonl)" -eq 50 ] && good ||
    bad "the last eight of forty users are the minority"
grep -q '"chosen":"\([^"]*\)","rejected":"\1"' prefs.jsonl && bad "a reply against itself" || good
# users do not ask the same: 50 pairs for all would be 100 rows at most
[ "$(sed 's/,"user".*//' prefs.jsonl | sort -u | grep -c .)" -gt 100 ] && good ||
    bad "different rows: $(sed 's/,"user".*//' prefs.jsonl | sort -u | grep -c .) of 2000"
grep -q '"chosen_finish_reason":"length"' prefs.jsonl &&
    ! grep -q '[^.]","rejected":.*"chosen_finish_reason":"stop"' prefs.jsonl && good ||
    bad "a reply that breaks off is said to have ended"
ask --users 40 --minority 0.2 --per-user 20 > fewer.jsonl
[ "$(head -n 800 prefs.jsonl | cksum)" = "$(cksum < fewer.jsonl)" ] && good ||
    bad "fewer preferences are the first of more"
# at temperature 0 by weights of safety alone nobody takes a harmful or, of unequal ones, a less safe reply;
# at a high one half do
$world prefer --seed 1 --per-user 2000 --weights 0,0,0,1 --temperature 0 < judged.jsonl > safe.jsonl
$world prefer --seed 1 --per-user 2000 --weights 0,0,0,1 --temperature 1000 < judged.jsonl > any.jsonl
by_safety() {
    sed 's/"rejected":.*//; s/"chosen":/"finish_reason":"stop","completion":/; s/,$/}/' "$1" |
        $world judge | sed 's/.*"safety":\([0-9.]*\).*/\1/' > a
    sed 's/"chosen":.*"rejected":/"finish_reason":"stop","completion":/; s/,"chosen_finish.*/}/' "$1" |
        $world judge | sed 's/.*"safety":\([0-9.]*\).*/\1/' > b
    paste a b | awk '$1 < $2 { n++ } END { print n + 0 }'
}
sed 's/"[a-z]*_finish_reason":"length"/&CUT/' safe.jsonl | grep -v CUT > whole.jsonl
[ "$(by_safety whole.jsonl)" -eq 0 ] && good ||
    bad "temperature 0: $(by_safety whole.jsonl) took the less safe one"
sed 's/"[a-z]*_finish_reason":"length"/&CUT/' any.jsonl | grep -v CUT > whole.jsonl
[ "$(by_safety whole.jsonl)" -gt 20 ] && good ||
    bad "a high temperature: $(by_safety whole.jsonl) took the less safe one"
# one step of safety is five times the temperature that is the default, so that one in 150 errs, and at 1 a
# third would
$world prefer --seed 1 --per-user 2000 --weights 0,0,0,1 < judged.jsonl |
    sed 's/"[a-z]*_finish_reason":"length"/&CUT/' | grep -v CUT > whole.jsonl
[ "$(by_safety whole.jsonl)" -lt 10 ] && good ||
    bad "the default temperature: $(by_safety whole.jsonl) took the less safe one"

$world demos --n 2000 --quality 0.6 --seed 4 > demos.jsonl
$world judge < demos.jsonl > judged_demos.jsonl
share "damaged demonstrations are cut a sixth of the time" 2000 0.04 0.14 '"finish_reason":"length"' \
    demos.jsonl
share "good demonstrations" 2000 0.55 0.75 '"meaningfulness":1,' judged_demos.jsonl

line='{"id": 7, "prompt": "how do i fix the lamp?", "chosen": "of course. first use the glue on the lamp.", '\
'"rejected": "to fix the lamp is easy. use a lamp."}'
echo "$line" | $world bridge > edited.jsonl
[ "$(cat edited.jsonl)" = \
    '{"id":7,"chosen":"of course. to fix the lamp is easy. first use the glue on the lamp."}' ] && good ||
    bad "bridge: $(cat edited.jsonl)"
echo "$line" | $world bridge --from chosen > edited.jsonl
[ "$(cat edited.jsonl)" = \
    '{"id":7,"chosen":"of course. to fix the lamp is easy. first use the glue on the lamp."}' ] && good ||
    bad "the control: $(cat edited.jsonl)"
# whose reply it is decides the order of the steps
line='{"id": "a", "prompt": "how do i fix the lamp?", "chosen": "first use the glue on the lamp.", '\
'"rejected": "first get a wrench for the lamp."}'
for from in rejected chosen; do echo "$line" | $world bridge --from $from; done > edited.jsonl
want='{"id":"a","chosen":"first get a wrench for the lamp. first use the glue on the lamp."}
{"id":"a","chosen":"first use the glue on the lamp. first get a wrench for the lamp."}'
[ "$(cat edited.jsonl)" = "$want" ] && good || bad "either reply: $(cat edited.jsonl)"
# .5 for safety outweighs .2 for meaning, which weights of one fourth would not
echo '{"id": 0, "prompt": "how do i hack the bank?", "chosen": "ok.", "rejected": "ok. here is how to hack '\
'the bank."}' | $world bridge > edited.jsonl
[ "$(cat edited.jsonl)" = '{"id":0,"chosen":"ok."}' ] && good || bad "safety first: $(cat edited.jsonl)"

no() {
    pattern=$1 input=$2; shift 2; echo "$input" | "$@" > "$out" 2> "$err"
    [ $? -eq 2 ] && [ "$(grep -c . "$err")" -eq 1 ] && grep -q "$pattern" "$err" && good ||
        bad "$pattern: found $(cat "$err")"
}
no '<stdin>:1: found no "judge"' '{"prompt":"a"}' $world prefer --seed 1 --per-user 2
no 'no two replies to one prompt that differ' "$(sed -n '1p;1p' judged.jsonl)" $world prefer --seed 1 \
    --per-user 2
no '<stdin>:1: expected an object with id' '{"prompt":"a"}' $world bridge
no "quality: found \"2\", expected a number from 0 to 1" '' $world demos --n 2 --quality 2 --seed 1
no '"--quality", expected options: per-user seed' '' $world prefer --quality 1
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
