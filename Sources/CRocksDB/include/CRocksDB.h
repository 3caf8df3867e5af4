// RocksDB as Swift needs it, and no more. RocksDB's own C API (rocksdb/c.h) lacks the write buffer manager,
// creation of families in bulk, several log options and a way to read a log that may be damaged.
//
// Rules of the boundary: no exception and no abort crosses it; every function that can fail returns a
// `torc_error` whose message the caller frees with `torc_error_free`; bytes that go in are copied by RocksDB
// or used only during the call; bytes that come out live as long as the object that they came from says.
// A handle may be used from any thread unless its comment says otherwise.

#ifndef CROCKSDB_H
#define CROCKSDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// MARK: Errors

typedef enum torc_code {
    TORC_OK = 0,
    /// The key is not there.
    TORC_NOT_FOUND = 1,
    /// A read from memory alone could not say, or a write that must not wait would have had to.
    TORC_INCOMPLETE = 2,
    /// Bytes on disk are not what was written.
    TORC_CORRUPTION = 3,
    TORC_IO_ERROR = 4,
    TORC_NO_SPACE = 5,
    TORC_INVALID = 6,
    /// Everything else, a C++ exception among it.
    TORC_OTHER = 7,
} torc_code;

/// `message` is null when `code` is TORC_OK, NOT_FOUND or INCOMPLETE: those are answers on the hot path.
typedef struct torc_error {
    torc_code code;
    char *message;
} torc_error;

/// Frees the message, when there is one.
void torc_error_free(torc_error error);

// MARK: Opening

typedef struct torc_db torc_db;
/// A column family of an open database; valid until it is dropped or the database is closed.
typedef struct torc_family torc_family;

typedef enum torc_family_kind {
    /// Skip list memtable, whole keys.
    TORC_FAMILY_PLAIN = 0,
    /// Keys open with eight evenly spread bytes: hash memtable and prefix filters.
    TORC_FAMILY_PARTITION = 1,
} torc_family_kind;

typedef enum torc_memtable {
    TORC_MEMTABLE_SKIP_LIST = 0,
    TORC_MEMTABLE_HASH_LINK_LIST = 1,
    TORC_MEMTABLE_HASH_SKIP_LIST = 2,
} torc_memtable;

typedef struct torc_options {
    /// Make a database where there is none; otherwise that is an error.
    bool create_if_missing;
    /// All memtables of all families together; past it the oldest is flushed.
    size_t memtable_budget_bytes;
    /// Block cache; memtables are charged to it, so it bounds both together when it is the larger.
    size_t block_cache_bytes;
    bool charge_memtables_to_cache;
    /// The most that one partition's memtable takes.
    size_t partition_memtable_bytes;
    torc_memtable partition_memtable;
    size_t partition_hash_buckets;
    /// Share of a memtable that its bloom filter takes; 0: none.
    double partition_memtable_bloom_ratio;
    size_t arena_block_bytes;
    /// The log never grows past this: families that hold back its oldest file are flushed.
    uint64_t log_limit_bytes;
    int background_jobs;
    int open_files;
    /// Read-only: a table that cannot be opened fails the opening; otherwise only the reads that need it.
    bool needs_all_tables;
    /// Data blocks of tables.
    size_t block_bytes;
    /// No compaction begins by itself.
    bool holds_compaction;
    /// Tables of one level may overlap, as `torc_repair` leaves them.
    bool allows_overlap;
    /// With `torc_open_read_only`: what stands behind damage in the log is read, too.
    bool passes_log_damage;
} torc_options;

/// Names of the families of the database at `path`, without opening it: RocksDB opens a database only with
/// all of them named. `*names` is an array of `*count` strings; free with `torc_names_free`.
torc_error torc_list_families(const char *path, char ***names, size_t *count);
void torc_names_free(char **names, size_t count);

/// Opens with the families that exist. `families` receives `count` handles in the order of `names`.
/// A damaged log fails the open: nothing is skipped.
torc_error torc_open(
    const char *path, const torc_options *options, size_t count, const char *const *names,
    const torc_family_kind *kinds, torc_db **db, torc_family **families);

/// Opens to read: makes, locks and changes no file, so that a process which writes to the database goes on. What its log
/// holds is read into memory, up to the first damage. All tables are opened at once: what the other process
/// removes later can be read all the same.
torc_error torc_open_read_only(
    const char *path, const torc_options *options, size_t count, const char *const *names,
    const torc_family_kind *kinds, torc_db **db, torc_family **families);

/// Creates families in bulk: one by one, or inside an open, the cost grows with the square of their number.
torc_error torc_create_families(
    torc_db *db, size_t count, const char *const *names, const torc_family_kind *kinds, torc_family **families);

/// Drops a family with all its data and frees the handle, which no thread may be using.
torc_error torc_drop_family(torc_db *db, torc_family *family);

/// Drops a family with all its data; threads that use the handle go on, and it is freed with the database, the tables
/// with it.
torc_error torc_retire_family(torc_db *db, torc_family *family);

/// A family of which a compaction found a table damaged, and RocksDB's words for it, both malloc'ed; false: none since
/// it was asked last. The compaction changed nothing, and writes go on.
bool torc_next_damage(torc_db *db, char **family, char **detail);

/// No compaction reads this family any more, until the next start.
torc_error torc_hold_compaction(torc_db *db, torc_family *family);

/// Closes and frees the database and its families, flushing nothing. Iterators and snapshots must be gone.
torc_error torc_close(torc_db *db);

// MARK: Writing

/// A write batch, reused from turn to turn; used by one thread at a time.
typedef struct torc_batch torc_batch;

torc_batch *torc_batch_create(void);
void torc_batch_destroy(torc_batch *batch);
/// Empties the batch and keeps its storage.
void torc_batch_clear(torc_batch *batch);
torc_error torc_batch_put(
    torc_batch *batch, torc_family *family, const void *key, size_t key_length, const void *value,
    size_t value_length);
torc_error torc_batch_delete(torc_batch *batch, torc_family *family, const void *key, size_t key_length);
/// Bytes that travel in the log with the batch and nowhere else: sync marks and leaf deltas.
torc_error torc_batch_put_log_data(torc_batch *batch, const void *bytes, size_t length);
/// Changes in the batch; log data is none.
uint32_t torc_batch_count(const torc_batch *batch);
size_t torc_batch_bytes(const torc_batch *batch);

/// Writes a batch to log and memtables, atomically, without a sync. With `no_wait`, TORC_INCOMPLETE and no
/// effect when RocksDB would delay or stop the writer: an event loop must not wait.
torc_error torc_write(torc_db *db, torc_batch *batch, bool no_wait);

/// Where the time of this thread's writes went since it began to count.
typedef struct torc_write_times {
    uint64_t log_nanoseconds;
    uint64_t memtable_nanoseconds;
} torc_write_times;

/// Counts from 0, for the calling thread alone: for benches, as the clock is read several times a write.
void torc_write_times_begin(void);
/// What was counted; ends the counting.
torc_write_times torc_write_times_end(void);

/// How the kernel shows the calling thread, beside those that RocksDB names itself; 15 bytes at most.
void torc_name_thread(const char *name);

/// Hands the log's buffered bytes to the kernel and, with `sync`, waits until every log file is on disk.
/// The log is flushed by hand, once for many batches.
torc_error torc_flush_log(torc_db *db, bool sync);

/// The last sequence number that a completed write took.
uint64_t torc_latest_sequence(torc_db *db);

/// The number of the log file that is being written: how far back logs must be kept.
torc_error torc_current_log_number(torc_db *db, uint64_t *number);

/// Writes the memtables of these families out to tables and waits.
torc_error torc_flush(torc_db *db, size_t count, torc_family *const *families);

/// What the memtables of all families may take together before the oldest is written out, and what before writes that must not wait
/// are put off (TORC_INCOMPLETE): more than the first, or nothing would be written out. No limit before the first call.
void torc_set_memtable_budget(torc_db *db, size_t budget, size_t limit);

/// From here on so many memtables are written out at a time.
torc_error torc_set_flush_threads(torc_db *db, int count);

/// CRC-32C as the log's records carry it, going on from `sum`; and whether RocksDB computes its own sums by it, with the
/// processor's instruction (crc32c.cc). For tests.
uint32_t torc_crc32c(uint32_t sum, const void *bytes, size_t length);
bool torc_crc32c_is_own(void);

/// Compacts a whole family and waits, for tests and repair.
torc_error torc_compact(torc_db *db, torc_family *family);

// MARK: Reading

/// What a read found: pinned in the block cache where it lies there. Reused; used by one thread at a time.
typedef struct torc_value torc_value;

torc_value *torc_value_create(void);
void torc_value_destroy(torc_value *value);
/// Lets go of what is pinned; the bytes of `torc_value_bytes` are gone with it.
void torc_value_reset(torc_value *value);
const void *torc_value_bytes(const torc_value *value, size_t *length);

/// A point read. With `memory_only` it looks at memtables and block cache alone and answers TORC_INCOMPLETE
/// when those cannot say: an event loop must not wait for a disk.
torc_error torc_get(
    torc_db *db, torc_family *family, const void *key, size_t key_length, bool memory_only, torc_value *value);

/// Many point reads of one family at once, which share the work on filters and blocks. `codes` receives
/// TORC_OK or TORC_NOT_FOUND or what failed for each key; `values` must be distinct objects.
torc_error torc_multi_get(
    torc_db *db, torc_family *family, size_t count, const void *const *keys, const size_t *key_lengths,
    torc_value *const *values, torc_code *codes);

typedef struct torc_snapshot torc_snapshot;

/// A fixed state of the whole database to read from, while writes go on.
torc_snapshot *torc_snapshot_create(torc_db *db);
void torc_snapshot_release(torc_db *db, torc_snapshot *snapshot);

/// An iterator over a range in total order; used by one thread at a time.
typedef struct torc_iterator torc_iterator;

/// From `lower` (included; null: the start) to `upper` (excluded; null: the end), of a snapshot or of now.
/// On a hash memtable this sorts a copy of it first: take one iterator for many ranges.
/// `fill_cache` false keeps a long scan from driving everything else out of the block cache.
torc_error torc_iterator_create(
    torc_db *db, torc_family *family, const void *lower, size_t lower_length, const void *upper,
    size_t upper_length, const torc_snapshot *snapshot, bool fill_cache, torc_iterator **iterator);
void torc_iterator_destroy(torc_iterator *iterator);
void torc_iterator_seek_to_first(torc_iterator *iterator);
/// To the first key that is not before `key`.
void torc_iterator_seek(torc_iterator *iterator, const void *key, size_t key_length);
void torc_iterator_seek_to_last(torc_iterator *iterator);
void torc_iterator_next(torc_iterator *iterator);
void torc_iterator_previous(torc_iterator *iterator);
/// False at the end and after a failure; `torc_iterator_error` tells which.
bool torc_iterator_valid(const torc_iterator *iterator);
torc_error torc_iterator_error(const torc_iterator *iterator);
/// Valid until the iterator moves.
const void *torc_iterator_key(const torc_iterator *iterator, size_t *length);
const void *torc_iterator_value(const torc_iterator *iterator, size_t *length);

/// The same over a whole family, for one walk from end to end. `checks` false: the blocks' checksums were verified just
/// before (`torc_table_check`), and are not computed again.
torc_error torc_walk_create(torc_db *db, torc_family *family, bool checks, torc_iterator **iterator);

// MARK: Mending, without a running node

/// What a table says of itself. The texts are malloc'ed; free with `torc_table_facts_free`.
typedef struct torc_table_facts {
    /// The family that it was written for.
    char *family;
    uint32_t family_id;
    uint64_t entries;
} torc_table_facts;

/// Opens one table file by itself, of a database that is open or not, and with `checks` reads all of it and verifies the
/// checksum of every block. `facts` is filled when the file could be opened, whatever came after.
torc_error torc_table_check(const char *path, bool checks, torc_table_facts *facts);
void torc_table_facts_free(torc_table_facts *facts);

/// RocksDB's repair: a new manifest from the tables that are there. All of them come to level 0 of their families, whatever
/// their age, so that nothing may be read before `torc_compact` of every family; tables that cannot be read, and logs, go to
/// a folder `lost` beside them. Families without a table are gone.
torc_error torc_repair(
    const char *path, const torc_options *options, size_t count, const char *const *names,
    const torc_family_kind *kinds);

/// Appends a record to a manifest or a log that ends with a whole one, and syncs the file.
torc_error torc_log_append(const char *path, const void *bytes, size_t length);

/// Exchanges what two paths of one file system name, in one step.
torc_error torc_exchange(const char *path, const char *other);

// MARK: Copies and figures

/// A second database at `path` (which must not exist) that shares the tables by hard links: a backup's base.
torc_error torc_checkpoint(torc_db *db, const char *path);

/// A property that is a number, of one family or (null) summed over the database; false: unknown to RocksDB.
bool torc_property(torc_db *db, torc_family *family, const char *name, uint64_t *value);
/// A property as text, malloc'ed; null: unknown to RocksDB.
char *torc_property_text(torc_db *db, torc_family *family, const char *name);

typedef struct torc_statistics {
    uint64_t block_cache_hits;
    uint64_t block_cache_misses;
    uint64_t memtable_hits;
    uint64_t memtable_misses;
    uint64_t log_bytes;
    uint64_t log_syncs;
    uint64_t flush_bytes;
    uint64_t compaction_read_bytes;
    uint64_t compaction_written_bytes;
    uint64_t stall_microseconds;
    uint64_t block_cache_used_bytes;
    uint64_t memtable_bytes;
} torc_statistics;

/// Counters since the open, for metrics.
void torc_statistics_read(torc_db *db, torc_statistics *statistics);

// MARK: Reading a log that may be damaged

/// Walks through one log file (a write-ahead log or a manifest, which have the same frame) that no database
/// has open. RocksDB's own reader stops or skips by recovery mode and does not say what it passed over;
/// this one reports every damage and goes on behind it, record by record, wherever a checksum holds.
typedef struct torc_log_reader torc_log_reader;

typedef enum torc_log_item {
    TORC_LOG_END = 0,
    /// A whole record whose checksums hold.
    TORC_LOG_RECORD = 1,
    /// Bytes that are no record: damaged, or a write that was cut short.
    TORC_LOG_DAMAGE = 2,
} torc_log_item;

typedef struct torc_log_position {
    /// Where the item starts in the file: cutting here keeps everything before it.
    uint64_t start;
    /// A record's bytes, valid until the next call.
    const void *bytes;
    size_t length;
} torc_log_position;

torc_error torc_log_reader_open(const char *path, torc_log_reader **reader);
torc_error torc_log_reader_next(torc_log_reader *reader, torc_log_item *item, torc_log_position *position);
void torc_log_reader_destroy(torc_log_reader *reader);

/// What a batch in the log says; a null function skips that kind. Bytes are valid during the call.
typedef struct torc_batch_visitor {
    void *context;
    void (*put)(
        void *context, uint32_t family, const void *key, size_t key_length, const void *value, size_t value_length);
    void (*remove)(void *context, uint32_t family, const void *key, size_t key_length);
    void (*log_data)(void *context, const void *bytes, size_t length);
} torc_batch_visitor;

/// Reads a batch as it stands in a log: its first sequence number, its number of changes, and each of them.
/// TORC_CORRUPTION when it is none; the visitor may have seen part of it by then.
torc_error torc_batch_visit(
    const void *bytes, size_t length, const torc_batch_visitor *visitor, uint64_t *sequence, uint32_t *count);

#ifdef __cplusplus
}
#endif

#endif
