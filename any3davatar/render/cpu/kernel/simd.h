// Eight floats at a time, for one algorithm in two builds.
//
// The types are GCC/Clang vector extensions: with AVX2 a vector is one register, without it the
// compiler splits it into what the machine has (SSE, NEON). Only what the extensions cannot say
// is spelled out twice here. Everything above this file is written once.
//
// The build uses -ffp-contract=off and calls `fma` by name, so the forward and the backward pass
// compute bit-equal opacities whatever the compiler does around them.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define A3D_AVX2 1
#else
#define A3D_AVX2 0
#endif

namespace a3d {

constexpr int kLanes = 8;

typedef float F8 __attribute__((vector_size(32)));
typedef int32_t I8 __attribute__((vector_size(32)));
typedef uint32_t U8 __attribute__((vector_size(32)));

// Lane indices 0..7 choose from `a`, 8..15 from `b`.
#if defined(__clang__)
#define A3D_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define A3D_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (I8){__VA_ARGS__})
#endif

inline F8 splat(float x) { return F8{x, x, x, x, x, x, x, x}; }
inline I8 splat(int32_t x) { return I8{x, x, x, x, x, x, x, x}; }
inline F8 iota() { return F8{0, 1, 2, 3, 4, 5, 6, 7}; }

inline F8 load(const float* p) {
  F8 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline I8 load(const int32_t* p) {
  I8 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, F8 v) { std::memcpy(p, &v, sizeof v); }
inline void store(int32_t* p, I8 v) { std::memcpy(p, &v, sizeof v); }

// Left shift of the bits, whatever number they stand for.
inline I8 shift_bits(I8 v, int count) { return (I8)((U8)v << count); }

// Masks are vectors of 0 / -1, as comparisons yield them.
inline F8 keep(I8 mask, F8 v) { return (F8)(mask & (I8)v); }
inline I8 to_int(F8 v) { return __builtin_convertvector(v, I8); }  // truncates; |v| < 2^31
inline F8 to_float(I8 v) { return __builtin_convertvector(v, F8); }

#if A3D_AVX2
inline F8 fma(F8 a, F8 b, F8 c) { return (F8)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
inline F8 sqrt(F8 v) { return (F8)_mm256_sqrt_ps((__m256)v); }
// Both return the second argument when either is NaN.
inline F8 min(F8 a, F8 b) { return (F8)_mm256_min_ps((__m256)a, (__m256)b); }
inline F8 max(F8 a, F8 b) { return (F8)_mm256_max_ps((__m256)a, (__m256)b); }
inline F8 select(I8 mask, F8 yes, F8 no) {
  return (F8)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)(F8)mask);
}
// The sign bit of each lane.
inline int sign_bits(F8 v) { return _mm256_movemask_ps((__m256)v); }
#else
inline F8 fma(F8 a, F8 b, F8 c) { return a * b + c; }
inline F8 sqrt(F8 v) {
  F8 root;
  for (int i = 0; i < kLanes; ++i) root[i] = __builtin_sqrtf(v[i]);
  return root;
}
inline F8 select(I8 mask, F8 yes, F8 no) { return (F8)((mask & (I8)yes) | (~mask & (I8)no)); }
inline F8 min(F8 a, F8 b) { return select(a < b, a, b); }
inline F8 max(F8 a, F8 b) { return select(a > b, a, b); }
inline int sign_bits(F8 v) {
  I8 weighted = ((I8)v >> 31) & I8{1, 2, 4, 8, 16, 32, 64, 128};
  return (weighted[0] | weighted[1] | weighted[2] | weighted[3]) |
         (weighted[4] | weighted[5] | weighted[6] | weighted[7]);
}
#endif

inline I8 min(I8 a, I8 b) {
  I8 less = a < b;
  return (less & a) | (~less & b);
}
inline int bits(I8 mask) { return sign_bits((F8)mask); }

// Sums of eight vectors, lane i holding the sum of v[i]: 12 + 6 + 3 operations.
inline F8 sum_each(const F8* v) {
  F8 pairs[4];
  for (int i = 0; i < 4; ++i) {
    F8 a = v[2 * i], b = v[2 * i + 1];
    pairs[i] = A3D_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13) +
               A3D_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  }
  // pairs[i]: a b a b | a b a b, each a partial sum of one half.
  F8 low = A3D_SHUFFLE(pairs[0], pairs[1], 0, 1, 8, 9, 4, 5, 12, 13) +
           A3D_SHUFFLE(pairs[0], pairs[1], 2, 3, 10, 11, 6, 7, 14, 15);
  F8 high = A3D_SHUFFLE(pairs[2], pairs[3], 0, 1, 8, 9, 4, 5, 12, 13) +
            A3D_SHUFFLE(pairs[2], pairs[3], 2, 3, 10, 11, 6, 7, 14, 15);
  return A3D_SHUFFLE(low, high, 0, 1, 2, 3, 8, 9, 10, 11) +
         A3D_SHUFFLE(low, high, 4, 5, 6, 7, 12, 13, 14, 15);
}

inline float sum(F8 v) {
  F8 half = v + A3D_SHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
  F8 quarter = half + A3D_SHUFFLE(half, half, 2, 3, 0, 1, 6, 7, 4, 5);
  return quarter[0] + quarter[1];
}

// Rows to columns: on return v[i] holds lane i of each of the eight given vectors.
inline void transpose(F8* v) {
  F8 t[8], u[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = A3D_SHUFFLE(v[2 * i], v[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[2 * i + 1] = A3D_SHUFFLE(v[2 * i], v[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int h = 0; h < 2; ++h) {
    for (int k = 0; k < 2; ++k) {
      F8 a = t[4 * h + k], b = t[4 * h + 2 + k];
      u[4 * h + 2 * k] = A3D_SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      u[4 * h + 2 * k + 1] = A3D_SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = A3D_SHUFFLE(u[i], u[4 + i], 0, 1, 2, 3, 8, 9, 10, 11);
    v[4 + i] = A3D_SHUFFLE(u[i], u[4 + i], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// 2^p for p <= 0; below -30 it returns 2^-30, which is under every threshold of the renderer.
// 2^p = 2^n 2^f with n the nearest integer and |f| <= 1/2. The polynomial is the minimax fit of
// degree 5 to 2^f there (relative error 7.5e-8, 2.3e-7 with float32 rounding).
inline F8 exp2_nonpositive(F8 p) {
  const F8 shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds p to an integer
  p = max(p, splat(-30.0f));
  F8 shifted = p + shift;
  F8 f = p - (shifted - shift);
  F8 r = splat(0.0013276472f);
  r = fma(r, f, splat(0.0096755419f));
  r = fma(r, f, splat(0.0555071309f));
  r = fma(r, f, splat(0.2402212024f));
  r = fma(r, f, splat(0.6931469440f));
  r = fma(r, f, splat(1.0000001192f));
  return (F8)((I8)r + shift_bits((I8)shifted, 23));
}

// log2 of positive normal numbers: x = 2^n m with m in [sqrt(1/2), sqrt(2)), and
// ln m = 2 atanh(t), t = (m - 1) / (m + 1), by its series up to t^9 (relative error < 1e-7).
inline F8 log2_positive(F8 x) {
  const I8 sqrt_half = splat(int32_t{0x3f3504f3});
  I8 n = ((I8)x - sqrt_half) >> 23;
  F8 m = (F8)((I8)x - shift_bits(n, 23));
  F8 t = (m - splat(1.0f)) / (m + splat(1.0f));
  F8 t2 = t * t;
  F8 series = fma(t2, fma(t2, fma(t2, fma(t2, splat(1.0f / 9), splat(1.0f / 7)), splat(1.0f / 5)),
                          splat(1.0f / 3)), splat(1.0f));
  return fma(t * series, splat(2.8853900817779268f), to_float(n));  // 2 / ln 2
}

// For each mask of eight lanes the chosen lanes' numbers, four bits each, lowest first.
struct ChosenLanes {
  uint32_t of[256];
  constexpr ChosenLanes() : of() {
    for (uint32_t mask = 0; mask < 256; ++mask) {
      int place = 0;
      for (uint32_t lane = 0; lane < 8; ++lane) {
        if (mask >> lane & 1) of[mask] |= lane << (4 * place++);
      }
    }
  }
};
constexpr ChosenLanes kChosenLanes;

// Writes the lanes chosen by a mask one after the other; all eight places at `p` may be written.
class Compress {
 public:
#if A3D_AVX2
  explicit Compress(int mask)
      : lanes_(splat(static_cast<int32_t>(kChosenLanes.of[mask])) >>
               I8{0, 4, 8, 12, 16, 20, 24, 28}) {}
  void store(float* p, F8 v) const {
    _mm256_storeu_ps(p, _mm256_permutevar8x32_ps((__m256)v, (__m256i)lanes_));
  }
  void store(int32_t* p, I8 v) const {
    _mm256_storeu_si256((__m256i*)p, _mm256_permutevar8x32_epi32((__m256i)v, (__m256i)lanes_));
  }

 private:
  I8 lanes_;  // the low three bits count
#else
  explicit Compress(int mask) : mask_(mask) {}
  void store(float* p, F8 v) const { scatter(p, v); }
  void store(int32_t* p, I8 v) const { scatter(p, v); }

 private:
  template <class T, class Vector>
  void scatter(T* p, Vector v) const {
    uint32_t lanes = kChosenLanes.of[mask_];
    for (int left = mask_; left; left &= left - 1, lanes >>= 4) *p++ = v[lanes & 7];
  }
  int mask_;
#endif
};

}  // namespace a3d
