#!/bin/sh
# test_templates.sh: chat templates from the outside: the folder's own, named ones and files, what is learned
# of a reply, what ends it, what is refused. Run from the project's root by `make test`.
. tests/commands.sh
$world sft --n 300 --seed 1 > words.jsonl
works init "$grpo" init --tokenizer-data words.jsonl --output-dir base --hidden-size 16 \
    --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
one='--max-steps 1 --per-device-train-batch-size 2 --learning-rate 0'
turns='{% for m in messages %}<user>{{ m.role }}{{ "\n" + m.content|trim }}<end>
{% endfor %}'
opens='{% if add_generation_prompt %}<user>assistant{{ "\n" }}{% endif %}'
# folder NAME TEMPLATE: the base model with a template of its own
folder() { rm -rf "$1"; cp -R base "$1"; printf '%s' "$2" > "$1/chat_template.jinja"; }
# learns FOLDER ROW OPTIONS: one step of sft that changes nothing: run/ and $loss, $tokens
learns() {
    from=$1; printf '%s\n%s\n' "$2" "$2" > rows.jsonl; shift 2; rm -rf run
    works "sft: $from $*" "$grpo" sft --model "$from" $one --dataset rows.jsonl --output-dir run "$@"
    loss=$(sed -n 's/.*"loss": *\([-.e0-9]*\),.*/\1/p' run/log.jsonl) \
        tokens=$(sed -n 's/.*"num_tokens": *\([0-9]*\).*/\1/p' run/log.jsonl)
}
# near NAME A B
near() {
    if awk "BEGIN { d = ($2) - ($3); exit !(d < 1e-5 && d > -1e-5) }"; then good
    else bad "$1: $2 and $3"; fi
}
apart() { if [ "$2" = "$3" ]; then bad "$1: twice $2"; else good; fi; }
equal() { if [ "$2" = "$3" ]; then good; else bad "$1: found $2, expected $3"; fi; }
user='{"role":"user","content":"how do i fix the car?"}' \
    row='{"prompt":"how do i fix the car?","completion":" first, look. "}'

# ---- which template counts ------------------------------------------------------------------------
folder own "$turns$opens"
printf '%s\n' "$turns$opens" > mine.jinja
learns base "$row"; plain=$loss
learns own "$row"; own=$loss
apart 'a template of its own' "$plain" "$own"
learns base "$row" --chat-template mine.jinja
equal 'a file' "$loss" "$own"
same 'the chosen template goes with the model' mine.jinja run/final/chat_template.jinja
cp -R run/final chosen; learns chosen "$row"; equal 'and is read there' "$loss" "$own"
learns own "$row" --chat-template plain; equal 'a named one before the own' "$loss" "$plain"

# ---- what is learned of a reply -------------------------------------------------------------------
learns own '{"prompt":"how do i fix the car?","completion":"first, look."}'
equal 'the template trims' "$loss" "$own"
folder thinks "{% for m in messages %}<user>{{ m.role + '\n' }}\
{% if loop.last and m.role == 'assistant' %}hm. {% endif %}{{ m.content|trim }}<end>
{% endfor %}$opens"
learns thinks '{"prompt":"how do i fix the car?","completion":"first, look."}'; thinks=$loss
learns own '{"prompt":"how do i fix the car?","completion":"hm. first, look."}'
equal 'what the template writes before it' "$loss" "$thinks"
folder drops "{% for m in messages %}<user>{{ m.content.split('|')[-1]|trim }}<end>{% endfor %}\
{% if add_generation_prompt %}<user>think:{% endif %}"
learns drops "$row"
if grep -q 'drops: the chat template writes 2 prompts otherwise once a reply follows' "$err"; then good
else bad "drops: $(cat "$err")"; fi
learns own "{\"prompt\":[$user,{\"role\":\"assistant\",\"content\":\"first,\"}],\"completion\":\" look.\"}"
begun=$tokens
learns own "{\"prompt\":[$user],\"completion\":\"first, look.\"}"
equal 'a prompt that ends with the beginning of the reply' "$begun" "$tokens"
learns own '{"prompt":[{"role":"user","content":[{"type":"text","text":"how do i"},'\
'{"type":"text","text":"fix it?"}]}],"completion":"look."}'
parts=$loss
learns own '{"prompt":"how do i\nfix it?","completion":"look."}'
equal 'content in parts' "$loss" "$parts"
folder tools "{{ tools|tojson }}{{ style }}$turns$opens"
learns tools "{\"prompt\":[$user,{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\"}]},\
{\"role\":\"tool\",\"content\":\"7\"}],\"completion\":\"7.\",\"tools\":[{\"name\":\"f\"}],\
\"chat_template_kwargs\":{\"style\":\"!\"}}"
learns tools "{\"prompt\":[$user,{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\"}]},\
{\"role\":\"tool\",\"content\":{\"a\":7}}],\"completion\":\"7.\"}"
folder dated "{{ strftime_now('%d %B') }}$turns$opens"
learns dated "$row"; july=$loss
learns dated "$row" --template-date 2025-07-26; equal 'the same day' "$loss" "$july"
learns dated "$row" --template-date 2025-03-01; apart 'another day' "$loss" "$july"

# ---- all of the assistant's turns -----------------------------------------------------------------
a='{"role":"assistant","content":"first, look."}'
marks="{% for m in messages %}<user>{{ m.role + '\n' }}{% if m.role == 'assistant' %}\
{% generation %}{{ m.content|trim }}<end>{% endgeneration %}{% else %}{{ m.content|trim }}<end>{% endif %}
{% endfor %}$opens"
folder marked "$marks"
for from in own marked; do
    learns $from "{\"messages\":[$user,$a]}"; first=$loss
    learns $from "{\"messages\":[$user,$a,$user,$a]}"; second=$loss
    learns $from "{\"messages\":[$user,$a,$user,$a]}" --assistant-only-loss true
    near "$from: both turns" "$loss" "($first + $second) / 2"
    learns $from "{\"prompt\":[$user,$a,$user],\"completion\":\"first, look.\"}" --assistant-only-loss true
    near "$from: a completion is the only one" "$loss" "$second"
done

# ---- what ends a reply ----------------------------------------------------------------------------
eos() {
    tr -d ' \n' < run/final/generation_config.json |
        sed 's/.*"eos_token_id":\([0-9]*\|[[][^]]*[]]\),.*/\1/'
}
learns own "$row"; equal 'the end of turn that it had' "$(eos)" 3
folder padded "{% for m in messages %}<user>{{ m.content }}<pad>{% endfor %}$opens"
learns padded "$row"; equal 'the end of turn that was learned' "$(eos)" '[0,3]'
learns padded "$row" --use-peft true --lora-r 2
works merge "$grpo" merge --model run/final --output-dir merged
mkdir run/adapter; mv run/final/* run/adapter; cp merged/* run/final
equal 'and by an adapter' "$(eos)" '[0,3]'
learns own "$row" --eos-token '<bot>'; equal 'the end of turn that was asked for' "$(eos)" '[2,3]'
refuses '*--eos-token: found <|im_end|>, which the tokenizer of own does not have*' \
    "$grpo" sft --model own $one --dataset rows.jsonl --output-dir no --eos-token '<|im_end|>'

# ---- what is refused ------------------------------------------------------------------------------
refused() { folder odd "$2"; refuses "$1" "$grpo" sft --model odd $one --dataset rows.jsonl --output-dir no; }
refused '*odd: chat template, line 2: filter wordwrap: not known here' "
{{ messages|wordwrap }}"
refused "*rows.jsonl:1: odd: chat template, line 1: the template refuses this conversation: no, thanks" \
    "{{ raise_exception('no, thanks') }}$turns"
refused '*chat template, line 2: builds too much*' \
    "$turns{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
refused '*chat template, line 1: nests too deep*' "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"
rm odd/chat_template.jinja
sed 's/"chat_template"/"no_template"/' base/tokenizer_config.json > odd/tokenizer_config.json
refuses '*odd: chat template: none found, as with a base model; choose one with --chat-template plain '\
'(its tokenizer has <end>), or another: *' "$grpo" sft --model odd $one --dataset rows.jsonl --output-dir no
refuses '*lacks <|im_end|>, with which template chatml closes a turn*' \
    "$grpo" sft --model odd $one --dataset rows.jsonl --output-dir no --chat-template chatml
refuses '*--template-date: found tomorrow, expected a date as YYYY-MM-DD*' \
    "$grpo" sft --model own $one --dataset rows.jsonl --output-dir no --template-date tomorrow
printf '%s\n' "{\"prompt\":[$user,{\"role\":\"assistant\",\"content\":\"\"}],\"completion\":\"x\"}" \
    > rows.jsonl
refuses "*rows.jsonl:1: the prompt ends with an assistant's turn that is empty*" \
    "$grpo" sft --model own $one --dataset rows.jsonl --output-dir no
printf '%s\n' '{"prompt":[{"role":"user","content":[{"type":"image"}]}],"completion":"x"}' > rows.jsonl
refuses '*rows.jsonl:1:*content: part 1*' "$grpo" sft --model own $one --dataset rows.jsonl --output-dir no

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
