// The parts of a table whose damage RocksDB does not survive are looked at before RocksDB does.
//
// A table ends with its properties, an index of such blocks (the metaindex) and a footer. RocksDB looks at the checksum of
// every block before it reads it, but for the properties: these it reads first, and where Debian's build meets garbage at
// the end of that block an assertion ends the process, before anybody can say which table it was. A footer has no checksum:
// what it points to RocksDB makes room for before it compares that with the file, and where there is no such room a
// background thread, and with it the process, ends by an exception. So the file system that RocksDB is given checks the
// properties' sum and where the footer points when a table is opened: three small reads, of what is about to be read anyway.
// All else that may be wrong is left to RocksDB, which says so.

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "boundary.h"

namespace {

constexpr size_t kFooterBytes = 53;
constexpr size_t kTrailerBytes = 5;
constexpr uint64_t kMagic = 0x88e241b785f4cff7;
/// XXH3, which is what RocksDB has written by default since version 7, and all that Torc's tables have.
constexpr uint8_t kChecksum = 4;
/// Footers of later formats have a checksum, and other contents. Torc's tables have 5.
constexpr uint64_t kLastFormat = 5;
/// Properties and metaindex take a few kilobytes; what claims more is for RocksDB to judge.
constexpr uint64_t kMostBlockBytes = 16 << 20;
constexpr char kProperties[] = "rocksdb.properties";

uint64_t little(const char *bytes, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) value |= uint64_t(uint8_t(bytes[i])) << (8 * i);
    return value;
}

/// What is left to read of a block or a footer.
struct Rest {
    const char *at;
    const char *end;

    bool varint(uint64_t *value) {
        *value = 0;
        for (int shift = 0; shift < 64 && at < end; shift += 7) {
            uint8_t byte = uint8_t(*at++);
            *value |= uint64_t(byte & 0x7f) << shift;
            if (byte < 0x80) return true;
        }
        return false;
    }

    bool bytes(uint64_t count, const char **start) {
        if (count > uint64_t(end - at)) return false;
        *start = at;
        at += count;
        return true;
    }
};

struct Handle {
    uint64_t offset = 0;
    uint64_t size = 0;

    bool read(Rest *rest) { return rest->varint(&offset) && rest->varint(&size); }

    /// The block and its trailer lie before `end`.
    bool lies_before(uint64_t end) const {
        return offset <= end && end - offset >= kTrailerBytes && size <= end - offset - kTrailerBytes;
    }
};

bool read(rocksdb::FSRandomAccessFile &file, uint64_t offset, uint64_t count, std::string *bytes) {
    bytes->resize(count);
    rocksdb::Slice got;
    if (!file.Read(offset, count, rocksdb::IOOptions(), &got, bytes->data(), nullptr).ok()) return false;
    if (got.size() != count) return false;
    if (got.data() != bytes->data()) memcpy(bytes->data(), got.data(), count);
    return true;
}

enum class Block { kSound, kDamaged, kUnread };

/// The block's contents, without what follows it: the kind of compression, which the sum covers, and the sum.
Block read_block(rocksdb::FSRandomAccessFile &file, const Handle &handle, uint64_t file_size, std::string *block) {
    if (handle.size > kMostBlockBytes || handle.offset > file_size) return Block::kUnread;
    if (!read(file, handle.offset, handle.size + kTrailerBytes, block)) return Block::kUnread;
    // The last byte is mixed in by itself, so that RocksDB need not copy a block to append it.
    uint32_t sum = uint32_t(XXH3_64bits(block->data(), handle.size));
    sum ^= uint8_t((*block)[handle.size]) * 0x6b9083d9u;
    bool is_sound = sum == little(block->data() + handle.size + 1, 4);
    block->resize(handle.size);
    return is_sound ? Block::kSound : Block::kDamaged;
}

/// False: there is none, or the block cannot be followed.
bool find_properties(const std::string &metaindex, Handle *properties) {
    if (metaindex.size() < 4) return false;
    uint64_t restarts = little(metaindex.data() + metaindex.size() - 4, 4);
    if (restarts > (metaindex.size() - 4) / 4) return false;
    Rest rest{metaindex.data(), metaindex.data() + metaindex.size() - 4 - 4 * restarts};
    while (rest.at < rest.end) {
        uint64_t shared = 0, unshared = 0, length = 0;
        const char *key = nullptr, *value = nullptr;
        if (!rest.varint(&shared) || !rest.varint(&unshared) || !rest.varint(&length)) return false;
        if (shared != 0 || !rest.bytes(unshared, &key) || !rest.bytes(length, &value)) return false;
        if (unshared != sizeof kProperties - 1 || memcmp(key, kProperties, unshared) != 0) continue;
        Rest handle{value, value + length};
        return properties->read(&handle);
    }
    return false;
}

/// The footer points outside the file, or the properties are not those that were written.
bool has_damaged_end(rocksdb::FSRandomAccessFile &file, uint64_t file_size) {
    std::string footer, block;
    if (file_size < kFooterBytes || !read(file, file_size - kFooterBytes, kFooterBytes, &footer)) return false;
    if (little(footer.data() + kFooterBytes - 8, 8) != kMagic) return false;
    if (little(footer.data() + kFooterBytes - 12, 4) > kLastFormat) return false;
    Rest rest{footer.data() + 1, footer.data() + kFooterBytes - 12};
    Handle metaindex, index, properties;
    for (Handle *handle : {&metaindex, &index}) {
        if (!handle->read(&rest) || !handle->lies_before(file_size - kFooterBytes)) return true;
    }
    if (uint8_t(footer[0]) != kChecksum) return false;
    if (read_block(file, metaindex, file_size, &block) != Block::kSound) return false;
    if (!find_properties(block, &properties)) return false;
    return read_block(file, properties, file_size, &block) == Block::kDamaged;
}

class CheckedTables : public rocksdb::FileSystemWrapper {
  public:
    CheckedTables() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}

    const char *Name() const override { return "CheckedTables"; }

    rocksdb::IOStatus NewRandomAccessFile(
        const std::string &path, const rocksdb::FileOptions &options, std::unique_ptr<rocksdb::FSRandomAccessFile> *file,
        rocksdb::IODebugContext *debug) override {
        rocksdb::IOStatus status = target()->NewRandomAccessFile(path, options, file, debug);
        if (!status.ok() || path.size() < 4 || path.compare(path.size() - 4, 4, ".sst") != 0) return status;
        uint64_t size = 0;
        status = target()->GetFileSize(path, rocksdb::IOOptions(), &size, debug);
        if (status.ok() && has_damaged_end(**file, size)) {
            status = rocksdb::IOStatus::Corruption("block checksum mismatch: properties or footer of", path);
        }
        if (!status.ok()) file->reset();
        return status;
    }
};

}  // namespace

rocksdb::Env *torc::checked_env() {
    // Never freed: background threads may outlive every static object.
    static rocksdb::Env *env = rocksdb::NewCompositeEnv(std::make_shared<CheckedTables>()).release();
    return env;
}
