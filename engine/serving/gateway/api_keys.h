// The file of API keys: who may use the gateway, and how much.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/crypto.h"
#include "transport/base/error.h"

namespace dsl::serving {

struct ApiKey {
  std::string name;
  Digest sha256{};  // of the key: the file is worth nothing to a thief
  std::optional<double> requests_per_minute;
  std::optional<double> tokens_per_minute;
  std::optional<std::int64_t> max_streams;
  std::int32_t priority = 0;
};

/// kConfig names the field at fault.
Result<std::vector<ApiKey>> parse_api_keys(std::string_view json, std::string_view origin);

/// The keys file, read again when it changes. Thread-compatible.
class ApiKeyFile {
 public:
  /// kIo, kPermission (not this user's alone), kConfig.
  static Result<ApiKeyFile> open(std::filesystem::path path);

  const std::vector<ApiKey>& keys() const { return keys_; }
  /// Looks at the file; true when it was read anew. A changed file that cannot be used leaves the
  /// former keys in force, which is logged once; a file that is gone leaves none.
  bool reload_if_changed();

 private:
  explicit ApiKeyFile(std::filesystem::path path) : path_(std::move(path)) {}
  Result<std::vector<ApiKey>> read() const;
  std::string stamp() const;

  std::filesystem::path path_;
  std::string stamp_;
  std::vector<ApiKey> keys_;
};

}  // namespace dsl::serving
