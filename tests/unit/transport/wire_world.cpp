#include "tests/unit/transport/wire_world.h"

#include <thread>

#include "transport/inproc/inproc_world.h"

namespace dsl::testing {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> run_threads(int world_size, const WireBody& body) {
  inproc::World world(world_size);
  std::vector<std::string> results(static_cast<std::size_t>(world_size), "no result");
  std::vector<std::unique_ptr<wire::Wire>> wires;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) wires.push_back(world.make_wire(rank));
  for (std::size_t rank = 0; rank < wires.size(); ++rank) {
    threads.emplace_back([&, rank] { results[rank] = body(*wires[rank]); });
  }
  for (auto& thread : threads) thread.join();
  return results;
}

std::vector<std::string> run_processes(int world_size, const WireBody& body) {
  const ForkedRanksOptions options{
      .world_size = world_size, .heartbeat_interval = 500ms, .failure_deadline = 20s};
  ForkedRanks ranks(options, [&](int rank, const std::string& address) {
    return run_ucx_rank(options, rank, address, {}, body);
  });
  std::vector<std::string> results;
  const Deadline deadline = Deadline::after(60s);
  for (int rank = 0; rank < world_size; ++rank) {
    results.push_back(ranks.result(rank, deadline).value_or("no result"));
  }
  return results;
}

}  // namespace

std::string backend_name(Backend backend) { return backend == Backend::kInproc ? "inproc" : "ucx"; }

std::string run_ucx_rank(const ForkedRanksOptions& world, int rank, const std::string& address,
                         const ucx::UcxOptions& options, const WireBody& body) {
  auto membership = bootstrap::Membership::join(ForkedRanks::membership(world, rank, address),
                                                Deadline::after(30s));
  if (!membership) return membership.error().to_string();
  auto wire = ucx::connect(**membership, options, Deadline::after(30s));
  if (!wire) return wire.error().to_string();
  (*membership)->on_end([&wire](const Error& error) { (*wire)->abort(error); });
  std::string result = body(**wire);
  membership->reset();  // the goodbye: from here on a closed link is no failure
  return result;
}

std::vector<std::string> run_ranks(Backend backend, int world_size, const WireBody& body) {
  return backend == Backend::kInproc ? run_threads(world_size, body)
                                     : run_processes(world_size, body);
}

}  // namespace dsl::testing
