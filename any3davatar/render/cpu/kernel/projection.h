// From a Gaussian in the world to an ellipse in the picture: EWA splatting (Zwicker et al., 2001)
// as used by 3D Gaussian Splatting (Kerbl et al., 2023, section 4), and the way back for
// gradients. Eight Gaussians at a time.
//
// With W the world-to-camera rotation, J the Jacobian of the perspective projection at the centre,
// R and S the Gaussian's rotation and scales, the picture's covariance is
//     Sigma' = J W (R S S^T R^T) W^T J^T + dilation I = M M^T + dilation I,   M = J W R S (2 x 3).
// Working with M saves the 3 x 3 covariance, and gives the determinant without cancellation.

#pragma once

#include "abi.h"
#include "simd.h"

namespace a3d {

constexpr float kLog2e = 1.4426950408889634f;

struct Camera {
  float rotation[9], translation[3];
  float fx, fy, cx, cy;
  float slope_x_min, slope_x_max, slope_y_min, slope_y_max;  // clamp of x/z and y/z inside J
  float center[3];                                           // in the world
};

inline Camera camera_of(const A3dScene& scene, int64_t view) {
  Camera c;
  const float* rows = scene.world_to_camera + 12 * view;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) c.rotation[3 * i + j] = rows[4 * i + j];
    c.translation[i] = rows[4 * i + 3];
  }
  const float* k = scene.intrinsics + 4 * view;
  c.fx = k[0], c.fy = k[1], c.cx = k[2], c.cy = k[3];
  float width = static_cast<float>(scene.width), height = static_cast<float>(scene.height);
  float margin_x = scene.model.jacobian_margin * 0.5f * width / c.fx;
  float margin_y = scene.model.jacobian_margin * 0.5f * height / c.fy;
  c.slope_x_min = -(c.cx / c.fx + margin_x), c.slope_x_max = (width - c.cx) / c.fx + margin_x;
  c.slope_y_min = -(c.cy / c.fy + margin_y), c.slope_y_max = (height - c.cy) / c.fy + margin_y;
  for (int j = 0; j < 3; ++j) {
    c.center[j] = -(c.rotation[j] * c.translation[0] + c.rotation[3 + j] * c.translation[1] +
                    c.rotation[6 + j] * c.translation[2]);
  }
  return c;
}

struct Gaussians8 {
  F8 mean[3], quat[4], scale[3], opacity;
};

// Consecutive triples to three vectors.
inline void load_triples(const float* p, F8* v) {
  F8 a = load(p), b = load(p + 8), c = load(p + 16);
  F8 x = A3D_SHUFFLE(a, b, 0, 3, 6, 9, 12, 15, 0, 0);
  F8 y = A3D_SHUFFLE(a, b, 1, 4, 7, 10, 13, 0, 0, 0);
  F8 z = A3D_SHUFFLE(a, b, 2, 5, 8, 11, 14, 0, 0, 0);
  v[0] = A3D_SHUFFLE(x, c, 0, 1, 2, 3, 4, 5, 10, 13);
  v[1] = A3D_SHUFFLE(y, c, 0, 1, 2, 3, 4, 8, 11, 14);
  v[2] = A3D_SHUFFLE(z, c, 0, 1, 2, 3, 4, 9, 12, 15);
}

inline void load_quadruples(const float* p, F8* v) {
  F8 a = load(p), b = load(p + 8), c = load(p + 16), d = load(p + 24);
  F8 ab_wx = A3D_SHUFFLE(a, b, 0, 4, 8, 12, 1, 5, 9, 13);
  F8 cd_wx = A3D_SHUFFLE(c, d, 0, 4, 8, 12, 1, 5, 9, 13);
  F8 ab_yz = A3D_SHUFFLE(a, b, 2, 6, 10, 14, 3, 7, 11, 15);
  F8 cd_yz = A3D_SHUFFLE(c, d, 2, 6, 10, 14, 3, 7, 11, 15);
  v[0] = A3D_SHUFFLE(ab_wx, cd_wx, 0, 1, 2, 3, 8, 9, 10, 11);
  v[1] = A3D_SHUFFLE(ab_wx, cd_wx, 4, 5, 6, 7, 12, 13, 14, 15);
  v[2] = A3D_SHUFFLE(ab_yz, cd_yz, 0, 1, 2, 3, 8, 9, 10, 11);
  v[3] = A3D_SHUFFLE(ab_yz, cd_yz, 4, 5, 6, 7, 12, 13, 14, 15);
}

inline Gaussians8 load_consecutive(const A3dScene& scene, int64_t first) {
  Gaussians8 g;
  load_triples(scene.means + 3 * first, g.mean);
  load_quadruples(scene.quats + 4 * first, g.quat);
  load_triples(scene.scales + 3 * first, g.scale);
  g.opacity = load(scene.opacities + first);
  return g;
}

// Any eight, by index into (B, N).
inline Gaussians8 load_chosen(const A3dScene& scene, const int64_t* index) {
  Gaussians8 g;
  for (int lane = 0; lane < kLanes; ++lane) {
    const float* mean = scene.means + 3 * index[lane];
    const float* quat = scene.quats + 4 * index[lane];
    const float* scale = scene.scales + 3 * index[lane];
    for (int i = 0; i < 3; ++i) g.mean[i][lane] = mean[i], g.scale[i][lane] = scale[i];
    for (int i = 0; i < 4; ++i) g.quat[i][lane] = quat[i];
    g.opacity[lane] = scene.opacities[index[lane]];
  }
  return g;
}

struct Rotation8 {
  F8 unit[4];         // normalised quaternion
  F8 squared_length;  // of the one given
  F8 matrix[9];
};

inline Rotation8 rotation_of(const F8* quat) {
  Rotation8 r;
  r.squared_length =
      fma(quat[0], quat[0], fma(quat[1], quat[1], fma(quat[2], quat[2], quat[3] * quat[3])));
  F8 inverse = splat(1.0f) / sqrt(r.squared_length);
  for (int i = 0; i < 4; ++i) r.unit[i] = quat[i] * inverse;
  F8 w = r.unit[0], x = r.unit[1], y = r.unit[2], z = r.unit[3], one = splat(1.0f);
  F8 x2 = x + x, y2 = y + y, z2 = z + z;
  r.matrix[0] = one - fma(y, y2, z * z2);
  r.matrix[1] = x * y2 - w * z2;
  r.matrix[2] = fma(x, z2, w * y2);
  r.matrix[3] = fma(x, y2, w * z2);
  r.matrix[4] = one - fma(x, x2, z * z2);
  r.matrix[5] = y * z2 - w * x2;
  r.matrix[6] = x * z2 - w * y2;
  r.matrix[7] = fma(y, z2, w * x2);
  r.matrix[8] = one - fma(x, x2, y * y2);
  return r;
}

inline F8 dot3(F8 ax, F8 ay, F8 az, F8 bx, F8 by, F8 bz) {
  return fma(ax, bx, fma(ay, by, az * bz));
}

// Everything between the Gaussian and its ellipse that the way back needs again.
struct Ellipse8 {
  F8 x, y, z, inverse_z;      // centre in camera space
  F8 slope_x, slope_y;        // x/z and y/z as they enter J, clamped
  I8 inside_x, inside_y;      // where the clamp did nothing
  F8 to_image[6];             // J W
  F8 rotated[6];              // J W R
  F8 spread[6];               // M = J W R S
  F8 xx, xy, yy, determinant; // Sigma'
};

inline Ellipse8 ellipse_of(const Gaussians8& g, const Rotation8& rotation, const Camera& camera,
                           float dilation) {
  Ellipse8 e;
  const float* w = camera.rotation;
  F8 point[3];
  for (int i = 0; i < 3; ++i) {
    // In the order in which a matrix product sums, so that depths tie and sort as elsewhere.
    point[i] = fma(splat(w[3 * i + 2]), g.mean[2],
                   fma(splat(w[3 * i + 1]), g.mean[1], splat(w[3 * i]) * g.mean[0])) +
               splat(camera.translation[i]);
  }
  e.x = point[0], e.y = point[1], e.z = point[2];
  e.inverse_z = splat(1.0f) / e.z;
  F8 slope_x = e.x * e.inverse_z, slope_y = e.y * e.inverse_z;
  e.slope_x = min(max(slope_x, splat(camera.slope_x_min)), splat(camera.slope_x_max));
  e.slope_y = min(max(slope_y, splat(camera.slope_y_min)), splat(camera.slope_y_max));
  e.inside_x = slope_x == e.slope_x, e.inside_y = slope_y == e.slope_y;
  // J W, with J = [[fx/z, 0, -fx x/z^2], [0, fy/z, -fy y/z^2]].
  F8 focal_x = splat(camera.fx) * e.inverse_z, focal_y = splat(camera.fy) * e.inverse_z;
  for (int j = 0; j < 3; ++j) {
    e.to_image[j] = focal_x * (splat(w[j]) - e.slope_x * splat(w[6 + j]));
    e.to_image[3 + j] = focal_y * (splat(w[3 + j]) - e.slope_y * splat(w[6 + j]));
  }
  const F8* r = rotation.matrix;
  for (int i = 0; i < 2; ++i) {
    const F8* t = e.to_image + 3 * i;
    for (int j = 0; j < 3; ++j) {
      e.rotated[3 * i + j] = dot3(t[0], t[1], t[2], r[j], r[3 + j], r[6 + j]);
      e.spread[3 * i + j] = e.rotated[3 * i + j] * g.scale[j];
    }
  }
  const F8* m = e.spread;
  F8 xx = dot3(m[0], m[1], m[2], m[0], m[1], m[2]);
  F8 yy = dot3(m[3], m[4], m[5], m[3], m[4], m[5]);
  e.xy = dot3(m[0], m[1], m[2], m[3], m[4], m[5]);
  // det(M M^T) is the sum of the squared 2 x 2 minors of M (Cauchy-Binet).
  F8 c0 = m[1] * m[5] - m[2] * m[4], c1 = m[2] * m[3] - m[0] * m[5], c2 = m[0] * m[4] - m[1] * m[3];
  F8 d = splat(dilation);
  e.determinant = fma(d, xx + yy + d, dot3(c0, c1, c2, c0, c1, c2));
  e.xx = xx + d, e.yy = yy + d;
  return e;
}

// Gradients of one view with respect to its ellipses, eight at a time. With v the gradient with
// respect to ln alpha of a pixel and d = pixel - centre, the sums over pixels of v times
// 1, dx, dy, dx^2, dx dy, dy^2 say everything about shape, place and opacity.
struct Moments8 {
  F8 one, x, y, xx, xy, yy;
  F8 depth;  // gradient with respect to the camera depth, as a composited channel
};

// Gradients that add up over views.
struct WorldGradients8 {
  F8 mean[3] = {}, scale[3] = {}, rotation[9] = {}, log_opacity = {};
};

// Adds the contribution of one view, of the lanes in `touched` only: others may hold no numbers.
inline void accumulate_view(const Gaussians8& g, const Rotation8& rotation, const Camera& camera,
                            float dilation, const Moments8& sums, I8 touched,
                            WorldGradients8* total) {
  Ellipse8 e = ellipse_of(g, rotation, camera, dilation);
  // Conic X = Sigma'^-1; alpha = o exp(-d^T X d / 2).
  F8 inverse = splat(1.0f) / e.determinant;
  F8 c00 = e.yy * inverse, c01 = -e.xy * inverse, c11 = e.xx * inverse;
  F8 center_x = fma(c00, sums.x, c01 * sums.y);
  F8 center_y = fma(c01, sums.x, c11 * sums.y);
  // dL/dSigma' = X S X / 2 with S the second moments, so dL/dM = (X S X) M.
  F8 p00 = fma(sums.xx, c00, sums.xy * c01), p01 = fma(sums.xx, c01, sums.xy * c11);
  F8 p10 = fma(sums.xy, c00, sums.yy * c01), p11 = fma(sums.xy, c01, sums.yy * c11);
  F8 q00 = fma(c00, p00, c01 * p10), q01 = fma(c00, p01, c01 * p11), q11 = fma(c01, p01, c11 * p11);
  const F8* m = e.spread;
  F8 rotated[6], scale[3];
  for (int j = 0; j < 3; ++j) {
    F8 m0 = fma(q00, m[j], q01 * m[3 + j]), m1 = fma(q01, m[j], q11 * m[3 + j]);
    scale[j] = fma(m0, e.rotated[j], m1 * e.rotated[3 + j]);
    rotated[j] = m0 * g.scale[j];
    rotated[3 + j] = m1 * g.scale[j];
  }
  F8 to_image[6], matrix[9];
  const F8* r = rotation.matrix;
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 2; ++k) {
      const F8* n = rotated + 3 * k;
      to_image[3 * k + i] = dot3(n[0], n[1], n[2], r[3 * i], r[3 * i + 1], r[3 * i + 2]);
    }
    for (int j = 0; j < 3; ++j) {
      matrix[3 * i + j] =
          fma(e.to_image[i], rotated[j], e.to_image[3 + i] * rotated[3 + j]);
    }
  }
  // J W row 0 = (fx/z) (W0 - slope_x W2), and the centre's x = fx x/z + cx; y likewise.
  const float* w = camera.rotation;
  F8 focal_x = splat(camera.fx) * e.inverse_z, focal_y = splat(camera.fy) * e.inverse_z;
  F8 along_x = dot3(to_image[0], to_image[1], to_image[2], splat(w[6]), splat(w[7]), splat(w[8]));
  F8 along_y = dot3(to_image[3], to_image[4], to_image[5], splat(w[6]), splat(w[7]), splat(w[8]));
  F8 through_focal = dot3(to_image[0], to_image[1], to_image[2], e.to_image[0], e.to_image[1],
                          e.to_image[2]) +
                     dot3(to_image[3], to_image[4], to_image[5], e.to_image[3], e.to_image[4],
                          e.to_image[5]);
  F8 slope_x = focal_x * (center_x * e.z - keep(e.inside_x, along_x));
  F8 slope_y = focal_y * (center_y * e.z - keep(e.inside_y, along_y));
  F8 x = slope_x * e.inverse_z, y = slope_y * e.inverse_z;
  F8 z = sums.depth - e.inverse_z * (through_focal + fma(x, e.x, y * e.y));
  for (int j = 0; j < 3; ++j) {
    F8 mean = dot3(x, y, z, splat(w[j]), splat(w[3 + j]), splat(w[6 + j]));
    total->mean[j] += keep(touched, mean);
    total->scale[j] += keep(touched, scale[j]);
  }
  for (int j = 0; j < 9; ++j) total->rotation[j] += keep(touched, matrix[j]);
  total->log_opacity += keep(touched, sums.one);
}

// From dL/dR to the quaternion as given, through its normalisation.
inline void quaternion_gradient(const Rotation8& rotation, const F8* G, F8* quat) {
  F8 w = rotation.unit[0], x = rotation.unit[1], y = rotation.unit[2], z = rotation.unit[3];
  F8 two = splat(2.0f), minus_two = splat(-2.0f);
  F8 a0 = G[7] - G[5], a1 = G[2] - G[6], a2 = G[3] - G[1];
  F8 s01 = G[1] + G[3], s02 = G[2] + G[6], s12 = G[5] + G[7];
  F8 g[4];
  g[0] = two * dot3(x, y, z, a0, a1, a2);
  g[1] = two * fma(minus_two * x, G[4] + G[8], dot3(y, z, w, s01, s02, a0));
  g[2] = two * fma(minus_two * y, G[0] + G[8], dot3(x, z, w, s01, s12, a1));
  g[3] = two * fma(minus_two * z, G[0] + G[4], dot3(x, y, w, s02, s12, a2));
  F8 radial = fma(g[0], w, dot3(g[1], g[2], g[3], x, y, z));
  F8 inverse = splat(1.0f) / sqrt(rotation.squared_length);
  for (int i = 0; i < 4; ++i) quat[i] = (g[i] - radial * rotation.unit[i]) * inverse;
}

}  // namespace a3d
