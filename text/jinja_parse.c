/* jinja_parse.c: the language of templates: a text becomes a tree.
 *
 * In this order: words of the language, expressions, statements, the whole. The tree is run by jinja.c;
 * what values do is in jinja_values.c, what templates call in jinja_filters.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unicode.h"
#include "text/jinja_parse.h"

/* ---- words of the language ---- */

typedef enum { T_END, T_NAME, T_STRING, T_NUMBER, T_SIGN } TokenKind;
typedef struct { TokenKind kind; int line; const char *s; Value value; char sign[3]; } Token;

typedef struct {
    Machine m;                          /* stands first */
    struct Jinja *j;
    const char *s;
    size_t n, at, counted;
    int line, open, loops;              /* open: brackets; a tag ends where none is */
    bool line_start, in_output;
    const Node *unknown;                /* the first filter or test that is not known, and always comes up */
    Token t;
} Parser;

static int line_of(Parser *p, size_t at) {
    for (; p->counted < at; p->counted++) p->line += p->s[p->counted] == '\n';
    return p->line;
}

static const char *spelling(Parser *p, const char *s, size_t n) {
    for (Name *k = p->j->names; k; k = k->next) {
        jinja_spend(&p->m, 1);
        if (strlen(k->text) == n && memcmp(k->text, s, n) == 0) return k->text;
    }
    Name *k = jinja_take(&p->m, sizeof *k + n + 1);
    memcpy(k->text, s, n);
    k->next = p->j->names;
    p->j->names = k;
    return k->text;
}

static size_t blank(const Parser *p, size_t at) {               /* its bytes, 0: no blank stands here */
    size_t used = 0;
    if (at >= p->n) return 0;
    const uint32_t c = utf8_next(p->s + at, p->n - at, &used);
    return unicode_space(c) || (c >= 0x1C && c <= 0x1F) ? used : 0;
}

static bool at_word(const Parser *p, const char *word) {
    return p->n - p->at >= strlen(word) && memcmp(p->s + p->at, word, strlen(word)) == 0;
}

/* Behind a tag: `-` takes all blanks, `+` none; else one line end goes, unless the tag was an output. */
static void tag_close(Parser *p, size_t length, char control, bool trim) {
    p->at += length;
    if (control == '-') for (size_t k; (k = blank(p, p->at)) != 0; ) p->at += k;
    else if (trim && control != '+' && at_word(p, "\n")) p->at++;
    p->line_start = p->s[p->at - 1] == '\n';
}

static uint32_t hex_digits(Parser *p, size_t *at, int n) {
    uint32_t c = 0;
    for (; n > 0; n--, ++*at) {
        static const char digits[] = "0123456789abcdef";
        const char *d = *at < p->n && p->s[*at] ? strchr(digits, p->s[*at] | 32) : NULL;
        if (!d) jinja_stop(&p->m, "a text: expected hexadecimal digits behind \\x, \\u or \\U");
        c = c << 4 | (uint32_t)(d - digits);
    }
    return c;
}

/* Python's escapes; the text ends with the quote that began it. */
static void token_string(Parser *p) {
    static const char letter[] = "nrtabfv0\\'\"", means[] = "\n\r\t\a\b\f\v\0\\'\"";
    const char quote = p->s[p->at++];
    Written w = {0};
    while (p->at < p->n && p->s[p->at] != quote) {
        char to[4] = {p->s[p->at++]};
        size_t n = 1;
        if (*to == '\\' && p->at < p->n) {
            const char c = p->s[p->at++], *k = c ? memchr(letter, c, sizeof letter - 1) : NULL;
            if (k) *to = means[k - letter];
            else if (c == 'x' || c == 'u' || c == 'U') {
                const uint32_t made = hex_digits(p, &p->at, c == 'x' ? 2 : c == 'u' ? 4 : 8);
                if (made > 0x10FFFF || (made >= 0xD800 && made < 0xE000))
                    jinja_stop(&p->m, "a text: U+%04X is no character", (unsigned)made);
                n = utf8_put(to, made);
            } else if (c == '\n') n = 0;
            else if (c == 'N' || (c >= '1' && c <= '7'))
                jinja_stop(&p->m, "a text: \\%c is not known here", c);
            else p->at--;               /* no escape: the \ stays */
        }
        written_add(&p->m, &w, to, NULL, n);
    }
    if (p->at++ >= p->n) jinja_stop(&p->m, "a text without its closing %c", quote);
    p->t.kind = T_STRING;
    p->t.value = written_value(&w);
    p->t.value.mark = NULL;
}

static size_t digits_end(const Parser *p, size_t at) {          /* 1_000 too */
    const size_t from = at;
    while (at < p->n && ((p->s[at] >= '0' && p->s[at] <= '9') || (p->s[at] == '_' && at > from))) at++;
    return at;
}

static void token_number(Parser *p) {
    char text[64];
    size_t n = 0, end = digits_end(p, p->at), more;
    bool whole = true;
    if (end < p->n && p->s[end] == '.' && (more = digits_end(p, end + 1)) > end + 1)
        end = more, whole = false;
    if (end + 1 < p->n && (p->s[end] | 32) == 'e') {
        const size_t sign = p->s[end + 1] == '-' || p->s[end + 1] == '+';
        if ((more = digits_end(p, end + 1 + sign)) > end + 1 + sign) end = more, whole = false;
    }
    for (size_t i = p->at; i < end && n + 1 < sizeof text; i++) if (p->s[i] != '_') text[n++] = p->s[i];
    text[n] = 0;
    if (n > (whole ? 18 : 62)) jinja_stop(&p->m, "a number of too many digits");
    p->at = end;
    p->t.kind = T_NUMBER;
    p->t.value = whole ? value_int(atoll(text)) : (Value){.type = FLOAT, .f = strtod(text, NULL)};
}

static bool word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
}

/* The next token of a tag into p->t. */
static void advance(Parser *p) {
    static const char *const two[] = {"==", "!=", ">=", "<=", "//", "**"};
    while (p->at < p->n && strchr(" \t\n\r\f\v", p->s[p->at]) && p->s[p->at]) p->at++;
    p->m.line = line_of(p, p->at);
    p->t = (Token){.kind = T_END, .line = p->m.line, .s = p->s + p->at};
    if (p->at >= p->n) jinja_stop(&p->m, "a tag is not closed");
    const char *close = p->in_output ? "}}" : "%}";
    const char c = p->s[p->at];
    if (!p->open) {
        if (at_word(p, close)) { tag_close(p, 2, 0, !p->in_output); return; }
        if ((c == '-' || (c == '+' && !p->in_output)) && p->at + 2 < p->n &&
            memcmp(p->s + p->at + 1, close, 2) == 0) {
            tag_close(p, 3, c, !p->in_output);
            return;
        }
    }
    if (c == '\'' || c == '"') { token_string(p); return; }
    if (c >= '0' && c <= '9') { token_number(p); return; }
    size_t k = p->at;
    while (k < p->n && word_byte(p->s[k])) k++;
    if (k > p->at) {
        p->t.kind = T_NAME;
        p->t.s = spelling(p, p->s + p->at, k - p->at);
        p->at = k;
        return;
    }
    p->t.kind = T_SIGN;
    size_t n = 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) if (at_word(p, two[i])) n = 2;
    if (n == 1 && (!c || !strchr("+-*/%~[](){}<>=.:|,;", c)))
        jinja_stop(&p->m, "found the byte 0x%02X in a tag", c & 255u);
    memcpy(p->t.sign, p->s + p->at, n);
    p->at += n;
    p->open += strchr("([{", c) ? 1 : strchr(")]}", c) ? -1 : 0;
    if (p->open < 0) jinja_stop(&p->m, "found %c, which nothing opened", c);
}

static bool is_sign(const Parser *p, const char *s) {
    return p->t.kind == T_SIGN && strcmp(p->t.sign, s) == 0;
}
static bool is_name(const Parser *p, const char *s) { return p->t.kind == T_NAME && strcmp(p->t.s, s) == 0; }

static _Noreturn void token_refused(Parser *p, const char *expected) {
    p->m.line = p->t.line;
    if (p->t.kind == T_STRING || p->t.kind == T_NUMBER || p->t.kind == T_END)
        jinja_stop(&p->m, "found %s, expected %s", p->t.kind == T_STRING ? "a text" : p->t.kind == T_NUMBER
                   ? "a number" : "the tag's end", expected);
    jinja_stop(&p->m, "found %.40s, expected %s", p->t.kind == T_NAME ? p->t.s : p->t.sign, expected);
}

static bool skip_sign(Parser *p, const char *s) { return is_sign(p, s) && (advance(p), true); }
static bool skip_name(Parser *p, const char *s) { return is_name(p, s) && (advance(p), true); }
static void need_sign(Parser *p, const char *s) { if (!skip_sign(p, s)) token_refused(p, s); }
static const char *need_name(Parser *p) {
    const char *s = p->t.s;
    if (p->t.kind != T_NAME) token_refused(p, "a name");
    advance(p);
    return s;
}

/* ---- expressions, from what binds loosest to what binds tightest ---- */

static Node *tree_node(Parser *p, Kind kind, Node *a, Node *b) {
    Node *n = jinja_take(&p->m, sizeof *n);
    *n = (Node){.kind = kind, .line = p->t.line, .a = a, .b = b};
    return n;
}

static Node *expression(Parser *p);
static Node *unary(Parser *p, bool filters);

/* Those that stand with commas up to a closing sign (or, without one, up to the tag's end): a tuple. */
static Node *tuple(Parser *p, const char *close) {
    Node *first = NULL, **end = &first;
    bool comma = false;
    while (close ? !is_sign(p, close) : p->t.kind != T_END && !is_sign(p, "=") && !is_name(p, "in")) {
        *end = expression(p), end = &(*end)->next;
        if (!is_sign(p, ",")) break;
        advance(p), comma = true;
    }
    if (close) need_sign(p, close);
    if (first && !comma) return first;
    if (!first && !close) token_refused(p, "an expression");
    Node *n = tree_node(p, LISTED, first, NULL);
    n->op = TUPLE;
    return n;
}

static Node *list_literal(Parser *p) {
    Node *n = tree_node(p, LISTED, NULL, NULL), **end = &n->a;
    n->op = LIST;
    while (!is_sign(p, "]")) {
        *end = expression(p), end = &(*end)->next;
        if (!skip_sign(p, ",")) break;
    }
    need_sign(p, "]");
    return n;
}

static Node *dict_literal(Parser *p) {
    Node *n = tree_node(p, MAPPED, NULL, NULL), **end = &n->a;
    while (!is_sign(p, "}")) {
        Node *pair = tree_node(p, GIVEN, expression(p), NULL);
        need_sign(p, ":");
        pair->b = expression(p);
        *end = pair, end = &pair->next;
        if (!skip_sign(p, ",")) break;
    }
    need_sign(p, "}");
    return n;
}

static Node *constant(Parser *p, Value v) {
    Node *n = tree_node(p, CONSTANT, NULL, NULL);
    n->value = v;
    return n;
}

static Node *primary(Parser *p) {
    if (p->t.kind == T_STRING) {
        Node *n = constant(p, p->t.value);
        for (advance(p); p->t.kind == T_STRING; advance(p))
            n->value = value_binary(&p->m, '+', n->value, p->t.value);
        return n;
    }
    if (p->t.kind == T_NUMBER) {
        Node *n = constant(p, p->t.value);
        advance(p);
        return n;
    }
    if (skip_sign(p, "(")) return tuple(p, ")");
    if (skip_sign(p, "[")) return list_literal(p);
    if (skip_sign(p, "{")) return dict_literal(p);
    Node *n = tree_node(p, NAME, NULL, NULL);
    n->name = need_name(p);
    static const char *const words[] = {"true", "True", "false", "False", "none", "None"};
    for (int i = 0; i < 6; i++)
        if (strcmp(n->name, words[i]) == 0) {
            n->kind = CONSTANT;
            n->value = i < 4 ? value_bool(i < 2) : (Value){.type = NONE};
        }
    return n;
}

/* (a, b, name=c): behind the opening bracket; a list of GIVEN, those with names last */
static Node *call_arguments(Parser *p) {
    Node *first = NULL, **end = &first;
    bool named = false;
    while (!is_sign(p, ")")) {
        if (is_sign(p, "**")) jinja_stop(&p->m, "** in a call: not known here");
        const bool all = skip_sign(p, "*");
        Node *n = tree_node(p, GIVEN, expression(p), NULL);
        n->op = all;
        if (is_sign(p, "=") && n->a->kind == NAME && !all) {
            n->name = n->a->name, named = true;
            advance(p);
            n->a = expression(p);
        } else if (named) token_refused(p, "an argument with a name");
        *end = n, end = &n->next;
        if (!skip_sign(p, ",")) break;
    }
    need_sign(p, ")");
    return first;
}

static Node *subscript(Parser *p, Node *of) {
    Node *n = tree_node(p, ITEM, of, NULL), **part[] = {&n->b, &n->c, &n->d};
    int k = 0;
    for (; k < 3; k++) {
        if (!is_sign(p, ":") && !is_sign(p, "]")) *part[k] = expression(p);
        if (!is_sign(p, ":")) break;
        n->kind = SLICE;
        advance(p);
    }
    if (n->kind == ITEM && !n->b) token_refused(p, "an item's place or name");
    need_sign(p, "]");
    return n;
}

static Node *postfix(Parser *p, Node *n) {
    for (;; ) {
        if (skip_sign(p, ".")) {
            Node *member = tree_node(p, p->t.kind == T_NUMBER ? ITEM : ATTRIBUTE, n, NULL);
            if (member->kind == ITEM) member->b = constant(p, p->t.value), advance(p);
            else member->name = need_name(p);
            n = member;
        } else if (skip_sign(p, "[")) n = subscript(p, n);
        else if (is_sign(p, "(")) {
            n = tree_node(p, CALL, n, NULL);
            advance(p);
            n->b = call_arguments(p);
        } else return n;
    }
}

static Node *filter(Parser *p, Node *of) {
    Node *n = tree_node(p, FILTER, of, NULL);
    n->name = need_name(p);
    if (!(n->filter = filter_find(n->name)) && !p->unknown) p->unknown = n;
    if (skip_sign(p, "(")) n->b = call_arguments(p);
    return n;
}

static Node *test(Parser *p, Node *of) {
    const bool negated = skip_name(p, "not");
    Node *n = tree_node(p, TEST, of, NULL);
    n->name = need_name(p);
    if ((n->op = test_find(n->name)) < 0 && !p->unknown) p->unknown = n;
    if (skip_sign(p, "(")) n->b = call_arguments(p);
    else if (p->t.kind == T_STRING || p->t.kind == T_NUMBER || is_sign(p, "[") || is_sign(p, "{") ||
             (p->t.kind == T_NAME && !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and") &&
              !is_name(p, "if") && !is_name(p, "is") && !is_name(p, "in") && !is_name(p, "not")))
        n->b = tree_node(p, GIVEN, postfix(p, primary(p)), NULL);
    return negated ? tree_node(p, NOT, n, NULL) : n;
}

static Node *filtered(Parser *p, Node *n) {
    for (;; ) {
        if (skip_sign(p, "|")) n = filter(p, n);
        else if (skip_name(p, "is")) n = test(p, n);
        else if (is_sign(p, "(")) n = postfix(p, n);
        else return n;
    }
}

static Node *unary(Parser *p, bool filters) {
    Node *n;
    jinja_enter(&p->m);
    if (skip_sign(p, "-")) n = tree_node(p, NEGATIVE, unary(p, false), NULL);
    else if (skip_sign(p, "+")) n = unary(p, false);
    else n = primary(p);
    n = postfix(p, n);
    p->m.depth--;
    return filters ? filtered(p, n) : n;
}

/* Levels of signs that bind alike: 0: + and -; 1: ~; 2: times and its kin. */
static Node *binary(Parser *p, int level) {
    static const char *const signs[3][5] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}};
    Node *n = level < 2 ? binary(p, level + 1) : unary(p, true);
    for (int i = 0; i < 5 && signs[level][i]; i++)
        if (is_sign(p, signs[level][i])) {
            n = tree_node(p, BINARY, n, NULL);
            n->op = p->t.sign[1] ? 'f' : p->t.sign[0];
            advance(p);
            n->b = level < 2 ? binary(p, level + 1) : unary(p, true);
            i = -1;
        }
    if (is_sign(p, "**")) jinja_stop(&p->m, "**: not known here");
    return n;
}

/* a < b in c: each with the one before it */
static Node *comparison(Parser *p) {
    static const char *const signs[] = {"==", "!=", "<", "<=", ">", ">="};
    Node *first = binary(p, 0), *all = NULL, **end = NULL;
    for (;; ) {
        int op = -1;
        for (int i = 0; i < 6; i++) if (is_sign(p, signs[i])) op = i;
        if (is_name(p, "in")) op = 6;
        if (is_name(p, "not")) {
            advance(p);
            if (!is_name(p, "in")) token_refused(p, "in");
            op = 7;
        }
        if (op < 0) return all ? all : first;
        if (!all) all = tree_node(p, COMPARE, first, NULL), end = &all->b;
        advance(p);
        *end = tree_node(p, GIVEN, binary(p, 0), NULL);
        (*end)->op = op;
        end = &(*end)->next;
    }
}

static Node *negation(Parser *p) {
    if (!is_name(p, "not")) return comparison(p);
    jinja_enter(&p->m);
    advance(p);
    Node *n = tree_node(p, NOT, negation(p), NULL);
    p->m.depth--;
    return n;
}
static Node *conjunction(Parser *p) {
    Node *n = negation(p);
    while (skip_name(p, "and")) n = tree_node(p, AND, n, negation(p));
    return n;
}
static Node *disjunction(Parser *p) {
    Node *n = conjunction(p);
    while (skip_name(p, "or")) n = tree_node(p, OR, n, conjunction(p));
    return n;
}

static Node *expression(Parser *p) {
    jinja_enter(&p->m);
    const Node *unknown = p->unknown;
    Node *n = disjunction(p);
    while (skip_name(p, "if")) {
        n = tree_node(p, CHOICE, n, disjunction(p));
        if (skip_name(p, "else")) n->c = expression(p);
        p->unknown = unknown;
    }
    p->m.depth--;
    return n;
}

/* ---- statements ---- */

/* Plain text up to the next tag, which is then open: 0 at the end of the template, else { % or #. */
static char text_before_tag(Parser *p, Node ***end) {
    const size_t from = p->at;
    size_t k = from;
    while (k < p->n && !(p->s[k] == '{' && k + 1 < p->n && strchr("{%#", p->s[k + 1]) && p->s[k + 1])) k++;
    size_t to = k;
    const char kind = k < p->n ? p->s[k + 1] : 0, control = k + 2 < p->n ? p->s[k + 2] : 0;
    if (kind && control == '-') {
        for (size_t at = to = from, used; at < k; at += used)
            if (!(used = blank(p, at))) used = 1, to = at + 1;
    } else if (kind && kind != '{' && control != '+') {         /* blanks from the line's start */
        size_t line = k;
        while (line > from && p->s[line - 1] != '\n') line--;
        size_t at = line;
        for (size_t used; at < k && (used = blank(p, at)) != 0; ) at += used;
        if ((line > from || p->line_start) && at == k) to = line;
    }
    if (to > from) {
        Node *n = tree_node(p, TEXT, NULL, NULL);
        n->value = (Value){.type = STRING, .s = p->s + from, .n = to - from};
        **end = n, *end = &n->next;
    }
    p->at = kind ? k + 2 + (control == '-' || control == '+') : k;
    p->open = 0, p->in_output = kind == '{';
    p->m.line = p->t.line = line_of(p, k);
    return kind;
}

static void comment(Parser *p) {
    size_t k = p->at;
    while (k + 1 < p->n && !(p->s[k] == '#' && p->s[k + 1] == '}')) k++;
    if (k + 1 >= p->n) jinja_stop(&p->m, "a comment is not closed");
    const char control = k > p->at ? p->s[k - 1] : 0;
    p->at = k;
    tag_close(p, 2, control, true);
}

static Node *tree_body(Parser *p, const char *const *ends, const char *of);
static void end_tag(Parser *p) { if (p->t.kind != T_END) token_refused(p, "the tag's end"); }

static Node *statement_if(Parser *p) {
    const Node *unknown = p->unknown;
    Node *first = tree_node(p, IF, tuple(p, NULL), NULL), *n = first;
    for (;; ) {
        end_tag(p);
        n->body = tree_body(p, (const char *const[]){"elif", "else", "endif", NULL}, "if");
        if (skip_name(p, "endif")) break;
        if (skip_name(p, "else")) {
            end_tag(p);
            first->otherwise = tree_body(p, (const char *const[]){"endif", NULL}, "if");
            advance(p);
            break;
        }
        advance(p);
        n = n->b = tree_node(p, IF, tuple(p, NULL), NULL);
    }
    end_tag(p);
    p->unknown = unknown;
    return first;
}

/* Names with commas, or NAMESPACE.name: what for and set write to. */
static Node *target(Parser *p) {
    Node *first = NULL, **end = &first;
    const bool bracket = skip_sign(p, "(");
    do {
        if (first && p->t.kind != T_NAME) break;
        Node *n = tree_node(p, NAME, NULL, NULL);
        n->name = need_name(p);
        if (skip_sign(p, ".")) {
            Node *member = tree_node(p, ATTRIBUTE, n, NULL);
            member->name = need_name(p);
            n = member;
        }
        *end = n, end = &n->next;
    } while (skip_sign(p, ","));
    if (bracket) need_sign(p, ")");
    return first;
}

static Node *statement_for(Parser *p) {
    Node *n = tree_node(p, FOR, NULL, NULL);
    n->name = spelling(p, "loop", 4);
    n->a = target(p);
    if (!skip_name(p, "in")) token_refused(p, "in");
    Node *first = disjunction(p);
    if (is_sign(p, ",")) {
        n->b = tree_node(p, LISTED, first, NULL);
        n->b->op = TUPLE;
        for (Node **end = &first->next; skip_sign(p, ","); end = &(*end)->next) *end = disjunction(p);
    } else n->b = first;
    if (skip_name(p, "if")) n->c = expression(p);
    if (is_name(p, "recursive")) jinja_stop(&p->m, "for ... recursive: not known here");
    end_tag(p);
    p->loops++;
    n->body = tree_body(p, (const char *const[]){"else", "endfor", NULL}, "for");
    p->loops--;
    if (skip_name(p, "else")) {
        end_tag(p);
        n->otherwise = tree_body(p, (const char *const[]){"endfor", NULL}, "for");
    }
    advance(p), end_tag(p);
    return n;
}

static Node *statement_set(Parser *p) {
    Node *n = tree_node(p, SET, NULL, NULL);
    n->a = target(p);
    if (skip_sign(p, "=")) {
        n->b = tuple(p, NULL);
        end_tag(p);
        return n;
    }
    n->kind = SET_BLOCK;
    n->b = constant(p, value_string(""));
    if (skip_sign(p, "|")) n->b = filtered(p, filter(p, n->b));
    end_tag(p);
    n->body = tree_body(p, (const char *const[]){"endset", NULL}, "set");
    advance(p), end_tag(p);
    return n;
}

static Node *statement_macro(Parser *p) {
    Node *n = tree_node(p, MACRO_BLOCK, NULL, NULL), **end = &n->a;
    const int loops = p->loops;
    n->name = need_name(p);
    need_sign(p, "(");
    while (!is_sign(p, ")")) {
        Node *parameter = tree_node(p, GIVEN, NULL, NULL);
        parameter->name = need_name(p);
        if (skip_sign(p, "=")) parameter->a = expression(p);
        *end = parameter, end = &parameter->next;
        if (!skip_sign(p, ",")) break;
    }
    need_sign(p, ")");
    end_tag(p);
    p->loops = 0;
    n->body = tree_body(p, (const char *const[]){"endmacro", NULL}, "macro");
    p->loops = loops;
    advance(p);
    skip_name(p, n->name), end_tag(p);
    return n;
}

static Node *statement_generation(Parser *p) {
    Node *n = tree_node(p, GENERATION, NULL, NULL);
    const int loops = p->loops;
    p->j->generation = true;
    end_tag(p);
    p->loops = 0;
    n->body = tree_body(p, (const char *const[]){"endgeneration", NULL}, "generation");
    p->loops = loops;
    advance(p), end_tag(p);
    return n;
}

static Node *statement(Parser *p) {
    if (skip_name(p, "if")) return statement_if(p);
    if (skip_name(p, "for")) return statement_for(p);
    if (skip_name(p, "set")) return statement_set(p);
    if (skip_name(p, "macro")) return statement_macro(p);
    if (skip_name(p, "generation")) return statement_generation(p);
    if (is_name(p, "break") || is_name(p, "continue")) {
        Node *n = tree_node(p, is_name(p, "break") ? BREAK : CONTINUE, NULL, NULL);
        if (!p->loops) jinja_stop(&p->m, "%s outside of a loop", p->t.s);
        advance(p), end_tag(p);
        return n;
    }
    jinja_stop(&p->m, "{%% %.40s %%}: not known here", p->t.kind == T_NAME ? p->t.s : "?");
}

/* Up to a tag that begins with one of `ends` (NULL: up to the template's end), which is then the token. */
static Node *tree_body(Parser *p, const char *const *ends, const char *of) {
    Node *first = NULL, **end = &first;
    const int line = p->t.line;
    jinja_enter(&p->m);
    for (char kind; (kind = text_before_tag(p, &end)) != 0; ) {
        if (kind == '#') { comment(p); continue; }
        advance(p);
        if (kind == '{') {
            Node *n = tree_node(p, OUTPUT, NULL, NULL);
            n->a = tuple(p, NULL);
            end_tag(p);
            *end = n, end = &n->next;
            continue;
        }
        for (int i = 0; ends && ends[i]; i++) if (is_name(p, ends[i])) { p->m.depth--; return first; }
        *end = statement(p), end = &(*end)->next;
    }
    p->m.line = line;
    if (ends) jinja_stop(&p->m, "%s is not closed", of);
    p->m.depth--;
    return first;
}

/* ---- the whole ---- */

/* \r\n and \r become \n; one line end at the close goes. */
static void normalized(Parser *p, const char *text, size_t n) {
    char *s = jinja_take(&p->m, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n') continue;
        s[p->n++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (p->n && s[p->n - 1] == '\n') p->n--;
    p->s = s;
}

void jinja_refuse_name(Machine *m, const Node *n) {
    jinja_stop(m, "%s %.40s: not known here", n->kind == FILTER ? "filter" : "test", n->name);
}

static bool parsed(Parser *p, const char *text, size_t n) {
    if (setjmp(p->m.refused)) return false;
    normalized(p, text, n);
    p->j->body = tree_body(p, NULL, NULL);
    if (p->unknown) p->m.line = p->unknown->line, jinja_refuse_name(&p->m, p->unknown);
    return true;
}

bool jinja_tree(struct Jinja *j, const char *text, size_t n, Err *e) {
    size_t bad;
    Parser p = {.m = {.name = j->name, .e = e, .line = 1}, .j = j, .line = 1, .line_start = true};
    const bool ok = utf8_valid(text, n, &bad) ? parsed(&p, text, n)
                                              : fail(e, "%s: byte %zu is no valid UTF-8", j->name, bad + 1);
    j->chunk = p.m.chunk;
    return ok;
}
