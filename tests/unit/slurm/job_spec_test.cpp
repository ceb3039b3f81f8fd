#include "slurm/job_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "slurm/client.h"

namespace dsl::slurm {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::system_clock;

JobSpec minimal_job() {
  JobSpec spec;
  spec.name = "demo";
  spec.work_dir = "/tmp";
  spec.environment = {"PATH=/usr/bin:/bin"};
  spec.script = "#!/bin/bash\ntrue\n";
  return spec;
}

TEST(ParseNodeCount, ReadsANumberOrARange) {
  EXPECT_EQ(parse_node_count("2")->min, 2u);
  EXPECT_EQ(parse_node_count("2")->max, 2u);
  EXPECT_EQ(parse_node_count("2-4")->max, 4u);
  for (const char* text : {"", "0", "4-2", "2-", "-2", "a", "1-99999999", "2,3"}) {
    EXPECT_FALSE(parse_node_count(text).has_value()) << text;
  }
}

TEST(ParseMemory, ReadsUnitsAndRoundsUp) {
  EXPECT_EQ(parse_memory_mb("4000").value(), 4000u);
  EXPECT_EQ(parse_memory_mb("0").value(), 0u);
  EXPECT_EQ(parse_memory_mb("1K").value(), 1u);
  EXPECT_EQ(parse_memory_mb("64G").value(), 65536u);
  EXPECT_EQ(parse_memory_mb("64gb").value(), 65536u);
  EXPECT_EQ(parse_memory_mb("2T").value(), 2u * 1024 * 1024);
  for (const char* text : {"", "G", "-1", "1.5G", "4X", "4 G", "99999999999999", "B"}) {
    EXPECT_FALSE(parse_memory_mb(text).has_value()) << text;
  }
}

TEST(ParseWarnSignal, ReadsNamesNumbersAndTime) {
  const auto signal = parse_warn_signal("B:USR1@120");
  ASSERT_TRUE(signal.has_value());
  EXPECT_EQ(signal->number, SIGUSR1);
  EXPECT_EQ(signal->seconds_before, 120);
  EXPECT_TRUE(signal->batch_only);
  EXPECT_EQ(format_warn_signal(*signal), "B:10@120");
  EXPECT_EQ(parse_warn_signal("SIGTERM")->number, SIGTERM);
  EXPECT_EQ(parse_warn_signal("12")->seconds_before, 60);
  for (const char* text : {"", "B:", "USR9", "0", "99", "USR1@", "USR1@70000", "R:USR1"}) {
    EXPECT_FALSE(parse_warn_signal(text).has_value()) << text;
  }
}

TEST(ParseBeginTime, ReadsOffsetsAndDates) {
  const Clock::time_point now = Clock::from_time_t(1'800'000'000);
  EXPECT_EQ(parse_begin_time("now", now).value(), now);
  EXPECT_EQ(parse_begin_time("now+90", now).value(), now + std::chrono::seconds(90));
  EXPECT_EQ(parse_begin_time("now+2hours", now).value(), now + std::chrono::hours(2));
  EXPECT_EQ(parse_begin_time("now+1week", now).value(), now + std::chrono::hours(168));
  std::tm fields{};
  fields.tm_year = 126, fields.tm_mon = 1, fields.tm_mday = 3, fields.tm_hour = 10;
  fields.tm_isdst = -1;
  const auto expected = Clock::from_time_t(std::mktime(&fields));
  EXPECT_EQ(parse_begin_time("2026-02-03T10:00", now).value(), expected);
  EXPECT_EQ(parse_begin_time("2026-02-03T10:00:00", now).value(), expected);
  for (const char* text :
       {"", "now+", "now-5", "now+5years", "tomorrowish", "2026-13-01", "2026-02-03T", "25:00",
        "now+99999999999", "now+100000000weeks", "0001-01-08", "9999-01-01"}) {
    EXPECT_FALSE(parse_begin_time(text, now).has_value()) << text;
  }
}

TEST(ParseBeginTime, RefusesBytesAfterANul) {
  EXPECT_FALSE(parse_begin_time(std::string_view("10:00\0x", 7), Clock::now()).has_value());
}

TEST(ParseBeginTime, TakesAClockTimeAsTheNextOne) {
  const Clock::time_point now = Clock::now();
  for (const char* text : {"00:00", "12:30:15", "23:59"}) {
    const auto begin = parse_begin_time(text, now);
    ASSERT_TRUE(begin.has_value());
    EXPECT_GE(*begin, now - std::chrono::seconds(1)) << text;
    EXPECT_LE(*begin, now + std::chrono::hours(25)) << text;
  }
}

TEST(ValidateJobSpec, AcceptsAMinimalJob) { EXPECT_TRUE(validate(minimal_job()).has_value()); }

TEST(ValidateJobSpec, NamesWhatIsMissingOrMalformed) {
  struct Case {
    void (*spoil)(JobSpec&);
    const char* expected;
  };
  const Case cases[] = {
      {[](JobSpec& s) { s.script = "true"; }, "interpreter line"},
      {[](JobSpec& s) { s.work_dir = "relative"; }, "not absolute"},
      {[](JobSpec& s) { s.environment.clear(); }, "environment is empty"},
      {[](JobSpec& s) { s.environment.emplace_back("NOVALUE"); }, "no name"},
      {[](JobSpec& s) { s.environment.emplace_back("=x"); }, "no name"},
      {[](JobSpec& s) { s.partition = "a\n#SBATCH --uid=0"; }, "--partition"},
      {[](JobSpec& s) { s.comment = std::string(kMaxCommentBytes + 1, 'x'); }, "1025 bytes"},
      {[](JobSpec& s) { s.nodelist = "n[1"; }, "bracket"},
      {[](JobSpec& s) { s.exclude = ""; }, "empty host name"},
  };
  for (const Case& c : cases) {
    JobSpec spec = minimal_job();
    c.spoil(spec);
    const Status status = validate(spec);
    ASSERT_FALSE(status.has_value()) << c.expected;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(status.error().message, HasSubstr(c.expected));
  }
}

}  // namespace
}  // namespace dsl::slurm
