// One process of a world for tests across network namespaces and machines.
//
//   transport_peer serve LISTEN_HOST WORLD_SIZE ADDRESS_FILE   the rendezvous; ends when told on
//   standard input transport_peer rank RANK WORLD_SIZE ADDRESS MODE [TRANSPORT]
//     MODE check: messages of many sizes and collectives, verified; prints every link, then "ok"
//     MODE stream: all-gathers in a loop, prints "streaming", and after an error "ended after MS
//     ms: ERROR" TRANSPORT: what links between hosts must use, e.g. rdma; DSL_ALLOW_FALLBACK=1
//     accepts tcp beside RDMA
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <numeric>
#include <string_view>

#include "transport/base/log.h"
#include "transport/bootstrap/rendezvous.h"
#include "transport/collectives/tree_sum.h"
#include "transport/collectives/wire_collectives.h"
#include "transport/ucx/ucx_wire.h"

namespace dsl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kSecret = "a secret of the tests";
constexpr std::chrono::milliseconds kHeartbeat{250};
constexpr std::size_t kSizes[] = {0, 1, 777, 16 * 1024, (1 << 20) + 1};

/// DSL_TEST_FAILURE_MS, for machines that are emulated and may stand still for seconds.
std::chrono::milliseconds failure_deadline() {
  const char* value = std::getenv("DSL_TEST_FAILURE_MS");
  return std::chrono::milliseconds(value == nullptr ? 5000 : std::atoi(value));
}

int complain(const Error& error) {
  std::fprintf(stderr, "%s\n", error.to_string().c_str());
  return exit_code(error.code);
}

int serve(const std::string& host, int world_size, const std::filesystem::path& address_file) {
  bootstrap::RendezvousEvents events;
  events.failed = [](int, const Error& error) { log_line(LogLevel::kError, error.to_string()); };
  auto server = bootstrap::RendezvousServer::start({.listen_host = host,
                                                    .world_size = world_size,
                                                    .secret = std::string(kSecret),
                                                    .heartbeat_interval = kHeartbeat,
                                                    .failure_deadline = failure_deadline()},
                                                   events);
  if (!server) return complain(server.error());
  const std::filesystem::path temporary = address_file.string() + ".new";
  std::ofstream(temporary) << (*server)->address() << std::endl;
  std::filesystem::rename(temporary, address_file);
  std::string line;
  std::getline(std::cin, line);
  return 0;
}

Deadline soon() { return Deadline::after(120s); }

std::vector<int> everyone(const wire::Wire& wire) {
  std::vector<int> members(static_cast<std::size_t>(wire.world_size()));
  std::iota(members.begin(), members.end(), 0);
  return members;
}

std::vector<std::byte> pattern(std::size_t size, int rank) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 257 + static_cast<std::size_t>(rank));
  }
  return bytes;
}

Status check_gather(collectives::WireCollectives& group, std::size_t size) {
  std::vector<std::byte> all(size * static_cast<std::size_t>(group.size()));
  DSL_TRY(group.all_gather(pattern(size, group.rank()), all, soon()));
  for (int member = 0; member < group.size(); ++member) {
    const auto expected = pattern(size, member);
    if (!std::equal(expected.begin(), expected.end(),
                    all.begin() + static_cast<std::ptrdiff_t>(size) * member)) {
      return fail(ErrorCode::kInternal, "", "{} bytes of rank {} arrived corrupt", size, member);
    }
  }
  return {};
}

Status check_reduction(collectives::WireCollectives& group, std::size_t count) {
  std::vector<std::vector<float>> parts(static_cast<std::size_t>(group.size()),
                                        std::vector<float>(count));
  std::vector<const float*> pointers;
  for (std::size_t member = 0; member < parts.size(); ++member) {
    for (std::size_t i = 0; i < count; ++i) {
      parts[member][i] = 1.0f / static_cast<float>(1 + i * parts.size() + member);
    }
    pointers.push_back(parts[member].data());
  }
  std::vector<float> expected(count);
  collectives::tree_sum(pointers, expected);
  std::vector<float>& mine = parts[static_cast<std::size_t>(group.rank())];
  DSL_TRY(group.all_reduce_tree(mine, soon()));
  if (std::memcmp(mine.data(), expected.data(), count * sizeof(float)) != 0) {
    return fail(ErrorCode::kInternal, "", "the sum of {} values has other bits", count);
  }
  return {};
}

Status check(wire::Wire& wire) {
  collectives::WireCollectives group(wire, everyone(wire), 0);
  for (const std::size_t size : kSizes) DSL_TRY(check_gather(group, size));
  for (const std::size_t count : {1ul, 4096ul, 300001ul}) DSL_TRY(check_reduction(group, count));
  DSL_TRY(group.barrier(soon()));
  for (const wire::LinkReport& link : wire.links()) {
    fmt::print("link {} {} {}\n", link.peer, link.transport, link.device);
  }
  fmt::print("ok\n");
  return {};
}

/// Streams until an error, which is what this mode is for.
void stream(wire::Wire& wire) {
  collectives::WireCollectives group(wire, everyone(wire), 0);
  const std::vector<std::byte> mine(64 * 1024);
  std::vector<std::byte> all(mine.size() * static_cast<std::size_t>(group.size()));
  auto last = Clock::now();
  for (bool first = true;; first = false) {
    const Status status = group.all_gather(mine, all, Deadline::after(60s));
    const auto now = Clock::now();
    if (!status) {
      const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(now - last);
      fmt::print("ended after {} ms: {}\n", took.count(), status.error().to_string());
      return;
    }
    last = now;
    if (first) {
      fmt::print("streaming\n");
      std::fflush(stdout);
    }
  }
}

int run_rank(int rank, int world_size, const std::string& address, const std::string& mode,
             const std::string& transport) {
  auto membership = bootstrap::Membership::join({.server_address = address,
                                                 .rank = rank,
                                                 .world_size = world_size,
                                                 .secret = std::string(kSecret),
                                                 .heartbeat_interval = kHeartbeat,
                                                 .failure_deadline = failure_deadline()},
                                                soon());
  if (!membership) return complain(membership.error());
  auto wire = ucx::connect(**membership,
                           {.required_transport = transport,
                            .allow_fallback = std::getenv("DSL_ALLOW_FALLBACK") != nullptr},
                           soon());
  if (!wire) return complain(wire.error());
  (*membership)->on_end([&wire](const Error& error) { (*wire)->abort(error); });
  if (mode == "stream") {
    stream(**wire);
    membership->reset();
    return 0;
  }
  const Status status = check(**wire);
  membership->reset();
  return status ? 0 : complain(status.error());
}

}  // namespace
}  // namespace dsl

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "serve") {
    return dsl::serve(arguments[1], std::atoi(argv[3]), arguments[3]);
  }
  if (arguments.size() >= 5 && arguments[0] == "rank") {
    dsl::set_log_identity("rank " + arguments[1]);
    return dsl::run_rank(std::atoi(argv[2]), std::atoi(argv[3]), arguments[3], arguments[4],
                         arguments.size() > 5 ? arguments[5] : "");
  }
  std::fprintf(stderr, "usage: transport_peer serve|rank ...\n");
  return 2;
}
