"""Writes lib/unicode.c: asks `tokenizers` itself about every code point, so that classes and normal forms are
its own (its regex engine, Rust's standard library and its normalizer follow three different versions of
Unicode).

    python lib/unicode.py > lib/unicode.c
"""
from tokenizers import Regex, normalizers, pre_tokenizers

chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
nfd, nfc = normalizers.NFD().normalize_str, normalizers.NFC().normalize_str


def matched(cls):
    """All characters that the regex engine puts into the class."""
    split = pre_tokenizers.Split(Regex(cls), "removed", invert=True)    # what is left: runs that match
    return {c for i in range(0, len(chars), 4096)
            for text, _ in split.pre_tokenize_str("".join(chars[i:i + 4096])) for c in text}


def isolated_digits():
    """All characters that the pre-tokenizer Digits(individual) cuts out."""
    split = pre_tokenizers.Digits(individual_digits=True)
    texts = ("a" + "".join(c + "a" for c in chars[i:i + 2048]) for i in range(0, len(chars), 2048))
    return {t for text in texts for t, _ in split.pre_tokenize_str(text) if len(t) == 1 and t != "a"}


def hangul(c):
    return 0xAC00 <= ord(c) <= 0xD7A3                                   # by arithmetic, lib/utf8.c


def ranges(pairs, step=0):
    """[(code point, value)] in order -> [[first, how many follow, value of the first]]; from one to the next
    the value grows by step"""
    out = []
    for c, v in pairs:
        if (out and c == sum(out[-1][:2]) + 1 and v == out[-1][2] + step * (c - out[-1][0])
                and out[-1][1] < 4095): out[-1][1] += 1
        else: out.append([c, 0, v])
    return out


def digits(number, n):
    """A number in n digits of base 64, the highest first; '#' is 0."""
    assert 0 <= number < 64 ** n
    return "".join(chr(ord("#") + (number >> 6 * k & 63)) for k in reversed(range(n)))


def table(name, rows, widths):
    """Rows of numbers as one text, each number in as many digits as widths says."""
    text = "".join(digits(x, n) for r in rows for x, n in zip(r, widths))
    assert len(text) < 4096                                             # no compiler need take more
    print(f"\nstatic const char {name}[] =")
    lines = [""]
    for c in text.replace("\\", "\\\\").replace("??", "?\\?"):
        if len(lines[-1]) > 100 and lines[-1][-1] != "\\" and c != "\\": lines.append("")
        lines[-1] += c
    print("\n".join(f'    "{line}"' for line in lines) + ";")


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

# ---- combining classes: which of two marks goes first; 0x334 has the lowest class, 1, and 0x345 the
# highest, 240
mark = [c for c in chars if c not in full and not hangul(c)
        and (nfd("\u0345" + c) == c + "\u0345" or nfd(c + "\u0334") == "\u0334" + c or c in "\u0334\u0345")]
# lists of equal class, from the lowest to the highest
kinds = []
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
# only the order matters, so 1, 2, 3, ...
order = sorted((ord(c), k + 1) for k, same in enumerate(kinds) for c in same)

print(r"""/* unicode.c: written by lib/unicode.py; do not edit. Tables as text, searched as it stands: numbers
 * in digits of base 64, high first, '#' is 0. A row begins with its first code point (3 digits) and how many
 * follow (2): a class of characters, their order, or where their decompositions begin in the next table. */
#include "unicode.h"

static inline uint32_t one_at(const char *s) { return (uint32_t)(*s - '#'); }
static inline uint32_t two_at(const char *s) { return one_at(s) << 6 | one_at(s + 1); }
static inline uint32_t three_at(const char *s) { return two_at(s) << 6 | one_at(s + 2); }

/* Of n rows of `width` digits the one that holds x, counted from the number at `at`; NULL if none does. */
static inline const char *row_of(const char *table, size_t n, size_t width, size_t at, uint32_t x) {
    if (x < three_at(table + at)) return NULL;
    for (size_t a = 0; a < n; ) {
        const size_t m = a + (n - a) / 2;
        const char *row = table + m * width;
        const uint32_t first = three_at(row + at);
        if (x < first) n = m;
        else if (x - first > two_at(row + 3)) a = m + 1;
        else return row;
    }
    return NULL;
}
#define ROW(table, width, at, x) row_of(table, (sizeof table - 1) / (width), width, at, x)""")
letter, number, space, digit = matched(r"\p{L}"), matched(r"\p{N}"), matched(r"\s"), isolated_digits()
assert number <= digit
for name, found in (("letter", letter), ("number", number), ("space", space), ("digit_only", digit - number)):
    table(name, ranges((ord(c), 0) for c in sorted(found)), (3, 2))
print()
for name in ("letter", "number", "space"):
    print(f"bool unicode_{name}(uint32_t c) {{ return ROW({name}, 5, 0, c) != NULL; }}")
print("""bool unicode_digit(uint32_t c) {
    return c < 128 ? c - '0' < 10 : unicode_number(c) || ROW(digit_only, 5, 0, c);
}""")
table("order", ranges(order), (3, 2, 1))
print("""
int unicode_order(uint32_t c) {
    const char *row = ROW(order, 6, 0, c);
    return row ? (int)one_at(row + 5) : 0;
}

/* Decompositions to one character, and to two. */""")
table("single", ranges(((c, i) for i, (c, _) in enumerate(single)), 1), (3, 2, 3))
table("single_to", [to[1:] for to in single], (3,))
table("pair", ranges(((c, i) for i, (c, _, _) in enumerate(double)), 1), (3, 2, 3))
table("pair_first", [(first,) for _, first, _ in double], (3,))
table("pair_second", [(second,) for _, _, second in double], (3,))
composes.sort()
print("\n/* The pairs that compose, by their parts. */", end="")
table("composing", [(i,) for _, _, i in composes], (2,))
print("""
static uint32_t first_of(size_t i) { return three_at(pair_first + 3 * i); }
static uint32_t second_of(size_t i) { return three_at(pair_second + 3 * i); }
static size_t place_of(const char *row, uint32_t c) { return three_at(row + 5) + c - three_at(row); }

int unicode_decompose(uint32_t c, uint32_t to[2]) {
    const char *row = ROW(pair, 8, 0, c);
    if (row) {
        const size_t i = place_of(row, c);
        to[0] = first_of(i), to[1] = second_of(i);
        return 2;
    }
    row = ROW(single, 8, 0, c);
    if (row) to[0] = three_at(single_to + 3 * place_of(row, c));
    return row != NULL;
}

uint32_t unicode_compose(uint32_t first, uint32_t second) {
    size_t a = 0, n = (sizeof composing - 1) / 2;
    while (a < n) {
        const size_t m = a + (n - a) / 2;
        const uint32_t i = two_at(composing + 2 * m), f = first_of(i), s = second_of(i);
        if (first < f || (first == f && second < s)) n = m;
        else if (first > f || second > s) a = m + 1;
        else {
            const char *row = ROW(pair, 8, 5, i);
            return three_at(row) + i - three_at(row + 5);
        }
    }
    return 0;
}""")
