#include "engine/serving/http/event_loop.h"

#include <sys/resource.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>

namespace dsl::serving {

EventLoop::EventLoop()
    : context_(std::make_unique<boost::asio::io_context>(1)), thread_([this] {
        const auto guard = boost::asio::make_work_guard(*context_);
        context_->run();
      }) {}

EventLoop::~EventLoop() { stop(); }

void EventLoop::post(std::function<void()> task) { boost::asio::post(*context_, std::move(task)); }

void EventLoop::run(const std::function<void()>& task) {
  std::promise<void> done;
  post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

void EventLoop::stop() {
  if (!thread_.joinable()) return;
  context_->stop();
  thread_.join();
}

boost::asio::io_context& EventLoop::context() { return *context_; }

void raise_open_files_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);  // the old limit then holds
}

}  // namespace dsl::serving
