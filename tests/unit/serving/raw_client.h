// A blocking TCP client that sends exactly what a test wants, right or wrong.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "transport/base/deadline.h"
#include "transport/base/unique_fd.h"

namespace dsl::serving {

class RawClient {
 public:
  /// `endpoint` is "127.0.0.1:port" or "unix:path".
  explicit RawClient(const std::string& endpoint)
      : fd_(::socket(endpoint.starts_with("unix:") ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC,
                     0)) {
    if (endpoint.starts_with("unix:")) {
      sockaddr_un path{};
      path.sun_family = AF_UNIX;
      endpoint.copy(path.sun_path, sizeof path.sun_path - 1, 5);
      is_connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&path), sizeof path) == 0;
      return;
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port =
        htons(static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ =
        ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }

  bool is_connected() const { return is_connected_; }
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  }

  /// Reads until `text` has come, the peer closes, or 20 s pass; everything so far is received().
  bool read_until(std::string_view text) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    while (received_.find(text) == std::string::npos) {
      if (!read_some(deadline)) return false;
    }
    return true;
  }
  /// Reads until the peer closes; false if it does not within 20 s.
  bool read_to_end() {
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    while (read_some(deadline)) {
    }
    return is_at_end_;
  }

  const std::string& received() const { return received_; }
  std::string take_received() { return std::exchange(received_, {}); }

 private:
  bool read_some(Deadline deadline) {
    pollfd entry{fd_.get(), POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(deadline.remaining().count())) <= 0) return false;
    char buffer[4096];
    const ssize_t count = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    is_at_end_ = count <= 0;
    if (count <= 0) return false;
    received_.append(buffer, static_cast<std::size_t>(count));
    return true;
  }

  UniqueFd fd_;
  bool is_connected_ = false;
  bool is_at_end_ = false;
  std::string received_;
};

inline std::string http_get(std::string_view target, std::string_view secret) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", target,
                     secret);
}

inline std::string http_post(std::string_view target, std::string_view secret,
                             std::string_view body) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{}",
      target, secret, body.size(), body);
}

}  // namespace dsl::serving
