#include <gmock/gmock.h>

#include <set>

#include "launcher/serve_bench/serve_dataset.h"
#include "launcher/serve_bench/serve_report.h"

namespace dsl::launcher {
namespace {

using testing::HasSubstr;

TEST(ServeDataset, SyntheticTextsComeFromTheSeedAlone) {
  SyntheticOptions options;
  options.num_prompts = 50;
  options.prompt_words = 10;
  const auto first = synthetic_prompts(options);
  const auto second = synthetic_prompts(options);
  std::set<std::string> beginnings;
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].text, second[i].text);
    beginnings.insert(first[i].text.substr(0, 20));
  }
  EXPECT_EQ(beginnings.size(), 50U);
  options.seed = 2;
  EXPECT_NE(synthetic_prompts(options).front().text, first.front().text);
}

TEST(ServeDataset, ReadsBothKindsOfLines) {
  const auto prompts = parse_prompts(
      "{\"prompt\":\"once\"}\n\n"
      "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":7}",
      "f", 64);
  ASSERT_TRUE(prompts) << prompts.error().to_string();
  ASSERT_EQ(prompts->size(), 2U);
  EXPECT_EQ(prompts->at(0).max_tokens, 64);
  EXPECT_EQ(prompts->at(1).messages.front().content, "hi");
  EXPECT_EQ(prompts->at(1).max_tokens, 7);
}

TEST(ServeDataset, NamesTheLineThatIsWrong) {
  const auto message = [](std::string_view text) {
    const auto prompts = parse_prompts(text, "f", 1);
    return prompts ? "no error" : prompts.error().message;
  };
  EXPECT_THAT(message("{\"prompt\":\"a\"}\n{"), HasSubstr("f:2"));
  EXPECT_THAT(message("{\"promt\":\"a\"}"), HasSubstr("f:1: has a wrong field \"promt\""));
  EXPECT_THAT(message("{\"max_tokens\":1}"), HasSubstr("needs one of"));
  EXPECT_THAT(message("{\"messages\":[{}]}"), HasSubstr("without role"));
  EXPECT_THAT(message("\n"), HasSubstr("no request"));
}

TEST(ServeReport, PercentilesAreByNearestRank) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  const Percentiles found = percentiles(values);
  EXPECT_EQ(found.p50, 50);
  EXPECT_EQ(found.p90, 90);
  EXPECT_EQ(found.p99, 99);
  EXPECT_EQ(found.max, 100);
  EXPECT_DOUBLE_EQ(found.mean, 50.5);
  EXPECT_EQ(percentiles({}).p99, 0);
  EXPECT_EQ(percentiles({7}).p50, 7);
}

TEST(ServeReport, GoodputCountsRequestsThatMeetBothGoals) {
  const RequestTimes good{0.1, 0.3, {0.1, 0.1}, 10, 3};
  const RequestTimes late{2.0, 2.2, {0.1, 0.1}, 10, 3};
  const RequestTimes slow{0.1, 2.1, {1.0, 1.0}, 10, 3};
  const ServeReport report = make_report({good, late, slow}, 1, 2.0, {1.0, 0.2});
  EXPECT_EQ(report.num_ok, 3);
  EXPECT_EQ(report.num_failed, 1);
  EXPECT_DOUBLE_EQ(report.requests_per_s, 1.5);
  EXPECT_DOUBLE_EQ(report.good_requests_per_s, 0.5);
  EXPECT_DOUBLE_EQ(report.completion_tokens_per_s, 4.5);
  EXPECT_THAT(report_table(report), HasSubstr("3 answered, 1 failed"));
}

}  // namespace
}  // namespace dsl::launcher
