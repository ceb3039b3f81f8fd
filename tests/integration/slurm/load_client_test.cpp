// Broken configurations and a missing controller must be errors of the loader, never the end of the
// process.
#include "slurm/load_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace dsl::slurm {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A configuration file that goes with this.
class ConfigFile {
 public:
  ConfigFile(const std::string& name, const std::string& text)
      : path_(fmt::format("{}/{}-{}", ::testing::TempDir(), getpid(), name)) {
    std::ofstream(path_) << text;
  }
  ConfigFile(const ConfigFile&) = delete;
  ConfigFile& operator=(const ConfigFile&) = delete;
  ~ConfigFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Error load_error(const std::string& config, std::chrono::milliseconds deadline = 30s) {
  LoadOptions options;
  options.module = SLURM_MODULE;
  options.config = config;
  const auto client = load_client(options, Deadline::after(deadline));
  EXPECT_FALSE(client.has_value()) << config;
  return client ? Error{} : client.error();
}

TEST(LoadClient, NamesAMissingConfiguration) {
  const auto begin = std::chrono::steady_clock::now();
  const Error error = load_error("/nonexistent/slurm.conf");
  EXPECT_EQ(error.code, ErrorCode::kSlurmUnavailable);
  EXPECT_THAT(error.message, HasSubstr("/nonexistent/slurm.conf"));
  EXPECT_THAT(error.remedy, HasSubstr("SLURM_CONF"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);  // libslurm alone takes 59 s
}

TEST(LoadClient, RefusesADirectoryAsConfiguration) {
  EXPECT_THAT(load_error("/tmp").message, HasSubstr("not a regular file"));
}

TEST(LoadClient, SurvivesConfigurationsThatEndTheLibrary) {
  for (const auto& [name, text] : {std::pair{"empty.conf", ""},
                                   {"garbage.conf", "\x01\x02 no such = thing\n[[["},
                                   {"nocontroller.conf", "ClusterName=x\n"},
                                   {"unknown.conf", "ClusterName=x\nNoSuchOption=1\n"}}) {
    const Error error = load_error(ConfigFile(name, text).path());
    EXPECT_EQ(error.code, ErrorCode::kSlurmUnavailable) << error.to_string();
    EXPECT_THAT(error.message, HasSubstr(name));
    EXPECT_THAT(error.message, Not(HasSubstr("\n")));
  }
}

TEST(LoadClient, GivesUpOnASilentController) {
  // Nothing answers at an address of the test network (RFC 5737).
  const ConfigFile config("silent.conf",
                          "ClusterName=x\nSlurmctldHost=ctl(192.0.2.1)\nAuthType=auth/munge\n"
                          "NodeName=n1 CPUs=1\nPartitionName=main Nodes=n1 Default=YES\n");
  const Error error = load_error(config.path(), 2s);
  EXPECT_THAT(error.code,
              ::testing::AnyOf(ErrorCode::kSlurmController, ErrorCode::kSlurmUnavailable))
      << error.to_string();
}

TEST(LoadClient, ReportsTheVersionsItWasBuiltFor) {
  LoadOptions options;
  options.module = SLURM_MODULE;
  const auto info = inspect_module(options);
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_THAT(info->built_for, StartsWith("2"));
  EXPECT_GE(info->library_abi, 38u);
}

}  // namespace
}  // namespace dsl::slurm
