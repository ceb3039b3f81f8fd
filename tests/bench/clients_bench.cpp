// Many clients at once against a gateway and a real engine of the demonstration model. Every answer
// must be that of the same request alone; then throughput and latencies as the clients saw them.
//
//   clients_bench [clients] [tokens per answer]
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "../unit/serving/raw_client.h"
#include "engine/serving/http/event_loop.h"
#include "gateway_process.h"

namespace dsl::serving {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int kNumQuestions = 50;
constexpr auto kPatience = std::chrono::minutes(3);
constexpr std::string_view kEvent = "data: ";
constexpr std::string_view kEnd = "data: [DONE]\n\n";
/// Of an answer: the last event and the end of its chunk.
constexpr std::size_t kTailBytes = 64;

/// Half of them greedy, half seeded.
std::string question(int index, int num_tokens) {
  return http_post(
      "/v1/chat/completions", kKey,
      fmt::format(
          R"({{"model":"demo","stream":true,"ignore_eos":true,"max_tokens":{},"seed":{},)"
          R"("temperature":{},"messages":[{{"role":"user","content":"What is {} + {}?"}}]}})",
          num_tokens, index, index % 2, 10 + index, 99 - index));
}

/// Reasoning and content of an answer, and how it ended.
std::string text_of(const std::string& received) {
  std::string reasoning;
  std::string content;
  for (std::size_t at = received.find("data: {"); at != std::string::npos;
       at = received.find("data: {", at + 1)) {
    const std::size_t begin = at + kEvent.size();
    const json chunk = json::parse(received.substr(begin, received.find("\n\n", begin) - begin),
                                   nullptr, /*allow_exceptions=*/false);
    if (!chunk.is_object() || !chunk.contains("choices")) return "an error: " + chunk.dump();
    for (const json& choice : chunk["choices"]) {
      const json& delta = choice["delta"];
      if (const json part = delta.value("reasoning_content", json()); part.is_string())
        reasoning += part.get<std::string>();
      if (const json part = delta.value("content", json()); part.is_string())
        content += part.get<std::string>();
      if (choice["finish_reason"].is_string())
        content += "|" + choice["finish_reason"].get<std::string>();
    }
  }
  return reasoning + "|" + content;
}

/// One client: what it received and when.
struct Client {
  explicit Client(const std::string& endpoint) : connection(endpoint) {}

  void receive(std::string_view bytes, std::vector<double>& gaps_s) {
    received.append(bytes);
    int num_events = 0;
    for (std::size_t at = bytes.find(kEvent); at != std::string_view::npos;
         at = bytes.find(kEvent, at + 1))
      ++num_events;
    if (num_events == 0) return;
    const Clock::time_point now = Clock::now();
    if (!last_event) {
      first_event_s = std::chrono::duration<double>(now - sent).count();
    } else {
      gaps_s.push_back(std::chrono::duration<double>(now - *last_event).count());
    }
    last_event = now;
  }

  RawClient connection;
  std::string received;
  Clock::time_point sent;
  std::optional<Clock::time_point> last_event;
  double first_event_s = 0;
};

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// Reads all answers to their ends; false when time runs out or a connection breaks.
bool read_all(std::vector<std::unique_ptr<Client>>& clients, std::vector<double>& gaps_s) {
  const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  for (const auto& client : clients) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = client.get();
    ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, client->connection.fd(), &event);
  }
  std::array<epoll_event, 256> ready;
  std::array<char, 65536> buffer;
  const Clock::time_point deadline = Clock::now() + kPatience;
  for (std::size_t num_open = clients.size(); num_open > 0;) {
    if (Clock::now() > deadline) return false;
    const int count = ::epoll_wait(epoll.get(), ready.data(), ready.size(), 1000);
    for (int i = 0; i < count; ++i) {
      auto* client = static_cast<Client*>(ready[static_cast<std::size_t>(i)].data.ptr);
      const ssize_t size =
          ::recv(client->connection.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (size <= 0) return false;
      client->receive({buffer.data(), static_cast<std::size_t>(size)}, gaps_s);
      const std::size_t size_so_far = client->received.size();
      const std::size_t tail = size_so_far - std::min<std::size_t>(size_so_far, kTailBytes);
      if (client->received.find(kEnd, tail) == std::string::npos) continue;
      ::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, client->connection.fd(), nullptr);
      --num_open;
    }
  }
  return true;
}

bool wait_ready(const std::string& endpoint) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(30));
  while (!deadline.expired()) {
    RawClient client(endpoint);
    client.send(http_get("/ready", kKey));
    if (client.read_until("}") && client.received().starts_with("HTTP/1.1 200")) return true;
  }
  return false;
}

int run(int num_clients, int num_tokens) {
  raise_open_files_limit();
  ::setenv("DSL_LOG", "warning", 1);  // nobody reads the logs
  Child engine(
      {DSL_ENGINE_BINARY, "--model", std::string(DSL_TEST_DATA_DIR) + "/demo_model/arith-bf16",
       "--max-waiting", std::to_string(num_clients + 1)},
      kSecret);
  const std::string engine_endpoint = endpoint_of(engine);
  const GatewayProcess gateway(engine_endpoint);
  if (engine_endpoint.empty() || gateway.endpoint().empty() || !wait_ready(gateway.endpoint())) {
    fmt::print(stderr, "the processes did not start: {}\n", engine.text());
    return 1;
  }
  std::vector<std::string> alone;
  for (int i = 0; i < kNumQuestions; ++i) {
    RawClient client(gateway.endpoint());
    client.send(question(i, num_tokens));
    if (!client.read_until(kEnd)) return 1;
    alone.push_back(text_of(client.received()));
  }

  std::vector<std::unique_ptr<Client>> clients;
  std::vector<double> gaps_s;
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < num_clients; ++i) {
    clients.push_back(std::make_unique<Client>(gateway.endpoint()));
    clients.back()->sent = Clock::now();
    clients.back()->connection.send(question(i % kNumQuestions, num_tokens));
  }
  if (!read_all(clients, gaps_s)) {
    fmt::print(stderr, "not all answers came to their ends\n");
    return 1;
  }
  const double duration_s = std::chrono::duration<double>(Clock::now() - start).count();

  int num_wrong = 0;
  std::vector<double> first_s;
  for (std::size_t i = 0; i < clients.size(); ++i) {
    num_wrong += text_of(clients[i]->received) != alone[i % kNumQuestions];
    first_s.push_back(clients[i]->first_event_s);
  }
  fmt::print("{} clients at once, {} tokens each: {} answers differ from the same request alone\n",
             num_clients, num_tokens, num_wrong);
  if (num_wrong > 0) return 1;
  fmt::print("{:.0f} tokens/s, {:.0f} requests/s\n",
             static_cast<double>(num_clients) * num_tokens / duration_s, num_clients / duration_s);
  fmt::print("first token: {:.0f} ms p50, {:.0f} ms p99\n", percentile(first_s, 0.5) * 1e3,
             percentile(first_s, 0.99) * 1e3);
  fmt::print("between tokens: {:.1f} ms p50, {:.1f} ms p99\n", percentile(gaps_s, 0.5) * 1e3,
             percentile(gaps_s, 0.99) * 1e3);
  return 0;
}

}  // namespace
}  // namespace dsl::serving

int main(int argc, char** argv) {
  const int num_clients = argc > 1 ? std::atoi(argv[1]) : 1000;
  const int num_tokens = argc > 2 ? std::atoi(argv[2]) : 64;
  return dsl::serving::run(num_clients, num_tokens);
}
