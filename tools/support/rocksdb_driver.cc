// Drives the shim over RocksDB through everything it offers, errors included, for tools/test-sanitizers:
// AddressSanitizer watches every access, LeakSanitizer counts what is left at the end.
// usage: rocksdb_driver FOLDER [--leak], where --leak forgets one batch, to show that it would be noticed.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "CRocksDB.h"

static int failures = 0;

static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "failed: %s\n", what);
    failures += 1;
}

static void ok(torc_error error, const char *what) {
    if (error.code != TORC_OK) fprintf(stderr, "%s: %d %s\n", what, error.code, error.message ? error.message : "");
    require(error.code == TORC_OK, what);
    torc_error_free(error);
}

static void fails(torc_error error, const char *what) {
    require(error.code != TORC_OK && error.message != nullptr, what);
    torc_error_free(error);
}

static torc_options options(bool create) {
    torc_options o = {};
    o.create_if_missing = create;
    o.memtable_budget_bytes = 4 << 20;
    o.block_cache_bytes = 4 << 20;
    o.charge_memtables_to_cache = true;
    o.partition_memtable_bytes = 256 << 10;
    o.partition_memtable = TORC_MEMTABLE_HASH_LINK_LIST;
    o.partition_hash_buckets = 256;
    o.arena_block_bytes = 64 << 10;
    o.log_limit_bytes = 16 << 20;
    o.background_jobs = 1;
    o.open_files = 64;
    o.block_bytes = 4096;
    return o;
}

static std::string key(int number) {
    char prefix[9];
    snprintf(prefix, sizeof prefix, "%08d", number * 7919 % 10000000);
    return std::string(prefix) + "/name" + std::to_string(number);
}

struct Names {
    char **names = nullptr;
    size_t count = 0;
    std::vector<torc_family_kind> kinds;

    explicit Names(const char *path) {
        ok(torc_list_families(path, &names, &count), "list families");
        for (size_t i = 0; i < count; i++)
            kinds.push_back(names[i][0] == 'p' ? TORC_FAMILY_PARTITION : TORC_FAMILY_PLAIN);
    }
    ~Names() { torc_names_free(names, count); }
};

static torc_db *open_existing(const char *path, std::vector<torc_family *> &families) {
    Names names(path);
    families.assign(names.count, nullptr);
    torc_options o = options(false);
    torc_db *db = nullptr;
    ok(torc_open(path, &o, names.count, names.names, names.kinds.data(), &db, families.data()), "open");
    return db;
}

static void read_back(torc_db *db, torc_family *family, int count) {
    torc_value *value = torc_value_create();
    size_t length = 0;
    for (int i = 0; i < count; i++) {
        std::string k = key(i);
        torc_error error = torc_get(db, family, k.data(), k.size(), i % 2 == 0, value);
        if (error.code == TORC_INCOMPLETE) error = torc_get(db, family, k.data(), k.size(), false, value);
        ok(error, "get");
        torc_value_bytes(value, &length);
        require(length == size_t(i % 300), "a value's length");
    }
    torc_error absent = torc_get(db, family, "00000000absent", 14, false, value);
    require(absent.code == TORC_NOT_FOUND && absent.message == nullptr, "absent");
    torc_value_reset(value);
    torc_value_destroy(value);

    std::vector<std::string> keys;
    std::vector<const void *> starts;
    std::vector<size_t> lengths;
    std::vector<torc_value *> values;
    for (int i = 0; i < 20; i++) keys.push_back(key(i * 3));
    keys.push_back("00000000absent");
    for (const std::string &k : keys) {
        starts.push_back(k.data());
        lengths.push_back(k.size());
        values.push_back(torc_value_create());
    }
    std::vector<torc_code> codes(keys.size());
    ok(torc_multi_get(db, family, keys.size(), starts.data(), lengths.data(), values.data(), codes.data()),
       "multi get");
    require(codes.front() == TORC_OK && codes.back() == TORC_NOT_FOUND, "multi get's codes");
    for (torc_value *v : values) torc_value_destroy(v);
}

static int scan(torc_db *db, torc_family *family, const torc_snapshot *snapshot) {
    torc_iterator *iterator = nullptr;
    ok(torc_iterator_create(db, family, "0", 1, "6", 1, snapshot, false, &iterator), "iterator");
    int count = 0;
    std::string last;
    for (torc_iterator_seek_to_first(iterator); torc_iterator_valid(iterator); torc_iterator_next(iterator)) {
        size_t length = 0;
        const void *bytes = torc_iterator_key(iterator, &length);
        std::string k(static_cast<const char *>(bytes), length);
        require(last < k, "order");
        last = k;
        torc_iterator_value(iterator, &length);
        count += 1;
    }
    torc_iterator_seek(iterator, "3", 1);
    ok(torc_iterator_error(iterator), "iterator's end");
    torc_iterator_destroy(iterator);
    return count;
}

/// Reads every log file, whole and then with bytes flipped and cut off.
static void read_logs(const std::string &folder) {
    int changes = 0;
    for (int number = 1; number < 200; number++) {
        char name[32];
        snprintf(name, sizeof name, "/%06d.log", number);
        std::string path = folder + name;
        std::ifstream file(path, std::ios::binary);
        if (!file) continue;
        std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        for (int variant = 0; variant < 12; variant++) {
            std::string changed = bytes;
            if (variant > 0 && !changed.empty()) changed[changed.size() * variant / 12] ^= 0x20;
            if (variant % 3 == 2) changed.resize(changed.size() * variant / 12);
            std::string copy = folder + "/../changed.log";
            std::ofstream(copy, std::ios::binary).write(changed.data(), std::streamsize(changed.size()));
            torc_log_reader *reader = nullptr;
            ok(torc_log_reader_open(copy.c_str(), &reader), "open a log");
            torc_log_item item;
            torc_log_position position;
            do {
                ok(torc_log_reader_next(reader, &item, &position), "read a log");
                if (item != TORC_LOG_RECORD) continue;
                torc_batch_visitor visitor = {};
                visitor.context = &changes;
                visitor.put = [](void *context, uint32_t, const void *, size_t, const void *, size_t) {
                    *static_cast<int *>(context) += 1;
                };
                visitor.log_data = [](void *, const void *, size_t) {};
                uint64_t sequence = 0;
                uint32_t count = 0;
                torc_error_free(torc_batch_visit(position.bytes, position.length, &visitor, &sequence, &count));
            } while (item != TORC_LOG_END);
            torc_log_reader_destroy(reader);
        }
    }
    require(changes > 0, "changes in the logs");
    uint64_t sequence = 0;
    uint32_t count = 0;
    torc_batch_visitor visitor = {};
    fails(torc_batch_visit("short", 5, &visitor, &sequence, &count), "a short batch");
    fails(torc_batch_visit("twelve bytes and a bad tag \xff", 28, &visitor, &sequence, &count), "a bad batch");
    torc_log_reader *reader = nullptr;
    fails(torc_log_reader_open((folder + "/none.log").c_str(), &reader), "no log");
}

static int walk(torc_db *db, torc_family *family) {
    torc_iterator *iterator = nullptr;
    int count = 0;
    ok(torc_walk_create(db, family, true, &iterator), "walk");
    for (torc_iterator_seek_to_first(iterator); torc_iterator_valid(iterator); torc_iterator_next(iterator)) count++;
    ok(torc_iterator_error(iterator), "walk to the end");
    torc_iterator_destroy(iterator);
    return count;
}

/// Tables by themselves, a manifest that is added to, and one that is made anew.
static void mend(const std::string &folder) {
    const std::string path = folder + "/copy";
    int tables = 0;
    for (int number = 1; number < 100; number++) {
        char name[32];
        snprintf(name, sizeof name, "/%06d.sst", number);
        if (!std::ifstream(path + name)) continue;
        torc_table_facts facts;
        ok(torc_table_check((path + name).c_str(), true, &facts), "check a table");
        require(facts.family != nullptr && facts.entries > 0, "what a table says of itself");
        torc_table_facts_free(&facts);
        tables++;
    }
    require(tables > 0, "tables");
    torc_table_facts none;
    fails(torc_table_check((path + "/CURRENT").c_str(), true, &none), "check what is no table");
    fails(torc_log_append((folder + "/nobody").c_str(), "x", 1), "add to nothing");
    fails(torc_exchange((folder + "/nobody").c_str(), path.c_str()), "exchange with nothing");

    std::vector<torc_family *> families;
    torc_db *db = open_existing(path.c_str(), families);
    if (!db) return;
    int before = 0;
    for (torc_family *family : families) before += walk(db, family);
    ok(torc_close(db), "close");

    char **names = nullptr;
    size_t count = 0;
    ok(torc_list_families(path.c_str(), &names, &count), "list");
    std::vector<torc_family_kind> kinds;
    for (size_t i = 0; i < count; i++) kinds.push_back(names[i][0] == 'p' ? TORC_FAMILY_PARTITION : TORC_FAMILY_PLAIN);
    torc_options o = options(false);
    // A record that spans blocks.
    std::string big(100000, 'x');
    ok(torc_log_append((path + "/CURRENT").c_str(), big.data(), big.size()), "add to a file");
    remove((path + "/CURRENT").c_str());
    ok(torc_repair(path.c_str(), &o, count, names, kinds.data()), "repair");
    torc_names_free(names, count);
    families.clear();
    db = open_existing(path.c_str(), families);
    if (!db) return;
    int after = 0;
    for (torc_family *family : families) {
        ok(torc_compact(db, family), "compact");
        after += walk(db, family);
    }
    require(after == before && before > 0, "all that was there");
    ok(torc_close(db), "close");
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    std::string folder = argv[1];
    std::string path = folder + "/db";

    torc_options missing = options(false);
    const char *only[] = {"default"};
    torc_family_kind plain = TORC_FAMILY_PLAIN;
    torc_db *db = nullptr;
    torc_family *first = nullptr;
    fails(torc_open((folder + "/none").c_str(), &missing, 1, only, &plain, &db, &first), "open nothing");
    char **no_names = nullptr;
    size_t no_count = 0;
    fails(torc_list_families((folder + "/none").c_str(), &no_names, &no_count), "list nothing");

    torc_options fresh = options(true);
    ok(torc_open(path.c_str(), &fresh, 1, only, &plain, &db, &first), "create");
    std::vector<std::string> texts = {"meta"};
    std::vector<torc_family_kind> kinds = {TORC_FAMILY_PLAIN};
    for (int i = 0; i < 8; i++) {
        texts.push_back("p000" + std::to_string(i));
        kinds.push_back(TORC_FAMILY_PARTITION);
    }
    std::vector<const char *> names;
    for (const std::string &text : texts) names.push_back(text.c_str());
    std::vector<torc_family *> families(names.size());
    ok(torc_create_families(db, names.size(), names.data(), kinds.data(), families.data()), "create families");
    torc_family *again = nullptr;
    fails(torc_create_families(db, 1, names.data(), kinds.data(), &again), "create a family twice");
    torc_db *second = nullptr;
    fails(torc_open(path.c_str(), &missing, 1, only, &plain, &second, &first), "open twice");

    torc_batch *batch = torc_batch_create();
    std::string value(300, 'v');
    for (int i = 0; i < 2000; i++) {
        std::string k = key(i);
        ok(torc_batch_put(batch, families[1], k.data(), k.size(), value.data(), size_t(i % 300)), "put");
        ok(torc_batch_put(batch, families[size_t(2 + i % 7)], k.data(), k.size(), value.data(), 10), "put");
        ok(torc_batch_delete(batch, families[2], k.data(), k.size()), "delete");
        ok(torc_batch_put_log_data(batch, "log data", 8), "log data");
        require(torc_batch_count(batch) > 0 && torc_batch_bytes(batch) > 0, "a batch's size");
        if (i % 10 == 9) {
            ok(torc_write(db, batch, i % 20 == 9), "write");
            torc_batch_clear(batch);
            ok(torc_flush_log(db, i % 100 == 99), "flush the log");
        }
    }
    torc_batch_destroy(batch);
    require(torc_latest_sequence(db) > 0, "a sequence");
    uint64_t number = 0;
    ok(torc_current_log_number(db, &number), "log number");
    read_back(db, families[1], 2000);
    read_logs(path);

    torc_snapshot *snapshot = torc_snapshot_create(db);
    int before = scan(db, families[1], snapshot);
    ok(torc_flush(db, families.size(), families.data()), "flush");
    ok(torc_compact(db, families[1]), "compact");
    require(scan(db, families[1], snapshot) == before && before > 0, "a snapshot's scan");
    torc_snapshot_release(db, snapshot);
    ok(torc_checkpoint(db, (folder + "/copy").c_str()), "checkpoint");
    fails(torc_checkpoint(db, (folder + "/copy").c_str()), "checkpoint over another");
    ok(torc_drop_family(db, families[8]), "drop a family");
    uint64_t number_of_keys = 0;
    require(torc_property(db, nullptr, "rocksdb.estimate-num-keys", &number_of_keys), "a property");
    require(!torc_property(db, families[1], "rocksdb.no-such", &number_of_keys), "no property");
    free(torc_property_text(db, families[1], "rocksdb.stats"));
    torc_statistics statistics;
    torc_statistics_read(db, &statistics);
    require(statistics.log_bytes > 0, "statistics");
    ok(torc_close(db), "close");

    for (const char *name : {"/db", "/copy"}) {
        std::vector<torc_family *> reopened;
        torc_db *other = open_existing((folder + name).c_str(), reopened);
        if (!other) return 1;
        read_back(other, reopened[2], 2000);
        ok(torc_close(other), "close again");
    }
    mend(folder);
    if (argc > 2 && strcmp(argv[2], "--leak") == 0) {
        torc_batch *forgotten = torc_batch_create();
        ok(torc_batch_put_log_data(forgotten, "lost", 4), "a leak");
        forgotten = nullptr;
    }
    if (failures == 0) printf("the shim did everything it offers\n");
    return failures == 0 ? 0 : 1;
}
