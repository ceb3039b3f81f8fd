// Fuzzes request bodies: the first byte chooses the endpoint. A request that is accepted must be
// complete and survive the wire, one that is refused must say why in OpenAI's form.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/serving/text_service/openai_error.h"
#include "engine/serving/text_service/postprocessor.h"
#include "engine/serving/text_service/preprocessor.h"
#include "engine/serving/text_service/text_json.h"

namespace {

using namespace dsl::serving;

const std::shared_ptr<const ServedModel>& model() {
  static const auto loaded = [] {
    auto result = ServedModel::load(DSL_TEST_DATA_DIR "/demo_model/arith-bf16", {"demo", 0});
    DSL_CHECK(result.has_value(), "{}", result.error().to_string());
    return *std::move(result);
  }();
  return loaded;
}

void check_error(const dsl::Error& error) {
  const HttpResponse response = openai_error(error);
  DSL_CHECK(response.status >= 400 && response.status < 500, "{}: {}", response.status,
            error.message);
  const auto body = nlohmann::json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  DSL_CHECK(body.is_object() && body["error"]["message"].is_string(), "{}", response.body);
}

void check(const dsl::Result<PreparedRequest>& request) {
  if (!request) return check_error(request.error());
  DSL_CHECK(!request->choices.empty(), "a request without choices");
  const auto copy = parse_prepared_request(to_json(*request));
  DSL_CHECK(copy.has_value(), "{}", copy.error().to_string());
  for (std::size_t i = 0; i < request->choices.size(); ++i) {
    const PreparedChoice& choice = request->choices[i];
    const auto num_tokens = static_cast<std::int64_t>(choice.call.prompt_token_ids->size());
    DSL_CHECK(num_tokens > 0 && num_tokens < model()->max_context_tokens(), "{} tokens",
              num_tokens);
    DSL_CHECK(copy->choices[i].format == choice.format, "another format");
    DSL_CHECK(to_engine_json(copy->choices[i].call, {}) == to_engine_json(choice.call, {}),
              "another call");
    DSL_CHECK(AnswerStream::open(model(), choice.format).has_value(), "an unusable format");
  }
}

void check(const dsl::Result<std::string>& body) {
  if (!body) return check_error(body.error());
  DSL_CHECK(nlohmann::json::accept(*body), "{}", *body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Preprocessor preprocessor(model());
  switch (data[0]) {
    case 'c':
      check(preprocessor.prepare_chat(body));
      break;
    case 't':
      check(preprocessor.prepare_completion(body));
      break;
    case 'k':
      check(preprocessor.tokenize(body));
      break;
    case 'd':
      check(preprocessor.detokenize(body));
      break;
    default:
      check(Postprocessor(model(), {4, 1 << 20}).process(body));
  }
  return 0;
}
