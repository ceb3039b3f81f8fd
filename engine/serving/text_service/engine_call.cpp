#include "engine/serving/text_service/engine_call.h"

#include <fmt/format.h>

#include "engine/serving/text_service/json_text.h"

namespace dsl::serving {
namespace {

void append_field(std::string& out, std::string_view name) {
  if (out.back() != '{') out += ',';
  out += '"';
  out += name;
  out += "\":";
}

void append_token_ids(std::string& out, std::string_view name,
                      std::span<const std::int32_t> token_ids) {
  append_field(out, name);
  append_json_integers(out, token_ids);
}

void append_sampling(std::string& out, const EngineCall& call) {
  const sampling::SamplingParams& params = call.sampling;
  out += '{';
  const auto number = [&](std::string_view name, float value) {
    append_field(out, name);
    append_json_number(out, value);
  };
  number("temperature", params.temperature);
  append_field(out, "top_k");
  append_json_integer(out, params.top_k);
  number("top_p", params.top_p);
  number("min_p", params.min_p);
  number("repetition_penalty", params.repetition_penalty);
  number("presence_penalty", params.presence_penalty);
  number("frequency_penalty", params.frequency_penalty);
  append_field(out, "seed");
  out += fmt::format("{}", params.seed);
  if (!params.logit_bias.empty()) {
    append_field(out, "logit_bias");
    out += '{';
    for (const auto& [token_id, bias] : params.logit_bias) {
      append_field(out, fmt::format("{}", token_id));
      append_json_number(out, bias);
    }
    out += '}';
  }
  if (params.num_logprobs >= 0) {
    append_field(out, "logprobs");
    append_json_integer(out, params.num_logprobs);
  }
  if (!call.stop_token_ids.empty()) append_token_ids(out, "stop_token_ids", call.stop_token_ids);
  append_field(out, "ignore_eos");
  out += call.ignore_eos ? "true" : "false";
  out += '}';
}

}  // namespace

std::string to_engine_json(const EngineCall& call, const EngineCallExtras& extras) {
  std::string out = "{";
  append_token_ids(out, "token_ids", *call.prompt_token_ids);
  if (call.max_tokens > 0) {
    append_field(out, "max_tokens");
    append_json_integer(out, call.max_tokens);
  }
  if (!extras.emitted_token_ids.empty())
    append_token_ids(out, "emitted_token_ids", extras.emitted_token_ids);
  append_field(out, "sampling");
  append_sampling(out, call);
  if (!extras.tenant.empty()) {
    append_field(out, "tenant");
    append_json_string(out, extras.tenant);
  }
  if (extras.priority != 0) {
    append_field(out, "priority");
    append_json_integer(out, extras.priority);
  }
  if (!extras.request_id.empty()) {
    append_field(out, "request_id");
    append_json_string(out, extras.request_id);
  }
  if (!extras.stream_id.empty()) {
    append_field(out, "stream_id");
    append_json_string(out, extras.stream_id);
  }
  append_field(out, "return_text");
  out += "false}";
  return out;
}

}  // namespace dsl::serving
