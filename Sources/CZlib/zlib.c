#include "CZlib.h"

#include <zlib.h>

size_t torc_compress_bound(size_t length) { return compressBound(length); }

size_t torc_compress(const void *bytes, size_t length, void *out, size_t capacity) {
    uLongf written = capacity;
    return compress2(out, &written, bytes, length, Z_DEFAULT_COMPRESSION) == Z_OK ? written : 0;
}

bool torc_uncompress(const void *bytes, size_t length, void *out, size_t out_length) {
    uLongf written = out_length;
    return uncompress(out, &written, bytes, length) == Z_OK && written == out_length;
}
