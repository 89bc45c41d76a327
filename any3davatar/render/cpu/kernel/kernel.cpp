// A differentiable CPU rasterizer for 3D Gaussians.
//
//     abi.h         the C interface
//     simd.h        vectors of eight floats
//     parallel.h    threads for one call; memory
//     projection.h  Gaussians to ellipses, and back for gradients
//     binning.h     phase 1: ellipses to tiles
//     ordering.h    front to back, lazily
//     tile.h        what both passes do with a tile
//     forward.h     phase 2: compositing
//     backward.h    phases 3 to 5: gradients by tile, slots to lists, gradients by Gaussian
//
// The image model, and the places where it is decided, follow gsplat 1.5.3 ("classic"); settings.py
// holds its constants.

#include "abi.h"
#include "backward.h"

using namespace a3d;

struct A3dTape {
  std::vector<Buffer<Splat>> splats;  // for each view
  std::vector<TileRecord> records;    // for each tile of each view
};

namespace {

std::vector<Camera> cameras_of(const A3dScene& scene) {
  std::vector<Camera> cameras;
  for (int64_t view = 0; view < scene.heads * scene.views; ++view) {
    cameras.push_back(camera_of(scene, view));
  }
  return cameras;
}

A3dFault check_colors(const A3dScene& scene, int64_t head, int64_t begin, int64_t end) {
  int64_t first = head * scene.gaussians + begin, last = head * scene.gaussians + end;
  const float* values = scene.colors ? scene.colors : scene.sh;
  int64_t width = scene.colors ? scene.channels : 3 * scene.sh_coefficients;
  bool fine = all_finite(values + first * width, (last - first) * width);
  return fine ? A3dFault{A3D_OK, 0, 0} : find_fault(scene, first, last);
}

A3dFault forward(const A3dScene& scene, const A3dPictures& pictures, int threads, A3dTape* tape) {
  const Grid grid(scene);
  const int64_t views = scene.heads * scene.views;
  const int64_t chunks_per_view = chunk_count(scene), size = chunk_size(scene);
  const std::vector<Camera> cameras = cameras_of(scene);
  std::vector<Buffer<Splat>> splats;
  for (int64_t view = 0; view < views; ++view) splats.emplace_back(scene.gaussians);
  std::vector<Chunk> chunks(views * chunks_per_view);

  parallel_for<BinningScratch>(
      views * chunks_per_view, threads, [&](BinningScratch& scratch, int64_t job) {
        int64_t view = job / chunks_per_view, begin = job % chunks_per_view * size;
        int64_t end = std::min(begin + size, scene.gaussians), head = view / scene.views;
        if (view % scene.views == 0) {
          chunks[job].fault = check_colors(scene, head, begin, end);
          if (chunks[job].fault.status != A3D_OK) return;
        }
        bin_chunk(scene, head, cameras[view], begin, end, splats[view].get(), &scratch,
                  &chunks[job]);
      });
  for (const Chunk& chunk : chunks) {
    if (chunk.fault.status != A3D_OK) return chunk.fault;
  }

  std::vector<TileRecord> records(tape ? views * grid.tiles() : 0);
  parallel_for<CompositeScratch>(
      views * grid.tiles(), threads, [&](CompositeScratch& scratch, int64_t job) {
        Tile tile(scene, grid, job);
        composite_tile(scene, cameras[tile.view], tile, chunks, tile.view * chunks_per_view,
                       (tile.view + 1) * chunks_per_view, splats[tile.view].get(), pictures,
                       &scratch, tape ? &records[job] : nullptr);
      });
  if (tape) {
    tape->splats = std::move(splats);
    tape->records = std::move(records);
  }
  return {A3D_OK, 0, 0};
}

void backward(const A3dScene& scene, const A3dPictures& pictures, const A3dTape& tape,
              const A3dPictures& picture_gradients, const A3dGradients& gradients, int threads) {
  const Grid grid(scene);
  const int64_t views = scene.heads * scene.views;
  const std::vector<Camera> cameras = cameras_of(scene);
  const bool with_depth = picture_gradients.depth_sum != nullptr;

  std::vector<int64_t> first_slot;
  int64_t total = 0;
  for (const TileRecord& record : tape.records) {
    first_slot.push_back(total);
    total += record.count;
  }
  if (total >= kNoSlot) throw std::bad_alloc();
  Slots slots;
  slots.channels = scene.channels + with_depth;
  slots.values = Buffer<float>(total * slots.stride());
  slots.head = Buffer<uint32_t>(views * scene.gaussians);
  const int64_t n = scene.heads * scene.gaussians;
  prefer_huge_pages(gradients.means, 3 * n), prefer_huge_pages(gradients.quats, 4 * n);
  prefer_huge_pages(gradients.scales, 3 * n), prefer_huge_pages(gradients.opacities, n);
  prefer_huge_pages(gradients.colors, scene.channels * n);
  prefer_huge_pages(gradients.sh, 3 * scene.sh_coefficients * n);
  constexpr int64_t kBlock = 4096;
  const int64_t blocks = (scene.gaussians + kBlock - 1) / kBlock;
  // Each range of a view reads all of the view's entries once: not more ranges than pay.
  const int64_t ranges = std::clamp<int64_t>(scene.gaussians >> 16, 2, 8);

  parallel_for<GradientScratch>(
      views * grid.tiles(), threads, [&](GradientScratch& scratch, int64_t job) {
        if (tape.records[job].count == 0) return;
        Tile tile(scene, grid, job);
        gradients_of_tile(scene, cameras[tile.view], tile, tape.records[job],
                          tape.splats[tile.view].get(), pictures, picture_gradients,
                          first_slot[job], slots, &scratch);
      });
  parallel_for<NoScratch>(views * ranges, threads, [&](NoScratch&, int64_t job) {
    const int64_t view = job / ranges, range = job % ranges;
    link_slots(scene, grid, tape.records, first_slot, view, scene.gaussians * range / ranges,
               scene.gaussians * (range + 1) / ranges, slots);
  });
  parallel_for<GaussianScratch>(
      scene.heads * blocks, threads, [&](GaussianScratch& scratch, int64_t job) {
        int64_t begin = job % blocks * kBlock;
        gradients_of_gaussians(scene, cameras, job / blocks, begin,
                               std::min(begin + kBlock, scene.gaussians), with_depth, slots,
                               gradients, &scratch);
      });
  if (gradients.background) {
    parallel_for<NoScratch>(
        views * scene.channels, threads, [&](NoScratch&, int64_t job) {
          gradients.background[job] = background_gradient(
              scene, pictures, picture_gradients, job / scene.channels, job % scene.channels);
        });
  }
}

}  // namespace

extern "C" {

void a3d_layout(int64_t sizes[4]) {
  sizes[0] = sizeof(A3dScene);
  sizes[1] = sizeof(A3dPictures);
  sizes[2] = sizeof(A3dGradients);
  sizes[3] = sizeof(A3dFault);
}

void a3d_borrow_team(void* gomp_parallel) {
  borrowed_team().process = getpid();
  borrowed_team().run.store(reinterpret_cast<GompParallel>(gomp_parallel),
                            std::memory_order_release);
}

A3dFault a3d_forward(const A3dScene* scene, const A3dPictures* pictures, int32_t threads,
                     A3dTape** tape) {
  try {
    std::unique_ptr<A3dTape> owned(tape ? new A3dTape : nullptr);
    A3dFault fault = forward(*scene, *pictures, threads, owned.get());
    if (tape) *tape = fault.status == A3D_OK ? owned.release() : nullptr;
    return fault;
  } catch (const std::bad_alloc&) {
    return {A3D_NO_MEMORY, 0, 0};
  }
}

A3dFault a3d_backward(const A3dScene* scene, const A3dPictures* pictures, const A3dTape* tape,
                      const A3dPictures* picture_gradients, const A3dGradients* gradients,
                      int32_t threads) {
  try {
    backward(*scene, *pictures, *tape, *picture_gradients, *gradients, threads);
    return {A3D_OK, 0, 0};
  } catch (const std::bad_alloc&) {
    return {A3D_NO_MEMORY, 0, 0};
  }
}

void a3d_free(A3dTape* tape) { delete tape; }

}  // extern "C"
