#include "slurm/load_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace dsl::slurm {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(LoadClient, SaysWhereItLookedForTheModule) {
  LoadOptions options;
  options.module = "/nonexistent/libdsl_slurm.so";
  const auto client = load_client(options, Deadline::after(5s));
  ASSERT_FALSE(client.has_value());
  EXPECT_EQ(client.error().code, ErrorCode::kSlurmUnavailable);
  EXPECT_THAT(client.error().message, HasSubstr("/nonexistent/libdsl_slurm.so"));
  EXPECT_THAT(client.error().remedy, HasSubstr("--cluster local"));
}

TEST(LoadClient, RefusesAFileThatIsNoModule) {
  const std::string path = ::testing::TempDir() + "/not_a_module.so";
  std::ofstream(path) << "not a library";
  LoadOptions options;
  options.module = path;
  const auto info = inspect_module(options);
  ASSERT_FALSE(info.has_value());
  EXPECT_EQ(info.error().code, ErrorCode::kSlurmUnavailable);
  EXPECT_THAT(info.error().message, HasSubstr("cannot load"));
}

TEST(LoadClient, RefusesALibraryThatIsNotTheModule) {
  LoadOptions options;
  options.module = "/lib/x86_64-linux-gnu/libm.so.6";
  if (!std::filesystem::exists(*options.module)) GTEST_SKIP() << "no libm.so.6 at that place";
  const auto client = load_client(options, Deadline::after(5s));
  ASSERT_FALSE(client.has_value());
  EXPECT_THAT(client.error().message, HasSubstr("another build"));
}

}  // namespace
}  // namespace dsl::slurm
