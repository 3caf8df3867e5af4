// zlib as Swift needs it: one piece of bytes at a time, in and out of memory.

#ifndef CZLIB_H
#define CZLIB_H

#include <stdbool.h>
#include <stddef.h>

/// The most that so many bytes take when they are compressed.
size_t torc_compress_bound(size_t length);

/// Compresses into `out`, which has room for `torc_compress_bound(length)`; answers how long it is, 0 when memory is short.
size_t torc_compress(const void *bytes, size_t length, void *out, size_t capacity);

/// Undoes it. False: the bytes are none that `torc_compress` made of exactly `length`.
bool torc_uncompress(const void *bytes, size_t length, void *out, size_t out_length);

#endif
