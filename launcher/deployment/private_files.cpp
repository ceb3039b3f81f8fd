#include "launcher/deployment/private_files.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace dsl::launcher {
namespace {

constexpr std::string_view kOwnerRemedy =
    "remove it, or make it yours with mode 0600 (files) or 0700 (folders)";

tl::unexpected<Error> io_failure(std::string_view operation, const std::filesystem::path& path) {
  const ErrorCode code = errno == EACCES || errno == EPERM ? ErrorCode::kPermission
                         : errno == ENOENT                 ? ErrorCode::kNotFound
                                                           : ErrorCode::kIo;
  return fail(code, "check the path and its permissions", "cannot {} {}: {}", operation,
              path.string(), std::strerror(errno));
}

/// Another user who made the file first must not have his content taken for ours.
Status check_private(const struct stat& status, const std::filesystem::path& path) {
  if (status.st_uid == ::geteuid() && (status.st_mode & 077) == 0) return {};
  return fail(ErrorCode::kPermission, kOwnerRemedy,
              "{} is open to others: expected owner {} and no access for others, found owner {} "
              "and mode {:04o}",
              path.string(), ::geteuid(), status.st_uid, status.st_mode & 07777U);
}

Status write_all(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_failure("write", path);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

Result<std::filesystem::path> state_folder() {
  const char* set = std::getenv("XDG_STATE_HOME");
  if (set != nullptr && set[0] == '/') return std::filesystem::path(set) / "dslaunch";
  const char* home = std::getenv("HOME");
  if (home == nullptr || home[0] != '/') {
    const passwd* user = ::getpwuid(::geteuid());
    home = user != nullptr ? user->pw_dir : nullptr;
  }
  if (home == nullptr || home[0] != '/') {
    return fail(ErrorCode::kConfig, "set HOME",
                "there is no home folder: HOME and XDG_STATE_HOME are not set");
  }
  return std::filesystem::path(home) / ".local/state/dslaunch";
}

Status make_private_folder(const std::filesystem::path& folder) {
  std::error_code problem;
  if (folder.has_parent_path() && !std::filesystem::exists(folder.parent_path(), problem)) {
    if (problem) {
      errno = problem.value();
      return io_failure("make", folder.parent_path());
    }
    DSL_TRY(make_private_folder(folder.parent_path()));
  }
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return io_failure("make", folder);
  struct stat status = {};
  if (::lstat(folder.c_str(), &status) != 0) return io_failure("look at", folder);
  if (!S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::kIo, "remove it", "{} is not a folder", folder.string());
  }
  return check_private(status, folder);
}

Status write_private_file(const std::filesystem::path& path, std::string_view content) {
  std::string temporary = path.string() + ".XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));  // 0600 by definition
  if (!fd.valid()) return io_failure("write", path);
  Status written = write_all(fd.get(), content, path);
  if (written && ::fsync(fd.get()) != 0) written = io_failure("sync", path);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0)
    written = io_failure("write", path);
  if (!written) ::unlink(temporary.c_str());
  return written;
}

Result<std::string> read_private_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return io_failure("read", path);
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) return io_failure("look at", path);
  DSL_TRY(check_private(status, path));
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) > max_bytes) {
    return fail(ErrorCode::kIo, "remove it", "{} is not a file of at most {} bytes", path.string(),
                max_bytes);
  }
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t have = 0;
  while (have < content.size()) {
    const ssize_t got = ::read(fd.get(), content.data() + have, content.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_failure("read", path);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  content.resize(have);
  return content;
}

Result<UniqueFd> lock_file(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return io_failure("open", path);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return io_failure("lock", path);
  }
  return fd;
}

}  // namespace dsl::launcher
