// Requests to callgrind, when the process runs under it: outside of it they do nothing.
#ifndef CCALLGRIND_H
#define CCALLGRIND_H

#include <stdbool.h>

/// Whether this was built with valgrind's headers; without them callgrind counts nothing.
bool torc_callgrind_is_known(void);

/// From here on instructions are counted, from zero.
void torc_callgrind_begin(void);

/// What was counted is written to a file of its own, which `name` is told in, and counting ends.
void torc_callgrind_end(const char *name);

#endif
