// What the forward and the backward pass share: a tile's place, the entries of a tile made ready
// for its pixels, and alpha itself.

#pragma once

#include "binning.h"
#include "harmonics.h"

namespace a3d {

// Pixel arrays have room for a vector that starts at a row's last pixel.
constexpr int kStride = kTile + kLanes;
constexpr int kPlane = kTile * kStride;
constexpr int kCell = 8;
constexpr uint32_t kAllCells = 0xffff;  // 4 x 4 cells of 8 x 8 pixels
static_assert(kTile == 4 * kCell, "one bit for each cell in 16");

constexpr int64_t kBatch = 64;

struct Tile {
  int64_t head, view;  // `view` counts over (B, V)
  int64_t index;       // within the view
  int32_t x, y;        // of its first pixel
  int32_t width, height;
  Tile(const A3dScene& scene, const Grid& grid, int64_t job)
      : head(job / grid.tiles() / scene.views), view(job / grid.tiles()),
        index(job % grid.tiles()), x(static_cast<int32_t>(index % grid.across) * kTile),
        y(static_cast<int32_t>(index / grid.across) * kTile),
        width(static_cast<int32_t>(std::min<int64_t>(kTile, scene.width - x))),
        height(static_cast<int32_t>(std::min<int64_t>(kTile, scene.height - y))) {}
};

// Transmittance of each pixel of a tile. A finished pixel carries the minus sign; so do the
// places outside the picture, from the start.
inline void start_transmittance(const Tile& tile, float* transmittance) {
  for (int row = 0; row < kTile; ++row) {
    for (int column = 0; column < kStride; ++column) {
      bool real = row < tile.height && column < tile.width;
      transmittance[row * kStride + column] = real ? 1.0f : -1.0f;
    }
  }
}

// Which pixels of a tile still take light.
struct OpenPixels {
  alignas(32) int32_t rows[kTile + kLanes];  // bit c: pixel of column c
  uint32_t cells;                   // bit 4 r + c: some pixel of the 8 x 8 cell (r, c)
};

inline void find_open_pixels(const float* transmittance, OpenPixels* open) {
  open->cells = 0;
  for (int row = 0; row < kTile; ++row) {
    const float* t = transmittance + row * kStride;
    uint32_t closed = 0;
    for (int c = 0; c < 4; ++c) {
      closed |= static_cast<uint32_t>(sign_bits(load(t + kCell * c))) << (kCell * c);
    }
    uint32_t bits = ~closed;
    open->rows[row] = static_cast<int32_t>(bits);
    for (int c = 0; c < 4; ++c) {
      uint32_t some = (bits >> (kCell * c) & 0xff) != 0;
      open->cells |= some << (row / kCell * 4 + c);
    }
  }
}

// Up to kBatch splats, relative to the tile: pixel (column, row) of the tile is at x = column,
// y = row.
struct Batch {
  int64_t size;               // of `members`
  int32_t members[kBatch];    // in order: the positions below that are to be drawn
  alignas(32) float x[kBatch], y[kBatch], xx[kBatch], xy[kBatch], yy[kBatch], opacity[kBatch];
  // Row dy meets the ellipse in -shear dy +- row_width sqrt(1 - (dy inverse_half_height)^2).
  alignas(32) float shear[kBatch], row_width[kBatch], inverse_half_height[kBatch];
  alignas(32) int32_t row_first[kBatch], row_last[kBatch];
  std::vector<float> channels;  // (kBatch, channels): colours, then camera depth if composited
};

// (Inlined by force: GCC takes a function that only prefetches for one without effect.)
__attribute__((always_inline)) inline void prefetch_splats(const A3dScene& scene, const Tile& tile,
                                                           const Splat* splats,
                                                           const Entry* entries, int64_t count) {
  const float* colors = scene.colors ? scene.colors : scene.sh;
  const int64_t width = scene.colors ? scene.channels : 3 * scene.sh_coefficients;
  colors += tile.head * scene.gaussians * width;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t g = gaussian_of(entries[i]);
    __builtin_prefetch(splats + g);
    __builtin_prefetch(colors + g * width);
  }
}

// A Gaussian's channels as this view sees them.
inline void read_channels(const A3dScene& scene, const Camera& camera, int64_t head, Entry entry,
                          bool with_depth, float* channels) {
  int64_t g = head * scene.gaussians + gaussian_of(entry);
  if (scene.colors) {
    const float* color = scene.colors + g * scene.channels;
    if (scene.channels == 3) {
      channels[0] = color[0], channels[1] = color[1], channels[2] = color[2];
    } else {
      std::memcpy(channels, color, scene.channels * sizeof(float));
    }
  } else {
    int coefficients = static_cast<int>(scene.sh_coefficients);
    float basis[kShMax];
    sh_basis(coefficients, direction_from(camera.center, scene.means + 3 * g), basis);
    sh_color(coefficients, scene.sh + 3 * coefficients * g, basis, channels);
    for (int d = 0; d < 3; ++d) channels[d] = std::max(channels[d], 0.0f);
  }
  if (with_depth) channels[scene.channels] = depth_of(entry);
}

// Makes up to kBatch entries ready; members are those whose box meets an open cell.
inline void fill_batch(const A3dScene& scene, const Camera& camera, const Tile& tile,
                       const Splat* splats, const Entry* entries, int64_t count, bool with_depth,
                       uint32_t open_cells, Batch* batch) {
  const F8 log2_alpha_min = splat(std::log2(scene.model.alpha_min));
  const int64_t channels = scene.channels + with_depth;
  int64_t size = 0;
  for (int64_t block = 0; block < count; block += kLanes) {
    int64_t lanes = std::min<int64_t>(kLanes, count - block);
    F8 s[8];
#pragma GCC unroll 8
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      int64_t i = block + std::min(lane, lanes - 1);
      s[lane] = load(&splats[gaussian_of(entries[i])].x);
    }
    transpose(s);
    F8 x = s[0] - splat(static_cast<float>(tile.x) + 0.5f);
    F8 y = s[1] - splat(static_cast<float>(tile.y) + 0.5f);
    F8 half_width = s[6], half_height = s[7];
    const F8 margin = splat(kPixelMargin), zero = F8{};
    F8 left = min(max(x - half_width - margin, zero), splat(kTile - 1.0f));
    F8 right = max(min(x + half_width + margin, splat(tile.width - 1.0f)), zero);
    F8 top = max(y - half_height - margin, splat(-1.0f)) + splat(1.0f);
    F8 bottom = min(y + half_height + margin, splat(tile.height - 1.0f));
    I8 row_first = to_int(min(top, splat(kTile * 1.0f)));
    I8 row_last = to_int(max(bottom, splat(-1.0f)) + splat(1.0f)) - 1;  // floor
    I8 column_cells = (splat(2) << (to_int(right) >> 3)) - (splat(1) << (to_int(left) >> 3));
    F8 reach = max(log2_positive(s[5]) - log2_alpha_min, zero);
    F8 row_width = sqrt(reach / -s[2]);
    F8 shear = s[3] / (s[2] + s[2]);
    F8 inverse_half_height = splat(1.0f) / half_height;

    alignas(32) int32_t cells[8];
    store(cells, column_cells);
    store(batch->x + block, x), store(batch->y + block, y);
    store(batch->xx + block, s[2]), store(batch->xy + block, s[3]);
    store(batch->yy + block, s[4]), store(batch->opacity + block, s[5]);
    store(batch->shear + block, shear), store(batch->row_width + block, row_width);
    store(batch->inverse_half_height + block, inverse_half_height);
    store(batch->row_first + block, row_first), store(batch->row_last + block, row_last);
    for (int64_t i = block; i < block + lanes; ++i) {
      int32_t first = batch->row_first[i], last = batch->row_last[i];
      if (first > last) continue;
      // Cells of the rows from `first` to `last`, times the pattern of columns.
      uint32_t down = (0x1111u << (first / kCell * 4)) & (0x1111u >> (12 - last / kCell * 4));
      if (!(static_cast<uint32_t>(cells[i - block]) * down & open_cells)) continue;
      batch->members[size++] = static_cast<int32_t>(i);
      read_channels(scene, camera, tile.head, entries[i], with_depth,
                    batch->channels.data() + i * channels);
    }
  }
  batch->size = size;
}

struct AlphaBounds {
  F8 low, high;
  explicit AlphaBounds(const A3dModel& model)
      : low(splat(model.alpha_min)), high(splat(model.alpha_max)) {}
};

// The unit of work on pixels: eight neighbours in a row under one splat. Splats are cut into
// groups first, then all alphas are found, then all are blended: three plain loops. Done at once
// for each splat, the chain from a distance to a weight is so long that a core sees two or three
// ahead, and each splat ends in a mispredicted branch.
constexpr int32_t kGroupsFull = 128;
constexpr int32_t kGroupsMax = kGroupsFull + kTile * kTile / kLanes + kLanes;
struct Groups {
  int32_t count = 0;
  int32_t member[kGroupsMax];       // position in the batch
  int32_t pixel[kGroupsMax];        // place of the first pixel in a plane
  float dx[kGroupsMax], dy[kGroupsMax];  // of the first pixel
  float xy_dy[kGroupsMax], yy_dy_dy[kGroupsMax];
  F8 alpha[kGroupsMax];

  bool full() const { return count >= kGroupsFull; }
};

// Bits from..to, for 0 <= from <= to < 32.
inline I8 columns_between(I8 from, I8 to) {
  const U8 one = (U8)splat(1), two = (U8)splat(2);
  return (I8)((two << (U8)(to & 31)) - (one << (U8)(from & 31)));
}

// Cuts splat i into groups: for each row the columns whose pixel centres its ellipse holds, without
// the groups that have no open pixel.
inline void add_groups(const Batch& batch, int32_t i, const OpenPixels& open, Groups* groups) {
  const F8 margin = splat(kPixelMargin), one = splat(1.0f);
  const F8 x = splat(batch.x[i]), shear = splat(batch.shear[i]), width = splat(batch.row_width[i]);
  const F8 flatten = splat(batch.inverse_half_height[i]);
  const F8 xy = splat(batch.xy[i]), yy = splat(batch.yy[i]);
  const int32_t last_row = batch.row_last[i];
  F8 dy = iota() + splat(static_cast<float>(batch.row_first[i]) - batch.y[i]);
  I8 row_pixel = (I8{0, 1, 2, 3, 4, 5, 6, 7} + batch.row_first[i]) * kStride;
  int32_t count = groups->count;
  for (int32_t row = batch.row_first[i]; row <= last_row; row += kLanes) {
    const F8 t = dy * flatten;
    const F8 half = fma(width, sqrt(max(one - t * t, F8{})), margin);
    const F8 middle = x - shear * dy;
    // Written so that a NaN bound opens the whole row.
    const F8 left = min(max(middle - half, splat(-1.0f)) + one, splat(kTile * 1.0f));
    const F8 right = max(min(middle + half, splat(kTile - 1.0f)), splat(-1.0f));
    I8 from = to_int(left);
    const I8 to = to_int(right + one) - 1;
    const I8 open_columns = load(open.rows + row);
    const int valid = last_row - row >= kLanes - 1 ? 0xff : (2 << (last_row - row)) - 1;
    while (int begun = bits(from <= to) & valid) {
      const I8 stop = min(to, from + (kLanes - 1));
      const int drawn = begun & bits((columns_between(from, stop) & open_columns) != I8{});
      const Compress compress(drawn);
      compress.store(groups->pixel + count, row_pixel + from);
      compress.store(groups->dx + count, to_float(from) - x);
      compress.store(groups->dy + count, dy);
      compress.store(groups->xy_dy + count, xy * dy);
      compress.store(groups->yy_dy_dy + count, yy * dy * dy);
      store(groups->member + count, splat(i));
      count += __builtin_popcount(drawn);
      from += kLanes;
    }
    dy += splat(8.0f);
    row_pixel += kLanes * kStride;
  }
  groups->count = count;
}

// alpha = min(opacity e^-sigma, alpha_max); zero where a pixel is to be skipped (sigma < 0, or
// alpha < alpha_min).
inline void find_alphas(const Batch& batch, const AlphaBounds& bounds, Groups* groups) {
  for (int32_t g = 0; g < groups->count; ++g) {
    const int32_t i = groups->member[g];
    const F8 dx = iota() + splat(groups->dx[g]);
    const F8 power = fma(dx, fma(splat(batch.xx[i]), dx, splat(groups->xy_dy[g])),
                         splat(groups->yy_dy_dy[g]));
    const F8 raw = splat(batch.opacity[i]) * exp2_nonpositive(power);
    groups->alpha[g] = keep((power <= F8{}) & (raw >= bounds.low), min(raw, bounds.high));
  }
}

// One step along the ray: what T becomes, and which pixels the splat adds to. A pixel that would
// fall to transmittance_min or below is finished before the splat, and gets the sign. (Where alpha
// is zero nothing changes: an open pixel has more than transmittance_min, a finished one less.)
struct Step8 {
  F8 after;
  I8 adds;
};
inline Step8 step(F8 transmittance, F8 alpha, F8 transmittance_min) {
  F8 next = transmittance * (splat(1.0f) - alpha);
  I8 adds = next > transmittance_min;
  return {select(adds, next, (F8)((I8)transmittance | splat(INT32_MIN))), adds};
}

}  // namespace a3d
