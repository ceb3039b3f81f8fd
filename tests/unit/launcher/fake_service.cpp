// Takes the command line of a gateway or text service, says where it listens and answers a few
// requests of the OpenAI interface, or behaves as the file MODEL/behaviour says, with one of
//   fails      ends with an error line and its exit code
//   silent     never becomes ready
//   dies       becomes ready and kills itself
//   stubborn   becomes ready and ignores SIGTERM
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "transport/base/error.h"

namespace {

constexpr const char* kModels = R"({"object":"list","data":[{"id":"fake","object":"model"}]})";
/// An answer that thinks first, in three pieces.
constexpr const char* kEvents =
    "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"},\"finish_reason\":null}]}\n\n"
    "data: "
    "{\"choices\":[{\"text\":\"for\",\"delta\":{\"content\":\"\"},\"finish_reason\":null}]}\n\n"
    "data: {\"choices\":[{\"text\":\"ty\",\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
    "data: [DONE]\n\n";

/// Entries of engines in the folder that --services names.
int num_engines(const std::string& services) {
  int count = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(services, ignored)) {
    if (entry.path().filename().string().starts_with("engine-")) ++count;
  }
  return count;
}

std::string answer_to(const std::string& request, const std::string& services) {
  const auto with = [](const char* status, const std::string& type, const std::string& body) {
    return "HTTP/1.1 " + std::string(status) + "\r\nContent-Type: " + type +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" +
           body;
  };
  if (request.starts_with("GET /metrics ")) {
    return with("200 OK", "text/plain", "vllm:num_requests_running 7\n");
  }
  if (request.starts_with("GET /ready ")) {
    const int count = num_engines(services);
    return with(count > 0 ? "200 OK" : "503 Service Unavailable", "application/json",
                "{\"ready\":" + std::to_string(count) + "}");
  }
  if (request.find("\r\nAuthorization: Bearer sk-") == std::string::npos) {
    return with("401 Unauthorized", "application/json", R"({"error":{"message":"wrong key"}})");
  }
  if (request.starts_with("GET /v1/models ")) return with("200 OK", "application/json", kModels);
  return with("200 OK", "text/event-stream", kEvents);
}

/// Reads one request, its body by Content-Length, and answers it.
void serve(int connection, const std::string& services) {
  std::string request;
  char buffer[65536];
  std::size_t wanted = std::string::npos;
  while (request.size() < wanted) {
    const ssize_t got = read(connection, buffer, sizeof(buffer));
    if (got <= 0) break;
    request.append(buffer, static_cast<std::size_t>(got));
    const std::size_t head = request.find("\r\n\r\n");
    if (head == std::string::npos) continue;
    const std::size_t length = request.find("\r\nContent-Length: ");
    wanted = head + 4 + (length < head ? std::stoul(request.substr(length + 18)) : 0);
  }
  const std::string answer = answer_to(request, services);
  if (send(connection, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) perror("send");
  close(connection);
}

}  // namespace

int main(int argc, char** argv) {
  std::string model = ".";
  std::string services;
  std::string host = "127.0.0.1";
  int port = 0;
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], "--model") == 0) model = argv[i + 1];
    if (std::strcmp(argv[i], "--services") == 0) services = argv[i + 1];
    if (std::strcmp(argv[i], "--listen") == 0) {
      host = argv[i + 1];
      port = std::atoi(host.c_str() + host.rfind(':') + 1);
      host.resize(host.rfind(':'));
    }
  }
  std::string behaviour;
  std::ifstream(model + "/behaviour") >> behaviour;
  if (std::getenv("DSLAUNCH_SECRET") == nullptr || behaviour == "fails") {
    const dsl::Error error{dsl::ErrorCode::kAddressInUse, "127.0.0.1:80 is taken", "use another"};
    std::fprintf(stderr, "%s\n", error.to_string().c_str());
    return dsl::exit_code(error.code);
  }
  // Blocked before it says that it is ready, so that sigwait() misses none.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  if (behaviour == "silent") {
    sigwait(&ends, &argc);
    return 0;
  }
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  socklen_t size = sizeof(address);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener, 64) != 0) {
    return 7;
  }
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::thread([listener, services] {
    while (true) std::thread(serve, accept(listener, nullptr, nullptr), services).detach();
  }).detach();
  std::printf("{\"event\":\"ready\",\"endpoint\":\"%s:%d\"}\n", host.c_str(),
              ntohs(address.sin_port));
  std::fflush(stdout);
  if (behaviour == "dies") raise(SIGKILL);
  int signal = 0;
  do {
    sigwait(&ends, &signal);
  } while (behaviour == "stubborn");
  _exit(0);
}
