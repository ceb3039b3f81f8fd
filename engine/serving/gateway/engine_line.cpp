#include "engine/serving/gateway/engine_line.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/serving/text_service/text_json.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::string_view kVersions = "use dsengine and dsgateway of one version";

std::string text_of(const json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// "DSL-504" to its code.
std::optional<ErrorCode> code_of(std::string_view text) {
  constexpr std::string_view kPrefix = "DSL-";
  if (!text.starts_with(kPrefix)) return std::nullopt;
  int number = 0;
  std::from_chars(text.data() + kPrefix.size(), text.data() + text.size(), number);
  if (number <= 0) return std::nullopt;
  return static_cast<ErrorCode>(number);
}

Error error_of(const json& object) {
  const auto code = object.is_object() ? code_of(text_of(object, "code")) : std::nullopt;
  if (!code) {
    return {ErrorCode::kProtocol, "the engine sent a malformed error", std::string(kVersions)};
  }
  Error error{*code, text_of(object, "message"), text_of(object, "remedy")};
  error.field = text_of(object, "field");
  return error;
}

/// A line with nothing but token ids, as nearly all are: a scan costs a tenth of a parse.
std::optional<EngineLine> scan_token_line(std::string_view text) {
  constexpr std::string_view kHead = "{\"token_ids\":[";
  constexpr std::string_view kTail = "]}";
  if (!text.starts_with(kHead) || !text.ends_with(kTail)) return std::nullopt;
  EngineLine line;
  const char* at = text.data() + kHead.size();
  const char* const end = text.data() + text.size() - kTail.size();
  while (at < end) {
    sampling::SampledToken token;
    const auto parsed = std::from_chars(at, end, token.token_id);
    if (parsed.ec != std::errc() || token.token_id < 0) return std::nullopt;
    line.tokens.push_back(std::move(token));
    at = parsed.ptr;
    if (at == end) return line;
    if (*at++ != ',') return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Result<EngineLine> parse_engine_line(std::string_view text) {
  if (auto line = scan_token_line(text)) return *std::move(line);
  DSL_ASSIGN(const json line, parse_json(text, "engine port", ErrorCode::kProtocol));
  if (!line.is_object()) {
    return fail(ErrorCode::kProtocol, kVersions, "the engine sent a line that is no object");
  }
  if (const auto error = line.find("error"); error != line.end())
    return tl::unexpected<Error>(error_of(*error));
  EngineLine parsed;
  if (line.contains("token_ids")) {
    DSL_ASSIGN(parsed.tokens, sampled_tokens_of(line));
  }
  const std::string reason = text_of(line, "finish_reason");
  if (reason.empty()) return parsed;
  parsed.end = reason == "length" ? AnswerEnd::kLength : AnswerEnd::kStop;
  if (const auto usage = line.find("usage"); usage != line.end() && usage->is_object()) {
    const auto cached = usage->find("cached_prompt_tokens");
    if (cached != usage->end() && cached->is_number_integer())
      parsed.num_cached_tokens = cached->get<std::int64_t>();
  }
  return parsed;
}

Error parse_engine_refusal(int status, std::string_view body) {
  const auto parsed = parse_json(body, "engine port", ErrorCode::kProtocol);
  if (parsed && parsed->is_object() && parsed->contains("error"))
    return error_of((*parsed)["error"]);
  return {ErrorCode::kProtocol, fmt::format("the engine answered with HTTP status {}", status),
          std::string(kVersions)};
}

}  // namespace dsl::serving
