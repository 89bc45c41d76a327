// First phase: project every Gaussian of a view and file it under the tiles it touches.
//
// Gaussians are taken in chunks; each chunk files its own entries by tile (a counting sort while
// they are in the cache), so chunks need nothing from each other. How Gaussians are cut into
// chunks depends on the scene only, never on the number of threads.

#pragma once

#include <cmath>
#include <limits>

#include "parallel.h"
#include "projection.h"

namespace a3d {

constexpr int kTileBits = 5;
constexpr int kTile = 1 << kTileBits;
constexpr float kPixelMargin = 0.01f;  // pixels; widens every bound, the alpha test decides

// A projected Gaussian, half a cache line. With d = pixel - centre in pixels,
// alpha = opacity * 2^(dx (xx dx + xy dy) + yy dy^2): the conic carries -log2(e) / 2.
struct Splat {
  float x, y;
  float xx, xy, yy;
  float opacity;
  float half_width, half_height;  // of the box around alpha >= alpha_min
};
static_assert(sizeof(Splat) == 32, "loaded as one vector");

// What is sorted: camera depth above, index below. Positive floats order as their bits do, and
// ties go by index.
using Entry = uint64_t;
inline Entry entry_of(float depth, uint32_t gaussian) {
  uint32_t word;
  std::memcpy(&word, &depth, sizeof word);
  return (Entry{word} << 32) | gaussian;
}
inline uint32_t depth_bits(Entry e) { return static_cast<uint32_t>(e >> 32); }
inline uint32_t gaussian_of(Entry e) { return static_cast<uint32_t>(e); }
inline float depth_of(Entry e) {
  uint32_t word = depth_bits(e);
  float depth;
  std::memcpy(&depth, &word, sizeof depth);
  return depth;
}

struct Grid {
  int64_t across, down;
  explicit Grid(const A3dScene& scene)
      : across((scene.width + kTile - 1) / kTile), down((scene.height + kTile - 1) / kTile) {}
  int64_t tiles() const { return across * down; }
};

// Few enough chunks that tiles find whole runs in them, many enough to share among threads, and
// not more tables than Gaussians when tiles are many.
inline int64_t chunk_size(const A3dScene& scene) {
  int64_t size = std::max<int64_t>({1024, scene.gaussians / 64, Grid(scene).tiles() / 4});
  return (size + kLanes - 1) / kLanes * kLanes;
}
inline int64_t chunk_count(const A3dScene& scene) {
  return (scene.gaussians + chunk_size(scene) - 1) / chunk_size(scene);
}

struct Chunk {
  std::vector<uint32_t> offsets;  // (tiles + 1): tile t holds entries[offsets[t] .. offsets[t + 1])
  Buffer<Entry> entries;
  A3dFault fault = {A3D_OK, 0, 0};
};

// A horizontal run of tiles touched by one Gaussian.
struct Run {
  Entry entry;
  uint32_t first_tile, length;
};

struct BinningScratch {
  std::vector<Run> runs;
};

// Lanes of a block of eight, as plain arrays for what goes one Gaussian at a time.
struct Lanes {
  alignas(32) float x[8], y[8], xx[8], xy[8], yy[8], half_width[8], half_height[8], row_width[8],
      depth[8];
  alignas(32) int32_t column_first[8], column_last[8], row_first[8], row_last[8],
      first_tile[8];
};

// The x interval, relative to the centre, that an ellipse covers between two values of dy.
struct Interval {
  float low, high;
};
inline Interval strip_of(const Lanes& g, int i, float dy_low, float dy_high) {
  // A row dy meets the ellipse in -shear dy +- row_width sqrt(1 - (dy / half_height)^2); its
  // rightmost point lies at dy = tilt, its leftmost at -tilt.
  float shear = g.xy[i] / (2 * g.xx[i]);
  float tilt = -g.xy[i] / (2 * g.yy[i]) * g.half_width[i];
  dy_low = std::max(dy_low, -g.half_height[i]);
  dy_high = std::max(dy_low, std::min(dy_high, g.half_height[i]));
  auto half_row = [&](float dy) {
    float t = dy / g.half_height[i];
    return g.row_width[i] * std::sqrt(std::max(0.0f, 1 - t * t));
  };
  float right = std::min(std::max(tilt, dy_low), dy_high);
  float left = std::min(std::max(-tilt, dy_low), dy_high);
  return {-shear * left - half_row(left), -shear * right + half_row(right)};
}

inline int32_t tile_index(float pixel, int32_t low, int32_t high) {
  // Written so that a NaN bound falls on `low`.
  float tile = std::floor(pixel / kTile);
  if (!(tile > low)) return low;
  return tile < high ? static_cast<int32_t>(tile) : high;
}

inline void add_runs(const Grid& grid, const Lanes& g, int i, uint32_t gaussian,
                     std::vector<Run>* runs) {
  Entry entry = entry_of(g.depth[i], gaussian);
  int32_t first = g.column_first[i] / kTile, last = g.column_last[i] / kTile;
  int32_t top = g.row_first[i] / kTile, bottom = g.row_last[i] / kTile;
  bool several = top != bottom && first != last;
  for (int32_t row = top; row <= bottom; ++row) {
    int32_t from = first, to = last;
    if (several) {
      float dy = static_cast<float>(row * kTile) + 0.5f - g.y[i];
      Interval strip = strip_of(g, i, dy - kPixelMargin, dy + (kTile - 1) + kPixelMargin);
      from = tile_index(g.x[i] + strip.low - (0.5f + kPixelMargin), first, last);
      to = tile_index(g.x[i] + strip.high - (0.5f - kPixelMargin), first, last);
    }
    if (from > to) continue;
    runs->push_back({entry, static_cast<uint32_t>(row * grid.across + from),
                     static_cast<uint32_t>(to - from + 1)});
  }
}

inline bool first_non_finite(const float* values, int64_t count, int64_t* index) {
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) {
      *index = i;
      return true;
    }
  }
  return false;
}

inline bool all_finite(const float* values, int64_t count) {
  F8 sum = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sum = fma(load(values + i), F8{}, sum);
  float rest = 0;
  for (; i < count; ++i) rest += values[i] * 0.0f;
  return bits(sum == F8{}) == 0xff && rest == 0;
}

// Names the first bad value among Gaussians [first, last) of (B, N).
inline A3dFault find_fault(const A3dScene& scene, int64_t first, int64_t last) {
  struct Array {
    const float* values;
    int64_t width;
    A3dArray name;
  };
  const Array arrays[] = {
      {scene.means, 3, A3D_MEANS},
      {scene.quats, 4, A3D_QUATS},
      {scene.scales, 3, A3D_SCALES},
      {scene.opacities, 1, A3D_OPACITIES},
      {scene.colors, scene.channels, A3D_COLORS},
      {scene.sh, 3 * scene.sh_coefficients, A3D_SH},
  };
  int64_t index = 0;
  for (const Array& a : arrays) {
    if (a.values &&
        first_non_finite(a.values + first * a.width, (last - first) * a.width, &index)) {
      return {A3D_NON_FINITE, a.name, first * a.width + index};
    }
  }
  for (int64_t i = first; i < last; ++i) {
    const float* q = scene.quats + 4 * i;
    if (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3] == 0) return {A3D_ZERO_QUAT, 0, i};
  }
  return {A3D_OK, 0, 0};
}

// Copies a last, short block so that eight can be loaded; the spare lanes repeat its last.
struct Tail {
  float means[24], quats[32], scales[24], opacities[8];
  A3dScene scene;
  Tail(const A3dScene& whole, int64_t first, int64_t count) : scene(whole) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      int64_t i = first + std::min(lane, count - 1);
      std::memcpy(means + 3 * lane, whole.means + 3 * i, 3 * sizeof(float));
      std::memcpy(quats + 4 * lane, whole.quats + 4 * i, 4 * sizeof(float));
      std::memcpy(scales + 3 * lane, whole.scales + 3 * i, 3 * sizeof(float));
      opacities[lane] = whole.opacities[i];
    }
    scene.means = means, scene.quats = quats, scene.scales = scales, scene.opacities = opacities;
  }
};

// Projects one chunk of one view. `splats` has a place for each Gaussian of the view; places of
// those that cannot be seen hold nothing of use.
inline void bin_chunk(const A3dScene& scene, int64_t head, const Camera& camera, int64_t begin,
                      int64_t end, Splat* splats, BinningScratch* scratch, Chunk* chunk) {
  const A3dModel& model = scene.model;
  const Grid grid(scene);
  const float width = static_cast<float>(scene.width), height = static_cast<float>(scene.height);
  const F8 log2_alpha_min = splat(std::log2(model.alpha_min));
  const float huge = std::numeric_limits<float>::max();
  std::vector<Run>& runs = scratch->runs;
  runs.clear();
  F8 faults = {};  // turns NaN when an input is not finite
  I8 zero_quats = {};
  for (int64_t block = begin; block < end; block += kLanes) {
    int64_t count = std::min<int64_t>(kLanes, end - block), at = head * scene.gaussians + block;
    Gaussians8 g = count == kLanes ? load_consecutive(scene, at)
                                   : load_consecutive(Tail(scene, at, count).scene, 0);
    Rotation8 rotation = rotation_of(g.quat);
    for (int i = 0; i < 3; ++i) faults = fma(g.mean[i], F8{}, fma(g.scale[i], F8{}, faults));
    for (int i = 0; i < 4; ++i) faults = fma(g.quat[i], F8{}, faults);
    faults = fma(g.opacity, F8{}, faults);
    zero_quats |= rotation.squared_length == F8{};

    Ellipse8 e = ellipse_of(g, rotation, camera, model.dilation_px2);
    I8 seen = (e.z >= splat(model.near)) & (e.z <= splat(model.far)) &
              (g.opacity >= splat(model.alpha_min)) & (e.determinant > F8{}) &
              (e.determinant <= splat(huge));
    // alpha >= alpha_min inside the ellipse d^T X d <= 2 ln(opacity / alpha_min).
    F8 reach = max(log2_positive(max(g.opacity, splat(1e-9f))) - log2_alpha_min, F8{});
    F8 sigmas = sqrt(reach * splat(2.0f / kLog2e));
    F8 half_width = sigmas * sqrt(e.xx), half_height = sigmas * sqrt(e.yy);
    // Divided, not multiplied by 1/z: an error here is one of the centre, in pixels.
    F8 x = splat(camera.fx) * e.x / e.z + splat(camera.cx);
    F8 y = splat(camera.fy) * e.y / e.z + splat(camera.cy);
    if (model.radius_clip_px > 0) {
      F8 capped = min(sigmas, splat(model.extent_max_sigma));
      // ceil(r) > clip is r > floor(clip).
      F8 clip = splat(std::floor(model.radius_clip_px));
      seen &= (capped * sqrt(e.xx) > clip) | (capped * sqrt(e.yy) > clip);
    }
    seen &= (x - x == F8{}) & (y - y == F8{});  // finite
    // Pixels whose centres the box holds.
    const F8 outside = splat(0.5f + kPixelMargin), inside = splat(0.5f - kPixelMargin);
    F8 left = max(x - half_width - outside, splat(-1.0f));
    F8 right = min(x + half_width - inside, splat(width - 1));
    F8 top = max(y - half_height - outside, splat(-1.0f));
    F8 bottom = min(y + half_height - inside, splat(height - 1));
    seen &= (left <= right) & (top <= bottom) & (right >= F8{}) & (bottom >= F8{});
    // Truncation after adding one is floor for values >= -1; one more is ceil of what is not whole.
    I8 column_first = to_int(max(keep(seen, left + splat(1.0f)), F8{}));
    I8 column_last = to_int(keep(seen, right));
    I8 row_first = to_int(max(keep(seen, top + splat(1.0f)), F8{}));
    I8 row_last = to_int(keep(seen, bottom));
    seen &= (column_first <= column_last) & (row_first <= row_last);
    int remaining = bits(seen) & ((1 << count) - 1);
    if (remaining == 0) continue;

    F8 inverse = splat(-0.5f * kLog2e) / e.determinant;
    F8 xx = e.yy * inverse, xy = splat(-2.0f) * e.xy * inverse, yy = e.xx * inverse;
    F8 rows[8] = {x, y, xx, xy, yy, g.opacity, half_width, half_height};
    transpose(rows);
    for (int64_t lane = 0; lane < count; ++lane) store(&splats[block + lane].x, rows[lane]);

    const I8 left_tile = column_first >> kTileBits, top_tile = row_first >> kTileBits;
    const I8 one_tile =
        (column_last >> kTileBits == left_tile) & (row_last >> kTileBits == top_tile);
    Lanes lanes;
    store(lanes.depth, e.z);
    store(lanes.first_tile, top_tile * splat(static_cast<int32_t>(grid.across)) + left_tile);
    const int alone = bits(one_tile);
    for (int left_over = remaining & alone; left_over; left_over &= left_over - 1) {
      const int lane = __builtin_ctz(left_over);
      runs.push_back({entry_of(lanes.depth[lane], static_cast<uint32_t>(block + lane)),
                      static_cast<uint32_t>(lanes.first_tile[lane]), 1});
    }
    remaining &= ~alone;
    if (remaining == 0) continue;
    store(lanes.column_first, column_first), store(lanes.column_last, column_last);
    store(lanes.row_first, row_first), store(lanes.row_last, row_last);
    store(lanes.x, x), store(lanes.y, y);
    store(lanes.xx, xx), store(lanes.xy, xy), store(lanes.yy, yy);
    store(lanes.half_width, half_width), store(lanes.half_height, half_height);
    store(lanes.row_width, sqrt(reach / -xx));
    for (; remaining; remaining &= remaining - 1) {
      const int lane = __builtin_ctz(remaining);
      add_runs(grid, lanes, lane, static_cast<uint32_t>(block + lane), &runs);
    }
  }
  if (bits(faults == F8{}) != 0xff || bits(zero_quats) != 0) {
    chunk->fault =
        find_fault(scene, head * scene.gaussians + begin, head * scene.gaussians + end);
    if (chunk->fault.status != A3D_OK) return;
  }

  // Counting sort by tile. Counts sit two places up, so that filling turns them into offsets.
  std::vector<uint32_t> offsets(grid.tiles() + 2, 0);
  for (const Run& run : runs) {
    for (uint32_t t = run.first_tile; t < run.first_tile + run.length; ++t) ++offsets[t + 2];
  }
  uint64_t total = 0;
  for (uint32_t& offset : offsets) {
    total += offset;
    if (total > std::numeric_limits<uint32_t>::max()) throw std::bad_alloc();
    offset = static_cast<uint32_t>(total);
  }
  chunk->entries = Buffer<Entry>(static_cast<int64_t>(total));
  for (const Run& run : runs) {
    for (uint32_t t = run.first_tile; t < run.first_tile + run.length; ++t) {
      chunk->entries[offsets[t + 1]++] = run.entry;
    }
  }
  chunk->offsets = std::move(offsets);
}

}  // namespace a3d
