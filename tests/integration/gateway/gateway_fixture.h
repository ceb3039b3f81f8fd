// Tests with real processes of the demonstration model: engines, text services and a gateway.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "../../unit/checkpoint/checkpoint_files.h"
#include "../../unit/serving/child.h"
#include "../../unit/serving/raw_client.h"

namespace dsl::serving {

inline constexpr char kSecret[] = "a-secret-of-the-deployment";
inline constexpr char kKey[] = "sk-key";

/// The endpoint that a program's ready line names.
std::string endpoint_of(Child& child);
/// The contents of all chunks so far.
std::string content_of_events(const std::string& received);
/// A question whose answer takes `num_tokens` tokens. `further` is put into the body.
std::string chat(bool is_streamed = false, const std::string& further = "", int num_tokens = 60);

/// The same with an answer that is still under way when its first words are there.
std::string long_chat(bool is_streamed);

class GatewayFixture : public testing::Test {
 protected:
  void SetUp() override;

  std::filesystem::path services() const { return directory_.path() / "services"; }
  /// Keys without their hashes; the first is kKey, the others kKey-1, kKey-2, …
  void write_keys(std::vector<nlohmann::json> keys);
  void write_file(const std::filesystem::path& path, const std::string& content, mode_t mode);
  void announce(const std::string& id, const std::string& role, const std::string& endpoint,
                mode_t mode = 0600);

  static std::unique_ptr<Child> start_engine(const std::vector<std::string>& more = {});
  static std::unique_ptr<Child> start_text(const std::string& role);
  void start_gateway();

  /// The answer of a service, head included.
  static std::string get_from(const std::string& endpoint, const std::string& target,
                              const char* key);
  std::string get(const std::string& target, const char* key = kKey) {
    return get_from(endpoint_, target, key);
  }
  /// Waits until this many engines are in rotation; false after 20 s.
  bool wait_ready(int num_engines);
  /// Waits until the gateway knows of a service; false after 20 s.
  bool wait_known(const std::string& id);
  bool wait_until_shown(const std::string& target, const std::string& text);
  std::string whole_answer(const std::string& body);
  void begin_stream(RawClient& client, const std::string& body);

  const checkpoint::TemporaryDirectory directory_;
  std::unique_ptr<Child> gateway_;
  std::string endpoint_;
};

/// A metric's value, or -1. `name` with its labels.
double metric(const std::string& text, const std::string& name);

}  // namespace dsl::serving
