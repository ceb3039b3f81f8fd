// What a product of tensor cores with BF16 operands adds up at once.
#pragma once

#include <cstddef>
#include <span>

namespace dsl::test {

/// Which features meet in one product of tensor cores.
inline constexpr std::size_t kFusedFeatures = 16;

/// What becomes of a sum that float32 does not hold.
enum class SumRounding { kNearest, kTowardsZero };

/// sum + a b, rounded once: the terms are aligned to the largest of them, 40 bits of it are kept,
/// and these add up exactly. So the order of the features does not matter, and which of them meet
/// does. Of values that are not finite, the plain sum.
float fused_sum(float sum, std::span<const float, kFusedFeatures> a,
                std::span<const float, kFusedFeatures> b, SumRounding rounding);

}  // namespace dsl::test
