#include "engine/serving/text_service/engine_call.h"

#include <fmt/format.h>

#include "engine/serving/text_service/json_text.h"

namespace dsl::serving {
namespace {

void append_field(std::string& json, std::string_view name) {
  if (json.back() != '{') json += ',';
  json += '"';
  json += name;
  json += "\":";
}

void append_token_ids(std::string& json, std::string_view name,
                      std::span<const std::int32_t> token_ids) {
  append_field(json, name);
  append_json_integers(json, token_ids);
}

void append_sampling(std::string& json, const EngineCall& call) {
  const sampling::SamplingParams& params = call.sampling;
  json += '{';
  const auto number = [&](std::string_view name, float value) {
    append_field(json, name);
    append_json_number(json, value);
  };
  number("temperature", params.temperature);
  append_field(json, "top_k");
  append_json_integer(json, params.top_k);
  number("top_p", params.top_p);
  number("min_p", params.min_p);
  number("repetition_penalty", params.repetition_penalty);
  number("presence_penalty", params.presence_penalty);
  number("frequency_penalty", params.frequency_penalty);
  append_field(json, "seed");
  json += fmt::format("{}", params.seed);
  if (!params.logit_bias.empty()) {
    append_field(json, "logit_bias");
    json += '{';
    for (const auto& [token_id, bias] : params.logit_bias) {
      append_field(json, fmt::format("{}", token_id));
      append_json_number(json, bias);
    }
    json += '}';
  }
  if (params.num_logprobs >= 0) {
    append_field(json, "logprobs");
    append_json_integer(json, params.num_logprobs);
  }
  if (!call.stop_token_ids.empty()) append_token_ids(json, "stop_token_ids", call.stop_token_ids);
  append_field(json, "ignore_eos");
  json += call.ignore_eos ? "true" : "false";
  json += '}';
}

}  // namespace

std::string to_engine_json(const EngineCall& call, const EngineCallExtras& extras) {
  std::string json = "{";
  append_token_ids(json, "token_ids", *call.prompt_token_ids);
  if (call.max_tokens > 0) {
    append_field(json, "max_tokens");
    append_json_integer(json, call.max_tokens);
  }
  if (!extras.emitted_token_ids.empty())
    append_token_ids(json, "emitted_token_ids", extras.emitted_token_ids);
  append_field(json, "sampling");
  append_sampling(json, call);
  if (!extras.tenant.empty()) {
    append_field(json, "tenant");
    append_json_string(json, extras.tenant);
  }
  if (extras.priority != 0) {
    append_field(json, "priority");
    append_json_integer(json, extras.priority);
  }
  if (!extras.request_id.empty()) {
    append_field(json, "request_id");
    append_json_string(json, extras.request_id);
  }
  append_field(json, "return_text");
  json += "false}";
  return json;
}

}  // namespace dsl::serving
