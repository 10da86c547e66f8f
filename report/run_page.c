/* run_page.c: a run's replies before and after and its curves, as one page. */
#include "report/run_page.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/files.h"
#include "report/figures.h"
#include "report/page.h"

static const char page_title[] = "Before and after training";  /* by which its page is known */

static bool run_arms(Arms *arms, const char *dir, Err *e) {
    char before[1024], after[1024];
    return path_join(before, sizeof before, dir, "eval_before", e) &&
           path_join(after, sizeof after, dir, "eval_after", e) &&
           arms_add_folder(arms, "before", before, e) && arms_add_folder(arms, "after", after, e) &&
           arms_add_folder(arms, "training", dir, e);
}

bool run_page(bool *written, const char *path, const char *dir, const OptionTable *const *tables, Err *e) {
    Arms arms = {.tables = tables};
    Err why = {{0}};
    *written = false;
    if (path_exists(path) && !page_is(path, page_title)) {
        fprintf(stderr,
                "report: %s was not made by a run and stays as it is; for the page: grpo report "
                "before=%s/eval_before after=%s/eval_after training=%s --output FILE\n",
                path, dir, dir, dir);
        return true;
    }
    bool ok = run_arms(&arms, dir, &why);
    if (ok) {
        char *figures = report_figures(&arms, page_title, 0, 0);
        ok = *written = figures ? page_write(path, figures, e) : fail(e, "no memory for the figures");
        free(figures);
    } else if (fail_of_memory(&why)) fail(e, "%s", why.line);
    else {
        /* what a row's columns hold is no reason for a run to fail at its end */
        fprintf(stderr, "report: no page: %s\n", why.line);
        ok = true;
    }
    arms_free(&arms);
    return ok;
}
