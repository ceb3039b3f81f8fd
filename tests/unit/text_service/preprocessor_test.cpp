#include "engine/serving/text_service/preprocessor.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "engine/serving/text_service/model_text.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using test::r1_model;
using test::SharedModel;
using test::text_of;
using test::tokens_of;
using test::v3_1_model;
using test::v3_model;
using testing::ElementsAre;

PreparedRequest chat(const SharedModel& model, const std::string& fields) {
  auto request = Preprocessor(model).prepare_chat("{\"model\":\"demo\"," + fields + "}");
  EXPECT_TRUE(request.has_value()) << request.error().to_string();
  return request ? *std::move(request) : PreparedRequest{};
}

PreparedRequest completion(const std::string& fields) {
  auto request = Preprocessor(r1_model()).prepare_completion("{\"model\":\"demo\"," + fields + "}");
  EXPECT_TRUE(request.has_value()) << request.error().to_string();
  return request ? *std::move(request) : PreparedRequest{};
}

std::string prompt_of(const SharedModel& model, const PreparedRequest& request) {
  return text_of(*model, *request.choices.at(0).call.prompt_token_ids);
}

constexpr const char* kHello = R"("messages":[{"role":"user","content":"hi"}])";
constexpr const char* kTool =
    R"("tools":[{"type":"function","function":{"name":"add","description":"adds",
        "parameters":{"type":"object","properties":{"z":{"type":"integer"},"a":{}}}}}])";

TEST(Chat, IsTheTemplatesPrompt) {
  const PreparedRequest request = chat(r1_model(), kHello);
  EXPECT_EQ(prompt_of(r1_model(), request),
            "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>\n");
  EXPECT_EQ(request.num_prompt_tokens,
            static_cast<std::int64_t>(request.choices[0].call.prompt_token_ids->size()));
  const AnswerFormat& format = request.choices[0].format;
  EXPECT_TRUE(format.splits_reasoning);
  EXPECT_EQ(text_of(*r1_model(), format.lead_token_ids), "<think>\n");
  EXPECT_EQ(format.tool_dialect, ToolDialect::kNone);
}

TEST(Chat, DefaultsComeFromTheModel) {
  const EngineCall call = chat(r1_model(), kHello).choices[0].call;
  EXPECT_EQ(call.sampling.temperature, 0);  // generation_config.json says do_sample: false
  EXPECT_EQ(call.sampling.top_p, 1);
  EXPECT_EQ(call.sampling.num_logprobs, -1);
  EXPECT_EQ(call.max_tokens, 0);
  // A model without that file: OpenAI's.
  EXPECT_EQ(chat(v3_model(), kHello).choices[0].call.sampling.temperature, 1);
}

TEST(Chat, ReadsEveryField) {
  const PreparedRequest request =
      chat(r1_model(),
           std::string(kHello) +
               R"(,"stream":true,"stream_options":{"include_usage":true},"n":2,"logprobs":true,
             "top_logprobs":3,"stop":["a","b"],"seed":-1,"max_tokens":9,"max_completion_tokens":8,
             "temperature":0.5,"top_p":0.9,"presence_penalty":0.1,"frequency_penalty":0.2,
             "logit_bias":{"5":-100},"top_k":-1,"min_p":0.1,"repetition_penalty":1.1,
             "stop_token_ids":[3],"ignore_eos":true,"user":"u","store":false,"metadata":{},
             "response_format":{"type":"text"},"parallel_tool_calls":true,"anything":1)");
  EXPECT_TRUE(request.is_streamed);
  EXPECT_TRUE(request.includes_usage);
  EXPECT_EQ(request.user, "u");
  ASSERT_EQ(request.choices.size(), 2u);
  const EngineCall& call = request.choices[0].call;
  EXPECT_FLOAT_EQ(call.sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(call.sampling.top_p, 0.9f);
  EXPECT_EQ(call.sampling.top_k, 0);
  EXPECT_FLOAT_EQ(call.sampling.min_p, 0.1f);
  EXPECT_FLOAT_EQ(call.sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(call.sampling.presence_penalty, 0.1f);
  EXPECT_FLOAT_EQ(call.sampling.frequency_penalty, 0.2f);
  EXPECT_THAT(call.sampling.logit_bias, ElementsAre(std::pair(5, -100.0f)));
  EXPECT_EQ(call.sampling.num_logprobs, 3);
  EXPECT_EQ(call.sampling.seed, ~std::uint64_t{0});
  EXPECT_EQ(request.choices[1].call.sampling.seed, 0u);  // the next one
  EXPECT_EQ(call.max_tokens, 8);
  EXPECT_THAT(call.stop_token_ids, ElementsAre(3));
  EXPECT_TRUE(call.ignore_eos);
  const AnswerFormat& format = request.choices[1].format;
  EXPECT_EQ(format.choice_index, 1);
  EXPECT_TRUE(format.is_streamed);
  EXPECT_TRUE(format.wants_logprobs);
  EXPECT_THAT(format.stop_strings, ElementsAre("a", "b"));
  EXPECT_THAT(format.stop_token_ids, ElementsAre(3));
  EXPECT_EQ(call.prompt_token_ids, request.choices[1].call.prompt_token_ids);
}

TEST(Chat, AlternativesNeedNotBeAskedFor) {
  EXPECT_EQ(chat(r1_model(), std::string(kHello) + R"(,"logprobs":true)")
                .choices[0]
                .call.sampling.num_logprobs,
            0);
}

TEST(Chat, SeedsDifferBetweenRequests) {
  EXPECT_NE(chat(r1_model(), kHello).choices[0].call.sampling.seed,
            chat(r1_model(), kHello).choices[0].call.sampling.seed);
}

TEST(Chat, TakesDevelopersAndTextParts) {
  const PreparedRequest request =
      chat(r1_model(), R"("messages":[{"role":"developer","content":"be brief"},
        {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}])");
  EXPECT_EQ(prompt_of(r1_model(), request),
            "<｜begin▁of▁sentence｜>be brief<｜User｜>a\nb<｜Assistant｜><think>\n");
}

TEST(Chat, KeepsContentBesideToolCalls) {
  // V3's template writes the calls only of messages without content.
  const PreparedRequest request =
      chat(v3_model(), R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":
        "let me see","tool_calls":[{"id":"c","type":"function","function":{"name":"add",
        "arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"5"}])");
  const std::string prompt = prompt_of(v3_model(), request);
  EXPECT_THAT(prompt, testing::HasSubstr("let me see"));
  EXPECT_THAT(prompt, testing::HasSubstr("<｜tool▁sep｜>add\n"));
}

TEST(Chat, EmptyContentBesideToolCallsIsNone) {
  const PreparedRequest request =
      chat(v3_model(), R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":
        "","tool_calls":[{"id":"c","type":"function","function":{"name":"add",
        "arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"5"}])");
  EXPECT_THAT(prompt_of(v3_model(), request), testing::HasSubstr("<｜tool▁sep｜>add\n"));
}

TEST(Chat, ThinkingIsChosenByTheTemplatesVariable) {
  const PreparedRequest off = chat(v3_1_model(), kHello);
  EXPECT_THAT(prompt_of(v3_1_model(), off), testing::EndsWith("<｜Assistant｜></think>"));
  EXPECT_TRUE(off.choices[0].format.lead_token_ids.empty());
  const PreparedRequest on =
      chat(v3_1_model(), std::string(kHello) + R"(,"chat_template_kwargs":{"thinking":true})");
  EXPECT_THAT(prompt_of(v3_1_model(), on), testing::EndsWith("<｜Assistant｜><think>"));
  EXPECT_EQ(text_of(*v3_1_model(), on.choices[0].format.lead_token_ids), "<think>");
}

TEST(Tools, AreDescribedWhereTheTemplateDoesNotShowThem) {
  const PreparedRequest request = chat(v3_1_model(), std::string(kHello) + "," + kTool);
  const std::string prompt = prompt_of(v3_1_model(), request);
  EXPECT_THAT(prompt, testing::HasSubstr("### add\nDescription: adds\nParameters: "));
  EXPECT_THAT(prompt, testing::HasSubstr(R"({"z":{"type":"integer"},"a":{}})"));  // in this order
  EXPECT_EQ(request.choices[0].format.tool_dialect, ToolDialect::kBareJson);
  EXPECT_EQ(chat(v3_model(), std::string(kHello) + "," + kTool).choices[0].format.tool_dialect,
            ToolDialect::kFencedJson);
}

TEST(Tools, StayBehindTheSystemMessage) {
  const PreparedRequest request =
      chat(v3_model(), R"("messages":[{"role":"system","content":"be brief"},
          {"role":"user","content":"hi"}],)" +
                           std::string(kTool));
  EXPECT_THAT(prompt_of(v3_model(), request),
              testing::StartsWith("<｜begin▁of▁sentence｜>be brief\n\n## Tools\n"));
}

TEST(Tools, OfNoChoiceAreNotShown) {
  const PreparedRequest request =
      chat(v3_model(), std::string(kHello) + "," + kTool + R"(,"tool_choice":"none")");
  EXPECT_THAT(prompt_of(v3_model(), request), testing::Not(testing::HasSubstr("add")));
  EXPECT_EQ(request.choices[0].format.tool_dialect, ToolDialect::kNone);
}

TEST(Tools, ThatAreRequiredBeginTheAnswer) {
  const auto lead_of = [](const SharedModel& model, const std::string& choice) {
    const PreparedRequest request =
        chat(model, std::string(kHello) + "," + kTool + ",\"tool_choice\":" + choice);
    const AnswerFormat& format = request.choices[0].format;
    EXPECT_THAT(prompt_of(model, request),
                testing::EndsWith(text_of(*model, format.lead_token_ids)));
    return std::pair{text_of(*model, format.lead_token_ids), format.max_tool_calls};
  };
  const std::string named = R"({"type":"function","function":{"name":"add"}})";
  const std::string begin = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>";
  EXPECT_EQ(lead_of(v3_model(), "\"required\""), std::pair(begin + "function<｜tool▁sep｜>", 0));
  EXPECT_EQ(lead_of(v3_model(), named),
            std::pair(begin + "function<｜tool▁sep｜>add\n```json\n", 1));
  EXPECT_EQ(lead_of(v3_1_model(), "\"required\""), std::pair(begin, 0));
  EXPECT_EQ(lead_of(v3_1_model(), named), std::pair(begin + "add<｜tool▁sep｜>", 1));
}

TEST(Tools, MayBeHeldToOneCall) {
  EXPECT_EQ(chat(v3_model(), std::string(kHello) + "," + kTool + R"(,"parallel_tool_calls":false)")
                .choices[0]
                .format.max_tool_calls,
            1);
}

/// Every control token of the model, written out.
std::string all_markers(const SharedModel& model) {
  const text::Tokenizer& tokenizer = model->text().tokenizer;
  std::string text;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_control(id)) text += std::string(*tokenizer.id_to_piece(id)) + " ";
  }
  return text;
}

TEST(Injection, NoTextOfARequestBecomesAControlToken) {
  for (const SharedModel& model : {r1_model(), v3_model(), v3_1_model()}) {
    const auto controls_of = [&](const std::string& text) {
      const auto body = [&](const json& tools) {
        return json{{"model", "demo"},
                    {"messages",
                     {{{"role", "system"}, {"content", text}},
                      {{"role", "user"}, {"content", text}, {"name", text}},
                      {{"role", "assistant"},
                       {"content", nullptr},
                       {"reasoning_content", text},
                       {"tool_calls",
                        {{{"id", text},
                          {"type", "function"},
                          {"function", {{"name", text}, {"arguments", text}}}}}}},
                      {{"role", "tool"}, {"tool_call_id", text}, {"content", text}},
                      {{"role", "assistant"}, {"content", text}},
                      {{"role", "user"}, {"content", {{{"type", "text"}, {"text", text}}}}}}},
                    {"chat_template_kwargs", {{"note", text}}},
                    {"tools", tools}}
            .dump();
      };
      const json tools = {
          {{"type", "function"},
           {"function",
            {{"name", "add"}, {"description", text}, {"parameters", {{"title", text}}}}}}};
      // The demo model's context is too short for all of it: tokenize has no such limit.
      const auto answer = Preprocessor(model).tokenize(body(tools));
      EXPECT_TRUE(answer.has_value()) << answer.error().to_string();
      std::vector<std::int32_t> controls;
      for (const std::int32_t id :
           json::parse(*answer)["tokens"].get<std::vector<std::int32_t>>()) {
        if (model->text().tokenizer.is_control(id)) controls.push_back(id);
      }
      return controls;
    };
    const auto benign = controls_of("x");
    EXPECT_FALSE(benign.empty());
    // R1's templates cut past answers behind "</think>", which is text here too.
    EXPECT_EQ(controls_of(all_markers(model)), benign);
  }
}

TEST(Completion, TakesEveryFormOfPrompt) {
  const auto prompts_of = [](const std::string& prompt) {
    std::vector<std::vector<std::int32_t>> prompts;
    for (const PreparedChoice& choice : completion("\"prompt\":" + prompt).choices)
      prompts.push_back(*choice.call.prompt_token_ids);
    return prompts;
  };
  const std::vector<std::int32_t> a = tokens_of(*r1_model(), "<｜begin▁of▁sentence｜>a");
  const std::vector<std::int32_t> b = tokens_of(*r1_model(), "<｜begin▁of▁sentence｜>b");
  EXPECT_THAT(prompts_of("\"a\""), ElementsAre(a));
  EXPECT_THAT(prompts_of(R"(["a","b"])"), ElementsAre(a, b));
  EXPECT_THAT(prompts_of("[5,6]"), ElementsAre(ElementsAre(5, 6)));
  EXPECT_THAT(prompts_of("[[5],[6,7]]"), ElementsAre(ElementsAre(5), ElementsAre(6, 7)));
  EXPECT_THAT(prompts_of("\"\""), ElementsAre(ElementsAre(a.front())));
}

TEST(Completion, HasOpenAIsDefaultsAndItsOwnFields) {
  const PreparedRequest request =
      completion(R"("prompt":["a","b"],"n":2,"echo":true,"add_special_tokens":false)");
  EXPECT_EQ(request.kind, AnswerKind::kCompletion);
  ASSERT_EQ(request.choices.size(), 4u);
  EXPECT_EQ(request.choices[0].call.max_tokens, 16);
  EXPECT_EQ(request.choices[1].format.echo_text, "a");
  EXPECT_EQ(request.choices[2].format.echo_text, "b");
  EXPECT_EQ(request.choices[3].format.choice_index, 3);
  EXPECT_EQ(request.num_prompt_tokens, 2);  // each prompt once
  EXPECT_EQ(completion(R"("prompt":"a","logprobs":0)").choices[0].call.sampling.num_logprobs, 0);
}

TEST(Completion, MarkersInPromptsAreText) {
  const PreparedRequest request = completion(R"("prompt":"<｜User｜>")");
  const auto& tokenizer = r1_model()->text().tokenizer;
  const auto& ids = *request.choices[0].call.prompt_token_ids;
  EXPECT_EQ(std::count_if(ids.begin(), ids.end(),
                          [&](std::int32_t id) { return tokenizer.is_control(id); }),
            1);  // BOS
}

TEST(Tokenize, GivesBackTheText) {
  const Preprocessor preprocessor(r1_model());
  const json tokens =
      json::parse(preprocessor.tokenize(R"({"prompt":"é 12","return_token_strs":true})").value());
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  EXPECT_EQ(tokens["max_model_len"], 512);
  EXPECT_EQ(tokens["token_strs"].size(), tokens["tokens"].size());
  const json text =
      json::parse(preprocessor.detokenize(json{{"tokens", tokens["tokens"]}}.dump()).value());
  EXPECT_EQ(text["prompt"], "<｜begin▁of▁sentence｜>é 12");
}

TEST(Tokenize, TakesConversations) {
  const json tokens =
      json::parse(Preprocessor(r1_model())
                      .tokenize(std::string("{\"add_generation_prompt\":false,") + kHello + "}")
                      .value());
  EXPECT_EQ(text_of(*r1_model(), tokens["tokens"]), "<｜begin▁of▁sentence｜><｜User｜>hi");
}

}  // namespace
}  // namespace dsl::serving
