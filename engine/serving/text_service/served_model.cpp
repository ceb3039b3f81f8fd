#include "engine/serving/text_service/served_model.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/model_text.h"
#include "engine/serving/text_service/request_reader.h"
#include "engine/serving/text_service/sampling_fields.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::string_view kModelRemedy = "correct the model's file or fetch it again";

Result<json> read_json(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail(ErrorCode::kNotFound, "point --model at the folder of a checkpoint",
                "{}: cannot be read", path.string());
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return parse_json(text, path.string(), ErrorCode::kModelConfig);
}

Error in_file(Error error, const std::filesystem::path& path) {
  error.code = ErrorCode::kModelConfig;
  return std::move(error).within(path.string());
}

struct Shape {
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
};

Result<Shape> read_shape(const std::filesystem::path& path) {
  DSL_ASSIGN(const json config, read_json(path));
  const auto read = [&]() -> Result<Shape> {
    constexpr std::int64_t kMax = std::int64_t{1} << 30;
    DSL_ASSIGN(RequestReader reader, RequestReader::open(config, "", kModelRemedy));
    Shape shape;
    DSL_ASSIGN(shape.vocab_size, reader.integer("vocab_size", 0, 1, kMax));
    DSL_ASSIGN(shape.max_position_embeddings,
               reader.integer("max_position_embeddings", 0, 1, kMax));
    if (shape.vocab_size == 0) return reader.wrong("vocab_size", "a number");
    if (shape.max_position_embeddings == 0)
      return reader.wrong("max_position_embeddings", "a number");
    return shape;
  };
  return read().map_error([&](Error error) { return in_file(std::move(error), path); });
}

/// OpenAI's temperature is 1 where neither request nor model say otherwise; a model that asks for
/// no sampling is greedy.
Result<sampling::SamplingParams> read_default_sampling(const std::filesystem::path& path) {
  sampling::SamplingParams params;
  params.temperature = 1;
  params.num_logprobs = -1;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return params;
  DSL_ASSIGN(const json config, read_json(path));
  const auto read = [&]() -> Result<sampling::SamplingParams> {
    DSL_ASSIGN(RequestReader reader, RequestReader::open(config, "", kModelRemedy));
    DSL_ASSIGN(sampling::SamplingParams read_params, read_sampling_fields(reader, params));
    DSL_ASSIGN(const bool does_sample, reader.boolean("do_sample", true));
    if (!does_sample) read_params.temperature = 0;
    return read_params;
  };
  return read().map_error([&](Error error) { return in_file(std::move(error), path); });
}

std::size_t longest_piece(const text::Tokenizer& tokenizer) {
  std::size_t longest = 1;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    longest = std::max(longest, tokenizer.id_to_piece(id).value_or("").size());
  return longest;
}

Result<std::optional<text::ChatTemplate>> load_template(const std::filesystem::path& model_dir) {
  auto loaded = text::ChatTemplate::load(model_dir);
  if (loaded) return std::optional(*std::move(loaded));
  if (loaded.error().code == ErrorCode::kNotFound) return std::optional<text::ChatTemplate>();
  return tl::unexpected<Error>(std::move(loaded).error());
}

}  // namespace

AnswerMarkers AnswerMarkers::of(const text::Tokenizer& tokenizer) {
  return {tokenizer.token_id("<think>"),
          tokenizer.token_id("</think>"),
          tokenizer.token_id("<｜tool▁calls▁begin｜>"),
          tokenizer.token_id("<｜tool▁calls▁end｜>"),
          tokenizer.token_id("<｜tool▁call▁begin｜>"),
          tokenizer.token_id("<｜tool▁call▁end｜>"),
          tokenizer.token_id("<｜tool▁sep｜>")};
}

TemplateHabits TemplateHabits::of(const text::ChatTemplate& chat_template) {
  constexpr std::string_view kName = "probe_of_habits";
  const auto rendered = [&](const text::ChatMessage& last, const text::RenderOptions& options) {
    const std::vector<text::ChatMessage> messages{{.role = "user", .content = "a"}, last};
    const auto prompt = chat_template.render(messages, options);
    return prompt ? text::prompt_text(*prompt) : std::string();
  };
  const auto shows = [&](const std::string& text) { return text.find(kName) != std::string::npos; };
  TemplateHabits habits;
  text::ChatMessage call{.role = "assistant"};
  call.tool_calls.push_back({.id = "call_0", .name = std::string(kName), .arguments = "{}"});
  const std::string past_call = rendered(call, {});
  if (shows(past_call) && past_call.find("<｜tool▁sep｜>") != std::string::npos) {
    const bool is_fenced = past_call.find("```json") != std::string::npos;
    habits.tool_dialect = is_fenced ? ToolDialect::kFencedJson : ToolDialect::kBareJson;
  }
  call.content.emplace("b");
  habits.shows_calls_beside_content = shows(rendered(call, {}));
  text::RenderOptions options;
  options.tools_json = fmt::format(
      R"([{{"type":"function","function":{{"name":"{}","description":"c","parameters":{{"type":"object","properties":{{}}}}}}}}])",
      kName);
  habits.shows_tools = shows(rendered({.role = "user", .content = "d"}, options));
  return habits;
}

ServedModel::ServedModel() = default;
ServedModel::~ServedModel() = default;

Result<std::shared_ptr<const ServedModel>> ServedModel::load(const std::filesystem::path& model_dir,
                                                             ServedModelOptions options) {
  DSL_ASSIGN(const Shape shape, read_shape(model_dir / "config.json"));
  DSL_ASSIGN(text::Tokenizer tokenizer, text::Tokenizer::load(model_dir));
  DSL_ASSIGN(auto chat_template, load_template(model_dir));
  DSL_ASSIGN(sampling::SamplingParams defaults,
             read_default_sampling(model_dir / "generation_config.json"));
  auto habits = chat_template ? TemplateHabits::of(*chat_template) : TemplateHabits();
  const AnswerMarkers markers = AnswerMarkers::of(tokenizer);
  if (!markers.has_tool_calls()) habits.tool_dialect = ToolDialect::kNone;
  const std::size_t max_piece_bytes = longest_piece(tokenizer);

  std::shared_ptr<ServedModel> model(new ServedModel());
  model->name_ = options.served_model_name;
  if (model->name_.empty()) {
    std::error_code ignored;
    model->name_ = std::filesystem::weakly_canonical(model_dir, ignored).filename().string();
  }
  model->max_context_tokens_ =
      options.max_context_tokens == 0
          ? shape.max_position_embeddings
          : std::min(options.max_context_tokens, shape.max_position_embeddings);
  model->text_ = std::make_unique<const ModelText>(
      ModelText{std::move(tokenizer), std::move(chat_template), markers, habits,
                std::move(defaults), shape.vocab_size, max_piece_bytes});
  return std::shared_ptr<const ServedModel>(std::move(model));
}

}  // namespace dsl::serving
