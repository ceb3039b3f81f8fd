#include "launcher/deployment/private_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {
namespace {

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status = {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 0777U;
}

TEST(PrivateFiles, AreForTheirOwnerOnlyWhateverTheUmask) {
  const ScratchFolder scratch;
  const mode_t before = ::umask(0);
  ASSERT_TRUE(make_private_folder(scratch.path() / "a/b"));
  ASSERT_TRUE(write_private_file(scratch.path() / "a/b/f", "content"));
  ::umask(before);
  EXPECT_EQ(mode_of(scratch.path() / "a"), 0700U);
  EXPECT_EQ(mode_of(scratch.path() / "a/b"), 0700U);
  EXPECT_EQ(mode_of(scratch.path() / "a/b/f"), 0600U);
  EXPECT_EQ(read_private_file(scratch.path() / "a/b/f", 100), "content");
}

TEST(PrivateFiles, RefusesWhatOthersCanReadOrWrite) {
  const ScratchFolder scratch;
  const std::filesystem::path file = scratch.path() / "f";
  ASSERT_TRUE(write_private_file(file, "x"));
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  EXPECT_EQ(read_private_file(file, 100).error().code, ErrorCode::kPermission);
  ASSERT_EQ(::chmod(scratch.path().c_str(), 0777), 0);
  EXPECT_EQ(make_private_folder(scratch.path()).error().code, ErrorCode::kPermission);
}

TEST(PrivateFiles, AFolderThatCannotBeLookedAtIsAnError) {
  const ScratchFolder scratch;
  const std::filesystem::path loop = scratch.path() / "loop";
  std::filesystem::create_symlink(loop, loop);
  const Status made = make_private_folder(loop / "a/b");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kIo);
  EXPECT_NE(made.error().message.find("Too many levels of symbolic links"), std::string::npos)
      << made.error().message;
}

TEST(PrivateFiles, RefusesLinksAndLargeFiles) {
  const ScratchFolder scratch;
  ASSERT_TRUE(write_private_file(scratch.path() / "f", "12345"));
  std::filesystem::create_symlink(scratch.path() / "f", scratch.path() / "link");
  EXPECT_FALSE(read_private_file(scratch.path() / "link", 100));
  EXPECT_EQ(read_private_file(scratch.path() / "f", 4).error().code, ErrorCode::kIo);
  EXPECT_EQ(read_private_file(scratch.path() / "none", 4).error().code, ErrorCode::kNotFound);
}

TEST(PrivateFiles, AFailedWriteLeavesNothing) {
  const ScratchFolder scratch;
  std::filesystem::create_directory(scratch.path() / "taken");
  EXPECT_FALSE(write_private_file(scratch.path() / "taken", "x"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1);
}

}  // namespace
}  // namespace dsl::launcher
