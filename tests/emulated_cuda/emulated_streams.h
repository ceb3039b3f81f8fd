// Streams of the emulated devices.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>

#include "cuda_runtime_api.h"

namespace dsl::test {

/// Of the calling thread; no later one gets it again.
int thread_number();

}  // namespace dsl::test

/// Owns what waits to be run, in order.
struct CUstream_st {
  /// False: it must wait for another stream.
  using Task = std::function<bool()>;

  int device = 0;
  std::deque<Task> tasks;
  std::atomic<std::size_t> num_tasks{0};
  std::size_t num_put = 0;  // so far
  /// Whether the last thing put there is a kernel, which nobody has waited for.
  std::atomic<bool> follows_kernel{false};
  std::atomic<int> user{0};  // number of the last thread that put something there
  std::mutex driver{};       // held by what waits for it inside of the driver
  std::atomic<bool> is_capturing{false};
  std::atomic<bool> is_capture_broken{false};

  /// Behind what is on the stream; runs what can run.
  void put(Task task, bool is_kernel = false) {
    follows_kernel = is_kernel;
    user = dsl::test::thread_number();
    tasks.push_back(std::move(task));
    ++num_tasks;
    ++num_put;
    advance();
  }
  /// True when nothing is left. What a task throws comes out, and the task is not run again.
  bool advance() {
    while (!tasks.empty()) {
      try {
        if (!tasks.front()()) return false;
      } catch (...) {
        pop();
        throw;
      }
      pop();
    }
    return true;
  }

 private:
  void pop() {
    tasks.pop_front();
    --num_tasks;
  }
};
