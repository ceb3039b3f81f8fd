// TCP sockets of the rendezvous: listen, connect by a deadline, say who is at the other end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::bootstrap {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

/// "host:port" or "[v6]:port"; kInvalidArgument otherwise.
Result<HostPort> parse_host_port(std::string_view text);
std::string format_host_port(const HostPort& address);

/// A non-blocking listening socket on `host` with a port chosen by the system. kIo when the host is
/// not an address of this machine.
Result<UniqueFd> listen_tcp(const std::string& host);

/// A non-blocking connected socket. Tries again while nothing answers, until the deadline
/// (kRendezvous).
Result<UniqueFd> connect_tcp(const HostPort& address, Deadline deadline);

/// Numeric addresses of the two ends; an empty host when the socket is not connected.
HostPort local_address(int fd);
HostPort peer_address(int fd);

/// Sets TCP_NODELAY: the messages are small and answers are awaited.
void set_no_delay(int fd);

/// An eventfd that wakes a poll loop.
Result<UniqueFd> make_event();
void signal_event(int fd);
void clear_event(int fd);

}  // namespace dsl::bootstrap
