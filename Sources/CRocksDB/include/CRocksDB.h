#ifndef CROCKSDB_H
#define CROCKSDB_H
#endif
