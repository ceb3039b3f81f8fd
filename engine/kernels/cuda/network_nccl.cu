#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/kernels/cuda/network.h"
#include "engine/kernels/cuda/shard_sums.cuh"
#include "engine/kernels/cuda/sum_buffer.h"
#include "engine/runtime/cuda/communicator.h"
#include "engine/runtime/cuda/device_buffer.h"
#include "transport/base/log.h"

namespace dsl::cuda {
namespace {

/// Part of the values that one shard sums.
struct Slice {
  std::int64_t begin = 0;
  std::int64_t size = 0;
};

Slice slice_of(std::int64_t count, int shards, int shard) {
  const std::int64_t units = (count + kSliceAlignment - 1) / kSliceAlignment;
  const auto bound = [&](int i) { return std::min(units * i / shards * kSliceAlignment, count); };
  return {bound(shard), bound(shard + 1) - bound(shard)};
}

ncclResult_t first_error(ncclResult_t before, ncclResult_t called) {
  return before == ncclSuccess || before == ncclInProgress ? called : before;
}

/// NCCL moves the values and the tree is summed here: the order of ncclAllReduce is NCCL's choice.
class NcclCollectives final : public DeviceCollectives {
 public:
  struct Limits {
    std::int64_t values = 0;    // of one sum
    std::int64_t gathered = 0;  // of one that is gathered whole
  };
  NcclCollectives(const NcclFunctions& nccl, std::unique_ptr<Communicator> communicator,
                  std::shared_ptr<Stream> stream, DeviceBuffer received, const Limits& limits)
      : nccl_(nccl),
        stream_(std::move(stream)),
        received_(std::move(received)),
        communicator_(std::move(communicator)),
        limits_(limits) {}

  std::string name() const override { return "nccl"; }

  /// One sum of either kind: NCCL connects GPUs when they first talk, which takes long beside a
  /// sum.
  Status warm_up(Deadline deadline) {
    const auto count = static_cast<std::size_t>(warm_up_values(shards()));
    DeviceBuffer buffer;
    DSL_TRY(buffer.reserve(count * sizeof(float), "a first sum"));
    const std::span<float> values(static_cast<float*>(buffer.data()), count);
    communicator_->set_patience(deadline.remaining());
    DSL_TRY(sum_gathered(values));
    DSL_TRY(sum_slices(values));
    return stream_->wait();
  }

  void set_patience(std::chrono::steady_clock::duration patience) override {
    communicator_->set_patience(patience);
  }

  Status all_reduce_tree(std::span<float> values) override {
    const auto count = static_cast<std::int64_t>(values.size());
    DSL_CHECK(count <= limits_.values, "{} values of a sum of at most {}", count, limits_.values);
    if (count == 0) return {};
    return count <= limits_.gathered ? sum_gathered(values) : sum_slices(values);
  }

  Status gather(std::span<const float> mine, std::span<float> others) override {
    const std::size_t count = mine.size();
    if (count == 0) return {};
    return communicator_->put([&](ncclComm_t comm, cudaStream_t stream) {
      if (shard() != 0) return nccl_.send(mine.data(), count, ncclFloat32, 0, comm, stream);
      ncclResult_t result = ncclSuccess;
      for (int peer = 1; peer < shards(); ++peer) {
        float* to = others.data() + static_cast<std::size_t>(peer - 1) * count;
        result = first_error(result, nccl_.receive(to, count, ncclFloat32, peer, comm, stream));
      }
      return result;
    });
  }

 private:
  int shard() const { return communicator_->place().rank; }
  int shards() const { return communicator_->place().size; }
  float* received() const { return static_cast<float*>(received_.data()); }

  Status sum_gathered(std::span<float> values) {
    DSL_TRY(communicator_->put([&](ncclComm_t comm, cudaStream_t stream) {
      return nccl_.all_gather(values.data(), received(), values.size(), ncclFloat32, comm, stream);
    }));
    return sum_received(values, static_cast<std::int64_t>(values.size()));
  }

  Status sum_slices(std::span<float> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    const auto slice = [&](int i) {
      const Slice found = slice_of(count, shards(), i);
      return values.subspan(static_cast<std::size_t>(found.begin),
                            static_cast<std::size_t>(found.size));
    };
    const std::span<float> own = slice(shard());
    const auto stride = static_cast<std::int64_t>(own.size());
    DSL_TRY(exchange(slice,
                     [&](int peer) { return std::span(received() + peer * stride, own.size()); }));
    DSL_TRY(sum_received(own, stride));
    return exchange([&](int) { return own; }, slice);
  }

  /// Sends sent(peer) to every other shard, and receives received(peer) from it.
  template <typename Sent, typename Received>
  Status exchange(const Sent& sent, const Received& received) {
    return communicator_->put([&](ncclComm_t comm, cudaStream_t stream) {
      ncclResult_t result = ncclSuccess;
      for (int step = 1; step < shards(); ++step) {
        const int to = (shard() + step) % shards();
        const int from = (shard() + shards() - step) % shards();
        const std::span<const float> out = sent(to);
        const std::span<float> in = received(from);
        if (!out.empty()) {
          result = first_error(result,
                               nccl_.send(out.data(), out.size(), ncclFloat32, to, comm, stream));
        }
        if (!in.empty()) {
          result = first_error(
              result, nccl_.receive(in.data(), in.size(), ncclFloat32, from, comm, stream));
        }
      }
      return result;
    });
  }

  Status sum_received(std::span<float> own, std::int64_t stride) {
    const ShardParts parts{received(), stride, own.data(), shard(), shards()};
    const auto count = static_cast<std::int64_t>(own.size());
    return cuda_status(
        launch(stream_->get(), {dim3(blocks_for(count, kShardSumThreads)), kShardSumThreads},
               sum_shards_kernel, parts, count, own.data()),
        "starting the sum of the shards");
  }

  const NcclFunctions nccl_;
  std::shared_ptr<Stream> stream_;
  DeviceBuffer received_;
  std::unique_ptr<Communicator> communicator_;  // ends what uses the buffer
  Limits limits_;
};

class NcclNetwork final : public DeviceNetwork {
 public:
  NcclNetwork(const NcclFunctions& nccl, std::shared_ptr<Stream> stream, std::string device_id,
              const NetworkOptions& options)
      : nccl_(nccl),
        stream_(std::move(stream)),
        device_id_(std::move(device_id)),
        options_(options) {}

  std::string device_id() const override { return device_id_; }
  std::size_t group_id_size() const override { return sizeof(ncclUniqueId); }

  Result<GroupId> new_group() override {
    ncclUniqueId id;
    if (const ncclResult_t result = nccl_.get_unique_id(&id); result != ncclSuccess) {
      return tl::unexpected<Error>(nccl_error(nccl_, result, nullptr, "naming a group for NCCL"));
    }
    const auto* begin = reinterpret_cast<const std::byte*>(&id);
    return GroupId(begin, begin + sizeof(id));
  }

  Result<std::unique_ptr<DeviceCollectives>> join(const GroupId& group, const Place& place,
                                                  Deadline deadline) override {
    const NcclCollectives::Limits limits{place.max_values,
                                         gathered_limit(place.shards, options_.exchange_bytes)};
    DeviceBuffer received;
    DSL_TRY(received.reserve(
        static_cast<std::size_t>(received_values(limits.values, limits.gathered, place.shards)) *
            sizeof(float),
        "sums of tensor shards"));
    ncclUniqueId id;
    std::memcpy(&id, group.data(), sizeof(id));
    DSL_ASSIGN(auto communicator,
               Communicator::join(nccl_, id, {place.shard, place.shards}, stream_, deadline));
    auto collectives = std::make_unique<NcclCollectives>(nccl_, std::move(communicator), stream_,
                                                         std::move(received), limits);
    DSL_TRY(collectives->warm_up(deadline));
    return collectives;
  }

 private:
  const NcclFunctions nccl_;
  std::shared_ptr<Stream> stream_;
  std::string device_id_;
  NetworkOptions options_;
};

}  // namespace

Result<std::unique_ptr<DeviceNetwork>> open_network(std::shared_ptr<Stream> stream,
                                                    const NetworkOptions& options) {
  const Result<NcclFunctions> nccl = load_nccl();
  if (!nccl) {
    log(LogLevel::kInfo, "no NCCL for sums of tensor shards: {}. Remedy: {}", nccl.error().message,
        nccl.error().remedy);
    return nullptr;
  }
  char id[32];
  DSL_TRY(cuda_status(cudaDeviceGetPCIBusId(id, sizeof(id), stream->device()),
                      fmt::format("asking CUDA device {} for its address", stream->device())));
  return std::make_unique<NcclNetwork>(*nccl, std::move(stream), id, options);
}

}  // namespace dsl::cuda
