#include "tests/unit/parallel/shard_threads.h"

#include <memory>
#include <random>
#include <thread>

#include "tests/emulated_cuda/emulated_devices.h"
#include "transport/collectives/tree_sum.h"
#include "transport/collectives/wire_collectives.h"
#include "transport/inproc/inproc_world.h"

namespace dsl::parallel {

std::vector<Status> run_shards(int shards,
                               const std::function<Status(collectives::Collectives& group)>& work) {
  test::set_emulated_devices(shards, 0);
  inproc::World world(shards);
  std::vector<Status> outcomes(static_cast<std::size_t>(shards));
  std::vector<std::unique_ptr<wire::Wire>> wires;
  std::vector<int> members;
  for (int rank = 0; rank < shards; ++rank) {
    wires.push_back(world.make_wire(rank));
    members.push_back(rank);
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < shards; ++rank) {
    threads.emplace_back([&, rank] {
      const auto index = static_cast<std::size_t>(rank);
      const std::unique_ptr<wire::Wire> wire = std::move(wires[index]);
      collectives::WireCollectives group(*wire, members, 0);
      outcomes[index] = work(group);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

Result<TensorPath> open_tensor_path(DeviceNetwork* network, std::int64_t max_values,
                                    collectives::Collectives& group) {
  constexpr auto kPatience = std::chrono::seconds(60);
  DSL_ASSIGN(TensorPath agreed, agree_on_tensor_path(network, group, Deadline::after(kPatience)));
  return connect(std::move(agreed), network, max_values, group, Deadline::after(kPatience));
}

std::vector<float> values_of(int rank, std::size_t count) {
  std::mt19937 random(static_cast<unsigned>(rank) * 1000 + static_cast<unsigned>(count));
  std::normal_distribution<float> normal(0, 100);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> tree_of(int shards, std::size_t count) {
  std::vector<std::vector<float>> parts;
  std::vector<const float*> begins;
  for (int rank = 0; rank < shards; ++rank) parts.push_back(values_of(rank, count));
  for (const auto& part : parts) begins.push_back(part.data());
  std::vector<float> sums(count);
  collectives::tree_sum(begins, sums);
  return sums;
}

Status expect(bool condition, std::string_view what) {
  if (condition) return {};
  return fail(ErrorCode::kInternal, "", "expected {}", what);
}

}  // namespace dsl::parallel
