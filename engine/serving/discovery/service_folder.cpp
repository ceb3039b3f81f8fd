#include "engine/serving/discovery/service_folder.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "engine/serving/discovery/own_file.h"
#include "transport/base/log.h"
#include "transport/base/strict_json.h"
#include "transport/base/unique_fd.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxFileBytes = 64 * 1024;
/// Where inotify does not work (some network file systems) changes are seen this late.
constexpr int kLookEveryMs = 500;
constexpr std::string_view kSettingsFile = "settings.json";
constexpr std::string_view kRemedy = "let dslaunch write the services folder";

tl::unexpected<Error> malformed(std::string_view origin, std::string_view what) {
  return fail(ErrorCode::kConfig, kRemedy, "{}: {}", origin, what);
}

Result<std::string> text_of(const json& object, const char* field, std::string_view origin) {
  const auto found = object.find(field);
  if (found == object.end()) return std::string();
  if (found->is_string()) return found->get<std::string>();
  return malformed(origin, fmt::format("{}: expected a string", field));
}

Result<std::int64_t> integer_of(const json& object, const char* field, std::int64_t absent,
                                std::string_view origin) {
  const auto found = object.find(field);
  if (found == object.end()) return absent;
  if (found->is_number_integer()) return found->get<std::int64_t>();
  return malformed(origin, fmt::format("{}: expected an integer", field));
}

std::optional<ServiceRole> role_of(std::string_view name) {
  if (name == "engine") return ServiceRole::kEngine;
  if (name == "preprocess") return ServiceRole::kPreprocess;
  if (name == "postprocess") return ServiceRole::kPostprocess;
  if (name == "gateway") return ServiceRole::kGateway;
  return std::nullopt;
}

bool is_own(const struct stat& status) {
  return status.st_uid == ::geteuid() && (status.st_mode & 077) == 0;
}

Result<std::string> parse_settings(std::string_view text, std::string_view origin) {
  DSL_ASSIGN(const json settings, parse_json(text, origin, ErrorCode::kConfig));
  if (!settings.is_object()) return malformed(origin, "expected an object");
  return text_of(settings, "routing_policy", origin);
}

/// "host:port", or "unix:PATH" of a gateway.
bool is_endpoint(std::string_view text) {
  if (text.starts_with("unix:/")) return true;
  const std::size_t colon = text.rfind(':');
  return colon != std::string_view::npos && colon > 0 && colon + 1 < text.size() &&
         text.find_first_of(" \t\r\n/") == std::string_view::npos &&
         text.find_first_not_of("0123456789", colon + 1) == std::string_view::npos;
}

class WatchedFolder final : public ServiceFolder {
 public:
  WatchedFolder(std::filesystem::path folder, Listener on_change)
      : folder_(std::move(folder)), on_change_(std::move(on_change)) {}
  ~WatchedFolder() override {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    (void)!::write(stop_.get(), &one, sizeof one);
    thread_.join();
  }

  Status start() {
    struct stat status {};
    if (::stat(folder_.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
      return fail(ErrorCode::kNotFound, "give the folder that dslaunch made",
                  "{} is no services folder: {}", folder_.string(), std::strerror(errno));
    }
    if (!is_own(status)) {
      return fail(ErrorCode::kPermission, "give a folder of this user with mode 0700",
                  "{}: others can look into the services folder", folder_.string());
    }
    stop_.reset(::eventfd(0, EFD_CLOEXEC));
    // Without inotify the periodic look is all there is.
    changes_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (changes_.valid()) {
      (void)::inotify_add_watch(changes_.get(), folder_.c_str(),
                                IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE);
    }
    thread_ = std::thread([this] { follow(); });
    return {};
  }

 private:
  void follow() {
    std::optional<ServiceList> known;
    while (true) {
      ServiceList now = read();
      if (!known || now != *known) {
        known = now;
        on_change_(std::move(now));
      }
      std::array<pollfd, 2> entries{{{stop_.get(), POLLIN, 0}, {changes_.get(), POLLIN, 0}}};
      ::poll(entries.data(), changes_.valid() ? 2 : 1, kLookEveryMs);
      if (entries[0].revents != 0) return;
      std::array<char, 4096> ignored;
      while (changes_.valid() && ::read(changes_.get(), ignored.data(), ignored.size()) > 0) {
      }
    }
  }

  ServiceList read() {
    ServiceList list;
    std::error_code error;
    for (const auto& file : std::filesystem::directory_iterator(folder_, error)) {
      const std::string name = file.path().filename().string();
      // Files that are being written have other names.
      if (!name.ends_with(".json") || name.starts_with('.')) continue;
      const Status status = take(file.path(), name, list);
      if (!status) warn_once(file.path(), status.error());
    }
    std::sort(list.entries.begin(), list.entries.end(),
              [](const ServiceEntry& a, const ServiceEntry& b) { return a.id < b.id; });
    return list;
  }

  Status take(const std::filesystem::path& path, const std::string& name, ServiceList& list) {
    DSL_ASSIGN(const std::string content, read_own_file(path, kMaxFileBytes, kRemedy));
    if (name == kSettingsFile) {
      DSL_ASSIGN(list.routing_policy, parse_settings(content, path.string()));
      return {};
    }
    DSL_ASSIGN(ServiceEntry entry, parse_service_entry(content, path.string()));
    if (entry.id + ".json" != name) {
      return malformed(path.string(), fmt::format("holds an entry with the id {}", entry.id));
    }
    list.entries.push_back(std::move(entry));
    return {};
  }

  void warn_once(const std::filesystem::path& path, const Error& error) {
    std::string stamp = file_stamp(path);
    std::string& warned = warned_[path.string()];
    if (stamp.empty() || stamp == warned) return;  // gone in the meantime, or known
    warned = std::move(stamp);
    log(LogLevel::kWarning, "service entry left out: {}", error.to_string());
  }

  const std::filesystem::path folder_;
  const Listener on_change_;
  UniqueFd stop_;
  UniqueFd changes_;
  std::map<std::string, std::string> warned_;  // path to the version that a warning was for
  std::thread thread_;
};

}  // namespace

Result<ServiceEntry> parse_service_entry(std::string_view text, std::string_view origin) {
  DSL_ASSIGN(const json object, parse_json(text, origin, ErrorCode::kConfig));
  if (!object.is_object()) return malformed(origin, "expected an object");
  ServiceEntry entry;
  DSL_ASSIGN(entry.id, text_of(object, "id", origin));
  DSL_ASSIGN(entry.endpoint, text_of(object, "endpoint", origin));
  DSL_ASSIGN(const std::string role, text_of(object, "role", origin));
  DSL_ASSIGN(const std::string state, text_of(object, "state", origin));
  DSL_ASSIGN(entry.version, text_of(object, "version", origin));
  DSL_ASSIGN(entry.model, text_of(object, "model", origin));
  DSL_ASSIGN(entry.host, text_of(object, "host", origin));
  DSL_ASSIGN(entry.launch_id, text_of(object, "launch_id", origin));
  DSL_ASSIGN(entry.pid, integer_of(object, "pid", 0, origin));
  DSL_ASSIGN(const std::int64_t tp, integer_of(object, "tp", 1, origin));
  DSL_ASSIGN(const std::int64_t pp, integer_of(object, "pp", 1, origin));
  entry.tp = static_cast<int>(tp);
  entry.pp = static_cast<int>(pp);
  if (entry.id.empty()) return malformed(origin, "id: expected a name");
  if (!is_endpoint(entry.endpoint)) return malformed(origin, "endpoint: expected host:port");
  const auto known_role = role_of(role);
  if (!known_role)
    return malformed(origin, "role: expected engine, preprocess, postprocess or gateway");
  entry.role = *known_role;
  if (state != "ready" && state != "draining") {
    return malformed(origin, "state: expected ready or draining");
  }
  entry.is_draining = state == "draining";
  return entry;
}

Result<std::unique_ptr<ServiceFolder>> ServiceFolder::watch(std::filesystem::path folder,
                                                            Listener on_change) {
  auto watched = std::make_unique<WatchedFolder>(std::move(folder), std::move(on_change));
  DSL_TRY(watched->start());
  return watched;
}

}  // namespace dsl::serving
