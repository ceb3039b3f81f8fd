// A streamed answer that tests fill by hand.
#pragma once

#include <condition_variable>
#include <mutex>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {

/// Thread-safe.
class ManualStream final : public ResponseStream {
 public:
  void add(std::string bytes) {
    const std::scoped_lock lock(mutex_);
    piece_.bytes += bytes;
    if (wake_) wake_();
  }
  void finish() {
    const std::scoped_lock lock(mutex_);
    piece_.is_last = true;
    if (wake_) wake_();
  }
  void answer(HttpResponse response) {
    const std::scoped_lock lock(mutex_);
    piece_.whole = std::make_shared<HttpResponse>(std::move(response));
    if (wake_) wake_();
  }
  void fail(Error error) {
    const std::scoped_lock lock(mutex_);
    piece_.failure = std::move(error);
    if (wake_) wake_();
  }
  bool wait_abandoned() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [this] { return is_abandoned_; });
  }

  void on_ready(std::function<void()> wake) override {
    const std::scoped_lock lock(mutex_);
    wake_ = std::move(wake);
  }
  Piece take() override {
    const std::scoped_lock lock(mutex_);
    if (piece_.is_last) wake_ = nullptr;
    return std::exchange(piece_, {});
  }
  void abandon() override {
    const std::scoped_lock lock(mutex_);
    is_abandoned_ = true;
    wake_ = nullptr;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Piece piece_;
  std::function<void()> wake_;
  bool is_abandoned_ = false;
};

}  // namespace dsl::serving
