#include "engine/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "transport/base/unique_fd.h"

namespace dsl::checkpoint {
namespace {

tl::unexpected<Error> system_failure(std::string_view operation, const std::filesystem::path& path,
                                     int error) {
  const ErrorCode code = error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound
                         : error == EACCES || error == EPERM ? ErrorCode::kPermission
                                                             : ErrorCode::kIo;
  return fail(code, "check the path and its permissions", "cannot {} {}: {}", operation,
              path.string(), std::strerror(error));
}

struct OpenFile {
  UniqueFd fd;
  std::size_t size = 0;
};

Result<OpenFile> open_regular(const std::filesystem::path& path) {
  // O_NONBLOCK: a FIFO in the place of a file must be refused below, not waited for.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return system_failure("open", path, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return system_failure("inspect", path, errno);
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kNotFound, "give a regular file", "{} is not a regular file",
                path.string());
  }
  return OpenFile{std::move(fd), static_cast<std::size_t>(status.st_size)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  DSL_ASSIGN(const OpenFile file, open_regular(path));
  if (file.size == 0) return MappedFile(nullptr, 0);
  void* data = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.fd.get(), 0);
  if (data == MAP_FAILED) return system_failure("map", path, errno);
  return MappedFile(static_cast<const std::byte*>(data), file.size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_text_file(const std::filesystem::path& path, std::size_t max_bytes,
                                   ErrorCode code) {
  DSL_ASSIGN(const OpenFile file, open_regular(path));
  if (file.size > max_bytes) {
    return fail(code, "give the file that belongs to the model",
                "{} has {} bytes, at most {} are allowed", path.string(), file.size, max_bytes);
  }
  std::string text(file.size, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(file.fd.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_failure("read", path, errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  text.resize(done);
  return text;
}

}  // namespace dsl::checkpoint
