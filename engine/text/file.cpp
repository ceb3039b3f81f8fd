#include "engine/text/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "transport/base/unique_fd.h"

namespace dsl::text {
namespace {

constexpr off_t kMaxFileBytes = off_t{256} << 20;

tl::unexpected<Error> failed(std::string_view operation, const std::filesystem::path& path) {
  const int error = errno;
  const ErrorCode code = error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound
                         : error == EACCES                   ? ErrorCode::kPermission
                                                             : ErrorCode::kIo;
  return fail(code, "check the model folder's path and files", "{} {}: {}", operation,
              path.string(), std::strerror(error));
}

}  // namespace

Result<std::string> read_text_file(const std::filesystem::path& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return failed("open", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return failed("stat", path);
  if (!S_ISREG(status.st_mode) || status.st_size > kMaxFileBytes) {
    return fail(ErrorCode::kIo, "check the model folder's files",
                "read {}: expected a regular file of at most {} bytes, found {} bytes",
                path.string(), kMaxFileBytes, status.st_size);
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(file.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("read", path);
    if (count == 0) break;  // truncated meanwhile
    done += static_cast<std::size_t>(count);
  }
  text.resize(done);
  return text;
}

}  // namespace dsl::text
