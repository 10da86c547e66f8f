/* jinja_parse.h: a template as a tree, as jinja.c runs it. Not for others. */
#ifndef TEXT_JINJA_PARSE_H
#define TEXT_JINJA_PARSE_H

#include "text/jinja_values.h"

typedef enum { TEXT, OUTPUT, IF, FOR, SET, SET_BLOCK, MACRO_BLOCK, GENERATION, BREAK, CONTINUE,
               CONSTANT, NAME, ATTRIBUTE, ITEM, SLICE, CALL, FILTER, TEST, NOT, NEGATIVE, BINARY, AND, OR,
               COMPARE, CHOICE, LISTED, MAPPED, GIVEN } Kind;

/* Meaning by kind: FOR a: target, b: what it goes over, c: condition; CHOICE a if b else c; CALL, FILTER,
 * TEST a: of what, b: first argument; SLICE a[b:c:d]; COMPARE a: first, b: the others, op: how each is
 * compared; GIVEN (an argument) and parameters: name, a. */
typedef struct Node Node;
struct Node {
    Kind kind;
    int line, op;
    const char *name;                   /* of one spelling once: names are equal where pointers are */
    union { Value value; const Operation *filter; };
    Node *a, *b, *c, *d, *next;
    Node *body, *otherwise;
};

typedef struct Name { struct Name *next; char text[]; } Name;
struct Jinja {
    Chunk *chunk;
    Node *body;
    Name *names;
    bool generation;
    char name[];
};

/* Stops at a filter or a test that is not known. */
_Noreturn void jinja_refuse_name(Machine *m, const Node *n);
/* n bytes of a template into j, whose name is set: false with the line filled in. j->chunk is to be freed in
 * either case. */
bool jinja_tree(struct Jinja *j, const char *text, size_t n, Err *e);

#endif
