// What the shim's files share: the handles, and the one place where a RocksDB status or a C++ exception
// turns into a `torc_error`.

#ifndef TORC_BOUNDARY_H
#define TORC_BOUNDARY_H

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/snapshot.h>
#include <rocksdb/statistics.h>
#include <rocksdb/status.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "CRocksDB.h"

struct torc_family {
    rocksdb::ColumnFamilyHandle *handle;
    /// Dropped, and not freed yet. Under `families_mutex`.
    bool is_retired = false;
};

namespace torc {

/// What compactions found damaged. RocksDB answers a table that a compaction cannot read by refusing all writes from
/// then on, and a restart by compacting again: one flipped bit would keep a node from ever running. No such compaction
/// has changed anything, so the error is taken back, and noted here for the store, which has the family made anew.
/// Every other background error stands.
class CompactionWatch : public rocksdb::EventListener {
  public:
    void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status *error) override {
        if (reason == rocksdb::BackgroundErrorReason::kCompaction && error->IsCorruption()) {
            *error = rocksdb::Status::OK();
        } else if (error->severity() != rocksdb::Status::kSoftError) {
            // After a soft one RocksDB goes on writing out.
            failed_.store(true, std::memory_order_relaxed);
        }
    }

    /// RocksDB has stopped writing out, for good: what waits for that waits for ever.
    bool failed() const { return failed_.load(std::memory_order_relaxed); }

    void OnCompactionCompleted(rocksdb::DB *, const rocksdb::CompactionJobInfo &job) override {
        if (!job.status.IsCorruption()) return;
        std::lock_guard<std::mutex> lock(mutex_);
        // The compaction is tried again and again until somebody has looked.
        for (const auto &known : found_) {
            if (known.first == job.cf_name) return;
        }
        found_.emplace_back(job.cf_name, job.status.ToString());
    }

    /// False: there is none.
    bool take(std::string *family, std::string *detail) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (found_.empty()) return false;
        *family = found_.back().first;
        *detail = found_.back().second;
        found_.pop_back();
        return true;
    }

  private:
    std::atomic<bool> failed_{false};
    std::mutex mutex_;
    std::vector<std::pair<std::string, std::string>> found_;
};

/// What RocksDB does in the background takes what processor time the loops leave, where they take it all: gently, because
/// memtables that are not written out, and tables that are not compacted, make writers wait in the end. Its threads are
/// told from the others as they begin a job; those that flush never compact, and the other way round.
class BackgroundPriority : public rocksdb::EventListener {
  public:
    void OnFlushBegin(rocksdb::DB *, const rocksdb::FlushJobInfo &) override { yield(kFlushNice); }
    void OnCompactionBegin(rocksdb::DB *, const rocksdb::CompactionJobInfo &) override { yield(kCompactionNice); }

  private:
    /// Of nineteen; each is some tenth less than the one before.
    static constexpr int kFlushNice = 5;
    static constexpr int kCompactionNice = 10;

    static void yield(int nice) {
        thread_local bool has_yielded = false;
        if (has_yielded) return;
        has_yielded = true;
        // Of this thread alone, on Linux. Where it fails the thread is as the others are.
        setpriority(PRIO_PROCESS, id_t(syscall(SYS_gettid)), nice);
    }
};

}  // namespace torc

struct torc_db {
    std::shared_ptr<torc::CompactionWatch> watch = std::make_shared<torc::CompactionWatch>();
    std::unique_ptr<rocksdb::DB> db;
    std::shared_ptr<rocksdb::Cache> cache;
    std::shared_ptr<rocksdb::WriteBufferManager> memtables;
    /// Writes that must not wait are put off while memtables take more. RocksDB itself would flush on and let them grow, up to four
    /// whole memtables a family.
    std::atomic<size_t> memtable_limit{SIZE_MAX};
    std::shared_ptr<rocksdb::Statistics> statistics;
    rocksdb::ColumnFamilyOptions plain;
    rocksdb::ColumnFamilyOptions partition;
    rocksdb::ReadOptions memory_read;
    rocksdb::ReadOptions disk_read;
    /// Families are made and copied by several threads.
    std::mutex families_mutex;
    std::vector<torc_family *> families;

    const rocksdb::ColumnFamilyOptions &options(torc_family_kind kind) const {
        return kind == TORC_FAMILY_PARTITION ? partition : plain;
    }
};

struct torc_batch {
    rocksdb::WriteBatch batch;
};

struct torc_value {
    rocksdb::PinnableSlice slice;
};

struct torc_snapshot {
    const rocksdb::Snapshot *snapshot;
};

namespace torc {

/// The file system of every database and table that is opened here; it ends with the process.
rocksdb::Env *checked_env();

inline rocksdb::Slice slice(const void *bytes, size_t length) {
    return rocksdb::Slice(static_cast<const char *>(bytes), length);
}

inline torc_code code(const rocksdb::Status &status) {
    if (status.ok()) return TORC_OK;
    if (status.IsNotFound()) return TORC_NOT_FOUND;
    if (status.IsIncomplete()) return TORC_INCOMPLETE;
    if (status.IsCorruption()) return TORC_CORRUPTION;
    if (status.IsNoSpace()) return TORC_NO_SPACE;
    if (status.IsIOError()) return TORC_IO_ERROR;
    if (status.IsInvalidArgument() || status.IsNotSupported()) return TORC_INVALID;
    return TORC_OTHER;
}

inline torc_error failure(torc_code code, const char *message) { return torc_error{code, strdup(message)}; }

inline torc_error result(const rocksdb::Status &status) {
    torc_code c = code(status);
    if (c == TORC_OK || c == TORC_NOT_FOUND || c == TORC_INCOMPLETE) return torc_error{c, nullptr};
    return failure(c, status.ToString().c_str());
}

/// Runs `body`, which returns a `torc_error`, and turns an exception into one.
template <typename Body>
torc_error guarded(Body &&body) noexcept {
    try {
        return body();
    } catch (const std::exception &exception) {
        return failure(TORC_OTHER, exception.what());
    } catch (...) {
        return failure(TORC_OTHER, "unknown C++ exception");
    }
}

}  // namespace torc

#endif
