// Front-to-back order of a tile's entries, made only as far as somebody wants to walk.
//
// Entries fall into buckets by the leading bits of their depth that differ in this tile (a radix
// sort from the top); buckets are put in order when the walk reaches them. Behind a surface that
// has swallowed the light most entries are never compared with each other.

#pragma once

#include <algorithm>
#include <cstring>

#include "binning.h"

namespace a3d {

constexpr int64_t kSmallBucket = 16;  // sorted by insertion
constexpr int kBucketBitsMax = 11;

inline void insertion_sort(Entry* entries, int64_t count) {
  for (int64_t i = 1; i < count; ++i) {
    Entry e = entries[i];
    int64_t j = i;
    for (; j > 0 && entries[j - 1] > e; --j) entries[j] = entries[j - 1];
    entries[j] = e;
  }
}

// Calls visit(first, count) with consecutive runs of the sorted sequence until it returns false or
// all are through. `spare` has the size of `entries`; both are scratch. Returns false when the
// visitor stopped.
template <class Visit>
bool walk_in_order(Entry* entries, Entry* spare, int64_t count, const Visit& visit) {
  if (count <= kSmallBucket) {
    insertion_sort(entries, count);
    return visit(entries, count);
  }
  uint32_t low = depth_bits(entries[0]), high = low;
  for (int64_t i = 1; i < count; ++i) {
    low = std::min(low, depth_bits(entries[i]));
    high = std::max(high, depth_bits(entries[i]));
  }
  if (low == high) {
    std::sort(entries, entries + count);
    return visit(entries, count);
  }
  int bits = 1;
  while (bits < kBucketBitsMax && (count >> (bits + 2)) > 0) ++bits;  // two to four a bucket
  const int shift = std::max(0, 32 - __builtin_clz(high - low) - bits);
  const int64_t buckets = ((high - low) >> shift) + 1;
  uint32_t ends[(1 << kBucketBitsMax) + 1];
  std::memset(ends, 0, (buckets + 1) * sizeof ends[0]);
  for (int64_t i = 0; i < count; ++i) ++ends[((depth_bits(entries[i]) - low) >> shift) + 1];
  for (int64_t b = 0; b < buckets; ++b) ends[b + 1] += ends[b];
  for (int64_t i = 0; i < count; ++i) {
    spare[ends[(depth_bits(entries[i]) - low) >> shift]++] = entries[i];
  }
  int64_t begin = 0;
  for (int64_t b = 0; b < buckets; ++b) {
    const int64_t end = ends[b];
    if (end - begin > 1) {
      if (!walk_in_order(spare + begin, entries + begin, end - begin, visit)) return false;
    } else if (end > begin && !visit(spare + begin, int64_t{1})) {
      return false;
    }
    begin = end;
  }
  return true;
}

}  // namespace a3d
