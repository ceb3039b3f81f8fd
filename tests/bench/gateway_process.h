// A gateway of the demonstration model in front of one engine, for benchmarks.
#pragma once

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "../unit/checkpoint/checkpoint_files.h"
#include "../unit/serving/child.h"
#include "transport/base/crypto.h"

namespace dsl::serving {

inline constexpr char kSecret[] = "bench-secret";
inline constexpr char kKey[] = "bench-key";

/// What `"endpoint":"…"` in a ready line says; empty when none comes.
inline std::string endpoint_of(Child& child) {
  constexpr std::string_view kField = "\"endpoint\":\"";
  if (!child.read_until(kField)) return {};
  const std::size_t at = child.text().find(kField) + kField.size();
  if (!child.read_until("}\n")) return {};
  return child.text().substr(at, child.text().find('"', at) - at);
}

/// Owns the process and its folder.
class GatewayProcess {
 public:
  explicit GatewayProcess(const std::string& engine_endpoint)
      : child_(prepare(engine_endpoint), kSecret), endpoint_(endpoint_of(child_)) {}

  pid_t pid() const { return child_.pid(); }
  /// Empty when it could not start.
  const std::string& endpoint() const { return endpoint_; }

 private:
  void write(const std::string& name, const std::string& content) const {
    ::chmod(directory_.write(name, content).c_str(), 0600);
  }
  /// Writes its files; its command line.
  std::vector<std::string> prepare(const std::string& engine_endpoint) const {
    const std::string key = kKey;
    write("keys", fmt::format(R"({{"keys":[{{"name":"bench","sha256":"{}"}}]}})",
                              to_hex(*sha256(std::as_bytes(std::span(key))))));
    const auto services = directory_.path() / "services";
    std::filesystem::create_directory(services);
    ::chmod(services.c_str(), 0700);
    write("services/e0.json",
          fmt::format(R"({{"id":"e0","role":"engine","endpoint":"{}","state":"ready"}})",
                      engine_endpoint));
    return {DSL_GATEWAY_BINARY,
            "--model",
            std::string(DSL_TEST_DATA_DIR) + "/demo_model/arith-bf16",
            "--served-model-name",
            "demo",
            "--services",
            (directory_.path() / "services").string(),
            "--keys",
            (directory_.path() / "keys").string()};
  }

  const checkpoint::TemporaryDirectory directory_;
  Child child_;
  const std::string endpoint_;
};

}  // namespace dsl::serving
