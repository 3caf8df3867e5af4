// Changes a stopped node's database from inside, as a fault of RocksDB or of Torc would; for tools/inspect-test.
// usage: damage_folder DB put FAMILY KEY VALUE | delete FAMILY KEY | drop FAMILY | first FAMILY | names meta
// Keys and values are hexadecimal; `first` prints a family's first key and value, `names` all families.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "CRocksDB.h"

static void ok(torc_error error, const char *what) {
    if (error.code == TORC_OK) return;
    fprintf(stderr, "%s: %s\n", what, error.message ? error.message : "failed");
    exit(1);
}

static std::string bytes(const char *hex) {
    std::string result;
    for (; hex[0] && hex[1]; hex += 2) {
        char pair[3] = {hex[0], hex[1], 0};
        result.push_back(char(strtoul(pair, nullptr, 16)));
    }
    return result;
}

static void print(const void *start, size_t length) {
    for (size_t i = 0; i < length; i++) printf("%02x", static_cast<const unsigned char *>(start)[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: damage_folder DB put FAMILY KEY VALUE | delete FAMILY KEY | drop FAMILY | first FAMILY | names meta\n");
        return 64;
    }
    const std::string path = argv[1], action = argv[2], family = argv[3];
    char **names = nullptr;
    size_t count = 0;
    ok(torc_list_families(path.c_str(), &names, &count), "list");
    std::vector<torc_family_kind> kinds;
    for (size_t i = 0; i < count; i++) kinds.push_back(names[i][0] == 'p' ? TORC_FAMILY_PARTITION : TORC_FAMILY_PLAIN);
    torc_options options = {};
    options.memtable_budget_bytes = 8 << 20;
    options.block_cache_bytes = 8 << 20;
    options.partition_memtable_bytes = 1 << 20;
    options.partition_memtable = TORC_MEMTABLE_HASH_LINK_LIST;
    options.partition_hash_buckets = 64;
    options.arena_block_bytes = 64 << 10;
    options.log_limit_bytes = 64 << 20;
    options.background_jobs = 1;
    options.open_files = 100;
    options.block_bytes = 4 << 10;
    torc_db *db = nullptr;
    std::vector<torc_family *> handles(count);
    ok(torc_open(path.c_str(), &options, count, names, kinds.data(), &db, handles.data()), "open");
    std::map<std::string, torc_family *> families;
    for (size_t i = 0; i < count; i++) families[names[i]] = handles[i];
    torc_names_free(names, count);
    torc_family *wanted = families[family];
    if (!wanted) {
        fprintf(stderr, "there is no family %s\n", family.c_str());
        return 1;
    }
    torc_batch *batch = torc_batch_create();
    if (action == "put" && argc > 5) {
        std::string key = bytes(argv[4]), value = bytes(argv[5]);
        ok(torc_batch_put(batch, wanted, key.data(), key.size(), value.data(), value.size()), "put");
    } else if (action == "delete" && argc > 4) {
        std::string key = bytes(argv[4]);
        ok(torc_batch_delete(batch, wanted, key.data(), key.size()), "delete");
    } else if (action == "drop") {
        ok(torc_drop_family(db, wanted), "drop");
        families.erase(family);
    } else if (action == "names") {
        for (auto &entry : families) printf("%s\n", entry.first.c_str());
    } else if (action == "first") {
        torc_iterator *iterator = nullptr;
        ok(torc_iterator_create(db, wanted, nullptr, 0, nullptr, 0, nullptr, false, &iterator), "scan");
        torc_iterator_seek_to_first(iterator);
        if (torc_iterator_valid(iterator)) {
            size_t length = 0;
            const void *start = torc_iterator_key(iterator, &length);
            print(start, length);
            start = torc_iterator_value(iterator, &length);
            print(start, length);
        }
        torc_iterator_destroy(iterator);
    }
    if (torc_batch_count(batch) > 0) ok(torc_write(db, batch, false), "write");
    torc_batch_destroy(batch);
    ok(torc_flush_log(db, true), "sync");
    std::vector<torc_family *> all;
    for (auto &entry : families) all.push_back(entry.second);
    ok(torc_flush(db, all.size(), all.data()), "flush");
    ok(torc_close(db), "close");
    return 0;
}
