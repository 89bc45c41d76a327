// Gradients. A tile walks its recorded splats front to back again, with the same transmittances
// bit for bit, and leaves for each the sums over its pixels in a slot of its own. Then each
// Gaussian adds up its slots in a fixed order and takes them through the projection. No sum
// depends on which thread came first.
//
// For a pixel with upstream gradients g (over channels), let q_i = g . c_i, and let
//     rest_i = sum_{j > i} q_j alpha_j T_j + T_end (g . background - g_alpha)
// be what still lies behind i. Then dL/dalpha_i = T_i q_i - rest_i / (1 - alpha_i). `rest` starts
// as the gradient's product with the finished picture and loses one term at each step, so neither
// a last index nor a division by T is needed.

#pragma once

#include "forward.h"

namespace a3d {

constexpr int kMoments = 6;  // one, x, y, xx, xy, yy: see Moments8
constexpr uint32_t kNoSlot = 0xffffffffu;

// Slots of all tiles; those of one Gaussian in one view are a list, in ascending order: tiles in
// reading order. A slot is six moments, the channels, and the number of the next slot in its list.
struct Slots {
  int64_t channels;
  Buffer<float> values;
  Buffer<uint32_t> head;  // (B * V, N)

  int64_t stride() const { return kMoments + channels + 1; }
  float* at(int64_t slot) const { return values.get() + slot * stride(); }
  uint32_t next(int64_t slot) const {
    uint32_t word;
    std::memcpy(&word, at(slot) + stride() - 1, sizeof word);
    return word;
  }
  void set_next(int64_t slot, uint32_t word) const {
    std::memcpy(at(slot) + stride() - 1, &word, sizeof word);
  }
};

struct GradientScratch {
  Batch batch;
  Groups groups;
  std::vector<float> planes;  // transmittance, rest, then one plane of g for each channel
  std::vector<F8> channel_sums;
};

// Sums over the groups [begin, end) of splat i, into its slot.
template <int kChannels>
void gradients_of_splat(const Batch& batch, int32_t i, const Groups& groups, int32_t begin,
                        int32_t end, const AlphaBounds& bounds, F8 transmittance_min,
                        int64_t runtime_channels, float* planes, F8* channel_scratch,
                        float* slot) {
  const int64_t channels = kChannels ? kChannels : runtime_channels;
  const float* color = batch.channels.data() + i * channels;
  F8 one = {}, x = {}, y = {}, x_x = {}, x_y = {}, y_y = {};
  F8 fixed_sums[kChannels ? kChannels : 1] = {};
  F8* channel_sums = kChannels ? fixed_sums : channel_scratch;
  if (!kChannels) std::fill(channel_sums, channel_sums + channels, F8{});
  for (int32_t group = begin; group < end; ++group) {
    float* at = planes + groups.pixel[group];
    float* rest_at = at + kPlane;
    const float* g = at + 2 * kPlane;
    const F8 alpha = groups.alpha[group], t = load(at);
    const F8 dx = iota() + splat(groups.dx[group]), dy = splat(groups.dy[group]);
    const Step8 next = step(t, alpha, transmittance_min);
    store(at, next.after);
    const F8 weight = keep(next.adds, alpha * t);
    F8 q = {};
    if (kChannels) {
#pragma GCC unroll 4
      for (int d = 0; d < kChannels; ++d) {
        const F8 g_d = load(g + d * kPlane);
        q = fma(g_d, splat(color[d]), q);
        channel_sums[d] = fma(weight, g_d, channel_sums[d]);
      }
    } else {
      for (int64_t d = 0; d < channels; ++d) {
        const F8 g_d = load(g + d * kPlane);
        q = fma(g_d, splat(color[d]), q);
        channel_sums[d] = fma(weight, g_d, channel_sums[d]);
      }
    }
    const F8 behind = load(rest_at) - weight * q;
    store(rest_at, behind);
    const F8 by_alpha = t * q - behind / (splat(1.0f) - alpha);
    const F8 v = keep(next.adds & (alpha < bounds.high), by_alpha * alpha);
    const F8 v_dx = v * dx, v_dy = v * dy;
    one += v, x += v_dx, y += v_dy;
    x_x = fma(v_dx, dx, x_x), x_y = fma(v_dx, dy, x_y), y_y = fma(v_dy, dy, y_y);
  }
  if (kChannels >= 2) {
    const F8 first_eight[8] = {one, x, y, x_x, x_y, y_y, channel_sums[0], channel_sums[1]};
    store(slot, sum_each(first_eight));
    for (int d = 2; d < kChannels; ++d) slot[kMoments + d] = sum(channel_sums[d]);
  } else {
    const F8 moments[8] = {one, x, y, x_x, x_y, y_y, F8{}, F8{}};
    const F8 sums = sum_each(moments);
    for (int m = 0; m < kMoments; ++m) slot[m] = sums[m];
    for (int64_t d = 0; d < channels; ++d) slot[kMoments + d] = sum(channel_sums[d]);
  }
}

template <int kChannels>
void gradients_of_batch(const A3dModel& model, int64_t channels, const OpenPixels& open,
                        GradientScratch* scratch, const Slots& slots, int64_t first_slot) {
  const Batch& batch = scratch->batch;
  Groups* groups = &scratch->groups;
  const AlphaBounds bounds(model);
  const F8 transmittance_min = splat(model.transmittance_min);
  int32_t ends[kBatch], waiting = 0;  // splats [waiting, i] are cut into groups
  groups->count = 0;
  for (int32_t i = 0; i < batch.size; ++i) {
    add_groups(batch, i, open, groups);
    ends[i] = groups->count;
    if (!groups->full() && i + 1 < batch.size) continue;
    find_alphas(batch, bounds, groups);
    for (int32_t begin = 0; waiting <= i; begin = ends[waiting++]) {
      gradients_of_splat<kChannels>(batch, waiting, *groups, begin, ends[waiting], bounds,
                                    transmittance_min, channels, scratch->planes.data(),
                                    scratch->channel_sums.data(),
                                    slots.at(first_slot + waiting));
    }
    groups->count = 0;
  }
}

// Fills the planes of a tile with g, and with `rest` before the first splat.
inline void load_upstream(const A3dScene& scene, const Tile& tile, const A3dPictures& pictures,
                          const A3dPictures& gradients, int64_t channels, float* planes) {
  const int64_t pixels = scene.width * scene.height;
  float* rest = planes + kPlane;
  for (int row = 0; row < tile.height; ++row) {
    const int64_t at = (tile.y + row) * scene.width + tile.x;
    float* rest_row = rest + row * kStride;
    const float* alpha = pictures.alpha + tile.view * pixels + at;
    const float* by_alpha = gradients.alpha + tile.view * pixels + at;
    for (int c = 0; c < tile.width; ++c) rest_row[c] = (alpha[c] - 1) * by_alpha[c];
    for (int64_t d = 0; d < channels; ++d) {
      bool is_depth = d == scene.channels;
      int64_t plane = is_depth ? tile.view : tile.view * scene.channels + d;
      const float* picture = (is_depth ? pictures.depth_sum : pictures.channels) + plane * pixels;
      const float* given = (is_depth ? gradients.depth_sum : gradients.channels) + plane * pixels;
      float* g = planes + (2 + d) * kPlane + row * kStride;
      for (int c = 0; c < tile.width; ++c) {
        g[c] = given[at + c];
        rest_row[c] += g[c] * picture[at + c];
      }
    }
  }
}

inline void gradients_of_tile(const A3dScene& scene, const Camera& camera, const Tile& tile,
                              const TileRecord& record, const Splat* splats,
                              const A3dPictures& pictures, const A3dPictures& gradients,
                              int64_t first_slot, const Slots& slots, GradientScratch* scratch) {
  const bool with_depth = gradients.depth_sum != nullptr;
  const int64_t channels = scene.channels + with_depth;
  scratch->planes.assign((2 + channels) * kPlane, 0.0f);
  scratch->batch.channels.resize(kBatch * channels);
  scratch->channel_sums.resize(channels);
  start_transmittance(tile, scratch->planes.data());
  load_upstream(scene, tile, pictures, gradients, channels, scratch->planes.data());
  OpenPixels open;
  for (int64_t done = 0; done < record.count; done += kBatch) {
    int64_t count = std::min(kBatch, record.count - done);
    const Entry* entries = record.entries.get() + done;
    prefetch_splats(scene, tile, splats, entries + count,
                    std::min(kBatch, record.count - done - count));
    Batch& batch = scratch->batch;
    fill_batch(scene, camera, tile, splats, entries, count, with_depth, kAllCells, &batch);
    find_open_pixels(scratch->planes.data(), &open);
    const int64_t slot = first_slot + done;
    switch (channels) {
      case 3: gradients_of_batch<3>(scene.model, 3, open, scratch, slots, slot); break;
      case 4: gradients_of_batch<4>(scene.model, 4, open, scratch, slots, slot); break;
      default: gradients_of_batch<0>(scene.model, channels, open, scratch, slots, slot);
    }
  }
}

// Threads the slots of one view's Gaussians [begin, end) into lists. Slots are visited from the
// last to the first, so that each list ascends without a sort; one job owns the range, so nothing
// needs to be atomic.
inline void link_slots(const A3dScene& scene, const Grid& grid,
                       const std::vector<TileRecord>& records,
                       const std::vector<int64_t>& first_slot, int64_t view, int64_t begin,
                       int64_t end, const Slots& slots) {
  uint32_t* heads = slots.head.get() + view * scene.gaussians;
  std::memset(heads + begin, 0xff, (end - begin) * sizeof(uint32_t));
  const uint64_t length = static_cast<uint64_t>(end - begin);
  for (int64_t tile = (view + 1) * grid.tiles() - 1; tile >= view * grid.tiles(); --tile) {
    const TileRecord& record = records[tile];
    for (int64_t i = record.count - 1; i >= 0; --i) {
      const uint64_t gaussian = gaussian_of(record.entries[i]);
      if (gaussian - static_cast<uint64_t>(begin) >= length) continue;
      slots.set_next(first_slot[tile] + i, heads[gaussian]);
      heads[gaussian] = static_cast<uint32_t>(first_slot[tile] + i);
    }
  }
}

// Adds up the slots of one Gaussian in one view, in ascending order.
inline void collect_slots(const Slots& slots, uint32_t head, float* sums) {
  const int64_t width = slots.stride() - 1;
  std::memcpy(sums, slots.at(head), width * sizeof(float));
  for (uint32_t slot = slots.next(head); slot != kNoSlot; slot = slots.next(slot)) {
    const float* value = slots.at(slot);
    for (int64_t k = 0; k < width; ++k) sums[k] += value[k];
  }
}

struct GaussianScratch {
  std::vector<int64_t> touched;
  std::vector<float> sums;  // of one slot
};

// Takes one view's gradient with respect to a Gaussian's colour to its coefficients, and to its
// mean through the direction it is seen from.
inline void sh_gradients(const A3dScene& scene, const Camera& camera, int64_t gaussian,
                         const float* by_color, float* by_sh, float* by_mean) {
  const int coefficients = static_cast<int>(scene.sh_coefficients);
  const float* sh = scene.sh + 3 * coefficients * gaussian;
  Direction direction = direction_from(camera.center, scene.means + 3 * gaussian);
  float basis[kShMax], color[3], g[3], weight[kShMax];
  sh_basis(coefficients, direction, basis);
  sh_color(coefficients, sh, basis, color);
  for (int d = 0; d < 3; ++d) g[d] = color[d] >= 0 ? by_color[d] : 0.0f;
  for (int k = 0; k < coefficients; ++k) {
    weight[k] = g[0] * sh[3 * k] + g[1] * sh[3 * k + 1] + g[2] * sh[3 * k + 2];
    if (by_sh) {
      for (int d = 0; d < 3; ++d) by_sh[3 * k + d] += basis[k] * g[d];
    }
  }
  if (!by_mean || coefficients == 1) return;
  float free[3];
  sh_direction_gradient(coefficients, direction, weight, free);
  // Normalisation passes only what is across the direction.
  float along = free[0] * direction.x + free[1] * direction.y + free[2] * direction.z;
  by_mean[0] += (free[0] - along * direction.x) * direction.inverse_distance;
  by_mean[1] += (free[1] - along * direction.y) * direction.inverse_distance;
  by_mean[2] += (free[2] - along * direction.z) * direction.inverse_distance;
}

// Eight Gaussians of one head, all views. `index` counts over (B, N).
inline void gradients_of_eight(const A3dScene& scene, const std::vector<Camera>& cameras,
                               int64_t head, const int64_t* index, int count, bool with_depth,
                               const Slots& slots, const A3dGradients& out,
                               GaussianScratch* scratch) {
  Gaussians8 g = load_chosen(scene, index);
  Rotation8 rotation = rotation_of(g.quat);
  WorldGradients8 total;
  float sh_mean[8][3] = {};
  float* sums = scratch->sums.data();
  for (int64_t view = head * scene.views; view < (head + 1) * scene.views; ++view) {
    alignas(32) float moments[8][8] = {};  // by lane
    I8 touched = {};
    for (int lane = 0; lane < count; ++lane) {
      int64_t local = index[lane] - head * scene.gaussians;
      uint32_t first = slots.head[view * scene.gaussians + local];
      if (first == kNoSlot) continue;
      touched[lane] = -1;
      collect_slots(slots, first, sums);
      std::memcpy(moments[lane], sums, kMoments * sizeof(float));
      const float* by_color = sums + kMoments;
      if (with_depth) moments[lane][kMoments] = by_color[scene.channels];
      if (scene.sh) {
        if (out.sh || out.means) {
          sh_gradients(scene, cameras[view], index[lane], by_color,
                       out.sh ? out.sh + 3 * scene.sh_coefficients * index[lane] : nullptr,
                       out.means ? sh_mean[lane] : nullptr);
        }
      } else if (out.colors) {
        float* target = out.colors + scene.channels * index[lane];
        for (int64_t d = 0; d < scene.channels; ++d) target[d] += by_color[d];
      }
    }
    F8 m[8];
    for (int lane = 0; lane < kLanes; ++lane) m[lane] = load(moments[lane]);
    transpose(m);
    accumulate_view(g, rotation, cameras[view], scene.model.dilation_px2,
                    {m[0], m[1], m[2], m[3], m[4], m[5], m[6]}, touched, &total);
  }
  F8 quat[4];
  quaternion_gradient(rotation, total.rotation, quat);
  F8 opacity = total.log_opacity / g.opacity;
  for (int lane = 0; lane < count; ++lane) {
    int64_t i = index[lane];
    for (int k = 0; k < 3; ++k) {
      if (out.means) out.means[3 * i + k] = total.mean[k][lane] + sh_mean[lane][k];
      if (out.scales) out.scales[3 * i + k] = total.scale[k][lane];
    }
    for (int k = 0; out.quats && k < 4; ++k) out.quats[4 * i + k] = quat[k][lane];
    if (out.opacities) out.opacities[i] = opacity[lane];
  }
}

// Writes the gradients of the Gaussians [begin, end) of one head.
inline void gradients_of_gaussians(const A3dScene& scene, const std::vector<Camera>& cameras,
                                   int64_t head, int64_t begin, int64_t end, bool with_depth,
                                   const Slots& slots, const A3dGradients& out,
                                   GaussianScratch* scratch) {
  auto clear = [&](float* values, int64_t width) {
    if (values) {
      std::memset(values + (head * scene.gaussians + begin) * width, 0,
                  (end - begin) * width * sizeof(float));
    }
  };
  clear(out.means, 3), clear(out.quats, 4), clear(out.scales, 3), clear(out.opacities, 1);
  clear(out.colors, scene.channels), clear(out.sh, 3 * scene.sh_coefficients);
  scratch->sums.resize(slots.stride());
  scratch->touched.clear();
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t view = head * scene.views; view < (head + 1) * scene.views; ++view) {
      if (slots.head[view * scene.gaussians + i] != kNoSlot) {
        scratch->touched.push_back(head * scene.gaussians + i);
        break;
      }
    }
  }
  std::vector<int64_t>& touched = scratch->touched;
  int64_t whole = static_cast<int64_t>(touched.size());
  if (whole == 0) return;
  while (touched.size() % kLanes) touched.push_back(touched[whole - 1]);  // spare lanes
  for (int64_t i = 0; i < whole; i += kLanes) {
    // Slots lie in the order of tiles, so a Gaussian's first is anywhere.
    constexpr int64_t kAhead = 3 * kLanes;
    for (int64_t j = i + kAhead; j < std::min(i + kAhead + kLanes, whole); ++j) {
      for (int64_t view = head * scene.views; view < (head + 1) * scene.views; ++view) {
        const int64_t local = touched[j] - head * scene.gaussians;
        uint32_t first = slots.head[view * scene.gaussians + local];
        if (first == kNoSlot) continue;
        __builtin_prefetch(slots.at(first));
        __builtin_prefetch(slots.at(first) + slots.stride() - 1);
      }
    }
    gradients_of_eight(scene, cameras, head, touched.data() + i,
                       static_cast<int>(std::min<int64_t>(kLanes, whole - i)), with_depth, slots,
                       out, scratch);
  }
}

// The background is seen through what transmittance is left: one channel of one view.
inline float background_gradient(const A3dScene& scene, const A3dPictures& pictures,
                                 const A3dPictures& gradients, int64_t view, int64_t channel) {
  const int64_t pixels = scene.width * scene.height;
  const float* alpha = pictures.alpha + view * pixels;
  const float* g = gradients.channels + (view * scene.channels + channel) * pixels;
  F8 sums = {};
  int64_t i = 0;
  for (; i + kLanes <= pixels; i += kLanes) {
    sums = fma(splat(1.0f) - load(alpha + i), load(g + i), sums);
  }
  float rest = 0;
  for (; i < pixels; ++i) rest += (1 - alpha[i]) * g[i];
  return sum(sums) + rest;
}

}  // namespace a3d
