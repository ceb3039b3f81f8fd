#include "tests/unit/text_service/served_models.h"

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "engine/serving/text_service/model_text.h"

namespace dsl::serving::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kDemo = fs::path(DSL_TEST_DATA_DIR) / "demo_model/arith-bf16";

SharedModel load(const fs::path& folder) {
  auto model = ServedModel::load(folder, {"demo", 0});
  DSL_CHECK(model.has_value(), "{}", model.error().to_string());
  return *std::move(model);
}

/// The demo model with another template.
SharedModel load_with_template(const std::string& name) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("{}_{}", name, ::getpid());
  fs::create_directories(folder);
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json"})
    fs::create_symlink(kDemo / file, folder / file);
  fs::create_symlink(fs::path(DSL_TEST_DATA_DIR) / "reference/chat_templates" / (name + ".jinja"),
                     folder / "chat_template.jinja");
  SharedModel model = load(folder);
  fs::remove_all(folder);
  return model;
}

void join_calls(const json& deltas, json& calls) {
  for (const json& delta : deltas) {
    const auto index = delta.at("index").get<std::size_t>();
    if (index == calls.size()) {
      calls.push_back(
          {{"id", delta.at("id")}, {"type", delta.at("type")}, {"function", delta.at("function")}});
      continue;
    }
    DSL_CHECK(index + 1 == calls.size(), "a delta of call {} after {} calls", index, calls.size());
    auto& arguments = calls[index]["function"]["arguments"].get_ref<std::string&>();
    arguments += delta.at("function").at("arguments").get<std::string>();
  }
}

void join_lists(const json& delta, json& lists) {
  for (const auto& [name, list] : delta.items()) {
    for (const json& entry : list) lists[name].push_back(entry);
  }
}

}  // namespace

SharedModel r1_model() {
  static const SharedModel model = load(kDemo);
  return model;
}

SharedModel v3_model() {
  static const SharedModel model = load_with_template("v3");
  return model;
}

SharedModel v3_1_model() {
  static const SharedModel model = load_with_template("v3_1_style");
  return model;
}

std::vector<std::int32_t> tokens_of(const ServedModel& model, std::string_view text) {
  text::EncodeOptions options;
  options.special_tokens = text::SpecialTokens::kParse;
  return model.text().tokenizer.encode(text, options).value();
}

std::string text_of(const ServedModel& model, const std::vector<std::int32_t>& token_ids) {
  return model.text().tokenizer.decode(token_ids);
}

std::vector<sampling::SampledToken> sampled(const std::vector<std::int32_t>& token_ids) {
  std::vector<sampling::SampledToken> tokens;
  for (const std::int32_t id : token_ids) {
    const float logprob = -0.125f * static_cast<float>(id % 7);
    tokens.push_back({id, logprob, {{id, logprob}, {(id + 1) % 700, -3}}});
  }
  return tokens;
}

void DeltaJoiner::add(const std::string& choice_json) {
  if (choice_json.empty()) return;
  const json choice = json::parse(choice_json);
  // Completions have their text beside the rest.
  const json delta = choice.contains("delta") ? choice["delta"] : json{{"text", choice["text"]}};
  for (const auto& [name, value] : delta.items()) {
    if (name == "tool_calls") {
      join_calls(value, joined_[name]);
    } else if (joined_.contains(name)) {
      joined_[name] = joined_[name].get<std::string>() + value.get<std::string>();
    } else {
      joined_[name] = value;
    }
  }
  if (!choice["logprobs"].is_null()) join_lists(choice["logprobs"], joined_["logprobs"]);
  if (!choice["finish_reason"].is_null()) joined_["finish_reason"] = choice["finish_reason"];
}

json streamed(const SharedModel& model, AnswerFormat format,
              const std::vector<std::int32_t>& token_ids, AnswerEnd end) {
  format.is_streamed = true;
  AnswerStream stream = AnswerStream::open(model, std::move(format)).value();
  DeltaJoiner joiner;
  for (const sampling::SampledToken& token : sampled(token_ids))
    joiner.add(stream.push({&token, 1}).choice_json);
  joiner.add(stream.finish(end).choice_json);
  return joiner.joined();
}

json whole(const SharedModel& model, AnswerFormat format,
           const std::vector<std::int32_t>& token_ids, AnswerEnd end) {
  format.is_streamed = false;
  AnswerStream stream = AnswerStream::open(model, std::move(format)).value();
  stream.push(sampled(token_ids));
  return json::parse(stream.finish(end).choice_json);
}

}  // namespace dsl::serving::test
