// The API keys of a deployment: their hashes in the file that gateways read, with what each key may
// use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Unset limits do not limit.
struct ApiKey {
  std::string name;
  std::string sha256;  // 64 hexadecimal digits, of the key's text
  std::int64_t created_unix_s = 0;
  std::optional<std::int64_t> requests_per_minute;
  std::optional<std::int64_t> tokens_per_minute;
  std::optional<std::int64_t> max_streams;
  int priority = 0;  // -10 to 10, higher first

  bool operator==(const ApiKey&) const = default;
};

/// The name of the key that `up` generates.
inline constexpr const char* kDefaultKeyName = "default";

/// {"keys":[{"name":…,"sha256":…},…]}
std::string to_json(const std::vector<ApiKey>& keys);
/// Strict: kConfig names the key and the field; names are unique.
Result<std::vector<ApiKey>> parse_api_keys(std::string_view json, std::string_view origin);
Result<std::vector<ApiKey>> read_api_keys(const std::filesystem::path& path);

/// "sk-" and 64 random hexadecimal digits.
Result<std::string> make_api_key();
/// What gateways compare.
Result<std::string> hash_api_key(std::string_view key);

/// kInvalidArgument when the name is taken or is not 1 to 64 of letters, digits, - _ and dots.
Status add_api_key(std::vector<ApiKey>& keys, ApiKey key);
/// kNotFound lists the names that exist.
Status revoke_api_key(std::vector<ApiKey>& keys, std::string_view name);

}  // namespace dsl::launcher
