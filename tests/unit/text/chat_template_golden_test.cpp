// Exact to the character against transformers: conversations under several chat templates, failures
// included.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/text/chat_template.h"
#include "tests/unit/text/test_assets.h"

namespace dsl::text {
namespace {

using Json = nlohmann::ordered_json;

TEST(ChatTemplateGolden, RendersWhatTransformersRenders) {
  std::istringstream lines(test::read_compressed(kTestData / "reference/chat_goldens.jsonl.gz"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto golden = Json::parse(line);
    const auto name = golden["template"].get<std::string>();
    ChatTemplate::Tokens tokens;
    Json kwargs = Json::object();
    for (const auto& [key, value] : golden["variables"].items()) {
      if (value.is_string()) {
        tokens.emplace_back(key, value.get<std::string>());
      } else {
        kwargs[key] = value;
      }
    }
    const auto compiled = ChatTemplate::create(
        *read_text_file(kTestData / "reference/chat_templates" / (name + ".jinja")), tokens, name);
    ASSERT_TRUE(compiled.has_value()) << compiled.error().to_string();
    RenderOptions options;
    options.add_generation_prompt = golden["add_generation_prompt"].get<bool>();
    if (!golden["tools"].is_null()) options.tools_json = golden["tools"].dump();
    options.kwargs_json = kwargs.dump();
    const auto prompt = compiled->render_json(golden["messages"].dump(), options);
    if (golden.contains("error")) {
      EXPECT_FALSE(prompt.has_value()) << line;
      continue;
    }
    ASSERT_TRUE(prompt.has_value()) << prompt.error().to_string() << "\n" << line;
    EXPECT_EQ(prompt_text(*prompt), golden["expected"].get<std::string>()) << line;
  }
  EXPECT_GE(count, 600);
}

}  // namespace
}  // namespace dsl::text
