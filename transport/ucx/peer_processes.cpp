#include "transport/ucx/peer_processes.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace dsl::ucx {

void PeerProcesses::watch(int peer, int pid, int epoll_fd) {
  if (pid == ::getpid()) return;
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = static_cast<std::uint32_t>(peer);
  if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd.get(), &event) == 0) {
    watched_.push_back({peer, std::move(fd)});
  }
}

void PeerProcesses::forget(int peer, int epoll_fd) {
  std::erase_if(watched_, [&](const Watched& watched) {
    if (watched.peer != peer) return false;
    ::epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watched.fd.get(), nullptr);
    return true;
  });
}

}  // namespace dsl::ucx
