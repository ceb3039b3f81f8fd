#include "engine/serving/discovery/own_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "transport/base/unique_fd.h"

namespace dsl::serving {

Result<std::string> read_own_file(const std::filesystem::path& path, std::int64_t max_bytes,
                                  std::string_view remedy) {
  const auto unreadable = [&] {
    return fail(ErrorCode::kIo, remedy, "cannot read {}: {}", path.string(), std::strerror(errno));
  };
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) return unreadable();
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0) {
    return fail(ErrorCode::kPermission, remedy,
                "{}: expected a file of this user with mode 0600, found owner {} and mode {:04o}",
                path.string(), status.st_uid, status.st_mode & 07777);
  }
  if (status.st_size > max_bytes) {
    return fail(ErrorCode::kConfig, remedy, "{}: larger than {} bytes", path.string(), max_bytes);
  }
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  const ssize_t count = ::read(fd.get(), content.data(), content.size());
  if (count < 0) return unreadable();
  content.resize(static_cast<std::size_t>(count));
  return content;
}

std::string file_stamp(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return {};
  return fmt::format("{}.{}.{}.{}.{}", status.st_ino, status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec, status.st_ctim.tv_nsec);
}

}  // namespace dsl::serving
