// What a gateway costs: CPU per token event, memory per idle stream, added latency. The engine is a
// stand-in that sends tokens when it is told to, so that nothing else is measured.
//
//   gateway_bench [streams] [ticks]
#include <sys/epoll.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "../unit/serving/raw_client.h"
#include "engine/serving/discovery/identity.h"
#include "engine/serving/http/http_server.h"
#include "gateway_process.h"

namespace dsl::serving {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kLatencyRounds = 300;

/// Ready with one token; each tick brings another.
class TokenStream final : public ResponseStream {
 public:
  void on_ready(std::function<void()> wake) override { wake_ = std::move(wake); }
  Piece take() override {
    const std::scoped_lock lock(mutex_);
    return std::exchange(piece_, {});
  }
  void abandon() override {}
  void tick() {
    const std::scoped_lock lock(mutex_);
    piece_.bytes += "{\"token_ids\":[40]}\n";
    if (wake_) wake_();
  }

 private:
  std::mutex mutex_;
  Piece piece_{"{\"token_ids\":[40]}\n", false, {}, nullptr};
  std::function<void()> wake_;
};

class StandInEngine final : public HttpHandler {
 public:
  std::optional<HttpResponse> refuse(const HttpHead&) override { return std::nullopt; }
  HttpResponse handle(const HttpRequest& request) override {
    if (request.head.target == kIdentityTarget) return identity_response(request.head, kSecret);
    if (request.head.target == "/health") return {200, "application/json", "{}", nullptr};
    auto stream = std::make_shared<TokenStream>();
    const std::scoped_lock lock(mutex_);
    streams_.push_back(stream);
    return {200, "application/x-ndjson", "", stream};
  }
  void tick_all() {
    const std::scoped_lock lock(mutex_);
    for (const auto& stream : streams_) stream->tick();
  }

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<TokenStream>> streams_;
};

/// Reads all streams and counts their events.
class EventCounter {
 public:
  EventCounter() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), thread_([this] { read(); }) {}
  ~EventCounter() {
    is_over_ = true;
    thread_.join();
  }
  void add(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  /// False when they have not come within 60 s.
  bool wait_for(std::int64_t num_events) const {
    const Deadline deadline = Deadline::after(60s);
    while (num_events_ < num_events && !deadline.expired()) std::this_thread::sleep_for(1ms);
    return num_events_ >= num_events;
  }

 private:
  void read() {
    std::array<epoll_event, 256> ready;
    std::array<char, 65536> buffer;
    while (!is_over_) {
      const int count = ::epoll_wait(epoll_.get(), ready.data(), ready.size(), 50);
      for (int i = 0; i < count; ++i) {
        const ssize_t size = ::recv(ready[static_cast<std::size_t>(i)].data.fd, buffer.data(),
                                    buffer.size(), MSG_DONTWAIT);
        if (size <= 0) continue;
        const std::string_view bytes(buffer.data(), static_cast<std::size_t>(size));
        std::int64_t events = 0;
        for (std::size_t at = bytes.find("data: "); at != std::string_view::npos;
             at = bytes.find("data: ", at + 1))
          ++events;
        num_events_ += events;
      }
    }
  }

  UniqueFd epoll_;
  std::atomic<bool> is_over_{false};
  std::atomic<std::int64_t> num_events_{0};
  std::thread thread_;
};

/// CPU time of all threads of a process.
double cpu_seconds(pid_t pid) {
  double total_ns = 0;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    std::ifstream file(task.path() / "schedstat");
    double ns = 0;
    file >> ns;
    total_ns += ns;
  }
  return total_ns * 1e-9;
}

std::int64_t resident_bytes(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/statm", pid));
  std::int64_t total = 0;
  std::int64_t resident = 0;
  file >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

/// Median time from sending a request to `text` in its answer.
double median_first_token_s(const std::string& endpoint, const std::string& request,
                            std::string_view text) {
  std::vector<double> seconds;
  for (int i = 0; i < kLatencyRounds; ++i) {
    RawClient client(endpoint);
    const auto start = Clock::now();
    client.send(request);
    if (!client.read_until(text)) return -1;
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kLatencyRounds / 2, seconds.end());
  return seconds[kLatencyRounds / 2];
}

int run(int num_streams, int num_ticks) {
  raise_open_files_limit();
  ::setenv("DSL_LOG", "warning", 1);  // nobody reads the log
  StandInEngine engine;
  HttpServerOptions options;
  options.max_connections = 20000;
  const auto server = HttpServer::start(options, engine);
  if (!server) return 1;
  const GatewayProcess gateway((*server)->endpoint());
  const std::string& endpoint = gateway.endpoint();
  if (endpoint.empty()) return 1;

  const std::string chat = http_post(
      "/v1/chat/completions", kKey,
      R"({"model":"demo","messages":[{"role":"user","content":"12+34="}],"stream":true})");
  const double direct_s = median_first_token_s(
      (*server)->endpoint(),
      http_post("/v1/generate", kSecret, R"({"token_ids":[1,2,3,4,5,6,7,8]})"), "token_ids");
  const double through_s = median_first_token_s(endpoint, chat, "data: ");
  if (direct_s < 0 || through_s < 0) return 1;

  std::this_thread::sleep_for(500ms);  // cancelled requests of the latency rounds go
  EventCounter counter;
  const std::int64_t before_bytes = resident_bytes(gateway.pid());
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < num_streams; ++i) {
    clients.push_back(std::make_unique<RawClient>(endpoint));
    clients.back()->send(chat);
    counter.add(clients.back()->fd());
  }
  if (!counter.wait_for(num_streams)) {
    fmt::print(stderr, "not all streams have begun\n");
    return 1;
  }
  const std::int64_t open_bytes = resident_bytes(gateway.pid());
  const double cpu_before = cpu_seconds(gateway.pid());
  for (int tick = 1; tick <= num_ticks; ++tick) {
    engine.tick_all();
    if (!counter.wait_for(static_cast<std::int64_t>(num_streams) * (tick + 1))) return 1;
  }
  const double cpu_s = cpu_seconds(gateway.pid()) - cpu_before;
  const std::int64_t after_bytes = resident_bytes(gateway.pid());
  fmt::print("{} streams open, {} events each\n", num_streams, num_ticks + 1);
  fmt::print("CPU per token event: {:.1f} us\n",
             cpu_s * 1e6 / (static_cast<double>(num_streams) * num_ticks));
  fmt::print("memory per stream: {:.1f} KB idle, {:.1f} KB after all events\n",
             static_cast<double>(open_bytes - before_bytes) / num_streams / 1000,
             static_cast<double>(after_bytes - before_bytes) / num_streams / 1000);
  fmt::print("first token, p50: {:.3f} ms through the gateway, {:.3f} ms at the engine port\n",
             through_s * 1e3, direct_s * 1e3);
  return 0;
}

}  // namespace
}  // namespace dsl::serving

int main(int argc, char** argv) {
  const int num_streams = argc > 1 ? std::atoi(argv[1]) : 5000;
  const int num_ticks = argc > 2 ? std::atoi(argv[2]) : 20;
  return dsl::serving::run(num_streams, num_ticks);
}
