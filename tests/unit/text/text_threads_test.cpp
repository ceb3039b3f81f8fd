// One tokenizer and one template serve several threads.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "engine/text/chat_template.h"
#include "tests/unit/text/test_assets.h"

namespace dsl::text {
namespace {

TEST(TextThreads, ShareOneTokenizerAndOneTemplate) {
  const auto compiled = ChatTemplate::load(kTestData / "demo_model/arith-bf16");
  ASSERT_TRUE(compiled.has_value()) << compiled.error().to_string();
  const std::vector<ChatMessage> messages = {{.role = "user", .content = "What is 47 + 85? 你好"}};
  const auto ids_of_prompt = [&]() -> Result<std::vector<std::int32_t>> {
    DSL_ASSIGN(const Prompt prompt, compiled->render(messages));
    return demo_tokenizer().encode_prompt(prompt);
  };
  const std::vector<std::int32_t> expected = ids_of_prompt().value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) EXPECT_EQ(ids_of_prompt().value(), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace dsl::text
