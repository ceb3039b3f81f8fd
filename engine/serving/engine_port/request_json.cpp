#include "engine/serving/engine_port/request_json.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/chat_messages.h"
#include "engine/serving/text_service/request_reader.h"
#include "engine/serving/text_service/sampling_fields.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxStops = 64;
constexpr std::size_t kMaxTenantBytes = 64;
constexpr std::size_t kMaxIdBytes = 128;
constexpr std::int64_t kMaxPriority = 10;
constexpr std::string_view kRemedy =
    "correct the request (docs/process-contract.md lists its fields)";

Status read_sampling(const json& value, std::uint64_t fresh_seed, GenerateCall& call) {
  DSL_ASSIGN(RequestReader reader, RequestReader::open(value, "sampling", kRemedy));
  sampling::SamplingParams defaults;
  defaults.seed = fresh_seed;
  DSL_ASSIGN(call.request.sampling, read_sampling_fields(reader, defaults));
  DSL_ASSIGN(const std::int64_t logprobs, reader.integer("logprobs", -1, 0, 1 << 20));
  call.request.sampling.num_logprobs = static_cast<std::int32_t>(logprobs);
  call.wants_logprobs = logprobs >= 0;
  DSL_ASSIGN(call.stop, reader.texts("stop", kMaxStops));
  DSL_ASSIGN(call.request.stop_token_ids, reader.token_ids("stop_token_ids"));
  DSL_ASSIGN(call.request.ignore_eos, reader.boolean("ignore_eos", false));
  return reader.refuse_unknown();
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

Result<std::string> read_id(RequestReader& reader, const char* field) {
  DSL_ASSIGN(auto id, reader.text(field));
  if (id && (id->size() > kMaxIdBytes || !is_printable(*id)))
    return reader.wrong(field, fmt::format("at most {} printable ASCII characters", kMaxIdBytes));
  return std::move(id).value_or("");
}

/// How the request stands to others, and what its sender does not need.
Status read_terms(RequestReader& reader, GenerateCall& call) {
  DSL_ASSIGN(auto tenant, reader.text("tenant"));
  if (tenant && tenant->size() > kMaxTenantBytes) {
    return reader.wrong("tenant", fmt::format("at most {} bytes", kMaxTenantBytes));
  }
  call.request.tenant = std::move(tenant).value_or("");
  DSL_ASSIGN(const std::int64_t priority,
             reader.integer("priority", 0, -kMaxPriority, kMaxPriority));
  call.request.priority = static_cast<int>(priority);
  DSL_ASSIGN(call.request_id, read_id(reader, "request_id"));
  DSL_ASSIGN(call.stream_id, read_id(reader, "stream_id"));
  DSL_ASSIGN(call.wants_text, reader.boolean("return_text", true));
  return {};
}

Result<PromptInput> read_prompt(RequestReader& reader, std::string_view body) {
  const json* token_ids = reader.find("token_ids");
  const json* messages = reader.find("messages");
  DSL_ASSIGN(const auto prompt, reader.text("prompt"));
  const json* tools = reader.find("tools");
  const json* kwargs = reader.find("chat_template_kwargs");
  if ((token_ids != nullptr) + (messages != nullptr) + prompt.has_value() != 1) {
    return fail(ErrorCode::kRequestInvalid, kRemedy,
                "request: expected exactly one of token_ids, prompt and messages");
  }
  if (messages == nullptr && (tools != nullptr || kwargs != nullptr)) {
    return fail(ErrorCode::kRequestInvalid, kRemedy,
                "request: tools and chat_template_kwargs go with messages only");
  }
  if (token_ids != nullptr) return reader.token_ids("token_ids");
  if (prompt) return *prompt;
  ChatPrompt chat;
  DSL_ASSIGN(chat.messages, read_messages(*messages, UnknownFields::kRefuse, kRemedy));
  if (tools != nullptr) chat.options.tools_json = raw_field(body, "tools");
  if (kwargs != nullptr) chat.options.kwargs_json = raw_field(body, "chat_template_kwargs");
  return chat;
}

}  // namespace

Result<GenerateCall> parse_generate(std::string_view body, std::uint64_t fresh_seed) {
  DSL_ASSIGN(const json document, parse_json(body, "request", ErrorCode::kRequestInvalid));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "request", kRemedy));
  GenerateCall call;
  DSL_ASSIGN(call.prompt, read_prompt(reader, body));
  call.request.sampling.seed = fresh_seed;
  call.request.sampling.num_logprobs = -1;
  if (const json* sampling = reader.find("sampling"))
    DSL_TRY(read_sampling(*sampling, fresh_seed, call));
  DSL_ASSIGN(call.request.max_tokens,
             reader.integer("max_tokens", 0, 1, std::numeric_limits<std::int32_t>::max()));
  DSL_ASSIGN(call.request.emitted_token_ids, reader.token_ids("emitted_token_ids"));
  DSL_TRY(read_terms(reader, call));
  DSL_TRY(reader.refuse_unknown());
  return call;
}

Result<std::string> parse_stop(std::string_view body) {
  DSL_ASSIGN(const json document, parse_json(body, "request", ErrorCode::kRequestInvalid));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "request", kRemedy));
  DSL_ASSIGN(std::string id, read_id(reader, "stream_id"));
  if (id.empty()) return reader.wrong("stream_id", "the stream_id of a request");
  DSL_TRY(reader.refuse_unknown());
  return id;
}

Result<std::vector<std::int32_t>> parse_score(std::string_view body) {
  DSL_ASSIGN(const json document, parse_json(body, "request", ErrorCode::kRequestInvalid));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "request", kRemedy));
  DSL_ASSIGN(std::vector<std::int32_t> token_ids, reader.token_ids("token_ids"));
  if (token_ids.empty()) return reader.wrong("token_ids", "at least one token id");
  DSL_TRY(reader.refuse_unknown());
  return token_ids;
}

}  // namespace dsl::serving
