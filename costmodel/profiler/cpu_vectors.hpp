// What the files of the processor's kernels share: vector code for the machine at hand, chosen when the program starts.
#pragma once

#include <bit>
#include <cstdint>

// One build serves all x86-64 processors: the loader picks the variant. Other processors have one variant.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define MESHLOOM_VECTOR_VARIANTS __attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define MESHLOOM_VECTOR_VARIANTS
#endif

namespace meshloom {

// e^x to 2 units in the last place within ±87, as a polynomial that vectorises [Cephes expf]; beyond, the ends' values.
__attribute__((always_inline)) inline float vector_exp(float x) {
  x = x < -87.0F ? -87.0F : x > 88.0F ? 88.0F : x;
  const float scaled = x * 1.44269504F;
  const auto whole = static_cast<std::int32_t>(scaled + (scaled < 0 ? -0.5F : 0.5F));
  const auto count = static_cast<float>(whole);
  const float rest = x - count * 0.693359375F + count * 2.12194440e-4F;
  float sum = 1.9875691500e-4F;
  sum = sum * rest + 1.3981999507e-3F;
  sum = sum * rest + 8.3334519073e-3F;
  sum = sum * rest + 4.1665795894e-2F;
  sum = sum * rest + 1.6666665459e-1F;
  sum = sum * rest + 5.0000001201e-1F;
  sum = sum * rest * rest + rest + 1.0F;
  return sum * std::bit_cast<float>((whole + 127) << 23);
}

}  // namespace meshloom
