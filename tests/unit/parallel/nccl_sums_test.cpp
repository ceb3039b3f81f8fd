// Sums of tensor shards over the emulated NCCL: their bits, the choice of their way, and what
// happens when a shard is silent or has gone.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>

#include "engine/kernels/cuda/network.h"
#include "engine/parallel/tensor_parallel.h"
#include "engine/parallel/tensor_path.h"
#include "engine/runtime/cuda/device_memory.h"
#include "engine/runtime/cuda/nccl_functions.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/unit/parallel/shard_threads.h"

namespace dsl::parallel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMaxValues = 4000;
constexpr auto kPatience = std::chrono::seconds(20);
constexpr auto kShortPatience = std::chrono::milliseconds(300);
constexpr auto kFarBeyond = std::chrono::seconds(5);

/// One rank's device and its way to the others; each member may be used by the rank's thread alone.
struct Shard {
  int rank = 0;
  collectives::Collectives* group = nullptr;
  std::shared_ptr<cuda::Stream> stream;
  std::unique_ptr<cuda::DeviceMemory> memory;
  TensorPath path;

  Result<std::vector<float>> sum(const std::vector<float>& values, Clock::duration patience) {
    const std::size_t bytes = values.size() * sizeof(float);
    DSL_ASSIGN(const Buffer buffer, Buffer::allocate(*memory, bytes, "test"));
    DSL_TRY(memory->write(buffer.data(), values.data(), bytes));
    const TensorParallel tp(group, patience, *memory, path.devices.get());
    DSL_TRY(tp.all_reduce({buffer.as<float>(), 1, std::ssize(values), std::ssize(values)}));
    std::vector<float> sums(values.size());
    DSL_TRY(memory->read(sums.data(), buffer.data(), bytes));
    return sums;
  }
};

struct WorldOptions {
  int shards = 2;
  std::int64_t exchange_bytes = 4096;
  bool share_a_device = false;
};

/// Runs `work` for every shard in a thread of its own, and returns what it returned.
std::vector<Status> run_world(const WorldOptions& options,
                              const std::function<Status(Shard&)>& work) {
  return run_shards(options.shards, [&](collectives::Collectives& group) -> Status {
    Shard shard;
    shard.rank = group.rank();
    shard.group = &group;
    DSL_ASSIGN(cuda::Stream stream, cuda::Stream::open(options.share_a_device ? 0 : group.rank()));
    shard.stream = std::make_shared<cuda::Stream>(std::move(stream));
    shard.memory = std::make_unique<cuda::DeviceMemory>(shard.stream);
    DSL_ASSIGN(auto network, cuda::open_network(shard.stream, {options.exchange_bytes}));
    DSL_ASSIGN(shard.path, open_tensor_path(network.get(), kMaxValues, group));
    return work(shard);
  });
}

class NcclSumsTest : public ::testing::TestWithParam<int> {};

/// 4096 bytes of surplus are 682 values gathered whole by four shards, 195 by eight; of two shards
/// all are, but for an exchange that costs nothing.
TEST_P(NcclSumsTest, SumsHaveTheBitsOfTheTree) {
  const int shards = GetParam();
  for (const std::int64_t exchange_bytes : {4096, 0}) {
    const auto work = [&](Shard& shard) -> Status {
      DSL_TRY(expect(shard.path.name() == "nccl", "the way over NCCL"));
      for (const std::size_t count : {1u, 7u, 194u, 195u, 196u, 333u, 682u, 683u, 3999u}) {
        DSL_ASSIGN(const std::vector<float> sums,
                   shard.sum(values_of(shard.rank, count), kPatience));
        const std::vector<float> expected = tree_of(shards, count);
        DSL_TRY(expect(std::memcmp(sums.data(), expected.data(), count * sizeof(float)) == 0,
                       fmt::format("the bits of the tree in {} values", count)));
      }
      return {};
    };
    for (const Status& outcome : run_world({shards, exchange_bytes}, work)) {
      EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, NcclSumsTest, ::testing::Values(2, 4, 8),
                         ::testing::PrintToStringParamName());

TEST(TensorPathTest, ShardsOnOneDeviceSumThroughTheHost) {
  const auto work = [](Shard& shard) -> Status {
    DSL_TRY(expect(shard.path.name() == "host", "the way through the host"));
    DSL_TRY(expect(shard.path.reason == "shards 0 and 1 share the device 0000:00:00.0",
                   fmt::format("another reason than {}", shard.path.reason)));
    DSL_ASSIGN(const std::vector<float> sums, shard.sum(values_of(shard.rank, 33), kPatience));
    return expect(sums == tree_of(2, 33), "the tree");
  };
  for (const Status& outcome : run_world({.shards = 2, .share_a_device = true}, work)) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
}

TEST(TensorPathTest, ShardsWithoutNcclSumThroughTheHost) {
  test::set_emulated_nccl(false);
  const auto work = [](Shard& shard) -> Status {
    DSL_TRY(expect(shard.path.reason == "shard 0 has no network of devices (NCCL)",
                   fmt::format("another reason than {}", shard.path.reason)));
    DSL_ASSIGN(const std::vector<float> sums, shard.sum(values_of(shard.rank, 33), kPatience));
    return expect(sums == tree_of(2, 33), "the tree");
  };
  for (const Status& outcome : run_world({.shards = 2}, work)) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
  test::set_emulated_nccl(true);
}

TEST(NcclLibraryTest, ALibraryThatIsNotThereOrLacksFunctionsIsTold) {
  const auto absent = cuda::open_nccl("libdsl_no_such_nccl.so.2");
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_NE(absent.error().message.find("libdsl_no_such_nccl.so.2"), std::string::npos)
      << absent.error().to_string();
  const auto other = cuda::open_nccl("libm.so.6");
  ASSERT_FALSE(other.has_value());
  EXPECT_NE(other.error().message.find("libm.so.6: it has no ncclGetUniqueId"), std::string::npos)
      << other.error().to_string();
}

TEST(NcclFailureTest, AShardThatNeverComesEndsTheWaitOfTheOthers) {
  const auto began = Clock::now();
  std::atomic<int> num_ended = 0;
  const auto outcomes = run_world({.shards = 4}, [&](Shard& shard) -> Status {
    if (shard.rank != 3) {
      const auto sums = shard.sum(values_of(shard.rank, 100), kShortPatience);
      ++num_ended;
      if (!sums) return tl::unexpected<Error>(sums.error());
      return {};
    }
    while (num_ended < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {};
  });
  EXPECT_LT(Clock::now() - began, kFarBeyond);
  int num_hung = 0;
  for (std::size_t rank = 0; rank < 3; ++rank) {
    ASSERT_FALSE(outcomes[rank].has_value());
    const Error& error = outcomes[rank].error();
    // The first abort may end the others' waits before their own time is over.
    num_hung += error.code == ErrorCode::kPeerHung ? 1 : 0;
    EXPECT_TRUE(error.code == ErrorCode::kPeerHung || error.code == ErrorCode::kPeerLost)
        << error.to_string();
    EXPECT_NE(error.message.find(fmt::format("shard {} of 4 over NCCL", rank)), std::string::npos)
        << error.to_string();
    EXPECT_FALSE(error.remedy.empty());
  }
  EXPECT_GE(num_hung, 1);
}

/// The others learn of it from NCCL, not from their patience.
TEST(NcclFailureTest, AShardThatGivesUpEndsTheOthers) {
  const auto began = Clock::now();
  const auto outcomes = run_world({.shards = 2}, [](Shard& shard) -> Status {
    DSL_ASSIGN(const auto first, shard.sum(values_of(shard.rank, 10), kPatience));
    DSL_TRY(expect(first == tree_of(2, 10), "the tree"));
    const auto patience = shard.rank == 0 ? Clock::duration(kShortPatience) : kPatience;
    if (shard.rank == 1) std::this_thread::sleep_for(2 * kShortPatience);
    const auto second = shard.sum(values_of(shard.rank, 10), patience);
    if (!second) return tl::unexpected<Error>(second.error());
    return {};
  });
  EXPECT_LT(Clock::now() - began, kFarBeyond);
  ASSERT_FALSE(outcomes[0].has_value());
  EXPECT_EQ(outcomes[0].error().code, ErrorCode::kPeerHung);
  ASSERT_FALSE(outcomes[1].has_value());
  EXPECT_EQ(outcomes[1].error().code, ErrorCode::kPeerLost) << outcomes[1].error().to_string();
}

TEST(NcclFailureTest, ASumThatIsDoneNeedsNoWait) {
  const auto outcomes = run_world({.shards = 2}, [](Shard& shard) -> Status {
    std::vector<float> values(10);
    const std::size_t bytes = values.size() * sizeof(float);
    DSL_ASSIGN(const Buffer buffer, Buffer::allocate(*shard.memory, bytes, "test"));
    shard.path.devices->set_patience(kShortPatience);
    DSL_TRY(shard.path.devices->all_reduce_tree({buffer.as<float>(), values.size()}));
    while (cudaStreamQuery(shard.stream->get()) == cudaErrorNotReady) {
      DSL_TRY(shard.memory->zero(buffer.data(), bytes));
    }
    std::this_thread::sleep_for(3 * kShortPatience);
    return shard.memory->read(values.data(), buffer.data(), bytes);
  });
  for (const Status& outcome : outcomes) {
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
  }
}

/// Shard 1 leaves after a sum, without a word. Shard 0 puts more on the stream, makes CUDA wait and
/// reads what came: all of that ends.
template <typename Wait>
void expect_end_after(const Wait& wait) {
  const auto began = Clock::now();
  const auto outcomes = run_world({.shards = 2}, [&](Shard& shard) -> Status {
    DSL_TRY(expect(shard.sum(values_of(shard.rank, 10), kPatience).has_value(), "a sum"));
    if (shard.rank == 1) return {};
    std::vector<float> values(10);
    const std::size_t bytes = values.size() * sizeof(float);
    DSL_ASSIGN(const Buffer buffer, Buffer::allocate(*shard.memory, bytes, "test"));
    shard.path.devices->set_patience(kShortPatience);
    DSL_TRY(shard.path.devices->all_reduce_tree({buffer.as<float>(), values.size()}));
    DSL_TRY(shard.path.devices->all_reduce_tree({buffer.as<float>(), values.size()}));
    wait(shard);
    return shard.memory->read(values.data(), buffer.data(), bytes);
  });
  EXPECT_LT(Clock::now() - began, kFarBeyond);
  EXPECT_TRUE(outcomes[1].has_value());
  ASSERT_FALSE(outcomes[0].has_value());
  EXPECT_EQ(outcomes[0].error().code, ErrorCode::kPeerHung) << outcomes[0].error().to_string();
}

/// A peer that goes without a word leaves the stream waiting: no call may wait with it for ever.
TEST(NcclFailureTest, NoCallOutlastsAShardThatHasLeft) {
  expect_end_after([](Shard& shard) { cudaStreamSynchronize(shard.stream->get()); });
}

/// Nor may the watcher wait for what such a call has locked.
TEST(NcclFailureTest, ACallThatLocksTheDriverDoesNotOutlastAShardThatHasLeft) {
  expect_end_after([](Shard&) { cudaFree(nullptr); });
}

}  // namespace
}  // namespace dsl::parallel
