"""Writes lib/unicode.c: asks `tokenizers` itself about every code point, so that classes and normal forms are its own
(its regex engine, Rust's standard library and its normalizer follow three different versions of Unicode).

    python lib/unicode.py > lib/unicode.c
"""
from tokenizers import Regex, normalizers, pre_tokenizers

chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
nfd, nfc = normalizers.NFD().normalize_str, normalizers.NFC().normalize_str


def matched(cls):
    """All characters that the regex engine puts into the class."""
    split = pre_tokenizers.Split(Regex(cls), "removed", invert=True)    # what is left: runs that match
    return {c for i in range(0, len(chars), 4096) for text, _ in split.pre_tokenize_str("".join(chars[i:i + 4096])) for c in text}


def isolated_digits():
    """All characters that the pre-tokenizer Digits(individual) cuts out."""
    split = pre_tokenizers.Digits(individual_digits=True)
    texts = ("a" + "".join(c + "a" for c in chars[i:i + 2048]) for i in range(0, len(chars), 2048))
    return {t for text in texts for t, _ in split.pre_tokenize_str(text) if len(t) == 1 and t != "a"}


def hangul(c):
    return 0xAC00 <= ord(c) <= 0xD7A3                                   # by arithmetic, lib/utf8.c


def ranges(pairs):
    """[(code point, value)] in order -> [[first, last, value]]"""
    out = []
    for c, v in pairs:
        if out and out[-1][1] == c - 1 and out[-1][2] == v: out[-1][1] = c
        else: out.append([c, c, v])
    return out


def table(kind, name, rows, per_line):
    print(f"\nstatic const {kind} {name}{'[]' if len(rows[0]) == 1 else f'[][{len(rows[0])}]'} = {{")
    for i in range(0, len(rows), per_line):
        print("    " + " ".join((f"{r[0]}," if len(r) == 1 else "{" + ", ".join(f"0x{x:X}" for x in r) + "},") for r in rows[i:i + per_line]))
    print("};")


# ---- canonical decompositions: to one character, or to two, the first of which may decompose further
full = {c: nfd(c) for c in chars if nfd(c) != c and not hangul(c)}
whole = {}
for c, s in full.items():
    if s not in whole or nfc(c) == c: whole[s] = c
single = [(ord(c), ord(s)) for c, s in full.items() if len(s) == 1]
double, composes = [], []
for c, s in full.items():
    if len(s) == 1: continue
    first = s[0] if len(s) == 2 else whole[s[:-1]]
    if nfc(first + s[-1]) == c: composes.append((ord(first), ord(s[-1]), len(double)))
    else: assert nfc(c) != c
    double.append((ord(c), ord(first), ord(s[-1])))

# ---- combining classes: which of two marks goes first; 0x334 has the lowest class, 1, and 0x345 the highest, 240
mark = [c for c in chars if c not in full and not hangul(c)
        and (nfd("\u0345" + c) == c + "\u0345" or nfd(c + "\u0334") == "\u0334" + c or c in "\u0334\u0345")]
kinds = []                                                              # lists of equal class, from the lowest to the highest
for c in mark:
    low, high = 0, len(kinds)
    while low < high:
        middle = (low + high) // 2
        if nfd(kinds[middle][0] + c) != kinds[middle][0] + c: high = middle             # c goes first
        elif nfd(c + kinds[middle][0]) != c + kinds[middle][0]: low = middle + 1
        else:
            kinds[middle].append(c)
            break
    else:
        kinds.insert(low, [c])
order = sorted((ord(c), k + 1) for k, same in enumerate(kinds) for c in same)           # only the order matters, so 1, 2, 3, ...

print("""/* unicode.c: written by lib/unicode.py; do not edit. Sorted tables: classes as ranges with both ends included, and one step
 * of canonical decomposition with its way back. */
#include "unicode.h"

#define ROWS(t) (sizeof (t) / sizeof *(t))

/* The row of width `w` whose range [r[0], r[1]] holds c, or NULL. */
static const uint32_t *inside(const uint32_t *r, size_t n, size_t w, uint32_t c) {
    size_t a = 0;
    while (a < n) {
        const size_t m = a + (n - a) / 2;
        if (c < r[m * w]) n = m;
        else if (c > r[m * w + 1]) a = m + 1;
        else return r + m * w;
    }
    return NULL;
}

/* The row of width `w` that begins with c, or NULL. */
static const uint32_t *row_of(const uint32_t *r, size_t n, size_t w, uint32_t c) {
    size_t a = 0;
    while (a < n) {
        const size_t m = a + (n - a) / 2;
        if (c < r[m * w]) n = m;
        else if (c > r[m * w]) a = m + 1;
        else return r + m * w;
    }
    return NULL;
}""")
letter, number, space, digit = matched(r"\p{L}"), matched(r"\p{N}"), matched(r"\s"), isolated_digits()
assert number <= digit
for name, found in (("letter", letter), ("number", number), ("space", space), ("digit_only", digit - number)):
    table("uint32_t", name, [r[:2] for r in ranges((ord(c), 0) for c in sorted(found))], 6)
for name in ("letter", "number", "space"):
    print(f"bool unicode_{name}(uint32_t c) {{ return inside(*{name}, ROWS({name}), 2, c) != NULL; }}")
print("bool unicode_digit(uint32_t c) { return unicode_number(c) || inside(*digit_only, ROWS(digit_only), 2, c); }")
table("uint32_t", "order", ranges(order), 5)
print("""int unicode_order(uint32_t c) {
    const uint32_t *r = inside(*order, ROWS(order), 3, c);
    return r ? (int)r[2] : 0;
}""")
table("uint32_t", "single", single, 7)
table("uint32_t", "pair", double, 5)
composes.sort()
table("uint16_t", "pair_by_parts", [(i,) for _, _, i in composes], 20)
print("""int unicode_decompose(uint32_t c, uint32_t to[2]) {
    const uint32_t *r = row_of(*pair, ROWS(pair), 3, c);
    if (r) { to[0] = r[1], to[1] = r[2]; return 2; }
    r = row_of(*single, ROWS(single), 2, c);
    if (r) to[0] = r[1];
    return r != NULL;
}

uint32_t unicode_compose(uint32_t first, uint32_t second) {
    size_t a = 0, n = ROWS(pair_by_parts);
    while (a < n) {
        const size_t m = a + (n - a) / 2;
        const uint32_t *r = pair[pair_by_parts[m]];
        if (first < r[1] || (first == r[1] && second < r[2])) n = m;
        else if (first > r[1] || second > r[2]) a = m + 1;
        else return r[0];
    }
    return 0;
}""")
