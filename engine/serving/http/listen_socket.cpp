#include "engine/serving/http/listen_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace dsl::serving {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr int kSocketType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

tl::unexpected<Error> refused(const std::string& address, int error, std::string_view remedy) {
  return fail(error == EADDRINUSE ? ErrorCode::kAddressInUse : ErrorCode::kInvalidArgument, remedy,
              "cannot listen at {}: {}", address, std::strerror(error));
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         text.find_first_not_of("0123456789") == std::string_view::npos &&
         std::stoi(std::string(text)) <= 65535;
}

/// The path is a socket at which nobody listens any more.
bool is_dead_socket(const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(address.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const UniqueFd probe(::socket(AF_UNIX, kSocketType, 0));
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
         errno == ECONNREFUSED;
}

}  // namespace

Result<ListenSocket> ListenSocket::open(const std::string& address) {
  if (address.starts_with(kUnixPrefix)) return open_unix(address.substr(kUnixPrefix.size()));
  return open_tcp(address);
}

void ListenSocket::remove_path() {
  const std::string path = std::exchange(path_, {});
  struct stat status {};
  if (path.empty() || ::lstat(path.c_str(), &status) != 0) return;
  // Another server may have taken the path over.
  if (status.st_dev == device_ && status.st_ino == inode_) ::unlink(path.c_str());
}

Result<ListenSocket> ListenSocket::open_tcp(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  std::string host = address.substr(0, std::min(colon, address.size()));
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  if (host.empty() || !is_port(port)) {
    return fail(ErrorCode::kInvalidArgument, "give HOST:PORT, for example 127.0.0.1:0",
                "cannot listen at \"{}\": expected host:port or unix:path", address);
  }
  const std::string shown_host = host;
  const bool is_v6 = host.front() == '[' && host.back() == ']';
  if (is_v6) host = host.substr(1, host.size() - 2);

  addrinfo hints{};
  hints.ai_family = is_v6 ? AF_INET6 : AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int problem = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  if (problem != 0) {
    return fail(ErrorCode::kInvalidArgument, "give an address or a name of this machine",
                "cannot listen at {}: {}", address, ::gai_strerror(problem));
  }
  ListenSocket socket;
  socket.family_ = hints.ai_family;
  socket.fd_.reset(::socket(socket.family_, kSocketType, 0));
  const int on = 1;
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(socket.fd(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(socket.fd(), SOMAXCONN) != 0 ||
      ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
    return refused(address, errno, "choose another port, or 0 for a free one");
  }
  // The port lies at the same place in both families' addresses.
  const in_port_t chosen = reinterpret_cast<const sockaddr_in*>(&bound)->sin_port;
  socket.endpoint_ = fmt::format("{}:{}", shown_host, ntohs(chosen));
  return socket;
}

Result<ListenSocket> ListenSocket::open_unix(const std::string& path) {
  const std::string shown = std::string(kUnixPrefix) + path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::kInvalidArgument, "give a shorter path",
                "cannot listen at \"{}\": expected a path of 1 to {} bytes", shown,
                sizeof address.sun_path - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (is_dead_socket(address)) ::unlink(path.c_str());

  ListenSocket socket;
  socket.family_ = AF_UNIX;
  socket.endpoint_ = shown;
  socket.fd_.reset(::socket(AF_UNIX, kSocketType, 0));
  struct stat status {};
  // The mode is set on the socket before it has a path: there is no moment at which others could
  // connect.
  if (::fchmod(socket.fd(), S_IRUSR | S_IWUSR) != 0 ||
      ::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return refused(shown, errno, "choose a path in a folder of yours, at which nobody listens");
  }
  socket.path_ = path;
  if (::lstat(path.c_str(), &status) != 0) return refused(shown, errno, "choose another folder");
  socket.device_ = status.st_dev;
  socket.inode_ = status.st_ino;
  if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 || ::listen(socket.fd(), SOMAXCONN) != 0) {
    return refused(shown, errno, "choose another folder");
  }
  return socket;
}

}  // namespace dsl::serving
