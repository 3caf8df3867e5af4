// xxh3, inlined into the caller: a hash of a small record costs less than the call of a shared library.
#ifndef CXXHASH_H
#define CXXHASH_H

#include <stddef.h>
#include <stdint.h>

/// The 64-bit xxh3 of `length` bytes under a seed.
uint64_t torc_xxh3(const void *bytes, size_t length, uint64_t seed);

#endif
