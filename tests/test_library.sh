#!/bin/sh
# test_library.sh: every block of docs/use-in-ci.md, as it stands there, in a folder that has the repository's
# files: the C program against the static and the shared library, with the output that the page shows; the
# shell blocks; the Python block where there is NumPy. And what the libraries export.
set -u
root=$PWD passed=0 failed=0
t=$(mktemp -d "${TMPDIR:-/tmp}/grpo-library.XXXXXX") || exit 2
trap 'rm -rf "$t"' EXIT
good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf 'not ok: %s\n' "$*"; }
# block LANGUAGE N: the page's N-th block in that language
block() {
    awk -v start="\`\`\`$1" -v n="$2" \
        '$0 == "```" { on = 0 } on { print } $0 == start { on = ++seen == n }' "$root/docs/use-in-ci.md"
}

for f in grpo grpo64 tests build bindings; do ln -s "$root/$f" "$t/$f"; done
cd "$t" || exit 2
block c 1 > example.c; block text 1 > want
for library in build/lib/libgrpo64.a "$(ls build/lib/libgrpo64.so build/lib/libgrpo64.dylib 2> /dev/null)"; do
    # shellcheck disable=SC2086  # CC may be "ccache gcc"
    if ${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror -I build/lib example.c "$library" -lm \
        -o example 2> log &&
        LD_LIBRARY_PATH=build/lib DYLD_LIBRARY_PATH=build/lib ./example > got; then
        if [ -s want ] && cmp -s got want; then good
        else bad "$library: found $(tr '\n' ' ' < got), the page says $(tr '\n' ' ' < want)"; fi
    else bad "$library: $(head -n 3 log)"; fi
done
printf '#include "grpo32.h"\nint main(void) { float adv[2]; const float reward[2] = {1, 0}; '\
'grpo_advantage(adv, 0, reward, 2, 2, SCALE_NONE, 0); return adv[0] != 0.5f; }\n' > float.c
# shellcheck disable=SC2086
if ${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror -I build/lib float.c build/lib/libgrpo32.a -lm \
    -o float 2> log && ./float; then good
else bad "libgrpo32: $(head -n 3 log)"; fi
if command -v c++ > /dev/null; then
    printf '#include "grpo64.h"\nint main() { GrpoConfig c; grpo_config_default(&c); '\
'return !(c.epsilon == 0.2); }\n' > header.cc
    if c++ -I build/lib header.cc build/lib/libgrpo64.a -lm -o header 2> log && ./header; then good
    else bad "C++: $(head -n 3 log)"; fi
fi
for n in 1 2; do
    block sh $n > block.sh
    if [ -s block.sh ] && sh -eu block.sh > log 2>&1; then good
    else bad "shell block $n of the page: $(tail -n 3 log)"; fi
done
if python3 -c 'import numpy' 2> /dev/null; then
    block python 1 > block.py
    if [ -s block.py ] && PYTHONPATH=bindings python3 block.py > log 2>&1; then good
    else bad "Python block: $(tail -n 3 log)"; fi
else echo 'SKIPPED: the Python block: there is no NumPy here (make parity runs it)'; fi
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
