#include "transport/base/log.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace dsl {
namespace {

/// The level is read once per process.
void log_at(const char* level) {
  ::setenv("DSL_LOG", level, 1);
  log(LogLevel::kInfo, "something happened");
  std::exit(0);
}

TEST(LogDeathTest, AnUnknownLevelIsToldAndIsNotSilence) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(log_at("foo"), testing::ExitedWithCode(0), "DSL_LOG=foo is none of");
  EXPECT_EXIT(log_at("foo"), testing::ExitedWithCode(0), "something happened");
  EXPECT_EXIT(log_at("error"), testing::ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace dsl
