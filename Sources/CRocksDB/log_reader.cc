// RocksDB's log format (https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format): blocks of
// 32 KiB that hold records, which may span blocks in fragments:
//
//   u32le masked crc32c of what follows the length | u16le length | u8 type | bytes
//
// Types 1…4 are a whole record, its first, middle and last fragment. A block's last bytes, when no header fits
// there, are zero. Types 5…8 would be those of a recycled file. No file is recycled here (database.cc), so they are
// damage: they would make a reader end the log at the first fragment of another log's number, and a client may store
// such a one, which the search behind damage then finds.
//
// After damage the lengths cannot be trusted, so the reader tries every offset of the block for a record
// whose checksum holds. That finds what stands behind the damage, even in the same block: a later sync mark
// is what proves that the damaged part had been on disk.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

#include "boundary.h"

using torc::guarded;

namespace {

constexpr size_t kBlock = 32768;
constexpr size_t kHeader = 7;

/// crc32c (Castagnoli), eight bytes at a time.
struct Crc32c {
    uint32_t table[8][256];

    Crc32c() {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
            table[0][i] = crc;
        }
        for (int slice = 1; slice < 8; slice++) {
            for (int i = 0; i < 256; i++) {
                uint32_t crc = table[slice - 1][i];
                table[slice][i] = (crc >> 8) ^ table[0][crc & 0xff];
            }
        }
    }

    uint32_t operator()(const uint8_t *bytes, size_t length) const {
        uint32_t crc = 0xffffffffu;
        while (length >= 8) {
            uint32_t low = crc ^ (uint32_t(bytes[0]) | uint32_t(bytes[1]) << 8 | uint32_t(bytes[2]) << 16 |
                                  uint32_t(bytes[3]) << 24);
            crc = table[7][low & 0xff] ^ table[6][(low >> 8) & 0xff] ^ table[5][(low >> 16) & 0xff] ^
                  table[4][low >> 24] ^ table[3][bytes[4]] ^ table[2][bytes[5]] ^ table[1][bytes[6]] ^
                  table[0][bytes[7]];
            bytes += 8;
            length -= 8;
        }
        while (length-- > 0) crc = (crc >> 8) ^ table[0][(crc ^ *bytes++) & 0xff];
        return ~crc;
    }
};

const Crc32c crc32c;

uint32_t unmask(uint32_t masked) {
    uint32_t rotated = masked - 0xa282ead8u;
    return (rotated >> 17) | (rotated << 15);
}

uint32_t mask(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

uint32_t little32(const uint8_t *bytes) {
    return uint32_t(bytes[0]) | uint32_t(bytes[1]) << 8 | uint32_t(bytes[2]) << 16 | uint32_t(bytes[3]) << 24;
}

enum Fragment { kWhole = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

}  // namespace

struct torc_log_reader {
    int file = -1;
    uint8_t block[kBlock];
    /// Where the block stands in the file, how much of it there is, and where in it the next header is.
    uint64_t block_start = 0;
    size_t block_length = 0;
    size_t at = 0;
    bool at_end = false;
    /// Fragments of the record that is being put together, and where it starts.
    std::string record;
    bool in_record = false;
    uint64_t record_start = 0;
    /// Damage was reported, and no record has been found since.
    bool lost = false;

    ~torc_log_reader() {
        if (file >= 0) close(file);
    }

    uint64_t position() const { return block_start + at; }

    /// Reads the block behind this one; false at the end of the file.
    bool load(int &error) {
        block_start += block_length;
        block_length = 0;
        at = 0;
        while (block_length < kBlock) {
            ssize_t got = pread(file, block + block_length, kBlock - block_length, off_t(block_start + block_length));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) {
                error = errno;
                return false;
            }
            if (got == 0) break;
            block_length += size_t(got);
        }
        return block_length > 0;
    }

    /// The fragment at `at`, when its checksum holds.
    bool parse(Fragment &fragment, const uint8_t *&bytes, size_t &length) const {
        const uint8_t *header = block + at;
        size_t left = block_length - at;
        if (left < kHeader) return false;
        uint8_t type = header[6];
        length = size_t(header[4]) | size_t(header[5]) << 8;
        if (type < kWhole || type > kLast) return false;
        if (kHeader + length > left) return false;
        if (unmask(little32(header)) != crc32c(header + 6, 1 + length)) return false;
        fragment = Fragment(type);
        bytes = header + kHeader;
        return true;
    }

    torc_log_item damage(torc_log_position &position, uint64_t start) {
        lost = true;
        in_record = false;
        position = torc_log_position{start, nullptr, 0};
        return TORC_LOG_DAMAGE;
    }

    torc_log_item whole(torc_log_position &position) {
        lost = false;
        in_record = false;
        position = torc_log_position{record_start, record.data(), record.size()};
        return TORC_LOG_RECORD;
    }

    torc_log_item next(torc_log_position &out, int &error) {
        for (;;) {
            if (at_end) return TORC_LOG_END;
            size_t left = block_length - at;
            if (left < kHeader) {
                // Padding of a full block; in a short one, the start of a header that was cut off.
                bool torn = left > 0 && block_length < kBlock;
                uint64_t start = in_record ? record_start : position();
                at = block_length;
                if (torn || !load(error)) {
                    at_end = true;
                    if (error) return TORC_LOG_END;
                    if ((torn || in_record) && !lost) return damage(out, start);
                    return TORC_LOG_END;
                }
                continue;
            }
            Fragment fragment;
            const uint8_t *bytes;
            size_t length;
            if (!parse(fragment, bytes, length)) {
                uint64_t start = in_record ? record_start : position();
                at += 1;
                if (!lost) return damage(out, start);
                in_record = false;  // A record's fragments follow one another.
                continue;
            }
            uint64_t start = position();
            switch (fragment) {
                case kWhole:
                case kFirst:
                    if (in_record) return damage(out, record_start);  // Read again, as a record of its own.
                    at += kHeader + length;
                    record_start = start;
                    record.assign(reinterpret_cast<const char *>(bytes), length);
                    if (fragment == kWhole) return whole(out);
                    in_record = true;
                    break;
                case kMiddle:
                case kLast:
                    at += kHeader + length;
                    if (!in_record) {
                        // The rest of a record whose start is lost.
                        if (!lost) return damage(out, start);
                        break;
                    }
                    record.append(reinterpret_cast<const char *>(bytes), length);
                    if (fragment == kLast) return whole(out);
                    break;
            }
        }
    }
};

namespace {

struct Visitor : rocksdb::WriteBatch::Handler {
    const torc_batch_visitor &visitor;

    explicit Visitor(const torc_batch_visitor &visitor) : visitor(visitor) {}

    rocksdb::Status PutCF(uint32_t family, const rocksdb::Slice &key, const rocksdb::Slice &value) override {
        if (visitor.put) visitor.put(visitor.context, family, key.data(), key.size(), value.data(), value.size());
        return rocksdb::Status::OK();
    }

    rocksdb::Status DeleteCF(uint32_t family, const rocksdb::Slice &key) override {
        if (visitor.remove) visitor.remove(visitor.context, family, key.data(), key.size());
        return rocksdb::Status::OK();
    }

    void LogData(const rocksdb::Slice &blob) override {
        if (visitor.log_data) visitor.log_data(visitor.context, blob.data(), blob.size());
    }
};

}  // namespace

extern "C" {

torc_error torc_log_reader_open(const char *path, torc_log_reader **reader) {
    return guarded([&]() -> torc_error {
        auto opened = std::make_unique<torc_log_reader>();
        opened->file = open(path, O_RDONLY | O_CLOEXEC);
        if (opened->file < 0) {
            std::string message = std::string(path) + ": " + strerror(errno);
            return torc::failure(TORC_IO_ERROR, message.c_str());
        }
        *reader = opened.release();
        return torc_error{TORC_OK, nullptr};
    });
}

torc_error torc_log_reader_next(torc_log_reader *reader, torc_log_item *item, torc_log_position *position) {
    return guarded([&]() -> torc_error {
        int error = 0;
        *item = reader->next(*position, error);
        if (error) return torc::failure(TORC_IO_ERROR, strerror(error));
        return torc_error{TORC_OK, nullptr};
    });
}

void torc_log_reader_destroy(torc_log_reader *reader) { delete reader; }

torc_error torc_log_append(const char *path, const void *bytes, size_t length) {
    return guarded([&]() -> torc_error {
        int file = open(path, O_RDWR | O_CLOEXEC);
        off_t end = file < 0 ? -1 : lseek(file, 0, SEEK_END);
        std::string added;
        const uint8_t *rest = static_cast<const uint8_t *>(bytes);
        bool first = true;
        bool done = false;
        while (end >= 0 && !done) {
            size_t left = kBlock - (size_t(end) + added.size()) % kBlock;
            if (left < kHeader) {
                added.append(left, '\0');
                continue;
            }
            size_t part = std::min(length, left - kHeader);
            done = part == length;
            uint8_t header[kHeader];
            header[4] = uint8_t(part);
            header[5] = uint8_t(part >> 8);
            header[6] = uint8_t(first ? done ? kWhole : kFirst : done ? kLast : kMiddle);
            std::string checked(reinterpret_cast<char *>(header) + 6, 1);
            checked.append(reinterpret_cast<const char *>(rest), part);
            uint32_t crc = mask(crc32c(reinterpret_cast<const uint8_t *>(checked.data()), checked.size()));
            for (int i = 0; i < 4; i++) header[i] = uint8_t(crc >> (8 * i));
            added.append(reinterpret_cast<char *>(header), kHeader);
            added.append(reinterpret_cast<const char *>(rest), part);
            rest += part;
            length -= part;
            first = false;
        }
        // A file of this kind is only added to: a part of the record is a write that was cut short.
        bool written = done && pwrite(file, added.data(), added.size(), end) == ssize_t(added.size()) && fsync(file) == 0;
        int error = errno;
        if (file >= 0) close(file);
        if (written) return torc_error{TORC_OK, nullptr};
        std::string message = std::string(path) + ": " + strerror(error);
        return torc::failure(error == ENOSPC ? TORC_NO_SPACE : TORC_IO_ERROR, message.c_str());
    });
}

torc_error torc_exchange(const char *path, const char *other) {
    return guarded([&]() -> torc_error {
        if (renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE) == 0) return torc_error{TORC_OK, nullptr};
        std::string message = std::string(path) + " and " + other + ": " + strerror(errno);
        return torc::failure(TORC_IO_ERROR, message.c_str());
    });
}

torc_error torc_batch_visit(
    const void *bytes, size_t length, const torc_batch_visitor *visitor, uint64_t *sequence, uint32_t *count) {
    return guarded([&]() -> torc_error {
        // A sequence number of eight bytes and a count of four stand first.
        if (length < 12) return torc::failure(TORC_CORRUPTION, "a batch of fewer than 12 bytes");
        const uint8_t *header = static_cast<const uint8_t *>(bytes);
        *sequence = uint64_t(little32(header)) | uint64_t(little32(header + 4)) << 32;
        *count = little32(header + 8);
        rocksdb::WriteBatch batch(std::string(static_cast<const char *>(bytes), length));
        Visitor handler(*visitor);
        return torc::result(batch.Iterate(&handler));
    });
}

}  // extern "C"
