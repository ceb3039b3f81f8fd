#include "launcher/deployment/api_keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "launcher/deployment/private_files.h"
#include "transport/base/crypto.h"
#include "transport/base/strict_json.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxFileBytes = 4 << 20;
constexpr std::size_t kHashDigits = 64;
constexpr int kMaxPriority = 10;
constexpr std::string_view kKeysRemedy = "see docs/operations.md, keys";

struct Limit {
  const char* field;
  std::optional<std::int64_t> ApiKey::*member;
};
constexpr Limit kLimits[] = {{"requests_per_minute", &ApiKey::requests_per_minute},
                             {"tokens_per_minute", &ApiKey::tokens_per_minute},
                             {"max_streams", &ApiKey::max_streams}};

bool is_key_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

bool is_hash(std::string_view text) {
  return text.size() == kHashDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

/// Reads one key, or says which field is wrong.
tl::expected<ApiKey, std::string> read_key(const json& object) {
  static const std::set<std::string> known = {
      "name",        "sha256",  "created_unix_s", "requests_per_minute", "tokens_per_minute",
      "max_streams", "priority"};
  if (!object.is_object()) return tl::unexpected<std::string>("not an object");
  ApiKey key;
  for (const auto& [field, value] : object.items()) {
    if (known.count(field) == 0) return tl::unexpected<std::string>(field + " is not known");
    const bool is_text = field == "name" || field == "sha256";
    if (is_text ? !value.is_string() : !value.is_number_integer()) {
      return tl::unexpected<std::string>(field + " has another type");
    }
  }
  key.name = object.value("name", "");
  key.sha256 = object.value("sha256", "");
  key.created_unix_s = object.value("created_unix_s", std::int64_t{0});
  key.priority = object.value("priority", 0);
  for (const Limit& limit : kLimits) {
    if (!object.contains(limit.field)) continue;
    key.*limit.member = object.at(limit.field).get<std::int64_t>();
    if (*(key.*limit.member) < 1)
      return tl::unexpected<std::string>(std::string(limit.field) + " is below 1");
  }
  if (!is_key_name(key.name)) return tl::unexpected<std::string>("name is no name of a key");
  if (!is_hash(key.sha256)) return tl::unexpected<std::string>("sha256 is no SHA-256");
  if (std::abs(key.priority) > kMaxPriority) {
    return tl::unexpected<std::string>("priority is not -10 to 10");
  }
  return key;
}

}  // namespace

std::string to_json(const std::vector<ApiKey>& keys) {
  json list = json::array();
  for (const ApiKey& key : keys) {
    json object = {{"name", key.name},
                   {"sha256", key.sha256},
                   {"created_unix_s", key.created_unix_s},
                   {"priority", key.priority}};
    for (const Limit& limit : kLimits) {
      if (const auto& value = key.*limit.member) object[limit.field] = *value;
    }
    list.push_back(std::move(object));
  }
  return json{{"keys", list}}.dump(1) + "\n";
}

Result<std::vector<ApiKey>> parse_api_keys(std::string_view text, std::string_view origin) {
  DSL_ASSIGN(const json document, parse_json(text, origin, ErrorCode::kConfig));
  if (!document.is_object() || document.size() != 1 || !document.contains("keys") ||
      !document["keys"].is_array()) {
    return fail(ErrorCode::kConfig, kKeysRemedy, "{}: expected {{\"keys\":[…]}}", origin);
  }
  std::vector<ApiKey> keys;
  for (const json& object : document["keys"]) {
    auto key = read_key(object);
    if (!key) {
      return fail(ErrorCode::kConfig, kKeysRemedy, "{}: key {}: {}", origin, keys.size() + 1,
                  key.error());
    }
    Status added = add_api_key(keys, *std::move(key));
    if (!added) {
      added.error().code = ErrorCode::kConfig;
      return tl::unexpected<Error>(std::move(added).error().within(origin));
    }
  }
  return keys;
}

Result<std::vector<ApiKey>> read_api_keys(const std::filesystem::path& path) {
  DSL_ASSIGN(const std::string text, read_private_file(path, kMaxFileBytes));
  return parse_api_keys(text, path.string());
}

Result<std::string> make_api_key() {
  DSL_ASSIGN(const std::string random, bootstrap::make_secret());
  return "sk-" + random;
}

Result<std::string> hash_api_key(std::string_view key) {
  DSL_ASSIGN(const Digest digest, sha256(std::as_bytes(std::span(key))));
  return to_hex(digest);
}

Status add_api_key(std::vector<ApiKey>& keys, ApiKey key) {
  if (!is_key_name(key.name)) {
    return fail(ErrorCode::kInvalidArgument, "use a name such as \"team-1\"",
                "the key name \"{}\" is not 1 to 64 of letters, digits, - _ and dots", key.name);
  }
  const auto same = [&](const ApiKey& other) { return other.name == key.name; };
  if (std::any_of(keys.begin(), keys.end(), same)) {
    return fail(ErrorCode::kInvalidArgument, "use another name, or revoke the old key first",
                "there is a key \"{}\" already", key.name);
  }
  keys.push_back(std::move(key));
  return {};
}

Status revoke_api_key(std::vector<ApiKey>& keys, std::string_view name) {
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const ApiKey& key) { return key.name == name; });
  if (found != keys.end()) {
    keys.erase(found);
    return {};
  }
  std::string names;
  for (const ApiKey& key : keys) names += names.empty() ? key.name : ", " + key.name;
  return fail(ErrorCode::kNotFound, "see: dslaunch keys NAME list",
              "there is no key \"{}\" (there {})", name,
              names.empty() ? "is none" : "are: " + names);
}

}  // namespace dsl::launcher
