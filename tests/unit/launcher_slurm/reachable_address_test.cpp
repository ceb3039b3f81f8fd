#include "launcher/cluster/reachable_address.h"

#include <gtest/gtest.h>

namespace dsl::launcher {
namespace {

TEST(AddressTowards, NeverGivesALoopbackAddress) {
  const auto address = address_towards({"127.0.0.1", "::1", "localhost"});
  ASSERT_FALSE(address.has_value()) << *address;
  EXPECT_EQ(address.error().code, ErrorCode::kUnreachable);
}

TEST(AddressTowards, SkipsNamesThatDoNotResolve) {
  EXPECT_FALSE(address_towards({"no-such-host.invalid"}).has_value());
  EXPECT_FALSE(address_towards({}).has_value());
}

}  // namespace
}  // namespace dsl::launcher
