// API keys: their file, their rates.
#include "engine/serving/gateway/admission.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "../checkpoint/checkpoint_files.h"

namespace dsl::serving {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;
using Clock = AdmissionClock;

std::string hash_of(std::string_view key) { return to_hex(*sha256(std::as_bytes(std::span(key)))); }

ApiKey key(const std::string& name, const std::string& secret) {
  ApiKey result;
  result.name = name;
  result.sha256 = *sha256(std::as_bytes(std::span(secret)));
  return result;
}

TEST(ApiKeysTest, AreReadWithTheirLimits) {
  const auto keys = parse_api_keys(
      R"({"keys":[{"name":"a","sha256":")" + hash_of("k") +
          R"(","created_unix_s":1,"requests_per_minute":60,"max_streams":2,"priority":-3}]})",
      "file");
  ASSERT_TRUE(keys.has_value()) << keys.error().message;
  ASSERT_EQ(keys->size(), 1u);
  EXPECT_EQ((*keys)[0].requests_per_minute, 60);
  EXPECT_EQ((*keys)[0].max_streams, 2);
  EXPECT_EQ((*keys)[0].priority, -3);
  EXPECT_FALSE((*keys)[0].tokens_per_minute.has_value());
}

TEST(ApiKeysTest, MalformedFilesNameTheField) {
  const std::string good = hash_of("k");
  const std::pair<std::string, const char*> cases[] = {
      {"[]", "list of keys"},
      {R"({"keys":{}})", "list of keys"},
      {R"({"keys":[{"sha256":")" + good + R"("}]})", "name"},
      {R"({"keys":[{"name":"a","sha256":"12"}]})", "sha256"},
      {R"({"keys":[{"name":"a","sha256":")" + std::string(64, 'g') + R"("}]})", "sha256"},
      {R"({"keys":[{"name":"a","sha256":")" + good + R"(","requests_per_minute":0}]})",
       "requests_per_minute"},
      {R"({"keys":[{"name":"a","sha256":")" + good + R"(","priority":11}]})", "priority"},
      {R"({"keys":[{"name":"a","sha256":")" + good + R"("},{"name":"a","sha256":")" + good +
           R"("}]})",
       "two keys"},
  };
  for (const auto& [text, message] : cases) {
    const auto keys = parse_api_keys(text, "file");
    ASSERT_FALSE(keys.has_value()) << text;
    EXPECT_THAT(keys.error().message, HasSubstr(message)) << text;
  }
}

TEST(ApiKeysTest, TheFileIsFollowedAndMustBePrivate) {
  const checkpoint::TemporaryDirectory directory;
  const auto path =
      directory.write("keys", R"({"keys":[{"name":"a","sha256":")" + hash_of("k") + R"("}]})");
  ::chmod(path.c_str(), 0640);
  const auto open = ApiKeyFile::open(path);
  ASSERT_FALSE(open.has_value());
  EXPECT_EQ(open.error().code, ErrorCode::kPermission);
  ::chmod(path.c_str(), 0600);
  auto file = ApiKeyFile::open(path);
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ(file->keys().size(), 1u);
  EXPECT_FALSE(file->reload_if_changed());
  directory.write("keys", "broken");
  EXPECT_FALSE(file->reload_if_changed());
  EXPECT_EQ(file->keys().size(), 1u) << "the former keys stay in force";
  directory.write("keys", R"({"keys":[]})");
  EXPECT_TRUE(file->reload_if_changed());
  EXPECT_TRUE(file->keys().empty());
}

TEST(AdmissionTest, OnlyKnownKeysAreFoundAndRevokedOnesAreNot) {
  const auto now = Clock::now();
  Admission admission;
  admission.set_keys({key("a", "one"), key("b", "two")}, now);
  ASSERT_TRUE(admission.find("two"));
  EXPECT_EQ(admission.find("two")->key.name, "b");
  for (const char* wrong : {"", "on", "one ", "three"})
    EXPECT_FALSE(admission.find(wrong)) << wrong;
  admission.set_keys({key("a", "one")}, now);
  EXPECT_FALSE(admission.find("two"));
  EXPECT_TRUE(admission.find("one"));
}

TEST(AdmissionTest, RequestsAboveTheRateAreToldWhenToComeBack) {
  auto now = Clock::now();
  ApiKey limited = key("a", "one");
  limited.requests_per_minute = 6;
  Admission admission;
  admission.set_keys({limited}, now);
  const auto state = admission.find("one");
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(admission.admit(*state, now).has_value());
  const auto refused = admission.admit(*state, now);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().error.code, ErrorCode::kOverloaded);
  EXPECT_EQ(refused.error().retry_after_s, 10);
  now += 10s;
  EXPECT_TRUE(admission.admit(*state, now).has_value());
  EXPECT_FALSE(admission.admit(*state, now).has_value());
}

TEST(AdmissionTest, ReadingTheFileAgainDoesNotRefillTheRates) {
  const auto now = Clock::now();
  ApiKey limited = key("a", "one");
  limited.requests_per_minute = 1;
  Admission admission;
  admission.set_keys({limited}, now);
  EXPECT_TRUE(admission.admit(*admission.find("one"), now).has_value());
  admission.set_keys({limited}, now);
  EXPECT_FALSE(admission.admit(*admission.find("one"), now).has_value());
}

TEST(AdmissionTest, TokensMayGoIntoDebtWhichMustBeWaitedOut) {
  const auto now = Clock::now();
  ApiKey limited = key("a", "one");
  limited.tokens_per_minute = 60;
  Admission admission;
  admission.set_keys({limited}, now);
  const auto state = admission.find("one");
  EXPECT_TRUE(admission.admit(*state, now).has_value());
  state->tokens.take(89, now);
  const auto refused = admission.admit(*state, now);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().retry_after_s, 30);
  EXPECT_TRUE(admission.admit(*state, now + 31s).has_value());
}

TEST(AdmissionTest, AKeyHasNoMoreStreamsThanItMay) {
  const auto now = Clock::now();
  ApiKey limited = key("a", "one");
  limited.max_streams = 1;
  Admission admission;
  admission.set_keys({limited}, now);
  const auto state = admission.find("one");
  EXPECT_TRUE(admission.admit(*state, now).has_value());
  state->num_streams = 1;
  EXPECT_FALSE(admission.admit(*state, now).has_value());
}

}  // namespace
}  // namespace dsl::serving
