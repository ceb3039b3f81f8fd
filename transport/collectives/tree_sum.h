// The balanced binary tree sum that an all-reduce computes, on one thread.
#pragma once

#include <cstddef>
#include <span>

namespace dsl::collectives {

inline constexpr std::size_t kMaxTreeLeaves = 64;

/// out[i] = ((p0+p1)+(p2+p3))+..., p_k = parts[k][i], for out.size() elements. parts.size() is a
/// power of two of at most kMaxTreeLeaves; out may be one of the parts.
void tree_sum(std::span<const float* const> parts, std::span<float> out);

}  // namespace dsl::collectives
