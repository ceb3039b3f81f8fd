// The thread that runs a program's asynchronous work: servers and clients share one.
#pragma once

#include <functional>
#include <memory>
#include <thread>

namespace boost::asio {
class io_context;
}

namespace dsl::serving {

/// Owns the thread. Whatever uses the loop must be stopped before the loop ends; work that then
/// still waits is dropped. Thread-safe.
class EventLoop {
 public:
  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  /// Runs a task in the loop's thread.
  void post(std::function<void()> task);
  /// Runs a task in the loop's thread and waits for its end. Not from that thread.
  void run(const std::function<void()>& task);
  /// Ends the thread; tasks that have not run are dropped. Not from the loop's thread.
  void stop();

  boost::asio::io_context& context();

 private:
  std::unique_ptr<boost::asio::io_context> context_;
  std::thread thread_;
};

/// Lets this process open as many files (connections) as the system's hard limit allows.
void raise_open_files_limit();

}  // namespace dsl::serving
