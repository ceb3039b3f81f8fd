// Ranks as forked processes around a rendezvous server, for tests that kill and stop them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "transport/base/deadline.h"
#include "transport/base/unique_fd.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::testing {

/// What a rank process does: returns the text that the parent reads as its result.
using RankBody = std::function<std::string(int rank, const std::string& server_address)>;

struct ForkedRanksOptions {
  int world_size = 2;
  std::chrono::milliseconds heartbeat_interval{50};
  std::chrono::milliseconds failure_deadline{1000};
  std::string listen_host = "127.0.0.1";
};

/// Forks the ranks before it starts the server's thread, so that children are copies of a
/// single-threaded process. Kills and reaps what is left at its end.
class ForkedRanks {
 public:
  ForkedRanks(ForkedRanksOptions options, const RankBody& body);
  ~ForkedRanks();
  ForkedRanks(const ForkedRanks&) = delete;
  ForkedRanks& operator=(const ForkedRanks&) = delete;

  static const std::string& secret();
  /// Options with which a rank of this world joins.
  static bootstrap::MembershipOptions membership(const ForkedRanksOptions& options, int rank,
                                                 const std::string& address);

  void signal(int rank, int number) const;
  pid_t pid(int rank) const { return children_.at(static_cast<std::size_t>(rank)).pid; }
  bootstrap::RendezvousServer& server() { return *server_; }
  void stop_server() { server_.reset(); }

  /// The next report() of a rank; nullopt at the deadline.
  std::optional<std::string> wait_report(int rank, Deadline deadline);
  /// The result text of a rank; nullopt when it ended without one or at the deadline.
  std::optional<std::string> result(int rank, Deadline deadline);
  /// The first failure that the server's owner was told, as "rank: CODE message".
  std::optional<std::string> failure();

 private:
  struct Child {
    pid_t pid = -1;
    UniqueFd address;  // the child reads the server's address here
    UniqueFd result;   // the parent reads the child's result here
  };
  struct Heard;

  std::vector<Child> children_;
  std::shared_ptr<Heard> heard_;
  std::unique_ptr<bootstrap::RendezvousServer> server_;
};

/// Open file descriptors of this process.
int count_open_fds();

}  // namespace dsl::testing
