// CRC-32C as the processor computes it, in place of RocksDB's.
//
// Every log record carries one. RocksDB chooses the processor's instruction when it is compiled, not when it runs, and Debian's
// package is compiled for processors that have none: its tables do about a gigabyte a second, the instruction several. The
// library calls this function through its symbol table, where a definition in the program comes before the library's own. Where
// the linker or the processor does not do its part the library's is used: the sums are the same.

#if defined(__x86_64__) && defined(__linux__)

#include <dlfcn.h>
#include <nmmintrin.h>

#include <cstdint>
#include <cstring>

#include "CRocksDB.h"

namespace {

constexpr const char *kSymbol = "_ZN7rocksdb6crc32c6ExtendEjPKcm";

using Extend = uint32_t (*)(uint32_t, const char *, size_t);

__attribute__((target("sse4.2"))) uint32_t by_instruction(uint32_t sum, const char *bytes, size_t length) {
    uint64_t state = sum ^ 0xffffffffu;
    for (; length >= 8; length -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    uint32_t last = uint32_t(state);
    for (; length > 0; length--, bytes++) last = _mm_crc32_u8(last, uint8_t(*bytes));
    return last ^ 0xffffffffu;
}

Extend chosen() {
    if (__builtin_cpu_supports("sse4.2")) return by_instruction;
    return reinterpret_cast<Extend>(dlsym(RTLD_NEXT, kSymbol));
}

}  // namespace

namespace rocksdb {
namespace crc32c {

__attribute__((visibility("default"))) uint32_t Extend(uint32_t sum, const char *bytes, size_t length) {
    static const ::Extend extend = chosen();
    return extend(sum, bytes, length);
}

}  // namespace crc32c
}  // namespace rocksdb

extern "C" uint32_t torc_crc32c(uint32_t sum, const void *bytes, size_t length) {
    return rocksdb::crc32c::Extend(sum, static_cast<const char *>(bytes), length);
}

extern "C" bool torc_crc32c_is_own(void) {
    return __builtin_cpu_supports("sse4.2") && dlsym(RTLD_DEFAULT, kSymbol) == reinterpret_cast<void *>(rocksdb::crc32c::Extend);
}

#else

#include <rocksdb/db.h>

#include "CRocksDB.h"

extern "C" bool torc_crc32c_is_own(void) { return false; }

namespace rocksdb {
namespace crc32c {
uint32_t Extend(uint32_t sum, const char *bytes, size_t length);
}  // namespace crc32c
}  // namespace rocksdb

extern "C" uint32_t torc_crc32c(uint32_t sum, const void *bytes, size_t length) {
    return rocksdb::crc32c::Extend(sum, static_cast<const char *>(bytes), length);
}

#endif
