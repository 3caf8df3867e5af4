// Batches, point reads, iterators, snapshots.

#include <rocksdb/iterator.h>
#include <rocksdb/perf_context.h>
#include <rocksdb/perf_level.h>

#include <pthread.h>

#include "boundary.h"

using torc::guarded;
using torc::result;
using torc::slice;

/// Owns the bounds that RocksDB's iterator points to. Members go in reverse order: the iterator first.
struct torc_iterator {
    std::string lower;
    std::string upper;
    rocksdb::Slice lower_slice;
    rocksdb::Slice upper_slice;
    std::unique_ptr<rocksdb::Iterator> iterator;
};

extern "C" {

torc_batch *torc_batch_create(void) { return new torc_batch(); }

void torc_batch_destroy(torc_batch *batch) { delete batch; }

void torc_batch_clear(torc_batch *batch) { batch->batch.Clear(); }

torc_error torc_batch_put(
    torc_batch *batch, torc_family *family, const void *key, size_t key_length, const void *value,
    size_t value_length) {
    return guarded([&]() -> torc_error {
        return result(batch->batch.Put(family->handle, slice(key, key_length), slice(value, value_length)));
    });
}

torc_error torc_batch_delete(torc_batch *batch, torc_family *family, const void *key, size_t key_length) {
    return guarded([&]() -> torc_error { return result(batch->batch.Delete(family->handle, slice(key, key_length))); });
}

torc_error torc_batch_put_log_data(torc_batch *batch, const void *bytes, size_t length) {
    return guarded([&]() -> torc_error { return result(batch->batch.PutLogData(slice(bytes, length))); });
}

uint32_t torc_batch_count(const torc_batch *batch) { return batch->batch.Count(); }

size_t torc_batch_bytes(const torc_batch *batch) { return batch->batch.GetDataSize(); }

/// Memtables take more than they may, and some of it is being written out, or will be. Where nothing is, the write goes on: it is what begins a
/// flush, or hears that one has failed. A memtable whose flush has failed counts as one that will be written out.
static bool waits_for_flushes(torc_db *db) {
    if (db->memtables->memory_usage() <= db->memtable_limit.load(std::memory_order_relaxed)) return false;
    if (db->watch->failed()) return false;
    uint64_t running = 0, pending = 0;
    db->db->GetIntProperty(rocksdb::DB::Properties::kNumRunningFlushes, &running);
    if (running > 0) return true;
    db->db->GetAggregatedIntProperty(rocksdb::DB::Properties::kMemTableFlushPending, &pending);
    if (pending == 0) return false;
    // What was dropped and is held by somebody counts, too, and is never written out.
    std::lock_guard<std::mutex> lock(db->families_mutex);
    uint64_t retired = 0;
    for (const torc_family *family : db->families) {
        uint64_t one = 0;
        if (!family->is_retired) continue;
        db->db->GetIntProperty(family->handle, rocksdb::DB::Properties::kMemTableFlushPending, &one);
        retired += one;
    }
    return pending > retired;
}

torc_error torc_write(torc_db *db, torc_batch *batch, bool no_wait) {
    return guarded([&]() -> torc_error {
        if (no_wait && waits_for_flushes(db)) return torc_error{TORC_INCOMPLETE, nullptr};
        rocksdb::WriteOptions options;
        options.no_slowdown = no_wait;
        return result(db->db->Write(options, &batch->batch));
    });
}

void torc_write_times_begin(void) {
    rocksdb::SetPerfLevel(rocksdb::PerfLevel::kEnableTimeExceptForMutex);
    rocksdb::get_perf_context()->Reset();
}

torc_write_times torc_write_times_end(void) {
    const rocksdb::PerfContext *context = rocksdb::get_perf_context();
    torc_write_times times{context->write_wal_time, context->write_memtable_time};
    rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable);
    return times;
}

void torc_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

torc_error torc_flush_log(torc_db *db, bool sync) {
    return guarded([&]() -> torc_error { return result(db->db->FlushWAL(sync)); });
}

torc_value *torc_value_create(void) { return new torc_value(); }

void torc_value_destroy(torc_value *value) { delete value; }

void torc_value_reset(torc_value *value) { value->slice.Reset(); }

const void *torc_value_bytes(const torc_value *value, size_t *length) {
    *length = value->slice.size();
    return value->slice.data();
}

torc_error torc_get(
    torc_db *db, torc_family *family, const void *key, size_t key_length, bool memory_only, torc_value *value) {
    return guarded([&]() -> torc_error {
        value->slice.Reset();
        torc_error error = result(db->db->Get(
            memory_only ? db->memory_read : db->disk_read, family->handle, slice(key, key_length), &value->slice));
        // A table that is not open yet answers a read of memory alone by "may exist": OK, and no value
        // (TableCache::Get, MarkKeyMayExist). Nothing that Torc stores is empty.
        if (memory_only && error.code == TORC_OK && value->slice.empty()) error.code = TORC_INCOMPLETE;
        return error;
    });
}

torc_error torc_multi_get(
    torc_db *db, torc_family *family, size_t count, const void *const *keys, const size_t *key_lengths,
    torc_value *const *values, torc_code *codes) {
    return guarded([&]() -> torc_error {
        std::vector<rocksdb::Slice> slices;
        slices.reserve(count);
        for (size_t i = 0; i < count; i++) slices.push_back(slice(keys[i], key_lengths[i]));
        std::vector<rocksdb::PinnableSlice> found(count);
        std::vector<rocksdb::Status> statuses(count);
        db->db->MultiGet(db->disk_read, family->handle, count, slices.data(), found.data(), statuses.data(), false);
        for (size_t i = 0; i < count; i++) {
            codes[i] = torc::code(statuses[i]);
            values[i]->slice.Reset();
            if (statuses[i].ok()) values[i]->slice = std::move(found[i]);
        }
        return torc_error{TORC_OK, nullptr};
    });
}

torc_snapshot *torc_snapshot_create(torc_db *db) { return new torc_snapshot{db->db->GetSnapshot()}; }

void torc_snapshot_release(torc_db *db, torc_snapshot *snapshot) {
    db->db->ReleaseSnapshot(snapshot->snapshot);
    delete snapshot;
}

torc_error torc_iterator_create(
    torc_db *db, torc_family *family, const void *lower, size_t lower_length, const void *upper,
    size_t upper_length, const torc_snapshot *snapshot, bool fill_cache, torc_iterator **iterator) {
    return guarded([&]() -> torc_error {
        auto created = std::make_unique<torc_iterator>();
        rocksdb::ReadOptions options;
        options.total_order_seek = true;
        options.fill_cache = fill_cache;
        if (snapshot) options.snapshot = snapshot->snapshot;
        if (lower) {
            created->lower.assign(static_cast<const char *>(lower), lower_length);
            created->lower_slice = created->lower;
            options.iterate_lower_bound = &created->lower_slice;
        }
        if (upper) {
            created->upper.assign(static_cast<const char *>(upper), upper_length);
            created->upper_slice = created->upper;
            options.iterate_upper_bound = &created->upper_slice;
        }
        created->iterator.reset(db->db->NewIterator(options, family->handle));
        *iterator = created.release();
        return torc_error{TORC_OK, nullptr};
    });
}

torc_error torc_walk_create(torc_db *db, torc_family *family, bool checks, torc_iterator **iterator) {
    return guarded([&]() -> torc_error {
        auto created = std::make_unique<torc_iterator>();
        rocksdb::ReadOptions options;
        options.total_order_seek = true;
        options.fill_cache = false;
        options.verify_checksums = checks;
        options.readahead_size = 1 << 20;
        created->iterator.reset(db->db->NewIterator(options, family->handle));
        *iterator = created.release();
        return torc_error{TORC_OK, nullptr};
    });
}

void torc_iterator_destroy(torc_iterator *iterator) { delete iterator; }

void torc_iterator_seek_to_first(torc_iterator *iterator) { iterator->iterator->SeekToFirst(); }

void torc_iterator_seek(torc_iterator *iterator, const void *key, size_t key_length) {
    iterator->iterator->Seek(slice(key, key_length));
}

void torc_iterator_seek_to_last(torc_iterator *iterator) { iterator->iterator->SeekToLast(); }

void torc_iterator_next(torc_iterator *iterator) { iterator->iterator->Next(); }

void torc_iterator_previous(torc_iterator *iterator) { iterator->iterator->Prev(); }

bool torc_iterator_valid(const torc_iterator *iterator) { return iterator->iterator->Valid(); }

torc_error torc_iterator_error(const torc_iterator *iterator) {
    return guarded([&]() -> torc_error { return result(iterator->iterator->status()); });
}

const void *torc_iterator_key(const torc_iterator *iterator, size_t *length) {
    rocksdb::Slice key = iterator->iterator->key();
    *length = key.size();
    return key.data();
}

const void *torc_iterator_value(const torc_iterator *iterator, size_t *length) {
    rocksdb::Slice value = iterator->iterator->value();
    *length = value.size();
    return value.data();
}

}  // extern "C"
