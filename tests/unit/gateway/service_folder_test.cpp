// The services folder: right entries, forged ones, changes.
#include "engine/serving/discovery/service_folder.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "../checkpoint/checkpoint_files.h"

namespace dsl::serving {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

std::string entry_json(const std::string& id, const std::string& state = "ready") {
  return R"({"id":")" + id + R"(","role":"engine","endpoint":"127.0.0.1:80","state":")" + state +
         R"(","version":"1","model":"m","tp":2,"pp":3,"launch_id":"l","pid":4,"host":"n1"})";
}

class ServiceFolderTest : public testing::Test {
 protected:
  /// Written under another name and moved, as the controller does.
  void write(const std::string& name, const std::string& content, mode_t mode = 0600) {
    const auto path = directory_.write("." + name + ".new", content);
    ::chmod(path.c_str(), mode);
    std::filesystem::rename(path, directory_.path() / name);
  }
  void watch() {
    auto folder = ServiceFolder::watch(directory_.path(), [this](ServiceList list) {
      const std::scoped_lock lock(mutex_);
      list_ = std::move(list);
      changed_.notify_all();
    });
    ASSERT_TRUE(folder.has_value()) << folder.error().message;
    folder_ = *std::move(folder);
  }
  /// False when the list is not like that within 2 s, as promised.
  bool wait_for(const std::function<bool(const ServiceList&)>& is_so) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 2s, [&] { return is_so(list_); });
  }
  bool wait_for_ids(const std::vector<std::string>& ids) {
    return wait_for([&](const ServiceList& list) {
      std::vector<std::string> found;
      for (const ServiceEntry& entry : list.entries) found.push_back(entry.id);
      return found == ids;
    });
  }

  const checkpoint::TemporaryDirectory directory_;
  std::mutex mutex_;
  std::condition_variable changed_;
  ServiceList list_;
  std::unique_ptr<ServiceFolder> folder_;
};

TEST_F(ServiceFolderTest, EntriesAppearChangeAndGo) {
  write("e0.json", entry_json("e0"));
  watch();
  ASSERT_TRUE(wait_for_ids({"e0"}));
  write("e1.json", entry_json("e1"));
  EXPECT_TRUE(wait_for_ids({"e0", "e1"}));
  write("e0.json", entry_json("e0", "draining"));
  EXPECT_TRUE(wait_for([](const ServiceList& list) {
    return list.entries.size() == 2 && list.entries[0].is_draining;
  }));
  std::filesystem::remove(directory_.path() / "e0.json");
  EXPECT_TRUE(wait_for_ids({"e1"}));
}

TEST_F(ServiceFolderTest, SettingsAreFollowed) {
  watch();
  write("settings.json", R"({"routing_policy":"prefix"})");
  EXPECT_TRUE(wait_for([](const ServiceList& list) { return list.routing_policy == "prefix"; }));
}

TEST_F(ServiceFolderTest, FilesThatOthersCouldHaveWrittenOrReadAreLeftOut) {
  write("bad1.json", entry_json("bad1"), 0640);
  write("bad2.json", entry_json("bad2"), 0606);
  write("bad3.json", "{");
  write("bad4.json", entry_json("another"));
  std::filesystem::create_directory(directory_.path() / "bad5.json");
  const auto outside = directory_.write("outside", entry_json("bad6"));
  ::chmod(outside.c_str(), 0600);
  std::filesystem::create_symlink(outside, directory_.path() / "bad6.json");
  write("bad7.json", std::string(100'000, ' ') + entry_json("bad7"));
  write("good.json", entry_json("good"));
  watch();
  EXPECT_TRUE(wait_for_ids({"good"}));
}

TEST_F(ServiceFolderTest, AFolderThatOthersCanEnterIsRefused) {
  ::chmod(directory_.path().c_str(), 0755);
  const auto folder = ServiceFolder::watch(directory_.path(), [](const ServiceList&) {});
  ASSERT_FALSE(folder.has_value());
  EXPECT_EQ(folder.error().code, ErrorCode::kPermission);
}

TEST(ServiceEntryTest, HasItsFields) {
  const auto entry = parse_service_entry(entry_json("e0"), "e0.json");
  ASSERT_TRUE(entry.has_value()) << entry.error().message;
  EXPECT_EQ(entry->role, ServiceRole::kEngine);
  EXPECT_EQ(entry->endpoint, "127.0.0.1:80");
  EXPECT_EQ(entry->tp, 2);
  EXPECT_EQ(entry->pp, 3);
  EXPECT_EQ(entry->pid, 4);
}

TEST(ServiceEntryTest, WrongFieldsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "object"},
      {R"({"id":1})", "id"},
      {R"({"id":"a","endpoint":"nowhere"})", "endpoint"},
      {R"({"id":"a","endpoint":"h:1/x"})", "endpoint"},
      {R"({"id":"a","endpoint":"h:1","role":"boss"})", "role"},
      {R"({"id":"a","endpoint":"h:1","role":"engine","state":"?"})", "state"},
      {R"({"id":"a","endpoint":"h:1","role":"engine","state":"ready","tp":"2"})", "tp"},
  };
  for (const auto& [text, field] : cases) {
    const auto entry = parse_service_entry(text, "file");
    ASSERT_FALSE(entry.has_value()) << text;
    EXPECT_THAT(entry.error().message, HasSubstr(field)) << text;
  }
}

}  // namespace
}  // namespace dsl::serving
