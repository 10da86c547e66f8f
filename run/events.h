/* events.h: the numbers of a run's log as the event file that TensorBoard opens. */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdint.h>

#include "lib/base.h"

typedef struct Events Events;
/* A new file in the folder runs/ of dir, with the lines that log_path already has (none if it is not there).
 * NULL with the line filled in. */
Events *events_open(const char *dir, const char *log_path, Err *e);
/* The numbers of one line of the log, under "step": NAME becomes train/NAME, and eval_NAME eval/NAME, as
 * transformers has them. wall: seconds since 1970. */
bool events_put(Events *v, const char *line, double wall, Err *e);
void events_close(Events *v);           /* NULL too */

/* CRC-32C (Castagnoli) of n bytes. */
uint32_t events_crc(const void *bytes, size_t n);

#endif
