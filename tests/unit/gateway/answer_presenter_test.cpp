#include "engine/serving/gateway/answer_presenter.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using Tokens = std::vector<sampling::SampledToken>;

AnswerFormat streamed_chat() {
  AnswerFormat format;
  format.is_streamed = true;
  format.splits_reasoning = true;
  format.wants_logprobs = true;
  return format;
}

/// A presenter and what its client has got.
struct Answer {
  explicit Answer(const AnswerFormat& format)
      : presenter(AnswerPresenter::open(test::r1_model(), format,
                                        [this](const PresentedUpdate& presented) {
                                          joiner.add(presented.update.choice_json);
                                          num_tokens += presented.num_new_tokens;
                                          if (presented.end) end = presented.end;
                                        })
                      .value()) {}

  /// As a service does that is sent all tokens.
  void present_by_service() {
    AnswerPresenter& answer = *presenter;
    answer.leave();
    AnswerStream stream = AnswerStream::open(test::r1_model(), answer.format()).value();
    const std::size_t size = answer.tokens().size();
    stream.push(answer.tokens().slice(0, answer.num_presented()));
    const Tokens news = answer.tokens().slice(answer.num_presented(), size);
    AnswerUpdate update = answer.end() ? stream.finish(*answer.end(), news) : stream.push(news);
    answer.take(std::move(update), size, answer.end());
  }

  test::DeltaJoiner joiner;
  std::int64_t num_tokens = 0;
  std::optional<AnswerEnd> end;
  std::shared_ptr<AnswerPresenter> presenter;
};

TEST(AnswerPresenter, TextDoesNotDependOnWhoPresentsIt) {
  const auto ids =
      test::tokens_of(*test::r1_model(), "<think>\n7 and 🙂\n</think>\nso 8 and 🙂");
  const Tokens tokens = test::sampled(ids);
  const auto expected = test::streamed(test::r1_model(), streamed_chat(), ids);
  // The first tokens by a service, the others here.
  for (std::size_t num_by_service = 0; num_by_service <= tokens.size(); ++num_by_service) {
    Answer answer(streamed_chat());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const bool is_last = i + 1 == tokens.size();
      answer.presenter->add({&tokens[i], 1},
                            is_last ? std::optional(AnswerEnd::kStop) : std::nullopt);
      if (i < num_by_service) {
        answer.present_by_service();
      } else {
        answer.presenter->present_here();
      }
      EXPECT_FALSE(answer.presenter->has_news());
    }
    EXPECT_EQ(answer.joiner.joined(), expected) << num_by_service << " by a service";
    EXPECT_EQ(answer.num_tokens, static_cast<std::int64_t>(tokens.size()));
    EXPECT_EQ(answer.end, AnswerEnd::kStop);
  }
}

TEST(AnswerPresenter, StopStringsEndAnAnswerOnce) {
  AnswerFormat format = streamed_chat();
  format.stop_strings = {"3"};
  const auto ids = test::tokens_of(*test::r1_model(), "12345");
  const Tokens tokens = test::sampled(ids);
  const auto expected = test::streamed(test::r1_model(), format, ids);
  for (const bool is_by_service : {false, true}) {
    Answer answer(format);
    answer.presenter->add(tokens, std::nullopt);
    // By a service: the first update tells of the stop string, the second ends the answer.
    while (answer.presenter->has_news()) {
      is_by_service ? answer.present_by_service() : answer.presenter->present_here();
    }
    EXPECT_TRUE(answer.presenter->has_ended());
    EXPECT_EQ(answer.end, AnswerEnd::kStop);
    EXPECT_EQ(answer.joiner.joined(), expected);
    answer.presenter->add(tokens, AnswerEnd::kLength);
    EXPECT_FALSE(answer.presenter->has_news());
  }
}

TEST(AnswerPresenter, GivesNothingToClientsThatHaveGone) {
  Answer answer(streamed_chat());
  answer.presenter->add(test::sampled({5}), std::nullopt);
  EXPECT_TRUE(answer.presenter->has_news());
  answer.presenter->drop();
  EXPECT_FALSE(answer.presenter->has_news());
}

}  // namespace
}  // namespace dsl::serving
