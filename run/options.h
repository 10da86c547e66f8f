/* options.h: one table per command feeds the parser, --help, --config and the run's config.json.
 *
 * Names are TRL's (learning_rate); on the command line dashes and underscores are the same. Precedence:
 * default, then
 * --config FILE, then the command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "lib/base.h"
#include "lib/json.h"

typedef enum { OPT_STRING, OPT_INT, OPT_NUMBER, OPT_BOOL, OPT_CHOICE } OptionKind;
/* Field types: const char * (NULL: not given), int, double (NaN: none), bool, and an int-sized enum for a
 * choice. */
typedef struct {
    const char *name;
    OptionKind kind;
    size_t offset;
    const char *fallback;               /* default as text; NULL: none (a string stays NULL, a number NaN) */
    const char *help;
    const char *const *choice;          /* OPT_CHOICE: names in the enum's order, NULL at the end */
} Option;
typedef struct {
    const char *command, *summary, *example;
    const Option *option;
    int n;
} OptionTable;

/* Fills *config from defaults, --config and argv[1..]. Returns 0: go on; 1: help was printed, exit 0; -1:
 * error in e. Strings point into argv or into memory kept until the program ends. */
int options_parse(void *config, const OptionTable *t, int argc, char **argv, Err *e);
/* The resolved configuration as members of an object that the caller has begun. */
void options_write(JsonWriter *w, const void *config, const OptionTable *t);
void options_write_value(JsonWriter *w, const void *config, const Option *o);
/* What an option is where nobody gave it: a configuration that was saved before the option existed means
 * this. */
void options_write_default(JsonWriter *w, const Option *o);
/* Whether a saved configuration agrees in everything but the names in `free_names` (NULL at the end). */
bool options_agree(const void *config, const OptionTable *t, const Json *saved, const char *const *free_names,
                   const char *file, Err *e);

/* "politeness=0.4,safety=0.6" or "0.4,0.6" for the given labels; those not named get 0 (named form). All zero
 * is an error. */
bool parse_weights(double *weight, const char *text, const char (*label)[64], int n_label, const char *option,
                   Err *e);
/* The same for lower bounds; those not named get -INFINITY. */
bool parse_floors(double *floor, const char *text, const char (*label)[64], int n_label, const char *option,
                  Err *e);
/* "0,1": two finite numbers, the first below the second. */
bool parse_range(double *low, double *high, const char *text, const char *option, Err *e);

#endif
