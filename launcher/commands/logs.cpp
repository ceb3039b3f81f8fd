// dslaunch logs: what the programs of a deployment have written.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/deployments.h"
#include "launcher/deployment/log_folder.h"
#include "launcher/process/cancellation.h"
#include "launcher/process/line_buffer.h"
#include "launcher/process/signal_watch.h"

namespace dsl::launcher {
namespace {

constexpr std::chrono::milliseconds kLogPollInterval{200};
constexpr std::size_t kMaxLogLineBytes = 65536;
/// Every so many polls `logs -f` looks whether the deployment is still there.
constexpr int kPollsPerLookup = 10;

struct LogFlags {
  std::string name;
  bool follow = false;
  std::optional<int> rank;
  std::optional<int> replica;
};

/// One growing file. Lines get the file's name in front when there are several.
class LogTail {
 public:
  LogTail(std::filesystem::path path, std::string label, bool as_json)
      : path_(std::move(path)), label_(std::move(label)), as_json_(as_json) {}

  /// Prints what has been added since the last call.
  void print_new() {
    std::ifstream file(path_, std::ios::binary);
    if (!file.seekg(offset_)) return;
    char buffer[65536];
    while (file.read(buffer, sizeof(buffer)), file.gcount() > 0) {
      offset_ += file.gcount();
      lines_.feed({buffer, static_cast<std::size_t>(file.gcount())},
                  [this](std::string_view line) { print_line(line); });
    }
    std::fflush(stdout);
  }
  void finish() {
    lines_.finish([this](std::string_view line) { print_line(line); });
  }

 private:
  void print_line(std::string_view line) const {
    if (as_json_) {
      const nlohmann::ordered_json object = {{"source", label_}, {"line", line}};
      std::puts(
          object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
    } else {
      fmt::print("{:<10} | {}\n", label_, line);
    }
  }

  std::filesystem::path path_;
  std::string label_;
  bool as_json_;
  std::streamoff offset_ = 0;
  LineBuffer lines_{kMaxLogLineBytes};
};

/// Opens the files of `folder` that it has not seen yet, by name.
void find_files(const std::filesystem::path& folder, const std::string& prefix,
                const LogFlags& flags, bool as_json, std::map<std::string, LogTail>& tails) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string file = entry.path().filename().string();
    if (entry.path().extension() != ".log") continue;
    if (flags.rank && file != rank_log_name(*flags.rank)) continue;
    tails.try_emplace(prefix + file, entry.path(), prefix + entry.path().stem().string(), as_json);
  }
}

/// The same in the folders of further replicas.
void find_all_files(const std::filesystem::path& folder, const LogFlags& flags, bool as_json,
                    std::map<std::string, LogTail>& tails) {
  if (flags.replica.value_or(0) == 0) find_files(folder, "", flags, as_json, tails);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory(ignored) || !name.starts_with("replica-")) continue;
    if (flags.replica && name != fmt::format("replica-{}", *flags.replica)) continue;
    find_files(entry.path(), name + "/", flags, as_json, tails);
  }
}

bool has_ended(const std::string& name) {
  const Result<DeploymentRecord> record = find_deployment(name);
  return !record || record->state == DeploymentState::kFailed;
}

Result<int> logs(const LogFlags& flags, const OutputOptions& output) {
  DSL_ASSIGN(const std::filesystem::path folder, log_folder(flags.name));
  std::map<std::string, LogTail> tails;
  find_all_files(folder, flags, output.json, tails);
  if (tails.empty()) {
    // Says whether the name is wrong or the rank.
    DSL_ASSIGN(const DeploymentRecord record, find_deployment(flags.name));
    return fail(ErrorCode::kNotFound,
                "wait until it has started, or name another --rank or --replica",
                "the deployment \"{}\" has no such log in {}", record.name, folder.string());
  }
  Cancellation cancellation;
  const SignalWatch signals([&](int signal) { cancellation.cancel(interruption(signal)); });
  for (int polls = 1;; ++polls) {
    const bool last = !flags.follow || cancellation.reason() ||
                      (polls % kPollsPerLookup == 0 && has_ended(flags.name));
    for (auto& [file, tail] : tails) tail.print_new();
    if (last) break;
    cancellation.wait(Deadline::after(kLogPollInterval));
    find_all_files(folder, flags, output.json, tails);
  }
  for (auto& [file, tail] : tails) tail.finish();
  // Ctrl-C is how one leaves it.
  if (flags.follow && cancellation.reason() && interruption_exit_code() != 128 + SIGINT) {
    return tl::unexpected<Error>(*cancellation.reason());
  }
  return 0;
}

}  // namespace

void add_logs(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("logs", "Print what a deployment has logged");
  const auto flags = std::make_shared<LogFlags>();
  FlagRules required;
  required.required = true;
  command.add_positional("NAME", &flags->name, "the deployment", required);
  command.add_flag("-f,--follow", &flags->follow, "go on until it ends or Ctrl-C");
  command.add_flag("--rank", &flags->rank, "one rank only");
  command.add_flag("--replica", &flags->replica, "one replica only");
  output.add_to(command);
  command.set_examples("  dslaunch logs demo\n  dslaunch logs demo -f --rank 0\n");
  command.set_action([flags, &output] { return logs(*flags, output); });
}

}  // namespace dsl::launcher
