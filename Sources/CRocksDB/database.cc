// Opening, families, flushes, figures.

#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/memtablerep.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/table.h>
#include <rocksdb/transaction_log.h>
#include <rocksdb/utilities/checkpoint.h>

#include <cstdio>
#include <ctime>
#include <mutex>

#include "boundary.h"

using torc::guarded;
using torc::result;

namespace {

/// The bytes of a ring position, which every key of a partition opens with.
constexpr size_t kPrefixBytes = 8;
/// One read of a file that is read from end to end.
constexpr size_t kReadAheadBytes = 1 << 20;

rocksdb::BlockBasedTableOptions table_options(const torc_options &o, const std::shared_ptr<rocksdb::Cache> &cache) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.block_size = o.block_bytes;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    // Index and filters count against the one memory budget instead of growing with the data.
    table.cache_index_and_filter_blocks = true;
    table.cache_index_and_filter_blocks_with_high_priority = true;
    table.pin_l0_filter_and_index_blocks_in_cache = true;
    table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
    // What was just flushed was just written, and is read before its next write: it stays in memory.
    table.prepopulate_block_cache = rocksdb::BlockBasedTableOptions::PrepopulateBlockCache::kFlushOnly;
    table.format_version = 5;
    return table;
}

void set_common(rocksdb::ColumnFamilyOptions &family, const torc_options &o) {
    family.arena_block_size = o.arena_block_bytes;
    family.max_write_buffer_number = 4;
    family.level_compaction_dynamic_level_bytes = true;
    family.max_bytes_for_level_base = 64 << 20;
    family.target_file_size_base = 32 << 20;
    family.level0_file_num_compaction_trigger = 4;
    family.level0_slowdown_writes_trigger = 24;
    family.level0_stop_writes_trigger = 40;
    // Young data is rewritten soon; only what stays is worth the processor time.
    family.compression = rocksdb::kLZ4Compression;
    family.compression_per_level = {
        rocksdb::kNoCompression,  rocksdb::kNoCompression,  rocksdb::kLZ4Compression, rocksdb::kLZ4Compression,
        rocksdb::kLZ4Compression, rocksdb::kLZ4Compression, rocksdb::kLZ4Compression};
    // A read-modify-write of a key that is not there must not look at every level for it.
    family.optimize_filters_for_hits = false;
    family.disable_auto_compactions = o.holds_compaction;
    family.force_consistency_checks = !o.allows_overlap;
}

void set_families(torc_db &db, const torc_options &o) {
    set_common(db.plain, o);
    db.plain.write_buffer_size = 16 << 20;
    db.plain.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table_options(o, db.cache)));

    set_common(db.partition, o);
    db.partition.write_buffer_size = o.partition_memtable_bytes;
    db.partition.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kPrefixBytes));
    db.partition.memtable_prefix_bloom_size_ratio = o.partition_memtable_bloom_ratio;
    switch (o.partition_memtable) {
        case TORC_MEMTABLE_SKIP_LIST:
            break;
        case TORC_MEMTABLE_HASH_LINK_LIST:
            db.partition.memtable_factory.reset(
                rocksdb::NewHashLinkListRepFactory(o.partition_hash_buckets, 0, 4096, false));
            break;
        case TORC_MEMTABLE_HASH_SKIP_LIST:
            db.partition.memtable_factory.reset(rocksdb::NewHashSkipListRepFactory(o.partition_hash_buckets));
            break;
    }
    rocksdb::BlockBasedTableOptions table = table_options(o, db.cache);
    // A position is as good as the whole key: one filter entry a key, not two.
    table.whole_key_filtering = false;
    db.partition.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
}

/// RocksDB's warnings, in `LOG` beside its files. The library's own logger ends the process by an assertion when it
/// has something to say after a write to that file has failed: on a full disk, at the first warning, or at the start.
/// What this one cannot write it drops.
class Diagnostics : public rocksdb::Logger {
  public:
    explicit Diagnostics(const std::string &folder)
        : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL), path_(folder + "/LOG") {}

    ~Diagnostics() override {
        if (file_ != nullptr) fclose(file_);
    }

    using rocksdb::Logger::Logv;
    void Logv(const char *format, va_list arguments) override {
        std::lock_guard<std::mutex> lock(mutex_);
        // Not before there is something to say: then the folder stands.
        if (file_ == nullptr || ftell(file_) > kMostBytes) {
            if (file_ != nullptr) fclose(file_);
            rename(path_.c_str(), (path_ + ".old").c_str());
            file_ = fopen(path_.c_str(), "we");
            if (file_ == nullptr) return;
        }
        const time_t now = time(nullptr);
        tm parts{};
        char stamp[32];
        strftime(stamp, sizeof stamp, "%FT%TZ ", gmtime_r(&now, &parts));
        fputs(stamp, file_);
        vfprintf(file_, format, arguments);
        fputc('\n', file_);
        fflush(file_);
        clearerr(file_);
    }

  private:
    /// Then the file becomes `LOG.old`, and what that held is gone.
    static constexpr long kMostBytes = 8 << 20;

    const std::string path_;
    std::mutex mutex_;
    FILE *file_ = nullptr;
};

rocksdb::DBOptions database_options(const torc_db &db, const torc_options &o, const char *path) {
    rocksdb::DBOptions options;
    options.env = torc::checked_env();
    options.create_if_missing = o.create_if_missing;
    options.write_buffer_manager = db.memtables;
    options.statistics = db.statistics;
    options.max_background_jobs = o.background_jobs;
    options.max_open_files = o.open_files;
    options.max_total_wal_size = o.log_limit_bytes;
    options.manual_wal_flush = true;
    // Hash memtables take one writer at a time.
    options.allow_concurrent_memtable_write = false;
    options.enable_write_thread_adaptive_yield = false;
    // The log was checked and cut before the open: whatever is still wrong with it must stop the open.
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kAbsoluteConsistency;
    options.avoid_flush_during_recovery = false;
    options.recycle_log_file_num = 0;
    // Log files that no memtable needs go to archive/, for the leaf deltas in them; the store removes them
    // when it has stored the leaves. RocksDB's own clock must not.
    options.WAL_ttl_seconds = 365 * 24 * 3600;
    options.WAL_size_limit_MB = 0;
    // After a failed write nothing is trusted until the next start.
    options.max_bgerror_resume_count = 0;
    options.paranoid_checks = true;
    options.listeners.push_back(db.watch);
    options.listeners.push_back(std::make_shared<torc::BackgroundPriority>());
    options.info_log = std::make_shared<Diagnostics>(path);
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    options.skip_stats_update_on_db_open = true;
    return options;
}

/// Of a database that is only read nothing is written, not even that.
class Silence : public rocksdb::Logger {
  public:
    using rocksdb::Logger::Logv;
    void Logv(const char *, va_list) override {}
};

/// Everything but the database itself.
void prepare(torc_db &db, const torc_options &options) {
    rocksdb::LRUCacheOptions cache;
    cache.capacity = options.block_cache_bytes;
    cache.num_shard_bits = 4;
    cache.high_pri_pool_ratio = 0.3;
    db.cache = rocksdb::NewLRUCache(cache);
    db.memtables = std::make_shared<rocksdb::WriteBufferManager>(
        options.memtable_budget_bytes, options.charge_memtables_to_cache ? db.cache : nullptr);
    db.statistics = rocksdb::CreateDBStatistics();
    db.statistics->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);
    db.memory_read.read_tier = rocksdb::kBlockCacheTier;
    set_families(db, options);
}

torc_error open_database(
    const char *path, const torc_options *options, size_t count, const char *const *names,
    const torc_family_kind *kinds, bool read_only, torc_db **db, torc_family **families) {
    return guarded([&]() -> torc_error {
        auto opened = std::make_unique<torc_db>();
        prepare(*opened, *options);

        std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
        for (size_t i = 0; i < count; i++) descriptors.emplace_back(names[i], opened->options(kinds[i]));
        std::vector<rocksdb::ColumnFamilyHandle *> handles;
        rocksdb::DB *raw = nullptr;
        rocksdb::DBOptions settings = database_options(*opened, *options, path);
        rocksdb::Status status;
        if (read_only) {
            settings.info_log = std::make_shared<Silence>();
            settings.wal_recovery_mode = options->passes_log_damage
                                             ? rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords
                                             : rocksdb::WALRecoveryMode::kPointInTimeRecovery;
            settings.max_open_files = -1;
            settings.paranoid_checks = options->needs_all_tables;
            status = rocksdb::DB::OpenForReadOnly(settings, path, descriptors, &handles, &raw);
        } else {
            status = rocksdb::DB::Open(settings, path, descriptors, &handles, &raw);
        }
        if (!status.ok()) return result(status);
        opened->db.reset(raw);
        for (size_t i = 0; i < count; i++) {
            families[i] = new torc_family{handles[i]};
            opened->families.push_back(families[i]);
        }
        *db = opened.release();
        return result(status);
    });
}

}  // namespace

extern "C" {

void torc_error_free(torc_error error) { free(error.message); }

torc_error torc_list_families(const char *path, char ***names, size_t *count) {
    return guarded([&]() -> torc_error {
        std::vector<std::string> found;
        rocksdb::Status status = rocksdb::DB::ListColumnFamilies(rocksdb::DBOptions(), path, &found);
        if (!status.ok()) return result(status);
        *names = static_cast<char **>(calloc(found.size() + 1, sizeof(char *)));
        *count = found.size();
        for (size_t i = 0; i < found.size(); i++) (*names)[i] = strdup(found[i].c_str());
        return result(status);
    });
}

void torc_names_free(char **names, size_t count) {
    for (size_t i = 0; i < count; i++) free(names[i]);
    free(names);
}

torc_error torc_open(
    const char *path, const torc_options *options, size_t count, const char *const *names,
    const torc_family_kind *kinds, torc_db **db, torc_family **families) {
    return open_database(path, options, count, names, kinds, false, db, families);
}

torc_error torc_open_read_only(
    const char *path, const torc_options *options, size_t count, const char *const *names,
    const torc_family_kind *kinds, torc_db **db, torc_family **families) {
    return open_database(path, options, count, names, kinds, true, db, families);
}

torc_error torc_repair(
    const char *path, const torc_options *options, size_t count, const char *const *names,
    const torc_family_kind *kinds) {
    return guarded([&]() -> torc_error {
        torc_db prepared;
        prepare(prepared, *options);
        std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
        for (size_t i = 0; i < count; i++) descriptors.emplace_back(names[i], prepared.options(kinds[i]));
        rocksdb::DBOptions settings = database_options(prepared, *options, path);
        return result(rocksdb::RepairDB(path, settings, descriptors, prepared.plain));
    });
}

torc_error torc_table_check(const char *path, bool checks, torc_table_facts *facts) {
    return guarded([&]() -> torc_error {
        *facts = torc_table_facts();
        rocksdb::Options options;
        options.env = torc::checked_env();
        options.info_log = std::make_shared<Silence>();
        rocksdb::BlockBasedTableOptions table;
        table.no_block_cache = true;
        options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
        rocksdb::SstFileReader reader(options);
        rocksdb::Status status = reader.Open(path);
        if (!status.ok()) return result(status);
        std::shared_ptr<const rocksdb::TableProperties> properties = reader.GetTableProperties();
        facts->family = strdup(properties->column_family_name.c_str());
        facts->family_id = uint32_t(properties->column_family_id);
        facts->entries = properties->num_entries;
        if (!checks) return result(status);
        rocksdb::ReadOptions read;
        read.readahead_size = kReadAheadBytes;
        return result(reader.VerifyChecksum(read));
    });
}

void torc_table_facts_free(torc_table_facts *facts) {
    free(facts->family);
    *facts = torc_table_facts();
}

torc_error torc_create_families(
    torc_db *db, size_t count, const char *const *names, const torc_family_kind *kinds, torc_family **families) {
    return guarded([&]() -> torc_error {
        std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
        for (size_t i = 0; i < count; i++) descriptors.emplace_back(names[i], db->options(kinds[i]));
        std::vector<rocksdb::ColumnFamilyHandle *> handles;
        rocksdb::Status status = db->db->CreateColumnFamilies(descriptors, &handles);
        // On failure some may exist: they stay known here, so that a close frees them.
        std::lock_guard<std::mutex> lock(db->families_mutex);
        for (size_t i = 0; i < handles.size(); i++) {
            torc_family *family = new torc_family{handles[i]};
            db->families.push_back(family);
            if (i < count) families[i] = family;
        }
        return result(status);
    });
}

torc_error torc_drop_family(torc_db *db, torc_family *family) {
    return guarded([&]() -> torc_error {
        rocksdb::Status status = db->db->DropColumnFamily(family->handle);
        if (!status.ok()) return result(status);
        status = db->db->DestroyColumnFamilyHandle(family->handle);
        std::lock_guard<std::mutex> lock(db->families_mutex);
        for (size_t i = 0; i < db->families.size(); i++) {
            if (db->families[i] != family) continue;
            db->families.erase(db->families.begin() + i);
            break;
        }
        delete family;
        return result(status);
    });
}

torc_error torc_retire_family(torc_db *db, torc_family *family) {
    return guarded([&]() -> torc_error {
        rocksdb::Status status = db->db->DropColumnFamily(family->handle);
        std::lock_guard<std::mutex> lock(db->families_mutex);
        if (status.ok()) family->is_retired = true;
        return result(status);
    });
}

bool torc_next_damage(torc_db *db, char **family, char **detail) {
    std::string name, text;
    if (!db->watch->take(&name, &text)) return false;
    *family = strdup(name.c_str());
    *detail = strdup(text.c_str());
    return true;
}

torc_error torc_hold_compaction(torc_db *db, torc_family *family) {
    return guarded([&]() -> torc_error {
        return result(db->db->SetOptions(family->handle, {{"disable_auto_compactions", "true"}}));
    });
}

torc_error torc_close(torc_db *db) {
    return guarded([&]() -> torc_error {
        std::unique_ptr<torc_db> owned(db);
        for (torc_family *family : owned->families) {
            rocksdb::Status ignored = owned->db->DestroyColumnFamilyHandle(family->handle);
            ignored.PermitUncheckedError();
            delete family;
        }
        owned->families.clear();
        return result(owned->db->Close());
    });
}

uint64_t torc_latest_sequence(torc_db *db) { return db->db->GetLatestSequenceNumber(); }

torc_error torc_current_log_number(torc_db *db, uint64_t *number) {
    return guarded([&]() -> torc_error {
        std::unique_ptr<rocksdb::LogFile> file;
        rocksdb::Status status = db->db->GetCurrentWalFile(&file);
        if (status.ok()) *number = file->LogNumber();
        return result(status);
    });
}

void torc_set_memtable_budget(torc_db *db, size_t budget, size_t limit) {
    db->memtables->SetBufferSize(budget);
    db->memtable_limit = limit;
}

torc_error torc_set_flush_threads(torc_db *db, int count) {
    return guarded([&]() -> torc_error {
        return result(db->db->SetDBOptions({{"max_background_flushes", std::to_string(count)}}));
    });
}

torc_error torc_flush(torc_db *db, size_t count, torc_family *const *families) {
    return guarded([&]() -> torc_error {
        rocksdb::FlushOptions options;
        options.allow_write_stall = true;
        // All are asked for before any is waited for: a list of families is flushed one by one, and most of each is waiting for syncs.
        for (bool waits : {false, true}) {
            options.wait = waits;
            for (size_t i = 0; i < count; i++) {
                rocksdb::Status status = db->db->Flush(options, families[i]->handle);
                if (!status.ok()) return result(status);
            }
        }
        return torc_error{TORC_OK, nullptr};
    });
}

torc_error torc_compact(torc_db *db, torc_family *family) {
    return guarded([&]() -> torc_error {
        return result(db->db->CompactRange(rocksdb::CompactRangeOptions(), family->handle, nullptr, nullptr));
    });
}

torc_error torc_checkpoint(torc_db *db, const char *path) {
    return guarded([&]() -> torc_error {
        rocksdb::Checkpoint *raw = nullptr;
        rocksdb::Status status = rocksdb::Checkpoint::Create(db->db.get(), &raw);
        if (!status.ok()) return result(status);
        std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
        return result(checkpoint->CreateCheckpoint(path));
    });
}

bool torc_property(torc_db *db, torc_family *family, const char *name, uint64_t *value) {
    try {
        if (family) return db->db->GetIntProperty(family->handle, name, value);
        return db->db->GetAggregatedIntProperty(name, value);
    } catch (...) {
        return false;
    }
}

char *torc_property_text(torc_db *db, torc_family *family, const char *name) {
    try {
        std::string text;
        rocksdb::ColumnFamilyHandle *handle = family ? family->handle : db->db->DefaultColumnFamily();
        return db->db->GetProperty(handle, name, &text) ? strdup(text.c_str()) : nullptr;
    } catch (...) {
        return nullptr;
    }
}

void torc_statistics_read(torc_db *db, torc_statistics *statistics) {
    const rocksdb::Statistics &s = *db->statistics;
    statistics->block_cache_hits = s.getTickerCount(rocksdb::BLOCK_CACHE_HIT);
    statistics->block_cache_misses = s.getTickerCount(rocksdb::BLOCK_CACHE_MISS);
    statistics->memtable_hits = s.getTickerCount(rocksdb::MEMTABLE_HIT);
    statistics->memtable_misses = s.getTickerCount(rocksdb::MEMTABLE_MISS);
    statistics->log_bytes = s.getTickerCount(rocksdb::WAL_FILE_BYTES);
    statistics->log_syncs = s.getTickerCount(rocksdb::WAL_FILE_SYNCED);
    statistics->flush_bytes = s.getTickerCount(rocksdb::FLUSH_WRITE_BYTES);
    statistics->compaction_read_bytes = s.getTickerCount(rocksdb::COMPACT_READ_BYTES);
    statistics->compaction_written_bytes = s.getTickerCount(rocksdb::COMPACT_WRITE_BYTES);
    statistics->stall_microseconds = s.getTickerCount(rocksdb::STALL_MICROS);
    statistics->block_cache_used_bytes = db->cache->GetUsage();
    statistics->memtable_bytes = db->memtables->memory_usage();
}

}  // extern "C"
