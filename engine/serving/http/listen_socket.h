// The socket of a server: host:port or unix:PATH.
#pragma once

#include <sys/types.h>

#include <string>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::serving {

/// Owns a listening, non-blocking socket and, for a Unix socket, its path (mode 0600), which it
/// removes. Move-only, thread-compatible.
class ListenSocket {
 public:
  /// kInvalidArgument: no address, or none of this machine; kAddressInUse: taken. The path of a
  /// dead server is taken over.
  static Result<ListenSocket> open(const std::string& address);
  ListenSocket(ListenSocket&&) = default;
  ListenSocket& operator=(ListenSocket&&) = delete;
  ~ListenSocket() { remove_path(); }

  /// Removes the path, if there is one; once.
  void remove_path();

  int fd() const { return fd_.get(); }
  /// Gives the descriptor away; the path stays this object's.
  int release_fd() { return fd_.release(); }
  int family() const { return family_; }
  /// "host:port" with the port that was chosen, or "unix:PATH".
  const std::string& endpoint() const { return endpoint_; }

 private:
  ListenSocket() = default;
  static Result<ListenSocket> open_tcp(const std::string& address);
  static Result<ListenSocket> open_unix(const std::string& path);

  UniqueFd fd_;
  int family_ = 0;
  std::string endpoint_;
  std::string path_;  // to be removed; empty: none
  dev_t device_ = 0;  // of the path that was made
  ino_t inode_ = 0;
};

}  // namespace dsl::serving
