// Second phase: alpha compositing of a tile, front to back (3DGS, Eq. 3):
//     C = sum_i c_i alpha_i T_i + T_end background,   T_i = prod_{j < i} (1 - alpha_j).

#pragma once

#include "ordering.h"
#include "tile.h"

namespace a3d {

// The forward pass, as far as the backward pass needs it.
struct TileRecord {
  Buffer<Entry> entries;  // those that met an open pixel, front to back
  int64_t count = 0;
};

inline void record_met(const std::vector<Entry>& met, TileRecord* record) {
  if (!record || met.empty()) return;
  record->count = static_cast<int64_t>(met.size());
  record->entries = Buffer<Entry>(record->count);
  std::copy(met.begin(), met.end(), record->entries.get());
}

struct CompositeScratch {
  Batch batch;
  Groups groups;
  std::vector<Entry> entries, spare, met;
  std::vector<float> planes;  // transmittance, then one plane for each channel
};

// Blends groups over the planes, in order; sets met[i] where a splat i met an open pixel.
// kChannels is the number of channels, or 0 when it is only known at run time.
template <int kChannels>
void blend_groups(const Batch& batch, const Groups& groups, F8 transmittance_min,
                  int64_t runtime_channels, float* planes, uint8_t* met) {
  const int64_t channels = kChannels ? kChannels : runtime_channels;
  for (int32_t g = 0; g < groups.count; ++g) {
    const int32_t i = groups.member[g];
    const float* color = batch.channels.data() + i * channels;
    float* at = planes + groups.pixel[g];
    const F8 alpha = groups.alpha[g], t = load(at);
    const Step8 next = step(t, alpha, transmittance_min);
    store(at, next.after);
    const F8 offered = alpha * t;
    met[i] |= static_cast<uint8_t>(bits(offered > F8{}));
    const F8 weight = keep(next.adds, offered);
    float* sum_at = at + kPlane;
    if (kChannels) {
#pragma GCC unroll 4
      for (int d = 0; d < kChannels; ++d) {
        store(sum_at + d * kPlane, fma(weight, splat(color[d]), load(sum_at + d * kPlane)));
      }
    } else {
      for (int64_t d = 0; d < channels; ++d) {
        store(sum_at + d * kPlane, fma(weight, splat(color[d]), load(sum_at + d * kPlane)));
      }
    }
  }
}

template <int kChannels>
void composite_batch(const A3dModel& model, const Batch& batch, int64_t channels,
                     const OpenPixels& open, Groups* groups, float* planes, uint8_t* met) {
  const AlphaBounds bounds(model);
  const F8 transmittance_min = splat(model.transmittance_min);
  std::memset(met, 0, kBatch);
  groups->count = 0;
  for (int64_t member = 0; member < batch.size; ++member) {
    add_groups(batch, batch.members[member], open, groups);
    if (groups->full() || member + 1 == batch.size) {
      find_alphas(batch, bounds, groups);
      blend_groups<kChannels>(batch, *groups, transmittance_min, channels, planes, met);
      groups->count = 0;
    }
  }
}

inline float* picture_row(float* plane, const A3dScene& scene, const Tile& tile, int row) {
  return plane + (tile.y + row) * scene.width + tile.x;
}

inline void write_tile(const A3dScene& scene, const Tile& tile, const A3dPictures& pictures,
                       const float* planes) {
  const int64_t pixels = scene.width * scene.height;
  const float* background = scene.background + tile.view * scene.channels;
  alignas(32) float line[kStride];
  auto write = [&](float* plane, int row) {
    std::memcpy(picture_row(plane, scene, tile, row), line, tile.width * sizeof(float));
  };
  for (int row = 0; row < tile.height; ++row) {
    const float* transmittance = planes + row * kStride;
    for (int64_t d = 0; d < scene.channels; ++d) {
      const float* sum = planes + (1 + d) * kPlane + row * kStride;
      for (int c = 0; c < kTile; ++c) {
        line[c] = std::fabs(transmittance[c]) * background[d] + sum[c];
      }
      write(pictures.channels + (tile.view * scene.channels + d) * pixels, row);
    }
    for (int c = 0; c < kTile; ++c) line[c] = 1 - std::fabs(transmittance[c]);
    write(pictures.alpha + tile.view * pixels, row);
    if (pictures.depth_sum) {
      std::memcpy(line, planes + (1 + scene.channels) * kPlane + row * kStride,
                  kTile * sizeof(float));
      write(pictures.depth_sum + tile.view * pixels, row);
    }
  }
}

// Copies a tile's entries out of all chunks of its view; returns how many there are.
inline int64_t gather_entries(const std::vector<Chunk>& chunks, int64_t first, int64_t last,
                              int64_t tile, CompositeScratch* scratch) {
  int64_t count = 0;
  for (int64_t c = first; c < last; ++c) {
    count += chunks[c].offsets[tile + 1] - chunks[c].offsets[tile];
  }
  if (static_cast<int64_t>(scratch->entries.size()) < count) {
    scratch->entries.resize(count + count / 4);
    scratch->spare.resize(scratch->entries.size());
  }
  Entry* fill = scratch->entries.data();
  for (int64_t c = first; c < last; ++c) {
    const Entry* entries = chunks[c].entries.get();
    const uint32_t* offsets = chunks[c].offsets.data() + tile;
    fill = std::copy(entries + offsets[0], entries + offsets[1], fill);
  }
  return count;
}

// Draws up to kBatch entries, in order; notes in `scratch->met` those that met an open pixel.
inline void draw_entries(const A3dScene& scene, const Camera& camera, const Tile& tile,
                         const Splat* splats, const Entry* entries, int64_t count, bool with_depth,
                         OpenPixels* open, CompositeScratch* scratch) {
  const int64_t channels = scene.channels + with_depth;
  const Batch& batch = scratch->batch;
  Groups* groups = &scratch->groups;
  float* planes = scratch->planes.data();
  uint8_t met[kBatch];
  fill_batch(scene, camera, tile, splats, entries, count, with_depth, open->cells,
             &scratch->batch);
  switch (channels) {
    case 3: composite_batch<3>(scene.model, batch, 3, *open, groups, planes, met); break;
    case 4: composite_batch<4>(scene.model, batch, 4, *open, groups, planes, met); break;
    default: composite_batch<0>(scene.model, batch, channels, *open, groups, planes, met);
  }
  find_open_pixels(planes, open);
  for (int64_t i = 0; i < count; ++i) {
    if (met[i]) scratch->met.push_back(entries[i]);
  }
}

// Composites one tile out of the chunks [first_chunk, last_chunk) of its view. `record` may be
// null.
inline void composite_tile(const A3dScene& scene, const Camera& camera, const Tile& tile,
                           const std::vector<Chunk>& chunks, int64_t first_chunk,
                           int64_t last_chunk, const Splat* splats, const A3dPictures& pictures,
                           CompositeScratch* scratch, TileRecord* record) {
  const bool with_depth = pictures.depth_sum != nullptr;
  const int64_t channels = scene.channels + with_depth;
  scratch->planes.assign((1 + channels) * kPlane, 0.0f);
  scratch->batch.channels.resize(kBatch * channels);
  scratch->met.clear();
  OpenPixels open;
  start_transmittance(tile, scratch->planes.data());
  find_open_pixels(scratch->planes.data(), &open);
  auto draw = [&](const Entry* entries, int64_t count) {
    draw_entries(scene, camera, tile, splats, entries, count, with_depth, &open, scratch);
  };
  // Two batches wait in a queue: while one is drawn, memory fetches the other.
  Entry queue[2 * kBatch];
  int64_t queued = 0;
  auto enqueue = [&](const Entry* entries, int64_t run) {
    prefetch_splats(scene, tile, splats, entries, run);
    while (run) {
      int64_t taken = std::min(run, 2 * kBatch - queued);
      std::copy(entries, entries + taken, queue + queued);
      entries += taken, run -= taken, queued += taken;
      if (queued < 2 * kBatch) break;
      draw(queue, kBatch);
      std::copy(queue + kBatch, queue + 2 * kBatch, queue);
      queued = kBatch;
      if (!open.cells) return false;
    }
    return true;
  };
  int64_t count = gather_entries(chunks, first_chunk, last_chunk, tile.index, scratch);
  if (walk_in_order(scratch->entries.data(), scratch->spare.data(), count, enqueue)) {
    for (int64_t at = 0; at < queued && open.cells; at += kBatch) {
      draw(queue + at, std::min(kBatch, queued - at));
    }
  }
  write_tile(scene, tile, pictures, scratch->planes.data());
  record_met(scratch->met, record);
}

}  // namespace a3d
