#include "launcher/supervisor/verdict.h"

#include <gmock/gmock.h>

#include <csignal>

#include "launcher/supervisor/agent_step.h"

namespace dsl::launcher {
namespace {

using testing::HasSubstr;

RankExit ended(int rank, int code, int signal = 0) {
  return {rank, {code, signal}, std::nullopt, ""};
}

RankExit ended_with(int rank, const Error& error) {
  return {rank, {exit_code(error.code), 0}, error, error.to_string()};
}

TEST(Verdict, TheKilledRankIsTheCauseEvenIfOthersEndedFirst) {
  Verdict verdict(2);
  verdict.add_exit(ended_with(0, {ErrorCode::kPeerLost, "rank 3 is lost", ""}));
  EXPECT_FALSE(verdict.is_final());
  verdict.add_detected(3, {ErrorCode::kPeerLost, "connection closed", ""});
  verdict.add_exit(ended(3, 0, SIGKILL));
  EXPECT_TRUE(verdict.is_final());
  EXPECT_EQ(verdict.error().code, ErrorCode::kRankFailed);
  EXPECT_THAT(verdict.error().message,
              HasSubstr("rank 3 (stage 1, shard 1) was killed by signal 9"));
}

TEST(Verdict, AHungRankIsNamedByTheDetector) {
  Verdict verdict(1);
  verdict.add_detected(1, {ErrorCode::kPeerHung, "no heartbeat for 4 s", "see its log"});
  verdict.add_exit(ended(0, 5));
  EXPECT_EQ(verdict.error().code, ErrorCode::kPeerHung);
  EXPECT_THAT(verdict.error().message, HasSubstr("rank 1 (stage 1, shard 0): no heartbeat"));
}

TEST(Verdict, ARanksOwnErrorKeepsItsCode) {
  Verdict verdict(2);
  verdict.add_exit(ended_with(1, {ErrorCode::kCheckpointCorrupt, "a.safetensors", "fetch again"}));
  EXPECT_EQ(verdict.error().code, ErrorCode::kCheckpointCorrupt);
  EXPECT_EQ(verdict.error().message, "rank 1 (stage 0, shard 1): a.safetensors");
}

TEST(Verdict, AnUnexpectedGoodEndIsAFailureToo) {
  Verdict verdict(1);
  verdict.add_exit(ended(2, 0));
  EXPECT_EQ(verdict.error().code, ErrorCode::kRankFailed);
  EXPECT_THAT(verdict.error().message, HasSubstr("exit code 0"));
}

TEST(Verdict, TheStepHasNoRank) {
  Verdict verdict(1);
  verdict.add_exit({std::nullopt, {1, 0}, std::nullopt, "srun: error"});
  EXPECT_THAT(verdict.error().message, HasSubstr("the step of the ranks ended with exit code 1"));
}

TEST(AgentLines, SurviveTheirText) {
  RankExit exit = ended_with(3, {ErrorCode::kOutOfMemory, "line\nbreak \xFF", "r"});
  const auto back = parse_exit_line(to_json_line(exit));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->rank, 3);
  EXPECT_EQ(back->status.code, exit.status.code);
  EXPECT_EQ(back->error->code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(to_json_line(exit).find('\n'), std::string::npos);
  for (const char* line : {"", "{}", "[]", R"({"event":"exit"})", R"({"event":"x","rank":1})"}) {
    EXPECT_FALSE(parse_exit_line(line)) << line;
  }
}

}  // namespace
}  // namespace dsl::launcher
