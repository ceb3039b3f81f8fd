#include "transport/collectives/tree_sum.h"

#include "transport/base/error.h"

namespace dsl::collectives {
namespace {

template <std::size_t kLeaves>
float node(const float* const* parts, std::size_t i) {
  if constexpr (kLeaves == 1) {
    return parts[0][i];
  } else {
    return node<kLeaves / 2>(parts, i) + node<kLeaves / 2>(parts + kLeaves / 2, i);
  }
}

template <std::size_t kLeaves>
void sum(const float* const* parts, std::span<float> out) {
  const float* fixed[kLeaves];
  for (std::size_t k = 0; k < kLeaves; ++k) fixed[k] = parts[k];
  float* target = out.data();
  const std::size_t size = out.size();
#pragma GCC ivdep  // target may be a part: element i is read before it is written
  for (std::size_t i = 0; i < size; ++i) target[i] = node<kLeaves>(fixed, i);
}

}  // namespace

void tree_sum(std::span<const float* const> parts, std::span<float> out) {
  switch (parts.size()) {
    case 1:
      return sum<1>(parts.data(), out);
    case 2:
      return sum<2>(parts.data(), out);
    case 4:
      return sum<4>(parts.data(), out);
    case 8:
      return sum<8>(parts.data(), out);
    case 16:
      return sum<16>(parts.data(), out);
    case 32:
      return sum<32>(parts.data(), out);
    case 64:
      return sum<64>(parts.data(), out);
    default:
      DSL_CHECK(false, "a tree over {} leaves", parts.size());
  }
}

}  // namespace dsl::collectives
