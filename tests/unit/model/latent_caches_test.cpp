#include "engine/model/latent_caches.h"

#include <gtest/gtest.h>

namespace dsl::model {
namespace {

TEST(LatentCachesTest, LayersLieSideBySideAndStartZeroed) {
  HostMemory memory;
  const auto caches = LatentCaches::make(memory, {3, 4, 512, 64, DType::kBF16});
  ASSERT_TRUE(caches.has_value());
  const std::int64_t layer_bytes = 4 * kBlockTokens * latent_bytes(512, 64, DType::kBF16);
  EXPECT_EQ(latent_bytes(512, 64, DType::kBF16), 1152);
  EXPECT_EQ(latent_bytes(512, 64, DType::kF8E4M3), 656);
  const auto* first = static_cast<const std::byte*>(caches->layer(0).data);
  EXPECT_EQ(static_cast<const std::byte*>(caches->layer(2).data) - first, 2 * layer_bytes);
  EXPECT_EQ(caches->layer(1).num_blocks, 4);
  EXPECT_EQ(first[0], std::byte{0});
}

TEST(LatentCachesTest, MoreThanTheAddressSpaceNamesPurposeAndBytes) {
  HostMemory memory;
  const auto caches = LatentCaches::make(memory, {1, std::int64_t{1} << 40, 512, 64, DType::kBF16});
  ASSERT_FALSE(caches.has_value());
  EXPECT_EQ(caches.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(caches.error().message.find("latent cache"), std::string::npos);
}

}  // namespace
}  // namespace dsl::model
