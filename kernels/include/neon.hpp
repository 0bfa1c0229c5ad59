// What the NEON kernels share.
#pragma once
#include <arm_neon.h>

namespace neon {

// Memory is read and written as vectors of floats only, whatever they hold, so that types never alias.
inline float32x4_t get(const char* from) { return vld1q_f32(reinterpret_cast<const float*>(from)); }
inline void put(char* to, float32x4_t v) { vst1q_f32(reinterpret_cast<float*>(to), v); }

// Keeps the compiler from loading weights before they are wanted, which would spill sums.
inline void in_order() { asm volatile("" : : : "memory"); }

}  // namespace neon
