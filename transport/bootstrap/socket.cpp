#include "transport/bootstrap/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>

namespace dsl::bootstrap {
namespace {

constexpr int kBacklog = 1024;
constexpr std::chrono::milliseconds kRetryPause{50};

struct AddrInfoDeleter {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddrInfoList = std::unique_ptr<addrinfo, AddrInfoDeleter>;

Result<AddrInfoList> resolve(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  const int status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (status != 0) {
    return fail(ErrorCode::kRendezvous, "check the host name and the name service",
                "cannot resolve '{}': {}", host, ::gai_strerror(status));
  }
  return AddrInfoList(list);
}

using NameFunction = int (*)(int, sockaddr*, socklen_t*);

HostPort numeric_name(int fd, NameFunction name) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  char host[NI_MAXHOST] = {};
  char port[NI_MAXSERV] = {};
  if (name(fd, address, &length) != 0 ||
      ::getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  HostPort result{host, 0};
  std::from_chars(port, port + std::strlen(port), result.port);
  return result;
}

/// One attempt; the error is an errno value.
tl::expected<UniqueFd, int> try_connect(const addrinfo& target, Deadline deadline) {
  UniqueFd fd(::socket(target.ai_family, target.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return tl::unexpected(errno);
  if (::connect(fd.get(), target.ai_addr, target.ai_addrlen) == 0) return fd;
  if (errno != EINPROGRESS) return tl::unexpected(errno);
  pollfd entry{fd.get(), POLLOUT, 0};
  const int ready = ::poll(&entry, 1, static_cast<int>(deadline.remaining().count()));
  if (ready < 0) return tl::unexpected(errno);
  if (ready == 0) return tl::unexpected(ETIMEDOUT);
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return tl::unexpected(error);
  return fd;
}

}  // namespace

Result<HostPort> parse_host_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  HostPort result;
  if (colon != std::string_view::npos) {
    std::string_view host = text.substr(0, colon);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
      host = host.substr(1, host.size() - 2);
    }
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, result.port);
    if (!host.empty() && parsed.ec == std::errc() && parsed.ptr == end && result.port != 0) {
      result.host = host;
      return result;
    }
  }
  return fail(ErrorCode::kInvalidArgument, "give an address such as node1:40000",
              "'{}' is not an address: expected host:port", text);
}

std::string format_host_port(const HostPort& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", address.host, address.port)
            : fmt::format("{}:{}", address.host, address.port);
}

Result<UniqueFd> listen_tcp(const std::string& host) {
  DSL_ASSIGN(const AddrInfoList list, resolve(host, 0, AI_PASSIVE));
  UniqueFd fd(::socket(list->ai_family, list->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ::bind(fd.get(), list->ai_addr, list->ai_addrlen) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return fail(ErrorCode::kIo, "use an address of this machine", "cannot listen on {}: {}", host,
                std::strerror(errno));
  }
  return fd;
}

Result<UniqueFd> connect_tcp(const HostPort& address, Deadline deadline) {
  DSL_ASSIGN(const AddrInfoList list, resolve(address.host, address.port, 0));
  int error = ETIMEDOUT;
  do {
    for (const addrinfo* target = list.get(); target != nullptr; target = target->ai_next) {
      auto attempt = try_connect(*target, deadline);
      if (!attempt) {
        error = attempt.error();
      } else if (format_host_port(local_address(attempt->get())) ==
                 format_host_port(peer_address(attempt->get()))) {
        error = ECONNREFUSED;  // TCP connects a free local port to itself
      } else {
        return *std::move(attempt);
      }
    }
    ::poll(nullptr, 0, static_cast<int>(std::min(kRetryPause, deadline.remaining()).count()));
  } while (!deadline.expired());
  return fail(ErrorCode::kRendezvous, "check that the supervisor runs and its host is reachable",
              "cannot connect to the rendezvous at {}: {}", format_host_port(address),
              std::strerror(error));
}

HostPort local_address(int fd) { return numeric_name(fd, ::getsockname); }
HostPort peer_address(int fd) { return numeric_name(fd, ::getpeername); }

void set_no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

Result<UniqueFd> make_event() {
  UniqueFd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.valid()) {
    return fail(ErrorCode::kIo, "raise the limit of open files", "eventfd: {}",
                std::strerror(errno));
  }
  return fd;
}

void signal_event(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof(one));
}

void clear_event(int fd) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(fd, &count, sizeof(count));
}

}  // namespace dsl::bootstrap
