#include "engine/serving/engine_port/node_sampler.h"

#include <utility>

namespace dsl::serving {

NodeSampler::NodeSampler(std::function<NodeUsage()> read, std::chrono::milliseconds interval)
    : read_(std::move(read)), interval_(interval), thread_([this] { run(); }) {}

NodeSampler::~NodeSampler() {
  {
    const std::scoped_lock lock(mutex_);
    is_ending_ = true;
  }
  ending_.notify_all();
  thread_.join();
}

std::optional<NodeUsage> NodeSampler::latest(Clock::time_point now) const {
  const std::scoped_lock lock(mutex_);
  if (!latest_ || now - read_at_ > kNodeAgeLimit) return std::nullopt;
  return latest_;
}

void NodeSampler::run() {
  std::unique_lock lock(mutex_);
  do {
    lock.unlock();
    NodeUsage usage = read_();
    lock.lock();
    latest_ = std::move(usage);
    read_at_ = Clock::now();
  } while (!ending_.wait_for(lock, interval_, [this] { return is_ending_; }));
}

}  // namespace dsl::serving
