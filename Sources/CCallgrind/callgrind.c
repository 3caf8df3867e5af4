#include "CCallgrind.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>

bool torc_callgrind_is_known(void) { return true; }

void torc_callgrind_begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void torc_callgrind_end(const char *name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
#else
bool torc_callgrind_is_known(void) { return false; }
void torc_callgrind_begin(void) {}
void torc_callgrind_end(const char *name) { (void)name; }
#endif
