#include "engine/serving/text_service/request_reader.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::string_view kJsonBlank = " \t\r\n";

std::optional<std::int64_t> integer_of(const json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{INT64_MAX})
    return std::nullopt;
  return value.get<std::int64_t>();
}

std::optional<std::int32_t> token_id_of(const json& value) {
  const auto id = integer_of(value);
  if (!id || *id < 0 || *id > std::numeric_limits<std::int32_t>::max()) return std::nullopt;
  return static_cast<std::int32_t>(*id);
}

/// The end of the JSON value at `begin` of valid JSON text.
std::size_t end_of_value(std::string_view text, std::size_t begin) {
  std::size_t depth = 0;
  for (std::size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      for (++i; text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']' || c == ',') {
      if (depth == 0) return i;
      if (c != ',') --depth;
    }
    if (depth == 0 && (c == '"' || c == '}' || c == ']')) return i + 1;
  }
  return text.size();
}

}  // namespace

std::string shown(const json& value) {
  constexpr std::size_t kMaxBytes = 80;
  std::string text;
  if (value.is_array() || (value.is_object() && value.size() > 8)) {
    text = fmt::format("{} of {}", value.is_array() ? "a list" : "an object", value.size());
  } else if (value.is_string()) {
    const auto& bytes = value.get_ref<const std::string&>();
    text = json(bytes.substr(0, kMaxBytes)).dump(-1, ' ', true, json::error_handler_t::ignore);
  } else {
    text = value.dump(-1, ' ', true, json::error_handler_t::ignore);
  }
  if (text.size() > kMaxBytes) text = text.substr(0, kMaxBytes - 3) + "...";
  return text;
}

std::optional<std::vector<std::int32_t>> token_ids_of(const json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::int32_t> ids;
  ids.reserve(value.size());
  for (const json& element : value) {
    const auto id = token_id_of(element);
    if (!id) return std::nullopt;
    ids.push_back(*id);
  }
  return ids;
}

Result<RequestReader> RequestReader::open(const json& value, std::string path,
                                          std::string_view remedy) {
  if (value.is_object()) return RequestReader(value, std::move(path), remedy);
  auto error = fail(ErrorCode::kRequestInvalid, remedy, "{}: expected an object, found {}",
                    path.empty() ? "the body" : path, shown(value));
  error.value().field = std::move(path);
  return error;
}

const json* RequestReader::find(const char* field) {
  known_.emplace_back(field);
  const auto found = object_->find(field);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::string RequestReader::path_of(std::string_view field) const {
  return path_.empty() ? std::string(field) : fmt::format("{}.{}", path_, field);
}

tl::unexpected<Error> RequestReader::wrong(const char* field, std::string_view expected) const {
  const auto found = object_->find(field);
  return refuse(field, fmt::format("expected {}, found {}", expected,
                                   found == object_->end() ? "nothing" : shown(*found)));
}

tl::unexpected<Error> RequestReader::refuse(std::string_view field, std::string message) const {
  auto error = fail(ErrorCode::kRequestInvalid, remedy_, "{}: {}", path_of(field), message);
  error.value().field = path_of(field);
  return error;
}

Result<std::int64_t> RequestReader::integer(const char* field, std::int64_t absent,
                                            std::int64_t min, std::int64_t max) {
  const json* value = find(field);
  if (value == nullptr) return absent;
  if (const auto number = integer_of(*value); number && *number >= min && *number <= max)
    return *number;
  return wrong(field, fmt::format("an integer from {} to {}", min, max));
}

Result<float> RequestReader::number(const char* field, float absent) {
  const json* value = find(field);
  if (value == nullptr) return absent;
  if (value->is_number()) return value->get<float>();
  return wrong(field, "a number");
}

Result<bool> RequestReader::boolean(const char* field, bool absent) {
  const json* value = find(field);
  if (value == nullptr) return absent;
  if (value->is_boolean()) return value->get<bool>();
  return wrong(field, "true or false");
}

Result<std::optional<std::string>> RequestReader::text(const char* field) {
  const json* value = find(field);
  if (value == nullptr) return std::optional<std::string>();
  if (value->is_string()) return std::optional(value->get<std::string>());
  return wrong(field, "a string");
}

Result<std::optional<std::uint64_t>> RequestReader::seed(const char* field) {
  const json* value = find(field);
  if (value == nullptr) return std::optional<std::uint64_t>();
  if (value->is_number_integer()) return std::optional(value->get<std::uint64_t>());
  return wrong(field, "an integer");
}

Result<std::vector<std::int32_t>> RequestReader::token_ids(const char* field) {
  const json* value = find(field);
  if (value == nullptr) return std::vector<std::int32_t>();
  if (auto ids = token_ids_of(*value)) return *std::move(ids);
  if (!value->is_array()) return wrong(field, "a list of token ids");
  const auto stranger = std::find_if(value->begin(), value->end(),
                                     [](const json& element) { return !token_id_of(element); });
  return refuse(field, fmt::format("expected token ids, found {}", shown(*stranger)));
}

Result<std::vector<std::string>> RequestReader::texts(const char* field, std::size_t max_count) {
  const json* value = find(field);
  if (value == nullptr) return std::vector<std::string>();
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  const bool is_list =
      value->is_array() && value->size() <= max_count &&
      std::all_of(value->begin(), value->end(), [](const json& each) { return each.is_string(); });
  if (is_list) return value->get<std::vector<std::string>>();
  return wrong(field, fmt::format("a string or a list of at most {} strings", max_count));
}

Result<std::vector<std::pair<std::int32_t, float>>> RequestReader::biases(const char* field,
                                                                          std::size_t max_count) {
  std::vector<std::pair<std::int32_t, float>> biases;
  const json* value = find(field);
  if (value == nullptr) return biases;
  const std::string expected =
      fmt::format("an object of at most {} token ids with a number each", max_count);
  if (!value->is_object() || value->size() > max_count) return wrong(field, expected);
  for (const auto& [key, bias] : value->items()) {
    std::int32_t id = 0;
    const char* end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || !bias.is_number())
      return wrong(field, expected);
    biases.emplace_back(id, bias.get<float>());
  }
  return biases;
}

Result<RequestReader> RequestReader::object(const char* field) {
  const json* value = find(field);
  if (value == nullptr) return wrong(field, "an object");
  return open(*value, path_of(field), remedy_);
}

Status RequestReader::refuse_unknown() const {
  for (const auto& [field, value] : object_->items()) {
    if (std::find(known_.begin(), known_.end(), field) != known_.end()) continue;
    auto error = fail(ErrorCode::kRequestInvalid, remedy_, "{}: the field {} is unknown",
                      path_.empty() ? "the body" : path_, shown(json(field)));
    error.value().field = path_of(field);
    return error;
  }
  return {};
}

std::string_view raw_field(std::string_view body, std::string_view field) {
  std::size_t at = body.find('{') + 1;
  while (true) {
    const std::size_t key = body.find_first_of("\"}", at);
    if (key == std::string_view::npos || body[key] == '}') return {};
    const std::size_t key_end = end_of_value(body, key);
    const std::size_t begin = body.find_first_not_of(kJsonBlank, body.find(':', key_end) + 1);
    const std::size_t end = end_of_value(body, begin);
    // Keys may be written with escapes.
    if (json::parse(body.substr(key, key_end - key)).get_ref<const std::string&>() == field)
      return body.substr(begin, end - begin);
    at = end;
  }
}

std::vector<std::string_view> raw_elements(std::string_view list) {
  std::vector<std::string_view> elements;
  std::size_t at = list.find_first_not_of(kJsonBlank, list.find('[') + 1);
  while (list[at] != ']') {
    const std::size_t end = end_of_value(list, at);
    elements.push_back(list.substr(at, end - at));
    at = list.find_first_not_of(kJsonBlank, end);
    if (list[at] == ',') at = list.find_first_not_of(kJsonBlank, at + 1);
  }
  return elements;
}

}  // namespace dsl::serving
