// Takes dsengine's command line, joins the world and then behaves as the file MODEL/behaviour says:
// lines "RANK WHAT" with WHAT one of
//   silent-exit    ends with code 3 before it joins, without a word
//   error          prints an error line and ends with its exit code before it joins
//   never-join     stays away and ignores SIGTERM
//   die            kills itself when it is ready
//   stop           stops itself (SIGSTOP) when it is ready
//   stubborn       ignores the end of the world and SIGTERM
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>

#include "transport/bootstrap/rendezvous.h"

namespace {

std::map<std::string, std::string> parse(int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 1; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  return options;
}

std::string behaviour_of(const std::string& model, int rank) {
  std::ifstream file(model + "/behaviour");
  int which = 0;
  for (std::string what; file >> which >> what;) {
    if (which == rank) return what;
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  auto options = parse(argc, argv);
  const int rank = std::atoi(options["--rank"].c_str());
  const std::string behaviour = behaviour_of(options["--model"], rank);
  std::ofstream(options["--model"] + "/rank-" + options["--rank"] + ".pid")
      << getpid() << std::endl;

  if (behaviour == "silent-exit") return 3;
  if (behaviour == "error") {
    const dsl::Error error{dsl::ErrorCode::kCheckpointCorrupt, "model.safetensors: truncated",
                           "fetch it again"};
    std::fprintf(stderr, "%s\n", error.to_string().c_str());
    return dsl::exit_code(error.code);
  }
  if (behaviour == "never-join" || behaviour == "stubborn") signal(SIGTERM, SIG_IGN);
  while (behaviour == "never-join") pause();

  std::mutex mutex;
  std::condition_variable changed;
  std::optional<dsl::Error> end;
  dsl::bootstrap::MembershipOptions membership_options;
  membership_options.server_address = options["--rendezvous"];
  membership_options.rank = rank;
  membership_options.world_size =
      std::atoi(options["--tp"].c_str()) * std::atoi(options["--pp"].c_str());
  membership_options.secret = std::getenv("DSLAUNCH_SECRET");
  auto membership = dsl::bootstrap::Membership::join(
      membership_options, dsl::Deadline::after(std::chrono::seconds(20)));
  if (!membership) {
    std::fprintf(stderr, "%s\n", membership.error().to_string().c_str());
    return dsl::exit_code(membership.error().code);
  }
  (*membership)->on_end([&](const dsl::Error& error) {
    const std::scoped_lock lock(mutex);
    end = error;
    changed.notify_all();
  });
  (void)(*membership)->report(R"({"event":"load","bytes":50,"total":100})");
  (void)(*membership)
      ->report(rank == 0
                   ? R"({"event":"ready","endpoint":"127.0.0.1:1"})"
                   : R"({"event":"ready","links":[{"peer":0,"transport":"t","device":"d"}]})");
  if (behaviour == "die") raise(SIGKILL);
  if (behaviour == "stop") raise(SIGSTOP);
  while (behaviour == "stubborn") pause();
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return end.has_value(); });
  if (end->code == dsl::ErrorCode::kCancelled) return 0;
  std::fprintf(stderr, "%s\n", end->to_string().c_str());
  return dsl::exit_code(end->code);
}
