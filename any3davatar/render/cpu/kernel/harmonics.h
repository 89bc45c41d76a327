// View-dependent colour: real spherical harmonics up to degree 3 with the order and the signs of
// the original 3DGS release. colour = max(0, 1/2 + sum_k sh_k Y_k(d)), d = unit(mean - camera).

#pragma once

#include <algorithm>
#include <cmath>

namespace a3d {

constexpr int kShMax = 16;

// sqrt(n / (m pi)) for the band's n / m.
constexpr float kY0 = 0.28209479177387814f;    // 1/4
constexpr float kY1 = 0.48860251190291992f;    // 3/4
constexpr float kY2xy = 1.0925484305920792f;   // 15/4
constexpr float kY2zz = 0.31539156525252005f;  // 5/16
constexpr float kY33 = 0.59004358992664352f;   // 35/32
constexpr float kY32 = 2.8906114426405538f;    // 105/4
constexpr float kY31 = 0.45704579946446572f;   // 21/32
constexpr float kY30 = 0.37317633259011540f;   // 7/16

struct Direction {
  float x, y, z;
  float inverse_distance;
};

inline Direction direction_from(const float* camera_center, const float* mean) {
  float x = mean[0] - camera_center[0], y = mean[1] - camera_center[1],
        z = mean[2] - camera_center[2];
  float inverse = 1.0f / std::max(std::sqrt(x * x + y * y + z * z), 1e-12f);
  return {x * inverse, y * inverse, z * inverse, inverse};
}

inline void sh_basis(int coefficients, const Direction& d, float* basis) {
  float x = d.x, y = d.y, z = d.z;
  basis[0] = kY0;
  if (coefficients < 4) return;
  basis[1] = -kY1 * y;
  basis[2] = kY1 * z;
  basis[3] = -kY1 * x;
  if (coefficients < 9) return;
  float xx = x * x, yy = y * y, zz = z * z;
  basis[4] = kY2xy * x * y;
  basis[5] = -kY2xy * y * z;
  basis[6] = kY2zz * (2 * zz - xx - yy);
  basis[7] = -kY2xy * x * z;
  basis[8] = 0.5f * kY2xy * (xx - yy);
  if (coefficients < 16) return;
  basis[9] = -kY33 * y * (3 * xx - yy);
  basis[10] = kY32 * x * y * z;
  basis[11] = -kY31 * y * (4 * zz - xx - yy);
  basis[12] = kY30 * z * (2 * zz - 3 * xx - 3 * yy);
  basis[13] = -kY31 * x * (4 * zz - xx - yy);
  basis[14] = 0.5f * kY32 * z * (xx - yy);
  basis[15] = -kY33 * x * (xx - 3 * yy);
}

// Gradient of sum_k weight_k Y_k(d) with respect to d, the three coordinates taken as free.
inline void sh_direction_gradient(int coefficients, const Direction& d, const float* weight,
                                  float* gradient) {
  float x = d.x, y = d.y, z = d.z, gx = 0, gy = 0, gz = 0;
  const float* w = weight;
  if (coefficients >= 4) {
    gy += -kY1 * w[1];
    gz += kY1 * w[2];
    gx += -kY1 * w[3];
  }
  if (coefficients >= 9) {
    gx += kY2xy * (y * w[4] - z * w[7] + x * w[8]) - 2 * kY2zz * x * w[6];
    gy += kY2xy * (x * w[4] - z * w[5] - y * w[8]) - 2 * kY2zz * y * w[6];
    gz += -kY2xy * (y * w[5] + x * w[7]) + 4 * kY2zz * z * w[6];
  }
  if (coefficients >= 16) {
    float xx = x * x, yy = y * y, zz = z * z;
    gx += -kY33 * 6 * x * y * w[9] + kY32 * y * z * w[10] + kY31 * 2 * x * y * w[11] -
          kY30 * 6 * x * z * w[12] - kY31 * (4 * zz - 3 * xx - yy) * w[13] + kY32 * x * z * w[14] -
          kY33 * 3 * (xx - yy) * w[15];
    gy += -kY33 * 3 * (xx - yy) * w[9] + kY32 * x * z * w[10] -
          kY31 * (4 * zz - xx - 3 * yy) * w[11] - kY30 * 6 * y * z * w[12] +
          kY31 * 2 * x * y * w[13] - kY32 * y * z * w[14] + kY33 * 6 * x * y * w[15];
    gz += kY32 * x * y * w[10] - kY31 * 8 * y * z * w[11] + kY30 * 3 * (2 * zz - xx - yy) * w[12] -
          kY31 * 8 * x * z * w[13] + 0.5f * kY32 * (xx - yy) * w[14];
  }
  gradient[0] = gx;
  gradient[1] = gy;
  gradient[2] = gz;
}

// The colour before it is clamped at zero.
inline void sh_color(int coefficients, const float* sh, const float* basis, float* rgb) {
  float r = 0.5f, g = 0.5f, b = 0.5f;
  for (int k = 0; k < coefficients; ++k) {
    r += basis[k] * sh[3 * k];
    g += basis[k] * sh[3 * k + 1];
    b += basis[k] * sh[3 * k + 2];
  }
  rgb[0] = r, rgb[1] = g, rgb[2] = b;
}

}  // namespace a3d
