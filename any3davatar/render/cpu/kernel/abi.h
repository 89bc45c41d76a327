// The plain C interface: what the caller hands over and gets back. binding.py mirrors it.
//
// All arrays are contiguous float32. Letters: B heads, V views of each, N Gaussians of each head,
// D colour channels, K SH coefficients. A null pointer means "not given" or "not wanted".

#pragma once

#include <cstdint>

#define A3D_EXPORT __attribute__((visibility("default")))

extern "C" {

// The image model: settings.py explains each.
struct A3dModel {
  float near, far;
  float dilation_px2, radius_clip_px;
  float alpha_max, alpha_min, transmittance_min;
  float extent_max_sigma, jacobian_margin;
};

struct A3dScene {
  int64_t heads, views, gaussians;
  int64_t channels;         // D; 3 with SH
  int64_t sh_coefficients;  // 1, 4, 9, 16; 0 when `colors` is given
  int64_t width, height;
  const float* means;            // (B, N, 3)
  const float* quats;            // (B, N, 4) wxyz, any length but zero
  const float* scales;           // (B, N, 3)
  const float* opacities;        // (B, N)
  const float* colors;           // (B, N, D) or null
  const float* sh;               // (B, N, K, 3) or null
  const float* world_to_camera;  // (B, V, 3, 4), rows [R | t]
  const float* intrinsics;       // (B, V, 4): fx, fy, cx, cy
  const float* background;       // (B, V, D)
  A3dModel model;
};

// Pictures, or the gradients with respect to them; planes of H x W.
struct A3dPictures {
  float* channels;   // (B, V, D, H, W), over the background
  float* alpha;      // (B, V, H, W)
  float* depth_sum;  // (B, V, H, W): sum of weight times camera depth; or null
};

// Gradients with respect to the scene's arrays of the same names, each wanted or null.
// Every element is written.
struct A3dGradients {
  float *means, *quats, *scales, *opacities, *colors, *sh, *background;
};

enum A3dStatus : int32_t { A3D_OK = 0, A3D_NON_FINITE = 1, A3D_ZERO_QUAT = 2, A3D_NO_MEMORY = 3 };
enum A3dArray : int32_t { A3D_MEANS, A3D_QUATS, A3D_SCALES, A3D_OPACITIES, A3D_COLORS, A3D_SH };

struct A3dFault {
  int32_t status;  // A3dStatus
  int32_t array;   // A3dArray, for A3D_NON_FINITE
  int64_t index;   // flat index into that array; into (B, N) for A3D_ZERO_QUAT
};

// What the backward pass needs from the forward pass; opaque to the caller.
struct A3dTape;

// Sizes of A3dScene, A3dPictures, A3dGradients, A3dFault: the binding checks its mirror.
A3D_EXPORT void a3d_layout(int64_t sizes[4]);

// Lets calls from this process run on the team of an OpenMP library that is loaded already: the
// address of its GOMP_parallel. Null, as at first: on threads of their own.
A3D_EXPORT void a3d_borrow_team(void* gomp_parallel);

// Renders. When `tape` is not null, *tape receives what a3d_backward needs; the caller frees it.
A3D_EXPORT A3dFault a3d_forward(const A3dScene* scene, const A3dPictures* pictures,
                                int32_t threads, A3dTape** tape);

// Reads the scene and the pictures of the forward call again; may be called any number of times.
A3D_EXPORT A3dFault a3d_backward(const A3dScene* scene, const A3dPictures* pictures,
                                 const A3dTape* tape, const A3dPictures* picture_gradients,
                                 const A3dGradients* gradients, int32_t threads);

A3D_EXPORT void a3d_free(A3dTape* tape);

}  // extern "C"
