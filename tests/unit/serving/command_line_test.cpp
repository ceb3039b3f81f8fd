// What the command lines of dsengine, dsgateway and dstext have in common.
#include "engine/serving/process/command_line.h"

#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace dsl::serving {
namespace {

struct End {
  int exit_code = -1;
  std::string out;
  std::string err;
};

/// How a program with one required flag, and a command with one, ends.
End end_of(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "dsprogram");
  const int count = static_cast<int>(arguments.size());
  CLI::App app("A program", "dsprogram");
  std::string value;
  CLI::App* command = app.add_subcommand("command", "A command");
  command->add_option("--needed", value, "a value")->required();
  command->add_flag("--json");
  finish_help(app, "  dsprogram command --needed x\n");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  End end;
  try {
    app.parse(count, arguments.data());
  } catch (const CLI::ParseError& error) {
    end.exit_code = end_of_command_line(app, error, count, arguments.data());
  }
  end.out = testing::internal::GetCapturedStdout();
  end.err = testing::internal::GetCapturedStderr();
  return end;
}

TEST(CommandLine, AMistakeIsOneLineWithARemedy) {
  const End end = end_of({"command"});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_EQ(end.out, "");
  EXPECT_EQ(
      end.err,
      "DSL-101 InvalidArgument: --needed is required. Remedy: see dsprogram command --help\n");
}

TEST(CommandLine, AMistakeIsJsonWhereThatIsAskedFor) {
  const End end = end_of({"command", "--nonsense", "--json"});
  EXPECT_EQ(end.exit_code, 2);
  const auto error = nlohmann::json::parse(end.err).at("error");
  EXPECT_EQ(error.at("code"), "DSL-101");
  EXPECT_EQ(error.at("name"), "InvalidArgument");
  EXPECT_EQ(error.at("remedy"), "see dsprogram command --help");
}

TEST(CommandLine, HelpAndVersionAreNoMistakes) {
  const End help = end_of({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, testing::HasSubstr("Examples:\n  dsprogram command"));
  const End version = end_of({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, testing::MatchesRegex("dsprogram [0-9.]+\n"));
  EXPECT_EQ(version.err, "");
}

}  // namespace
}  // namespace dsl::serving
