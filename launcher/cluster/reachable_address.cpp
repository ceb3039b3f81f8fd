#include "launcher/cluster/reachable_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <optional>

#include "transport/base/unique_fd.h"

namespace dsl::launcher {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Addresses resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  // Connecting a datagram socket sends nothing; it needs some port.
  return Addresses(getaddrinfo(host.c_str(), "9", &hints, &list) == 0 ? list : nullptr);
}

bool is_loopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof v4);
    return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
  }
  sockaddr_in6 v6;
  std::memcpy(&v6, &address, sizeof v6);
  return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr);
}

/// The local end of a route to `peer`.
std::optional<std::string> local_end(const addrinfo& peer) {
  const UniqueFd socket(::socket(peer.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  if (!socket.valid() || connect(socket.get(), peer.ai_addr, peer.ai_addrlen) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &length) != 0 ||
      is_loopback(local)) {
    return std::nullopt;
  }
  char text[NI_MAXHOST];
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&local), length, text, sizeof text, nullptr, 0,
                  NI_NUMERICHOST) != 0) {
    return std::nullopt;
  }
  return std::string(text);
}

}  // namespace

Result<std::string> address_towards(const std::vector<std::string>& peers) {
  std::string tried;
  for (const std::string& peer : peers) {
    const Addresses addresses = resolve(peer);
    for (const addrinfo* address = addresses.get(); address != nullptr;
         address = address->ai_next) {
      // This machine's own name gives its address too, unless it resolves to loopback.
      if (auto local = local_end(*address)) return *local;
    }
    tried += tried.empty() ? peer : ", " + peer;
  }
  return fail(ErrorCode::kUnreachable,
              "make the nodes' names resolve to their network addresses on every node",
              "this machine has no address that others could reach: looked for a route to {}",
              tried);
}

}  // namespace dsl::launcher
