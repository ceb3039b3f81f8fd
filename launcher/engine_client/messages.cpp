#include "launcher/engine_client/messages.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::string_view kVersions = "use dsengine and dslaunch of one version";

Result<json> logit_bias_of(const std::vector<std::string>& entries) {
  json bias = json::object();
  for (const std::string& entry : entries) {
    const std::size_t colon = entry.find(':');
    std::int32_t token = 0;
    const char* end = entry.data() + (colon == std::string::npos ? 0 : colon);
    const auto [rest, problem] = std::from_chars(entry.data(), end, token);
    double value = 0;
    const char* last = entry.data() + entry.size();
    const bool whole_token = problem == std::errc() && rest == end && end != entry.data();
    if (whole_token) {
      const auto [tail, bad_value] = std::from_chars(end + 1, last, value);
      if (bad_value == std::errc() && tail == last) {
        bias[std::to_string(token)] = value;
        continue;
      }
    }
    return fail(ErrorCode::kInvalidArgument, "write TOKEN_ID:BIAS, e.g. 42:-5",
                "malformed --logit-bias \"{}\"", entry);
  }
  return bias;
}

template <typename T>
void put(json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

/// The error that an object describes; kProtocol when it describes none.
Error error_of(const json& object) {
  const auto text = [&](const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
  };
  const std::string code = text("code");  // "DSL-200"
  int number = 0;
  if (code.rfind("DSL-", 0) == 0) {
    std::from_chars(code.data() + 4, code.data() + code.size(), number);
  }
  if (number == 0) {
    return {ErrorCode::kProtocol, "the engine sent a malformed error", std::string(kVersions)};
  }
  return Error{static_cast<ErrorCode>(number), text("message"), text("remedy")};
}

}  // namespace

Result<std::string> generate_body(const GenerateOptions& options) {
  const SamplingOptions& given = options.sampling;
  json sampling = json::object();
  put(sampling, "temperature", given.temperature);
  put(sampling, "top_k", given.top_k);
  put(sampling, "top_p", given.top_p);
  put(sampling, "min_p", given.min_p);
  put(sampling, "repetition_penalty", given.repetition_penalty);
  put(sampling, "presence_penalty", given.presence_penalty);
  put(sampling, "frequency_penalty", given.frequency_penalty);
  put(sampling, "seed", given.seed);
  put(sampling, "logprobs", given.logprobs);
  if (!given.logit_bias.empty()) {
    DSL_ASSIGN(sampling["logit_bias"], logit_bias_of(given.logit_bias));
  }
  if (!given.stop.empty()) sampling["stop"] = given.stop;
  if (!given.stop_token_ids.empty()) sampling["stop_token_ids"] = given.stop_token_ids;
  if (given.ignore_eos) sampling["ignore_eos"] = true;

  json body = {{"sampling", sampling}, {"max_tokens", options.max_tokens}};
  put(body, "prompt", options.prompt);
  put(body, "token_ids", options.token_ids);
  if (options.chat) {
    body["messages"] = json::array({{{"role", "user"}, {"content", *options.chat}}});
  }
  try {
    return body.dump();
  } catch (const json::exception&) {
    return fail(ErrorCode::kInvalidUtf8, "convert the text to UTF-8",
                "the prompt or a stop string is not valid UTF-8");
  }
}

std::string score_body(std::span<const std::int32_t> token_ids) {
  return json{{"token_ids", std::vector<std::int32_t>(token_ids.begin(), token_ids.end())}}.dump();
}

Result<std::string> GenerateStream::take_line(std::string_view text) {
  DSL_ASSIGN(const json line, parse_json(text, "engine port", ErrorCode::kProtocol));
  if (!line.is_object()) {
    return fail(ErrorCode::kProtocol, kVersions, "the engine sent a line that is no object");
  }
  try {
    if (line.contains("error")) return tl::unexpected<Error>(error_of(line.at("error")));
    std::string piece;
    if (const auto found = line.find("text"); found != line.end())
      piece = found->get<std::string>();
    if (const auto found = line.find("token_ids"); found != line.end()) {
      const auto ids = found->get<std::vector<std::int32_t>>();
      result_.token_ids.insert(result_.token_ids.end(), ids.begin(), ids.end());
    }
    if (const auto found = line.find("logprobs"); found != line.end() && !found->empty()) {
      for (const json& entry : *found) {
        result_.logprobs_json += (result_.logprobs_json.empty() ? "" : ",") + entry.dump();
      }
    }
    result_.text += piece;
    if (!line.contains("finish_reason") || line.at("finish_reason").is_null()) return piece;
    finished_ = true;
    result_.finish_reason = line.at("finish_reason").get<std::string>();
    const json& usage = line.at("usage");
    result_.prompt_tokens = usage.at("prompt_tokens").get<std::int64_t>();
    result_.completion_tokens = usage.at("completion_tokens").get<std::int64_t>();
    const json& timings = line.at("timings");
    result_.queue_s = timings.value("queue_s", 0.0);
    result_.prefill_s = timings.value("prefill_s", 0.0);
    result_.decode_s = timings.value("decode_s", 0.0);
    result_.time_to_first_token_s = timings.value("time_to_first_token_s", 0.0);
    return piece;
  } catch (const json::exception& problem) {
    return fail(ErrorCode::kProtocol, kVersions, "the engine sent a malformed line: {}",
                problem.what());
  }
}

Result<GenerateResult> GenerateStream::finish() && {
  if (!finished_) {
    return fail(ErrorCode::kUnreachable, "see the logs of rank 0 (dslaunch logs)",
                "the engine ended its answer in the middle, after {} tokens",
                result_.token_ids.size());
  }
  return std::move(result_);
}

Result<EngineDescription> parse_info(std::string_view text) {
  DSL_ASSIGN(const json info, parse_json(text, "engine port", ErrorCode::kProtocol));
  try {
    EngineDescription description;
    description.json = text;
    description.model = info.value("model", "");
    description.dtype = info.value("dtype", "");
    description.kernels = info.value("kernels", "");
    description.vocab_size = info.at("vocab_size").get<std::int64_t>();
    description.active_bytes_per_token = info.value("active_bytes_per_token", std::int64_t{0});
    return description;
  } catch (const json::exception& problem) {
    return fail(ErrorCode::kProtocol, kVersions, "the engine's description is malformed: {}",
                problem.what());
  }
}

Result<std::int64_t> parse_drain(std::string_view text) {
  DSL_ASSIGN(const json answer, parse_json(text, "engine port", ErrorCode::kProtocol));
  if (!answer.is_object() || !answer.contains("running") ||
      !answer["running"].is_number_integer()) {
    return fail(ErrorCode::kProtocol, kVersions, "the engine's answer to a drain is malformed");
  }
  return answer["running"].get<std::int64_t>();
}

Error parse_refusal(int status, std::string_view body) {
  Result<json> parsed = parse_json(body, "engine port", ErrorCode::kProtocol);
  if (parsed && parsed->is_object() && parsed->contains("error")) {
    return error_of((*parsed)["error"]);
  }
  if (status == 401 || status == 403) {
    return {ErrorCode::kAuthentication, "the engine refused the secret of this deployment",
            "bring the deployment up again, or ask its owner"};
  }
  return {ErrorCode::kProtocol, fmt::format("the engine answered with HTTP status {}", status),
          std::string(kVersions)};
}

}  // namespace dsl::launcher
