#include "engine/serving/gateway/api_keys.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "engine/serving/discovery/own_file.h"
#include "transport/base/log.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::string_view kRemedy = "let dslaunch keys write the file";
constexpr std::int64_t kMaxFileBytes = 4 << 20;
constexpr std::int32_t kMaxPriority = 10;

tl::unexpected<Error> malformed(std::string_view origin, std::string_view what) {
  return fail(ErrorCode::kConfig, kRemedy, "{}: {}", origin, what);
}

std::optional<Digest> digest_of(std::string_view hex) {
  Digest digest{};
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    unsigned value = 0;
    const char* begin = hex.data() + 2 * i;
    const auto parsed = std::from_chars(begin, begin + 2, value, 16);
    if (parsed.ec != std::errc() || parsed.ptr != begin + 2) return std::nullopt;
    digest[i] = static_cast<std::byte>(value);
  }
  return digest;
}

/// A limit that may be absent: a number above zero.
Result<std::optional<double>> limit_of(const json& object, const char* field,
                                       std::string_view origin) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return std::optional<double>();
  if (found->is_number() && found->get<double>() > 0) return std::optional(found->get<double>());
  return malformed(origin, fmt::format("{}: expected a number above zero", field));
}

Result<ApiKey> parse_key(const json& object, std::string_view origin) {
  if (!object.is_object()) return malformed(origin, "keys: expected objects");
  ApiKey key;
  const auto name = object.find("name");
  if (name == object.end() || !name->is_string() || name->get_ref<const std::string&>().empty() ||
      name->get_ref<const std::string&>().size() > 64) {
    return malformed(origin, "keys: expected a name of 1 to 64 bytes");
  }
  key.name = name->get<std::string>();
  const auto sha256 = object.find("sha256");
  const auto digest = sha256 != object.end() && sha256->is_string()
                          ? digest_of(sha256->get_ref<const std::string&>())
                          : std::nullopt;
  if (!digest)
    return malformed(origin, fmt::format("{}: sha256: expected 64 hex digits", key.name));
  key.sha256 = *digest;
  DSL_ASSIGN(key.requests_per_minute, limit_of(object, "requests_per_minute", origin));
  DSL_ASSIGN(key.tokens_per_minute, limit_of(object, "tokens_per_minute", origin));
  DSL_ASSIGN(const auto max_streams, limit_of(object, "max_streams", origin));
  if (max_streams) key.max_streams = static_cast<std::int64_t>(*max_streams);
  const auto priority = object.find("priority");
  if (priority != object.end()) {
    if (!priority->is_number_integer() || std::abs(priority->get<std::int64_t>()) > kMaxPriority) {
      return malformed(origin, fmt::format("{}: priority: expected an integer from {} to {}",
                                           key.name, -kMaxPriority, kMaxPriority));
    }
    key.priority = priority->get<std::int32_t>();
  }
  return key;
}

}  // namespace

Result<std::vector<ApiKey>> parse_api_keys(std::string_view text, std::string_view origin) {
  DSL_ASSIGN(const json object, parse_json(text, origin, ErrorCode::kConfig));
  const auto list = object.is_object() ? object.find("keys") : object.end();
  if (!object.is_object() || list == object.end() || !list->is_array()) {
    return malformed(origin, "expected an object with a list of keys");
  }
  std::vector<ApiKey> keys;
  for (const json& element : *list) {
    DSL_ASSIGN(ApiKey key, parse_key(element, origin));
    const bool is_known = std::any_of(keys.begin(), keys.end(),
                                      [&](const ApiKey& other) { return other.name == key.name; });
    if (is_known) return malformed(origin, fmt::format("two keys have the name {}", key.name));
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<ApiKeyFile> ApiKeyFile::open(std::filesystem::path path) {
  ApiKeyFile file(std::move(path));
  file.stamp_ = file.stamp();
  DSL_ASSIGN(file.keys_, file.read());
  return file;
}

Result<std::vector<ApiKey>> ApiKeyFile::read() const {
  DSL_ASSIGN(const std::string content, read_own_file(path_, kMaxFileBytes, kRemedy));
  return parse_api_keys(content, path_.string());
}

std::string ApiKeyFile::stamp() const { return file_stamp(path_); }

bool ApiKeyFile::reload_if_changed() {
  std::string now = stamp();
  if (now == stamp_) return false;
  stamp_ = std::move(now);
  if (stamp_.empty()) {
    log(LogLevel::kWarning, "the keys file {} is gone: no key is valid", path_.string());
    keys_.clear();
    return true;
  }
  auto keys = read();
  if (!keys) {
    log(LogLevel::kWarning, "{}; the former keys stay in force", keys.error().to_string());
    return false;
  }
  keys_ = *std::move(keys);
  return true;
}

}  // namespace dsl::serving
