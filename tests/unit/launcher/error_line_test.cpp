#include "launcher/process/error_line.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {
namespace {

TEST(ErrorLine, EveryErrorSurvivesItsOwnLine) {
  const Error errors[] = {
      {ErrorCode::kPeerLost, "rank 2: gone. Really", "start again. Or not"},
      {ErrorCode::kModelConfig, "config.json: \"x\": expected a number", ""},
  };
  for (const Error& error : errors) {
    const auto back = parse_error_line("2026-01-01 error [rank 3] " + error.to_string());
    ASSERT_TRUE(back);
    EXPECT_EQ(back->code, error.code);
    EXPECT_EQ(back->message, error.message);
    EXPECT_EQ(back->remedy, error.remedy);
  }
}

TEST(ErrorLine, OtherTextIsNoError) {
  for (const char* line : {"", "DSL-", "DSL-200", "DSL-200 PeerHung: x", "DSL-999 Nothing: x",
                           "all is well", "DSL-abc PeerLost: x", "DSL-99999999999 PeerLost: x"}) {
    EXPECT_FALSE(parse_error_line(line)) << line;
  }
}

TEST(ErrorLine, TheLastOneNearTheEndOfALogCounts) {
  const ScratchFolder scratch;
  const auto log = scratch.path() / "rank-0.log";
  EXPECT_FALSE(last_error_line(log));
  std::ofstream(log) << "DSL-200 PeerLost: first. Remedy: a\nDSL-200 PeerLost: second\nbye\n";
  EXPECT_EQ(last_error_line(log).value().message, "second");
  std::ofstream(log, std::ios::app) << std::string(100'000, 'x') << "\n";
  EXPECT_FALSE(last_error_line(log)) << "long before its end";
}

}  // namespace
}  // namespace dsl::launcher
