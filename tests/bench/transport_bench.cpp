// One-way latency, bandwidth and all-reduce time of the UCX wire between processes of this machine.
//
//   transport_bench [REPEATS] [pair|reduce]      UCX_TLS and the other UCX_* variables choose the
//   transport
//
// Every measurement checks the data first, then prints the median of REPEATS (at least 7) runs.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <thread>

#include "tests/unit/transport/wire_world.h"
#include "transport/collectives/tree_sum.h"
#include "transport/collectives/wire_collectives.h"

namespace dsl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using wire::Request;
using wire::Wire;

constexpr std::size_t kActivationBytes = 16 * 1024;
constexpr std::size_t kLargeBytes = 1 << 20;
constexpr int kPingPongs = 1000;
constexpr int kLargeMessages = 300;
constexpr std::size_t kWindow = 4;
constexpr int kReductions = 200;

int repeats = 9;

Deadline soon() { return Deadline::after(60s); }

wire::Tag tag(std::uint64_t sequence) { return make_tag(wire::Channel::kTest, 0, sequence); }

void require(const Status& status) {
  if (status) return;
  std::fprintf(stderr, "%s\n", status.error().to_string().c_str());
  std::_Exit(1);
}

Request require(const Result<Request>& request) {
  if (request) return *request;
  std::fprintf(stderr, "%s\n", request.error().to_string().c_str());
  std::_Exit(1);
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::_Exit(1);
}

void send(Wire& wire, int peer, std::uint64_t sequence, ConstBytes data) {
  require(wire.wait(require(wire.send(peer, tag(sequence), data)), soon()));
}

void receive(Wire& wire, int peer, std::uint64_t sequence, MutableBytes data) {
  require(wire.wait(require(wire.receive(peer, tag(sequence), data)), soon()));
}

/// Bytes that begin on a page, as the engine's activations do.
class PageAligned {
 public:
  explicit PageAligned(std::size_t size)
      : data_(static_cast<std::byte*>(::operator new(size, kPage))), size_(size) {
    std::memset(data_, 1, size);
  }
  ~PageAligned() { ::operator delete(data_, kPage); }
  PageAligned(const PageAligned&) = delete;
  PageAligned& operator=(const PageAligned&) = delete;
  MutableBytes bytes() { return {data_, size_}; }

 private:
  static constexpr std::align_val_t kPage{4096};
  std::byte* data_;
  std::size_t size_;
};

std::vector<std::byte> pattern(std::size_t size, int seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>(i * 131 + i / 251 + static_cast<std::size_t>(seed));
  return bytes;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Median over the repeats of what `once` returns; the first run warms up.
template <typename Function>
double measure(Function once) {
  once();
  std::vector<double> values;
  for (int i = 0; i < repeats; ++i) values.push_back(once());
  return median(values);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_echo(Wire& wire, std::size_t size) {
  const auto mine = pattern(size, wire.rank());
  std::vector<std::byte> other(size);
  const Request incoming = require(wire.receive(1 - wire.rank(), tag(0), other));
  send(wire, 1 - wire.rank(), 0, mine);
  require(wire.wait(incoming, soon()));
  require(other == pattern(size, 1 - wire.rank()), "corrupt message");
}

/// Microseconds one way: the median of half round trips, which a busy machine disturbs least. Like
/// ucx_perftest it sends from one buffer and receives into another.
double ping_pong(Wire& wire) {
  PageAligned outgoing(kActivationBytes);
  PageAligned incoming(kActivationBytes);
  std::vector<double> halves;
  halves.reserve(kPingPongs);
  for (int i = 0; i < kPingPongs; ++i) {
    const auto start = Clock::now();
    if (wire.rank() == 0) send(wire, 1, 1, outgoing.bytes());
    receive(wire, 1 - wire.rank(), 1, incoming.bytes());
    if (wire.rank() == 1) send(wire, 0, 1, outgoing.bytes());
    halves.push_back(seconds_since(start) * 1e6 / 2);
  }
  return median(std::move(halves));
}

/// MB/s from rank 0 to rank 1, `kWindow` messages in flight, ended by an answer. Like ucx_perftest
/// it uses one buffer on each side, so that memory bandwidth is not what is measured.
double stream(Wire& wire) {
  PageAligned buffer(kLargeBytes);
  std::vector<Request> window(kWindow);
  std::byte answer{};
  const auto start = Clock::now();
  for (std::size_t i = 0; i < kLargeMessages + kWindow; ++i) {
    Request& slot = window[i % kWindow];
    if (i >= kWindow) require(wire.wait(slot, soon()));
    if (i >= kLargeMessages) continue;
    slot = require(wire.rank() == 0 ? wire.send(1, tag(2), buffer.bytes())
                                    : wire.receive(0, tag(2), buffer.bytes()));
  }
  if (wire.rank() == 1) send(wire, 0, 3, {&answer, 1});
  if (wire.rank() == 0) receive(wire, 1, 3, {&answer, 1});
  return kLargeMessages * (kLargeBytes / 1e6) / seconds_since(start);
}

collectives::WireCollectives group_of_all(Wire& wire) {
  std::vector<int> members(static_cast<std::size_t>(wire.world_size()));
  std::iota(members.begin(), members.end(), 0);
  const char* threshold = std::getenv("DSL_BENCH_ONE_SHOT_BYTES");
  collectives::WireCollectivesOptions options;
  if (threshold != nullptr) options.one_shot_max_bytes = std::strtoull(threshold, nullptr, 10);
  return {wire, std::move(members), 0, options};
}

void check_reduction(Wire& wire, std::size_t count) {
  std::vector<std::vector<float>> parts;
  std::vector<const float*> pointers;
  for (int rank = 0; rank < wire.world_size(); ++rank) {
    auto& part = parts.emplace_back(count);
    for (std::size_t i = 0; i < count; ++i)
      part[i] = 1.0f / static_cast<float>(i + 1 + static_cast<std::size_t>(rank));
    pointers.push_back(part.data());
  }
  std::vector<float> expected(count);
  collectives::tree_sum(pointers, expected);
  std::vector<float>& values = parts[static_cast<std::size_t>(wire.rank())];
  auto group = group_of_all(wire);
  require(group.all_reduce_tree(values, soon()));
  require(std::memcmp(values.data(), expected.data(), count * sizeof(float)) == 0, "wrong sum");
}

/// Microseconds of an all-reduce, median.
double reduce(collectives::WireCollectives& group, std::size_t bytes) {
  std::vector<float> values(bytes / sizeof(float));
  std::vector<double> times;
  times.reserve(kReductions);
  require(group.barrier(soon()));
  for (int i = 0; i < kReductions; ++i) {
    const auto start = Clock::now();
    require(group.all_reduce_tree(values, soon()));
    times.push_back(seconds_since(start) * 1e6);
  }
  return median(std::move(times));
}

/// Keeps rank r on core r, as the engine's ranks are kept on theirs.
void pin(int rank) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(rank % cores), &set);
  ::sched_setaffinity(0, sizeof(set), &set);
}

std::string point_to_point(Wire& wire) {
  pin(wire.rank());
  check_echo(wire, kActivationBytes);
  check_echo(wire, kLargeBytes);
  const double latency = measure([&] { return ping_pong(wire); });
  const double bandwidth = measure([&] { return stream(wire); });
  return fmt::format("transport {}\nlatency_16k_us {:.2f}\nbandwidth_1m_mb_s {:.0f}\n",
                     wire.links()[0].transport, latency, bandwidth);
}

std::string reductions(Wire& wire) {
  pin(wire.rank());
  check_reduction(wire, kActivationBytes / sizeof(float));
  auto group = group_of_all(wire);
  std::string text;
  for (const std::size_t bytes :
       {kActivationBytes, 4 * kActivationBytes, 16 * kActivationBytes, 64 * kActivationBytes}) {
    const double time = measure([&] { return reduce(group, bytes); });
    text +=
        fmt::format("allreduce_{}k_{}_ranks_us {:.1f}\n", bytes / 1024, wire.world_size(), time);
  }
  return text;
}

}  // namespace
}  // namespace dsl

int main(int argc, char** argv) {
  using dsl::testing::Backend;
  if (argc > 1) dsl::repeats = std::max(7, std::atoi(argv[1]));
  const std::string which = argc > 2 ? argv[2] : "all";
  if (which != "reduce")
    fmt::print("{}", dsl::testing::run_ranks(Backend::kUcx, 2, dsl::point_to_point)[0]);
  if (which == "pair") return 0;
  for (const int ranks : {2, 4}) {
    fmt::print("{}", dsl::testing::run_ranks(Backend::kUcx, ranks, dsl::reductions)[0]);
  }
}
