/* options.h: one table per command feeds the parser, --help, --config and the run's config.json.
 *
 * Names are TRL's (learning_rate); on the command line dashes and underscores are the same. Precedence:
 * default, then
 * --config FILE, then the command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "lib/base.h"
#include "lib/json.h"
#include "lib/settings.h"

/* The settings of a command: tables of rows, each of a struct that lies at `base` in the command's
 * configuration; and the defaults in which this command differs from them. */
typedef struct { const Setting *rows; size_t base; } OptionPart;
enum { OPTION_PARTS = 12, OWN_DEFAULTS = 4 };
typedef struct {
    const char *command, *summary, *example;
    OptionPart part[OPTION_PARTS];      /* ends with rows NULL */
    struct { const char *name, *fallback; } own[OWN_DEFAULTS];
} OptionTable;
/* The i-th row of all, with its place in the command's configuration; false: there are no more. */
bool option_at(Setting *s, const OptionTable *t, int i);

/* Fills *config from defaults, --config and argv[1..]. Returns 0: go on; 1: help was printed, exit 0; -1:
 * error in e. Strings point into argv or into memory kept until the program ends. */
int options_parse(void *config, const OptionTable *t, int argc, char **argv, Err *e);
/* The resolved configuration as members of an object that the caller has begun. */
void options_write(JsonWriter *w, const void *config, const OptionTable *t);
void options_write_value(JsonWriter *w, const void *config, const Setting *o);
/* What an option is where nobody gave it: a configuration that was saved before the option existed means
 * this. */
void options_write_default(JsonWriter *w, const Setting *o);
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
